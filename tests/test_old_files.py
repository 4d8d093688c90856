"""Files that version 0.1.0 wrote still open, answer as they did, and can be trained on."""

import json
import shutil
from pathlib import Path

import pytest

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, retired_settings
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory

OLD = Path(__file__).parent / "version-0.1.0"
SAID = json.loads((OLD / "replies.json").read_text())


@pytest.mark.parametrize("name", SAID["replies"])
def test_what_version_0_1_wrote_answers_as_it_did(name: str) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    bot = Chatbot.load(OLD / name)
    assert bot.reply_batch(SAID["texts"]) == SAID["replies"][name]


def test_an_imported_checkpoint_of_the_tutorial_answers_as_it_did() -> None:
    bot = Chatbot.load(OLD / "imported")
    assert {text: bot.reply(text) for text in SAID["imported"]} == SAID["imported"]


def test_a_checkpoint_that_writes_all_words_in_lower_case_keeps_its_digest() -> None:
    exported = json.loads((OLD / "export-files" / "manifest.json").read_text())["checkpoint"]
    assert Checkpoint.load(OLD / "half" / "best.pt").digest() == exported


def test_settings_that_are_gone_are_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OLD / "retired-settings" / "config.json"
    assert Config.load(settings).model.embedding_size == 6
    sections = ("corpus", "training", "decoding")
    gone = ["max_vocabulary", "mmi_length", "ngram_order", "reply_limit", "teacher_forcing_ratio", "unknown_replies"]
    assert retired_settings(settings, *sections) == gone
    assert retired_settings(OLD / "half" / "config.json", *sections) == []
    monkeypatch.chdir(OLD)
    assert main(["prepare", "--config", str(settings), "--data-dir", str(tmp_path / "data")]) == 0
    assert "asks for max_vocabulary" in capsys.readouterr().err
    run = tmp_path / "run"
    shutil.copytree(OLD / "retired-settings", run)
    shutil.copy(run / "best.pt", run / "last.pt")
    assert main(["train", "--resume", "--run", "run", "--checkpoints-dir", str(tmp_path)]) == 2
    assert "teacher_forcing_ratio" in capsys.readouterr().err


def test_a_training_that_version_0_1_began_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped after step 15 of 24; the sums of weights are of the same run, ended by version 0.1.0."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(OLD / "talk.tsv", tmp_path)
    shutil.copytree(OLD / "half", tmp_path / "checkpoints" / "half")
    assert main(["train", "--resume", "--run", "half", "--device", "cpu", "--threads", "1"]) == 0
    checkpoint = Checkpoint.load(RunDirectory(tmp_path / "checkpoints" / "half").last)
    assert checkpoint.step == 24
    for name, (total, size) in SAID["weights_at_the_end"].items():
        weight = checkpoint.model[name].double()
        assert weight.numel() == size
        assert float(weight.abs().sum()) == pytest.approx(total, rel=1e-5)
