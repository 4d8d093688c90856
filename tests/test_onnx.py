"""The ONNX files give the model's replies, with ONNX Runtime alone, and nothing damaged or different is accepted."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import chatbot.deployment.onnx as exchange
from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig, ModelConfig
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.decoding.search import GreedySearchDecoder
from chatbot.deployment import proof
from chatbot.deployment.manifest import read_manifest, refuse_to_replace
from chatbot.deployment.onnx import export_onnx, load_onnx, onnx_paths
from chatbot.deployment.torchscript import export
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError

TEXTS = ["Hello.", "How are you?", "What's your name?", "tell me a joke", "zzzz", "I'm tired , good night !"]


@pytest.fixture(scope="module")
def checkpoint(trained: RunDirectory) -> Checkpoint:
    return trained.load_chosen()


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six files."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = tmp_path_factory.mktemp("onnx")
    proved = export_onnx(checkpoint, made)
    assert proved.equal == proved.tokens > 100
    assert proved.prompts == len(checkpoint.prompts)
    assert proved.largest_score_difference < 1e-5
    export_onnx(checkpoint, made, quantized=True)
    return made


def test_the_file_answers_as_the_run_does(folder: Path, trained: RunDirectory) -> None:
    run, file = Chatbot.load(trained.path), Chatbot.load(folder / "chatbot.onnx")
    assert file.reply_batch(TEXTS) == run.reply_batch(TEXTS) == [file.reply(text) for text in TEXTS]
    assert file.reply("") == ""
    prompt, reply, attention = file.attend(run.vocabulary.encode(run.words("How are you?")))
    expected = run.attend(run.vocabulary.encode(run.words("How are you?")))
    assert (prompt, reply) == expected[:2]
    np.testing.assert_allclose(attention, expected[2], atol=1e-6)


def test_every_search_of_ours_runs_on_encoder_and_decoder(folder: Path, checkpoint: Checkpoint) -> None:
    model, never = checkpoint.build_model(), checkpoint.never_replied
    _, encoder, decoder = onnx_paths(folder)
    parts = load_onnx(encoder, "encoder"), load_onnx(decoder, "decoder")
    given = (*pad_prompts([[5, 6, 7], [8], [9, 5, 4, 6, 30]]), 13)
    with torch.inference_mode():
        expected = GreedySearchDecoder(model.encoder, model.decoder, never).eval()(*given)
        found = GreedySearchDecoder(*parts, never).eval()(*given)
    assert torch.equal(expected.tokens, found.tokens)
    torch.testing.assert_close(expected.scores, found.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(expected.attention, found.attention, rtol=0, atol=1e-5)


def test_a_process_with_onnx_runtime_alone_uses_it(folder: Path, trained: RunDirectory) -> None:
    program = f"""
import sys
sys.modules["chatbot"] = sys.modules["torch"] = None  # importing them fails
import json
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession({str(folder / "chatbot.onnx")!r})
metadata = session.get_modelmeta().custom_metadata_map
words, special = json.loads(metadata["vocabulary"]), json.loads(metadata["special"])
ids = {{word: id for id, word in enumerate(words)}}
src = np.array([[ids.get(word, special["unk"]) for word in ["how", "are", "you", "?", "qxzvwk"]]])
longest = np.array(int(metadata["max_length"]) + 1)
tokens, scores = session.run(["tokens", "scores"], {{"src": src, "src_lengths": np.array([5]), "max_length": longest}})
assert tokens.shape == scores.shape and (scores <= 0).all()
print(" ".join(words[id] for id in tokens[0] if id != special["eos"]))
print(metadata["tokenizer"], metadata["format"], metadata["kind"], metadata["weights"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    words, about = done.stdout.splitlines()
    bot = Chatbot.load(trained.path)
    assert bot.tokenizer.detokenize(words.split(), bot.vocabulary.written) == bot.reply("How are you? qxzvwk")
    assert about == "english 1 greedy fp32"


def test_it_is_written_and_read_where_torch_jit_is_gone(folder: Path, trained: RunDirectory, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["chatbot.deployment.torchscript"] = None  # the one room of torch.jit
from chatbot.__main__ import main
assert main(["export", {str(trained.path)!r}, "--onnx", "--out", {str(tmp_path)!r}]) == 0
assert main(["chat", {str(tmp_path / "chatbot.onnx")!r}, "--prompt", "Hello."]) == 0
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == Chatbot.load(trained.path).reply("Hello.")
    for ours, theirs in zip(onnx_paths(folder), onnx_paths(tmp_path), strict=True):
        assert ours.read_bytes() == theirs.read_bytes()  # the same checkpoint makes the same file


def test_the_metadata_tells_all_that_text_needs(folder: Path, checkpoint: Checkpoint) -> None:
    onnx = pytest.importorskip("onnx")
    for quantized in (False, True):
        for path, kind in zip(onnx_paths(folder, quantized), exchange.KINDS, strict=True):
            metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
            assert metadata["kind"] == kind
            assert metadata["weights"] == ("int8" if quantized else "fp32")
            assert json.loads(metadata["vocabulary"]) == checkpoint.vocabulary.tokens
            assert json.loads(metadata["written"]) == checkpoint.vocabulary.written
            assert json.loads(metadata["never_replied"]) == checkpoint.never_replied
            assert json.loads(metadata["special"]) == {
                "pad": 0,
                "sos": 1,
                "eos": 2,
                "unk": 3,
                "sep": None,
                "voice": None,
            }
            assert json.loads(metadata["config"]) == json.loads(json.dumps(checkpoint.config.to_dict()))
            assert json.loads(metadata["perplexity"]) == checkpoint.perplexity
            content = path.read_bytes()
            assert metadata["sha256"] == hashlib.sha256(content[: -len(exchange.SEAL) - 64]).hexdigest()


def test_int8_finds_nearly_all_tokens_of_the_model(folder: Path, checkpoint: Checkpoint) -> None:
    greedy, _, _ = onnx_paths(folder, quantized=True)
    search = load_onnx(greedy, "greedy").search
    model = checkpoint.build_model()
    eager = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    rng = np.random.default_rng(0)
    texts = [rng.integers(4, len(checkpoint.vocabulary), rng.integers(1, 9)).tolist() for _ in range(200)]
    with torch.inference_mode():
        expected, found = (proof.replies(find(*pad_prompts(texts), 13)) for find in (eager, search))
    tokens, equal, difference = proof.agreement(zip(expected, found, strict=True))
    assert equal > 0.9 * tokens  # of random words, of which this small network is unsure
    assert difference < 0.1


def test_int8_takes_a_quarter_of_the_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    config = dataclasses.replace(checkpoint.config, model=ModelConfig(hidden_size=256))
    model = Seq2Seq(config.model, len(checkpoint.vocabulary))
    with torch.no_grad():  # an untrained network's words are near ties, which eight bits may decide otherwise
        model.decoder.out.bias[EOS_ID] += 100
    wide = dataclasses.replace(checkpoint, config=config, model=model.state_dict(), prompts=checkpoint.prompts[:3])
    for quantized in (False, True):
        export_onnx(wide, tmp_path, quantized=quantized)
    for ours, theirs in zip(onnx_paths(tmp_path, quantized=True), onnx_paths(tmp_path), strict=True):
        assert ours.stat().st_size < 0.28 * theirs.stat().st_size


def test_a_file_cut_or_changed_anywhere_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "chatbot.onnx").read_bytes()
    path = tmp_path / "damaged.onnx"
    for sixteenth in range(16):
        at = len(whole) * sixteenth // 16
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(ChatbotError, match=r"damaged\.onnx: it is damaged"):
                Chatbot.load(path)
    with pytest.raises(ChatbotError, match=r"nothing\.onnx"):
        Chatbot.load(tmp_path / "nothing.onnx")


def test_a_whole_file_that_holds_nonsense_is_refused(folder: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "strange.onnx"

    def refused(content: bytes, reason: str) -> None:
        path.write_bytes(exchange.sealed(content))
        with pytest.raises(ChatbotError, match=rf"strange\.onnx: .*{reason}"):
            Chatbot.load(path)

    refused(b"no protobuf", "")
    for key, value, reason in (
        ("format", "99", "format '99', .*export again"),
        ("kind", "decoder", "'decoder', and greedy is wanted"),
        ("max_length", '"9"', "max_length must be int"),
        ("never_replied", "[[1]]", r"never_replied\[0\] must be int"),
        ("written", "[]", "written must be dict"),
        ("tokenizer", "martian", "martian"),
        ("vocabulary", "[]", "not a vocabulary"),
        ("config", '{"model": {"hidden_size": 0}}', "hidden_size"),
    ):
        model = onnx.load(folder / "chatbot.onnx")
        props = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, props)
        refused(model.SerializeToString(), reason)
    with pytest.raises(ChatbotError, match="'greedy', and encoder is wanted"):
        load_onnx(folder / "chatbot.onnx", "encoder")


def test_files_that_answer_otherwise_are_not_left_behind(
    folder: Path, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_bytes(b"what stood here")
    torch.manual_seed(0)
    other = Seq2Seq(checkpoint.config.model, len(checkpoint.vocabulary)).state_dict()
    original = checkpoint.build_model()
    monkeypatch.setattr(Checkpoint, "build_model", lambda self: original)
    for quantized in (False, True):
        with pytest.raises(ChatbotError, match=r"^not exported: "):
            export_onnx(dataclasses.replace(checkpoint, model=other), tmp_path, quantized=quantized)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("notes.txt", b"what stood here")]


def test_words_that_are_equally_likely_may_be_told_apart_either_way(checkpoint: Checkpoint) -> None:
    model = checkpoint.build_model()
    with torch.no_grad():
        for parameters in (model.decoder.out.weight, model.decoder.out.bias):
            parameters[8] = parameters[7]
        parameters[9] = parameters[7] + 1
    with torch.inference_mode():
        assert proof.same_but_for_ties(model, [5, 6], [10, 7, 2], [10, 8, 11, 2])
        assert not proof.same_but_for_ties(model, [5, 6], [10, 7, 2], [10, 9, 2])


def test_what_is_missing_is_named_with_its_cure(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnxruntime", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
        assert main(["export", str(trained.path), "--onnx", "--out", str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("chatbot: ONNX needs the package onnx")
        assert line.endswith("pip install -e '.[onnx]'")
    (tmp_path / "chatbot.onnx").write_bytes(b"")
    assert main(["chat", str(tmp_path / "chatbot.onnx"), "--prompt", "Hello."]) == 2
    assert "pip install -e '.[onnx]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


def test_one_command_writes_both_kinds(
    folder: Path, trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained.path), "--onnx", "--quantize", "int8", "--out", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["fp32"]["equal"] == figures["fp32"]["tokens"]
    for kind, quantized in (("fp32", False), ("int8", True)):
        assert figures[kind]["files"] == {str(path): path.stat().st_size for path in onnx_paths(tmp_path, quantized)}
    assert main(["chat", str(tmp_path / "chatbot.int8.onnx"), "--prompt", "Hello."]) == 0
    assert capsys.readouterr().out.strip()


def test_the_golden_replies_of_an_export_are_those_of_its_onnx_file(trained: RunDirectory, tmp_path: Path) -> None:
    export(trained.load_chosen(), tmp_path / "export")
    export_onnx(trained.load_chosen(), tmp_path / "export")
    golden = read_manifest(tmp_path / "export")["golden"]
    file = load_onnx(tmp_path / "export" / "chatbot.onnx", "greedy")
    bot_of_run = Chatbot.load(tmp_path / "export" / "chatbot.onnx")
    bot = dataclasses.replace(bot_of_run, decoding=DecodingConfig(method="greedy"))
    for row in golden:
        assert bot.prompt_ids(row.text) == row.ids
        assert bot.reply(row.text) == row.greedy
        assert bot.reply(row.text, decoding=bot_of_run.decoding) == row.reply
        if row.ids:
            found = file.search(*pad_prompts([row.ids]), file.max_length + 1)
            assert found.tokens[0].tolist() == row.tokens
            assert found.scores[0].tolist() == pytest.approx(row.scores, abs=1e-4)


def test_a_folder_is_of_one_model(folder: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    entries = read_manifest(folder)["files"]
    assert set(entries) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ChatbotError, match="other weights or settings"):
        export_onnx(dataclasses.replace(checkpoint, step=checkpoint.step + 1), folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    refuse_to_replace(folder)  # all of it is an export's, though nothing but ONNX is there
    (tmp_path / "chatbot.pt").write_bytes(b"of nobody knows what")
    with pytest.raises(ChatbotError, match="other weights or settings"):
        export_onnx(checkpoint, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["chatbot.pt"]
