"""The folder of `export --web`: what lies in it, and that its engine finds Python's replies."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment import web_facts, web_runtime
from chatbot.deployment.manifest import refuse_to_replace
from chatbot.deployment.web import WEB, export_web, load_web
from chatbot.deployment.web_runtime import CDN, FILES, Runtime, integrity, runtime_from
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError

HERE = Path(__file__).parent
DIST = HERE / "web" / "node_modules" / "onnxruntime-web" / "dist"
NODE = shutil.which("node")
LINKED = Runtime(None, "linked")
LIMITS: dict[str, Any] = {
    "min_length": 2,
    "no_repeat_ngram": 2,
    "no_repeat_context_ngram": 1,
    "tidy_marks": True,
    "repetition_penalty": 1.3,
    "anti_lm": 0.4,
    "anti_lm_tokens": 3,
    "anti_lm_bound": 1.0,
}
DECODINGS: list[dict[str, Any]] = [
    {"method": "greedy"},
    {"method": "greedy", **LIMITS},
    {"method": "beam", "beam_width": 4},
    {"method": "beam", "beam_width": 10, "length_penalty": 1.0, **LIMITS, "repetition_penalty": 1.0},
    {"method": "beam", "beam_width": 10, "beam_threshold": 0.7, "length_penalty": 1.0, "anti_lm": 0.3},
    {"method": "beam", "beam_width": 10, "length_penalty": 1.0, **LIMITS, "anti_lm_bound": 0.0},
    {"method": "beam", "beam_width": 3, "length_penalty": 0.6, "no_repeat_ngram": 1, "anti_lm": 0.3},
    {"method": "beam", "min_confidence": 0.1, "fallback": ("how are you?", "yes"), "length_penalty": 1.0, **LIMITS},
    {"method": "sample", "seed": 7},
    {"method": "sample", "seed": (1 << 63) - 1, "temperature": 0.7, "top_k": 40, "samples": 3},
    {"method": "sample", "seed": 1 << 40, "temperature": 1.5, "top_p": 0.9, **LIMITS},
]


@pytest.fixture(scope="module")
def checkpoint(trained: RunDirectory) -> Checkpoint:
    """The small model, told to read a turn before."""
    made = trained.load_chosen()
    corpus = dataclasses.replace(made.config.corpus, context=2, mend_words=True)
    tokens = [*made.vocabulary.tokens[:4], "<sep>", *made.vocabulary.tokens[5:]]
    words = Vocabulary(tokens, made.vocabulary.written)
    return dataclasses.replace(made, config=dataclasses.replace(made.config, corpus=corpus), vocabulary=words)


@pytest.fixture(scope="module")
def page(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("export")
    proof = export_web(checkpoint, folder, "tiny", LINKED)
    assert proof.equal == proof.tokens > 100
    return folder / WEB


@pytest.fixture(scope="module")
def bot(page: Path) -> Chatbot:
    """What Python answers with the page's own file."""
    return opened(page)


def opened(page: Path) -> Chatbot:
    file, encoder, decoder = load_web(page / "model.onnx")
    parts = encoder, decoder, file.never_replied, torch.device("cpu")
    return Chatbot._of(parts, file.config, file.vocabulary, None)


def in_node(page: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the page's engine answers, in Node."""
    command = [str(NODE), str(HERE / "web" / "replies.mjs"), str(page), str(DIST)]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def held_out(checkpoint: Checkpoint) -> list[str]:
    vocabulary = checkpoint.vocabulary
    return [checkpoint.tokenizer.detokenize(vocabulary.decode(ids), vocabulary.written) for ids in checkpoint.prompts]


def test_the_manifest_names_every_file_with_its_digest(page: Path) -> None:
    manifest = json.loads((page / "manifest.json").read_text("utf-8"))
    there = {str(file.relative_to(page)) for file in page.rglob("*") if file.is_file()}
    assert there == {*manifest["files"], "manifest.json"}
    for name, entry in manifest["files"].items():
        content = (page / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert f'const VERSION = "{manifest["version"]}";' in (page / "service-worker.js").read_text("utf-8")
    assert len(manifest["golden"]) > 20
    assert manifest["name"] == json.loads((page / "bot.json").read_text("utf-8"))["name"] == "tiny"


def test_every_path_is_relative_and_nothing_is_about_a_server(page: Path) -> None:
    for file in page.rglob("*"):
        if file.suffix in (".html", ".js", ".css", ".webmanifest"):
            assert not re.search(r"""(src|href|from|url)\s*[=(:]?\s*["'(]/""", file.read_text("utf-8")), file.name
    index = (page / "index.html").read_text("utf-8")
    assert 'rel="manifest" href="app.webmanifest"' in index
    assert "Content-Security-Policy" in index
    assert 'href="docs"' not in index
    assert not (page / "docs.html").exists()


def test_the_page_of_another_version_has_another_service_worker(
    checkpoint: Checkpoint, page: Path, tmp_path: Path
) -> None:
    export_web(checkpoint, tmp_path, "tiny", LINKED)
    again = tmp_path / WEB
    assert (again / "service-worker.js").read_bytes() == (page / "service-worker.js").read_bytes()
    export_web(checkpoint, tmp_path, "other", LINKED)
    assert (again / "service-worker.js").read_bytes() != (page / "service-worker.js").read_bytes()


def test_the_file_has_the_model_in_8_bits(page: Path, checkpoint: Checkpoint, bot: Chatbot) -> None:
    rounded = checkpoint.quantized()
    model = Chatbot.from_model(rounded.build_model(), rounded.config, rounded.vocabulary)
    texts = held_out(checkpoint)
    other = 0
    for values in DECODINGS:
        how = DecodingConfig(**values)
        pairs = zip(bot.reply_batch(texts, decoding=how), model.reply_batch(texts, decoding=how), strict=True)
        unequal = sum(found != expected for found, expected in pairs)
        assert how.method == "sample" or unequal == 0
        other += unequal
    assert other <= 2  # this model finds thousands of words about equally likely: a draw may fall on their border
    floats = sum(weight.numel() for weight in {w.data_ptr(): w for w in checkpoint.model.values()}.values())
    assert (page / "model.onnx").stat().st_size < 1.2 * floats + 200_000


@pytest.mark.skipif(
    NODE is None or not DIST.is_dir(), reason="npm ci in tests/web fetches onnxruntime-web (make check)"
)
def test_the_engine_finds_the_replies_that_python_finds(page: Path, checkpoint: Checkpoint, bot: Chatbot) -> None:
    texts = [
        "",
        "?!",
        "hello hello xqzzy Hello",
        "hellooo, hwo r u? i dont knwo, pls tlel me yessss noooo",
        *held_out(checkpoint)[:17],
    ]
    earlier = ["Hi there, what's up?", "Not much.", " "]
    ways = [DecodingConfig(**values) for values in DECODINGS]
    cases = [
        {"text": text, "earlier": earlier[: number % 4], "decoding": web_facts._decoding(how, bot.decode.fallback_ids)}
        for how in ways
        for number, text in enumerate(texts)
    ]
    other = fell_back = barred = 0
    for number, (case, answer) in enumerate(zip(cases, in_node(page, cases), strict=True)):
        how = ways[number // len(texts)]
        ids = bot.prompt_ids(case["text"], case["earlier"])
        best = bot.decode([ids], how, bot.max_length + 1, count=1)[0][0]
        assert answer["prompt"] == ids
        assert answer["unknown"] == bot.unknown_words(case["text"])
        if answer["ids"] != best.ids and how.method == "sample":
            other += 1  # as above
            continue
        assert (answer["ids"], answer["text"]) == (best.ids, bot.text(best.ids)), case
        free = dataclasses.replace(how, no_repeat_context_ngram=0)
        barred += bot.decode([ids], free, bot.max_length + 1, count=1)[0][0].ids != best.ids
        fell_back += answer["ids"] in [ids[:-1] for ids in bot.decode.fallback_ids(how.fallback)]
        assert answer["logProb"] == pytest.approx(best.log_prob, abs=1e-3)
        assert len(answer["attention"]) == len(best.attention) == len(answer["said"])
        for ours, theirs in zip(answer["attention"], best.attention, strict=True):
            assert ours == pytest.approx(theirs.tolist(), abs=1e-4)
    assert other <= 2
    assert 0 < fell_back < len(texts)
    assert barred > 0


def test_the_tutorials_way_of_a_network_is_answered_too(trained: RunDirectory, tmp_path: Path) -> None:
    made = trained.load_chosen()
    corpus = dataclasses.replace(made.config.corpus, tokenizer="tutorial")
    model = dataclasses.replace(made.config.model, tutorial_tokens=True)
    imported = dataclasses.replace(made, config=dataclasses.replace(made.config, corpus=corpus, model=model))
    export_web(imported, tmp_path, "tutorial", LINKED)
    if NODE is not None and DIST.is_dir():
        bot, texts = opened(tmp_path / WEB), ["how are you?", "Hello ."]
        found = in_node(tmp_path / WEB, [{"text": text} for text in texts])
        assert [answer["text"] for answer in found] == bot.reply_batch(texts)
        assert [answer["read"][-1] for answer in found] == ["<eos>", "<eos>"]


def test_what_the_page_cannot_do_is_refused_by_name(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.deployment.web_facts.SETTINGS", {"method"})
    decoding = DecodingConfig(method="beam", beam_width=7, tidy_marks=True)
    other = dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, decoding=decoding))
    with pytest.raises(ChatbotError, match="does not know what this bot answers by: beam_width, tidy_marks"):
        export_web(other, tmp_path, "tiny", LINKED)
    assert not any(tmp_path.iterdir())


def test_a_setting_of_the_corpus_that_the_page_never_heard_of_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adds a setting says in `web_facts.py` whether the page does as it says, or need not."""
    assert {field.name for field in dataclasses.fields(checkpoint.config.corpus)} == web_facts.CORPUS_SETTINGS
    monkeypatch.setattr(web_facts, "CORPUS_SETTINGS", web_facts.CORPUS_SETTINGS - {"mend_words", "gap"})
    with pytest.raises(ChatbotError, match=r"does not know what this bot answers by: mend_words$"):
        export_web(checkpoint, tmp_path, "tiny", LINKED)


def test_nothing_of_anybodys_is_replaced(checkpoint: Checkpoint, page: Path, tmp_path: Path) -> None:
    (tmp_path / WEB).mkdir()
    (tmp_path / WEB / "thesis.txt").write_text("mine")
    with pytest.raises(ChatbotError, match="holds something that no export wrote"):
        export_web(checkpoint, tmp_path, "tiny", LINKED)
    assert (tmp_path / WEB / "thesis.txt").read_text() == "mine"
    refuse_to_replace(page.parent)  # but an export of `chatbot.pt` may take the place of a page
    with pytest.raises(ChatbotError, match=r"holds web, which no export wrote"):
        refuse_to_replace(tmp_path)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked package, of which the two files are small."""
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    known = {}
    for name in FILES:
        content = name.encode()
        (folder / name).write_bytes(content)
        known[name] = (len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(web_runtime, "FILES", known)
    return folder.parent


def test_the_runtime_comes_from_where_one_says(package: Path, tmp_path: Path) -> None:
    for where in (package, package / "dist", package.parent):
        with runtime_from(str(where)) as runtime:
            page = tmp_path / f"page-of-{len(str(where))}"
            page.mkdir()
            runtime.copy(page)
            assert {file.name for file in (page / "runtime").iterdir()} == set(FILES)
            assert runtime.describe()["script"]["url"] == "runtime/ort.wasm.bundle.min.mjs"
    with runtime_from("cdn") as runtime:
        told = runtime.describe()
        assert told["binary"]["url"] == CDN + "ort-wasm-simd-threaded.wasm"
        assert told["binary"]["integrity"] == integrity(told["binary"]["sha256"])


def test_an_installed_runtime_is_found(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_runtime, "_npm", lambda *arguments: "/nowhere\n")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with runtime_from(None) as runtime:
        assert runtime.folder is None
        assert "--runtime npm" in runtime.told
    shutil.copytree(package, tmp_path / "node_modules" / "onnxruntime-web")
    with runtime_from(None) as runtime:
        assert runtime.folder == tmp_path / "node_modules" / "onnxruntime-web" / "dist"


@pytest.mark.skipif(not DIST.is_dir(), reason="npm ci in tests/web fetches onnxruntime-web (make check)")
def test_the_pinned_digests_are_those_of_the_npm_package() -> None:
    """npm compares the package with its lock; what the page takes from the public host must be the same bytes."""
    assert json.loads((DIST.parent / "package.json").read_text())["version"] == web_runtime.VERSION
    assert f"@{web_runtime.VERSION}/" in CDN
    there = {
        name: ((DIST / name).stat().st_size, hashlib.sha256((DIST / name).read_bytes()).hexdigest()) for name in FILES
    }
    assert there == FILES


def test_another_or_a_damaged_runtime_is_refused(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(ChatbotError, match="holds no onnxruntime-web: unpack version"),
        runtime_from(str(tmp_path / "no")),
    ):
        pass
    (package / "dist" / "ort.wasm.bundle.min.mjs").write_bytes(b"other")
    with (
        pytest.raises(ChatbotError, match=r"is not onnxruntime-web 1\.30\.0, or is damaged"),
        runtime_from(str(package)),
    ):
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChatbotError, match="npm is not installed"), runtime_from("npm"):
        pass


def test_flags_that_do_not_go_together_are_refused(trained: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["export", str(trained.path)]
    assert main([*run, "--runtime", "cdn"]) == 2
    assert "--runtime is for the page of --web" in capsys.readouterr().err
    assert main([*run, "--web", "--onnx"]) == 2
    assert "leave out --onnx, --quantize and --triton" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(
    trained: RunDirectory, tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    flags = ["--web", "--runtime", "cdn", "--out", str(tmp_path), "--json"]
    assert main(["export", str(trained.path), *flags]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    assert figures["runtime"]["version"] == "1.30.0"
    assert figures["equal"] == figures["tokens"]
    assert f"{len(figures['bytes'])} files, {sum(figures['bytes'].values()) / 1e6:.1f} MB" in said.err
    assert "cdn.jsdelivr.net" in said.err
