"""Files of strangers: no program is opened unasked, no pickle reaches torch unread, no tensor a kernel unseen."""

import contextlib
import functools
import io
import os
import pickle
import pickletools
import re
import shutil
import struct
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import Small, assert_equal, contents, make_small, no_pictures
from torch import Tensor

from chatbot.__main__ import VERBS, main
from chatbot.chat.bot import Chatbot
from chatbot.runs import pickled
from chatbot.runs.archive import plain_data
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.runs.pickled import scan
from chatbot.system.errors import ChatbotError

MEGABYTE = 1 << 20
PLANTED = 4096  # bytes of the file that a planted program writes
RUNS = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class"}
seen: list[str] = []
watching = False


def _watch(event: str, arguments: tuple) -> None:
    if watching and event in RUNS:
        seen.append(f"{event} {arguments}")


sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def half(small: Small, tmp_path: Path) -> RunDirectory:
    """A run that can be resumed, and damaged."""
    shutil.copytree(small.half.path, tmp_path / "runs" / "run")
    return RunDirectory(tmp_path / "runs" / "run")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that reaches torch's reader of programs, or would run something, while the test runs."""
    global watching
    original = torch._C.import_ir_module
    for name in ("import_ir_module", "import_ir_module_from_buffer"):
        monkeypatch.setattr(
            torch._C, name, lambda *all, **more: (seen.append("torch.jit.load"), original(*all, **more))[1]
        )
    seen.clear()
    watching = True
    yield seen
    watching = False


class Planted(torch.nn.Module):
    """A program that writes a file when it is opened, and when it is asked what it is."""

    def forward(self) -> Tensor:
        return torch.zeros(1)

    @torch.jit.export
    def metadata(self) -> str:
        return "{}" if bool(torch.from_file("MARK", True, 4096, dtype=torch.uint8).fill_(1)[0] > 0) else ""

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return "x", self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.training = bool(torch.from_file("MARK", True, 4096, dtype=torch.uint8).fill_(1)[0] > 0)


@functools.cache  # a class is compiled once
def _saved() -> bytes:
    saved = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Planted()), saved)
    return saved.getvalue()


def program(mark: Path) -> bytes:
    """A TorchScript file that writes `mark`."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved())) as archive, zipfile.ZipFile(made, "w") as planted:
        for name in archive.namelist():
            if not name.endswith("debug_pkl"):
                planted.writestr(name, archive.read(name).replace(b'"MARK"', f'"{mark}"'.encode()))
    return made.getvalue()


def refusal(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a mistake says: one line, or several where a resumed training looks at several states."""
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    assert "weights_only" not in said
    return said


def test_what_is_planted_runs_if_a_person_names_it_as_a_bundle(tmp_path: Path, watched: list[str]) -> None:
    (tmp_path / "chatbot.pt").write_bytes(program(tmp_path / "mark"))
    for path in (tmp_path, tmp_path / "chatbot.pt"):
        (tmp_path / "mark").unlink(missing_ok=True)
        watched.clear()
        with pytest.raises(ChatbotError):
            Chatbot.load(path)
        assert "torch.jit.load" in watched
        assert (tmp_path / "mark").stat().st_size == PLANTED, "so the tests below look for something that can happen"


CHECKPOINTS = ("best.pt", "last.pt", "last.previous.pt", "last.next.pt")
OTHERS = (
    "config.json",
    "vocabulary.txt",
    "metrics.jsonl",
    "evaluation-test.json",
    "training.lock",
    "export/manifest.json",
)


def verbs(small: Small, run: Path, file: Path) -> dict[str, list[str]]:
    """Every verb, with every flag by which it reads a run or a file of a bot."""
    runs, data = str(run.parent), str(small.folder / "data")
    places = ["--data-dir", data, "--checkpoints-dir", runs]
    corpus = ["--corpus", str(small.folder / "talk.tsv")]
    return {
        "chat": ["chat", "run", "--checkpoints-dir", runs, "--prompt", "a1 b1 c"],
        "chat folder": ["chat", str(run), "--prompt", "a1 b1 c"],
        "chat file": ["chat", str(file), "--prompt", "a1 b1 c"],
        "rerank": ["chat", str(small.half.path), "--method", "beam", "--rerank", str(file), "--prompt", "a1 b1 c"],
        "evaluate": ["evaluate", "run", *places, "--limit", "2"],
        "compare": ["evaluate", *places, "--limit", "2", "--compare", "run", str(small.half.path)],
        "export": ["export", "run", "--checkpoints-dir", runs],
        # which opens the bot before it listens
        "serve": ["serve", "run", "--checkpoints-dir", runs, "--host", "no such host.example"],
        "web": ["export", "run", *places[2:], "--web", "--runtime", "cdn", "--out", str(run.parent / "web")],
        "onnx": ["export", "run", "--checkpoints-dir", runs, "--onnx", "--out", str(run.parent / "onnx")],
        "pack": ["pack", "run", "--checkpoints-dir", runs, str(run.parent / "packed")],
        "resume": ["train", "--resume", "--run", "run", *places, "--steps", "16"],
        "from": ["train", "--from", "run", *corpus, *places, "--run", "new", "--steps", "1"],
        "from file": ["train", "--from", str(file), *corpus, *places, "--run", "new", "--steps", "1"],
        "config": ["train", "--config", str(run / "config.json"), *places, "--run", "new", "--steps", "1"],
        "vocabulary": ["prepare", *corpus, "--data-dir", data, "--vocabulary", str(run / "vocabulary.txt"), "--force"],
        "prepare": ["prepare", "--corpus", str(file), "--data-dir", data],
        "import": ["import-checkpoint", str(file), "new", "--checkpoints-dir", runs],
    }


def test_every_verb_is_walked(small: Small, tmp_path: Path) -> None:
    assert {arguments[0] for arguments in verbs(small, tmp_path, tmp_path).values()} == set(VERBS)


READS_CHECKPOINTS = ("chat", "serve", "evaluate", "export", "pack", "resume", "from")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_program_that_claims_to_be_a_checkpoint_is_not_opened(
    name: str,
    small: Small,
    half: RunDirectory,
    tmp_path: Path,
    watched: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    planted = program(tmp_path / "mark")
    for file in CHECKPOINTS if name == "best.pt" else (name,):
        (half.path / file).write_bytes(planted)
    ways = verbs(small, half.path, half.path / name)
    for verb in (*READS_CHECKPOINTS, "chat file", "rerank", "from file", "import", "prepare"):
        if name != "best.pt" and verb in ("export", "pack"):  # from `best.pt`; they open what they have just written
            continue
        capsys.readouterr()
        code = main(ways[verb])
        if name == "best.pt" or verb in ("chat file", "rerank", "from file", "import", "prepare"):
            said = refusal(code, capsys)
            named = "TorchScript file, which is a program" in said or "is an exported bot" in said
            assert verb in ("prepare", "import") or named, (verb, said)
        for made in ("new", "packed"):
            shutil.rmtree(half.path.parent / made, ignore_errors=True)
        (half.path / name).write_bytes(planted)  # a training that went on from another state wrote it anew
    assert not watched
    assert not (tmp_path / "mark").exists()


def test_a_bundle_in_a_runs_folder_is_not_opened(
    small: Small, half: RunDirectory, tmp_path: Path, watched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (half.path / "chatbot.pt").write_bytes(program(tmp_path / "mark"))
    ways = verbs(small, half.path, half.path / "best.pt")
    for verb, arguments in ways.items():
        if verb in ("export", "pack"):  # which open what they have just written themselves
            continue
        code = main(arguments)
        assert code in ((2,) if verb in ("serve", "rerank", "import", "prepare") else (0,)), (
            verb,
            capsys.readouterr().err,
        )
        shutil.rmtree(half.path.parent / "new", ignore_errors=True)
    assert not watched
    for left in (half.best, half.last, half.previous, half.next):
        left.unlink(missing_ok=True)
    for verb in ("chat", "chat folder", "serve", "export", "pack", "from"):
        refusal(main(ways[verb]), capsys)
    assert not watched
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_a_program_in_any_other_place_of_a_run_is_not_opened(
    name: str, small: Small, half: RunDirectory, tmp_path: Path, watched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (half.path / name).parent.mkdir(exist_ok=True)
    (half.path / name).write_bytes(program(tmp_path / "mark"))
    ways = verbs(small, half.path, half.path / name)
    for verb in ("chat", "serve", "evaluate", "compare", "resume", "from", "config", "vocabulary", "prepare", "import"):
        assert main(ways[verb]) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
        shutil.rmtree(half.path.parent / "new", ignore_errors=True)
    assert not watched
    assert not (tmp_path / "mark").exists()


# pickles


def refused_checkpoint(path: Path) -> str:
    with pytest.raises(ChatbotError) as caught:
        Checkpoint.load(path)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_pickle(path: Path, content: bytes) -> None:
    """A checkpoint whose pickle is another, with checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, old in members.items():
            archive.writestr(name, content if name.endswith("/data.pkl") else old)


class Runs:
    def __reduce__(self) -> tuple:
        return os.system, ("touch it-ran",)


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0%sX\x03\0\0\0cpu%stQ"
    b"K\0%s\x85%s\x85\x89ccollections\nOrderedDict\n)RtR"
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps(Runs(), 2), "more than plain data"),
        (b"\x80\x02cbuiltins\nbytearray\n" + number(6 << 30) + b"\x85R.", "GLOBAL 'builtins.bytearray'"),
        (b"\x80\x02ctorch\nTensor\n" + number(6 << 30) + b"\x85R.", "GLOBAL 'torch.Tensor'"),
        (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "over 128 bits"),
        (b"\x80\x02}" + b"(" + b"K\x01\x85" + b"\x85" * 50 + b"K\x01u.", "neither text nor numbers"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "made of something"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}(X\x01\0\0\0aK\x01ub" + b")R.", "without arguments|no function"),
        (b"\x80\x02" + TENSOR % (b"0", number(1 << 40), number(1), number(1)) + b".", "the numbers are not there"),
        (b"\x80\x02" + TENSOR % (b"0", b"K\x01", number(1 << 40), number(1)) + b".", "larger than the numbers"),
        (b"\x80\x02" + TENSOR % (b"0", b"K\x01", number(2), number(1 << 60)) + b".", "larger than the numbers"),
        (b"\x80\x02" + TENSOR % (b"9", b"K\x01", number(1), number(1)) + b".", "the numbers are not there"),
        (b"\x80\x02K\x01.K\x01.", "behind its end"),
        (b"\x80\x02(l.", "the operation LIST"),
        (b"\x80\x02\x8f.", "the operation EMPTY_SET"),
        (b"\x80\x02q\x01.", "damaged"),
        (b"\x80\x02(r\xff\xff\xff\xffK\x01\x85r\xff", "damaged"),
    ],
)
def test_a_pickle_with_more_than_plain_data_is_refused_in_our_words(
    content: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1)}, "best.pt")
    with_pickle(Path("best.pt"), content)
    called: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *all, **more: called.append(all))
    assert re.search(says, refused_checkpoint(Path("best.pt")))
    assert not called, "torch does not see it"
    assert not watched
    assert not Path("it-ran").exists()


def test_a_pickle_takes_no_more_than_a_multiple_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 20_000
    monkeypatch.setattr(pickled, "MOST_OPERATIONS", most)
    path = tmp_path / "best.pt"
    for piece in (b"]", b"}", b")", b"N", b"]r\0\0\0\0", b"(", b"X\x01\0\0\0a"):
        operations = sum(1 for _ in pickletools.genops(b"\x80\x02" + piece + b".")) - 2
        torch.save({}, path)
        at = b"\x80\x02" + piece * ((most - 2) // operations) + b"K\x01."
        with_pickle(path, at)
        tracemalloc.start()
        with contextlib.suppress(ChatbotError):  # too many objects stay on the stack, which is torch's to say
            plain_data(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 300 * most + MEGABYTE
        with_pickle(path, b"\x80\x02" + piece * (most + 2) + b".")
        assert "more than any checkpoint" in refused_checkpoint(path)


def test_a_pickle_has_as_many_bytes_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"text": "x" * 5000}
    torch.save(data, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        size = archive.getinfo("a/data.pkl").file_size
    monkeypatch.setattr("chatbot.runs.archive.MAX_PICKLE", size)
    assert plain_data(tmp_path / "a.pt") == data
    monkeypatch.setattr("chatbot.runs.archive.MAX_PICKLE", size - 1)
    with pytest.raises(ChatbotError, match="more than"):
        plain_data(tmp_path / "a.pt")


@pytest.mark.parametrize("as_zip", [True, False])
def test_what_torch_saves_of_a_network_passes(as_zip: bool, tmp_path: Path) -> None:
    model = torch.nn.GRU(3, 4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 1, 3))[0].sum().backward()
    optimizer.step()
    state = model.state_dict()
    data = {
        "model": state,
        "parameters": dict(model.named_parameters()),
        "optimizer": optimizer.state_dict(),
        "kinds": [torch.zeros(2, dtype=kind) for kind in (torch.int64, torch.uint8, torch.float64, torch.bfloat16)],
        "view": torch.arange(6.0).view(2, 3).T,
        "others": [None, True, False, 1.5, -7, 2**40, "\u00e9", (1, 2, 3, 4), {3: "x"}, list(range(3000))],
    }
    torch.save(data, tmp_path / "a.pt", _use_new_zipfile_serialization=as_zip)
    back = plain_data(tmp_path / "a.pt")
    assert back["others"] == data["others"]
    assert torch.equal(back["view"], data["view"])
    assert all(torch.equal(back["model"][name], tensor) for name, tensor in state.items())
    assert torch.equal(back["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    with (tmp_path / "a.pt").open("rb") as file:
        assert as_zip or scan(file) == []  # the first of five pickles, the magic number


def test_an_archive_that_two_readers_see_differently_is_read_as_it_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": 1}, path)
    with zipfile.ZipFile(path) as archive:
        good = archive.read("a/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/version", "3")
        archive.writestr("A/DATA.PKL", b"\x80\x02cbuiltins\nbytearray\n" + number(6 << 30) + b"\x85R.")
        archive.writestr("a/data.pkl", good)
    with pytest.raises(ChatbotError, match="something else"):
        plain_data(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/version", "3")
        archive.writestr("a/data.pkl", good)
        archive.writestr("b/data.pkl", good)
    with pytest.raises(ChatbotError, match="something else"):
        plain_data(path)


# tensors


def rewritten(path: Path, change: Callable[[dict], object]) -> None:
    data = torch.load(path, weights_only=True)
    change(data)
    torch.save(data, path)


def moments(data: dict, which: int = 0) -> dict:
    state = data["training"]["optimizer"][0]["state"]
    return state[sorted(state)[which]]


WRONG_MOMENTS: dict[str, Callable[[dict], object]] = {
    "smaller": lambda data: moments(data).update(exp_avg=torch.zeros(3)),
    "smaller square": lambda data: moments(data, -1).update(exp_avg_sq=torch.zeros(1)),
    "another kind": lambda data: moments(data).update(exp_avg=moments(data)["exp_avg"].double()),
    "whole numbers": lambda data: moments(data).update(exp_avg=moments(data)["exp_avg"].long()),
    "turned": lambda data: moments(data).update(exp_avg=torch.zeros(moments(data)["exp_avg"].shape[::-1]).T),
    "expanded": lambda data: moments(data).update(exp_avg=torch.zeros(1).expand(moments(data)["exp_avg"].shape)),
    "not finite": lambda data: moments(data)["exp_avg"].view(-1)[0].fill_(float("nan")),
    "below zero": lambda data: moments(data)["exp_avg_sq"].fill_(-1),
    "no tensor": lambda data: moments(data).update(exp_avg=[0.0]),
    "none": lambda data: moments(data).pop("exp_avg"),
    "one more": lambda data: moments(data).update(max_exp_avg_sq=torch.zeros(3)),
    "steps": lambda data: moments(data).update(step=torch.zeros(3)),
    "steps not finite": lambda data: moments(data)["step"].fill_(float("inf")),
    "of nobody": lambda data: data["training"]["optimizer"][0]["state"].update({99: moments(data)}),
    "groups": lambda data: data["training"]["optimizer"][0]["param_groups"][0]["params"].reverse(),
    "no groups": lambda data: data["training"]["optimizer"][0].update(param_groups=[]),
    "weights smaller": lambda data: data["training"]["weights"].update({"decoder.out.bias": torch.zeros(3)}),
    "weights not finite": lambda data: data["training"]["weights"]["decoder.out.bias"].fill_(float("nan")),
    "weights missing": lambda data: data["training"]["weights"].pop("decoder.out.bias"),
    "no weights": lambda data: data["training"].update(weights=None),
    "counters": lambda data: data["training"]["progress"].update(step=10**12),
    "counters below zero": lambda data: data["training"]["progress"].update(token_count=-1e9),
    "a counter missing": lambda data: data["training"]["progress"].pop("seconds_logged"),
    "a counter more": lambda data: data["training"]["progress"].update(further=1),
    "updates": lambda data: moments(data)["step"].add_(1),
    "a moment missing": lambda data: data["training"]["optimizer"][0]["state"].pop(0),
    "empty": lambda data: moments(data).update(exp_avg_sq=torch.zeros(0)),
    "no state": lambda data: data["training"].pop("optimizer"),
    "something else": lambda data: data.update(training=[1]),
    "other settings": lambda data: data["config"]["training"].update(learning_rate=0.5),
    "counters of text": lambda data: data["training"]["progress"].update(seconds="x"),
    "counters not finite": lambda data: data["training"]["progress"].update(loss_sum=float("nan")),
}


@pytest.mark.parametrize("wrong", list(WRONG_MOMENTS))
def test_what_a_training_goes_on_from_is_looked_at_first(
    wrong: str, small: Small, half: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(half.last, WRONG_MOMENTS[wrong])
    half.previous.unlink()
    before = contents(half.path)
    assert "cannot resume" in refusal(small.train(half.path.parent, resume=True), capsys)
    assert contents(half.path) == before


@pytest.mark.parametrize("wrong", ["none", "counters"])
def test_a_state_of_the_wrong_kind_gives_way_to_the_one_before(
    wrong: str, small: Small, half: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(half.last, WRONG_MOMENTS[wrong])
    assert small.train(half.path.parent, resume=True) == 0
    assert "going on from last.previous.pt" in capsys.readouterr().err
    assert_equal(Checkpoint.load(half.last).__dict__, Checkpoint.load(small.whole.last).__dict__)


def test_rates_and_decays_come_from_the_settings(small: Small, half: RunDirectory) -> None:
    def hostile(data: dict) -> None:
        for group in data["training"]["optimizer"][0]["param_groups"]:
            group |= {"amsgrad": True, "lr": "x", "fused": False, "weight_decay": float("nan"), "betas": None}

    rewritten(half.last, hostile)
    assert small.train(half.path.parent, resume=True) == 0
    ours, theirs = (Checkpoint.load(run.last).model for run in (half, small.whole))
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def _shared(data: dict) -> None:
    whole = torch.zeros(max(weight.numel() for weight in data["model"].values()))
    data["model"] = {name: whole[: weight.numel()].view(weight.shape) for name, weight in data["model"].items()}


WRONG_WEIGHTS: dict[str, Callable[[dict], object]] = {
    "not finite": lambda data: data["model"]["decoder.out.bias"].fill_(float("nan")),
    "endless": lambda data: data["model"]["decoder.out.bias"].fill_(float("-inf")),
    "smaller": lambda data: data["model"].update({"decoder.out.bias": torch.zeros(3)}),
    "another kind": lambda data: data["model"].update(
        {"decoder.out.bias": data["model"]["decoder.out.bias"].to(torch.float16)}
    ),
    "missing": lambda data: data["model"].pop("decoder.out.bias"),
    "one more": lambda data: data["model"].update({"further": torch.zeros(3)}),
    "shared": _shared,
    "no prompts": lambda data: data.update(prompts=[]),
    "prompts of text": lambda data: data.update(prompts=["ab"]),
    "prompts of truth": lambda data: data.update(prompts=[[True]]),
    "prompts of others": lambda data: data.update(prompts=[[10**6]]),
}


@pytest.mark.parametrize("wrong", list(WRONG_WEIGHTS))
def test_weights_and_prompts_are_looked_at_when_they_are_loaded(wrong: str, half: RunDirectory) -> None:
    rewritten(half.last, WRONG_WEIGHTS[wrong])
    assert "is damaged" in refused_checkpoint(half.last)


@pytest.mark.parametrize("wrong", ["scales not finite", "scales of others", "values of others", "turned"])
def test_bytes_are_looked_at_when_they_are_loaded(wrong: str, small: Small, tmp_path: Path) -> None:
    path = tmp_path / "packed.pt"
    small.whole.load_chosen().quantized().save(path)
    Checkpoint.load(path)

    def change(data: dict) -> None:
        matrix = data["model"]["decoder.out.weight"]
        if wrong == "scales not finite":
            matrix["scales"][0] = float("inf")
        elif wrong == "scales of others":
            matrix["scales"] = matrix["scales"][:1]
        elif wrong == "values of others":
            matrix["values"] = matrix["values"].to(torch.int16)
        else:
            matrix["values"] = matrix["values"].T.contiguous()

    rewritten(path, change)
    assert "is damaged" in refused_checkpoint(path)
