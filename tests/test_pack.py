"""A packed run is a quarter of the size, answers as its rounded weights do in every form, and can be used alone."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.corpus.prepared import PairDataset
from chatbot.deployment.pack import pack
from chatbot.deployment.torchscript import load_bundle
from chatbot.evaluation.likelihood import evaluate
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory, find_run
from chatbot.system.errors import ChatbotError

TEXTS = ["hello", "how are you?", "what is your name?", "good night", "tell me a joke", "where do you live?"]


@pytest.fixture(scope="module")
def packed(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("packed") / "small"
    pack(trained, folder, "elsewhere")
    return RunDirectory(folder)


def test_weights_are_near_those_of_the_run(trained: RunDirectory, packed: RunDirectory, prepared: Path) -> None:
    ours, theirs = trained.load_chosen(), packed.load_chosen()
    for name, weight in ours.model.items():
        if weight.dim() == 2:  # half a step of 127, which is rounded up by at most 1/2048
            steps = weight.abs().amax(dim=1, keepdim=True) / 127
            assert ((weight - theirs.model[name]).abs() <= steps * 0.52).all()
            assert not torch.equal(weight, theirs.model[name])
        else:
            assert torch.equal(weight, theirs.model[name])
    perplexities = [
        evaluate(made.build_model(), PairDataset(prepared, "train"), "train", torch.device("cpu"))["perplexity"]
        for made in (ours, theirs)
    ]
    assert perplexities[1] == pytest.approx(perplexities[0], rel=0.01)


def test_what_is_packed_twice_is_packed_once(packed: RunDirectory, tmp_path: Path) -> None:
    once = packed.load_chosen()
    again = once.quantized()
    assert once.is_quantized
    for name, weight in once.model.items():
        assert torch.equal(weight, again.model[name])


def test_a_tied_matrix_is_kept_once(packed: RunDirectory) -> None:
    weights = packed.load_chosen().model
    names = [name for name in weights if weights[name].shape == weights["encoder.embedding.weight"].shape]
    assert len(names) == 3
    assert len({weights[name].data_ptr() for name in names}) == 1


def test_it_takes_a_quarter_of_the_bytes(trained: RunDirectory, packed: RunDirectory) -> None:
    weights = trained.load_chosen().model.values()
    matrices = {weight.data_ptr(): weight.numel() for weight in weights if weight.dim() == 2}
    rows = {weight.data_ptr(): len(weight) for weight in weights if weight.dim() == 2}
    vectors = sum(weight.numel() for weight in weights if weight.dim() != 2)
    expected = sum(matrices.values()) + 4 * (sum(rows.values()) + vectors)
    for path in (packed.best, packed.export / "chatbot.pt"):
        with zipfile.ZipFile(path) as archive:
            data = sum(entry.file_size for entry in archive.infolist() if "/data/" in entry.filename)
        assert expected <= data <= expected + 2_000, path


def test_unpacked_matrices_lie_in_memory_as_a_reply_reads_them(packed: RunDirectory) -> None:
    bot = load_bundle(packed.export / "chatbot.pt").module
    bot.unpack()
    weight, model = bot.search.decoder.out.weight, packed.load_chosen().build_model()
    assert weight.stride() == model.decoder.out.weight.stride() == (1, len(weight))
    assert torch.equal(weight, model.decoder.out.weight)
    assert weight.data_ptr() == bot.search.decoder.embedding.weight.data_ptr()  # tied: once in memory


def test_checkpoint_and_bundle_find_the_same_replies(packed: RunDirectory) -> None:
    search = dataclasses.replace(packed.load_chosen().config.decoding, method="greedy")
    run, bundle = (Chatbot.load(path, decoding=search) for path in (packed.path, packed.export))
    assert run.reply_batch(TEXTS) == bundle.reply_batch(TEXTS)
    module = load_bundle(packed.export / "chatbot.pt").module
    assert module.reply_batch(TEXTS) == run.reply_batch(TEXTS)
    assert [module.reply(text) for text in TEXTS] == run.reply_batch(TEXTS)


@pytest.mark.parametrize(
    "first",
    [
        lambda bot, text: None,
        lambda bot, text: bot.reply_nbest(text, 3),
        lambda bot, text: bot.sample(text, 1),
        lambda bot, text: bot(torch.tensor([[5], [6]]), torch.tensor([2]), 9),
        lambda bot, text: bot.greedy_batch(torch.tensor([[5, 6]]), torch.tensor([2]), 9),
        lambda bot, text: (bot.unpack(), bot.unpack()),
    ],
    ids=["reply", "reply_nbest", "sample", "forward", "greedy_batch", "unpack"],
)
def test_whatever_is_called_first_unpacks(first: Callable[[Any, str], object], packed: RunDirectory) -> None:
    text = TEXTS[1]
    with torch.jit.optimized_execution(False):  # optimising takes most of the time, and the other tests do it
        expected = load_bundle(packed.export / "chatbot.pt").module.reply(text)
        for mode in (torch.inference_mode(), torch.no_grad(), torch.enable_grad()):
            bot = load_bundle(packed.export / "chatbot.pt").module
            with mode:
                first(bot, text)
                assert bot.reply(text) == expected
            assert bot.reply(text) == expected


def test_a_process_without_this_package_uses_it(packed: RunDirectory) -> None:
    program = f"""
import sys
sys.modules["chatbot"] = None  # importing it fails
import torch
bot = torch.jit.load({str(packed.export / "chatbot.pt")!r})
print(bot.reply({TEXTS[1]!r}))
"""
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert got.strip() == load_bundle(packed.export / "chatbot.pt").module.reply(TEXTS[1])


def test_a_bundle_that_was_used_is_saved_whole(packed: RunDirectory, tmp_path: Path) -> None:
    bot = load_bundle(packed.export / "chatbot.pt").module
    expected = bot.reply(TEXTS[0])
    bot.save(str(tmp_path / "used.pt"))
    assert load_bundle(tmp_path / "used.pt").module.reply(TEXTS[0]) == expected


def test_the_settings_name_the_corpus_that_was_given(packed: RunDirectory) -> None:
    assert json.loads(packed.config.read_text())["corpus"]["corpus"] == "elsewhere"
    assert packed.load_chosen().config.corpus.corpus == "elsewhere"


def test_it_cannot_be_resumed_and_is_not_replaced(packed: RunDirectory, trained: RunDirectory) -> None:
    assert not packed.is_resumable
    with pytest.raises(ChatbotError, match="is there already"):
        pack(trained, packed.path)


def test_a_run_that_keeps_its_last_state_can_be_packed_too(trained: RunDirectory, tmp_path: Path) -> None:
    for path in (trained.best, trained.last):
        (tmp_path / path.name).symlink_to(path)
    config = json.loads(trained.config.read_text())
    config["training"]["keep"] = "last"
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = RunDirectory(tmp_path)
    pack(run, tmp_path / "small")
    assert RunDirectory(tmp_path / "small").load_chosen().step == run.load_last().step


@pytest.mark.parametrize("named", [True, False])
def test_training_never_writes_over_a_packed_run(
    named: bool, packed: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "pretrained"
    shutil.copytree(packed.path, box)
    before = {path: path.read_bytes() for path in sorted(box.rglob("*")) if path.is_file()}
    assert packed.metrics.exists()
    run = ["--run", "pretrained"] if named else []
    assert main(["train", "--resume", *run, "--checkpoints-dir", str(tmp_path)]) == 2
    assert "only weights" in capsys.readouterr().err
    if named:
        assert main(["train", *run, "--checkpoints-dir", str(tmp_path)]) == 2
        assert "ARGS=--resume" not in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted(box.rglob("*")) if path.is_file()} == before


def test_damaged_bytes_are_refused(packed: RunDirectory, tmp_path: Path) -> None:
    for change in (
        {"scales": torch.ones(3, 1)},
        {"values": torch.ones(4, 4)},
        {"values": torch.ones(4, 4, dtype=torch.uint8)},
        {"scales": "many"},
    ):
        data = torch.load(packed.best, weights_only=True)
        data["model"]["encoder.embedding.weight"] |= change
        torch.save(data, tmp_path / "best.pt")
        with pytest.raises(ChatbotError, match="damaged"):
            Checkpoint.load(tmp_path / "best.pt")


def test_many_matrices_of_the_same_bytes_are_refused(packed: RunDirectory, tmp_path: Path) -> None:
    data = torch.load(packed.best, weights_only=True)
    values = torch.ones(1, 60_000, dtype=torch.uint8)
    for width in range(1, 200):
        matrix = {"values": values[:, : 60_000 // width * width].view(width, -1), "scales": torch.ones(width, 1)}
        data["model"][f"matrix{width}"] = matrix
    torch.save(data, tmp_path / "best.pt")
    with pytest.raises(ChatbotError, match="share their numbers"):
        Checkpoint.load(tmp_path / "best.pt")


def test_what_was_trained_here_goes_before_the_bot_in_the_box(trained: RunDirectory, tmp_path: Path) -> None:
    for name in ("pretrained", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.pt").symlink_to(trained.best)
        (tmp_path / name / "config.json").symlink_to(trained.config)
    assert find_run(None, tmp_path).path.name == "mine"
    (tmp_path / "mine" / "best.pt").unlink()
    assert find_run(None, tmp_path).path.name == "pretrained"


def test_from_the_command_line(trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = tmp_path / "pretrained"
    assert main(["pack", str(trained.path), str(box), "--corpus", "sample", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] > 0
    assert main(["chat", "--prompt", TEXTS[0], "--checkpoints-dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert "comes with the program" in captured.err
    small = (box / "export" / "chatbot.pt").stat().st_size
    assert main(["export", str(trained.path), "--pack", "--out", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "chatbot.pt").stat().st_size == pytest.approx(small, rel=0.01)
    # of a packed run the export is packed without being asked
    assert main(["export", str(box)]) == 0
    assert (box / "export" / "chatbot.pt").stat().st_size == pytest.approx(small, rel=0.01)
