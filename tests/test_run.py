"""Run directories: which one is meant, which of its checkpoints is opened, and by what decoding it replies."""

import json
import shutil
from pathlib import Path

import pytest

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import DecodingConfig
from chatbot.runs import directory
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory, find_run
from chatbot.system.errors import ChatbotError


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the trained run that a test may damage."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def test_a_torn_last_checkpoint_gives_way_to_the_one_before(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Checkpoint.load(run.previous)
    run.last.write_bytes(run.last.read_bytes()[:1000])
    assert run.load_last().step == before.step
    assert "last.previous.pt" in capsys.readouterr().err


def test_runs_are_found_by_name_by_path_and_as_the_latest(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.path.parent
    assert find_run("run", folder).path == run.path
    assert find_run(str(run.path), Path("nowhere")).path == run.path
    assert find_run(None, folder).path == run.path
    with pytest.raises(ChatbotError, match="there are run"):
        find_run("other", folder)
    installed = find_run(None, folder / "empty")  # the program's own is not written to
    assert (installed.path, installed.export) == (directory.BOX, folder / "empty" / "pretrained" / "export")
    assert find_run("pretrained", folder).path == directory.BOX
    monkeypatch.setattr(directory, "BOX", folder / "nowhere")
    with pytest.raises(ChatbotError, match="make train"):
        find_run(None, folder / "empty")


def test_the_decoding_in_a_runs_settings_may_be_edited(trained: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    settings = json.loads(run.config.read_bytes())
    settings["decoding"] = {"method": "beam", "beam_width": 3}
    run.config.write_text(json.dumps(settings))
    assert Chatbot.load(run.path).decoding == DecodingConfig(method="beam", beam_width=3)
    assert Chatbot.load(run.best).decoding == DecodingConfig()  # a file alone has its own
    del settings["decoding"]  # of a run from before there was that section
    run.config.write_text(json.dumps(settings))
    assert Chatbot.load(run.path).decoding == DecodingConfig()
    settings["decoding"] = {"method": "guess"}
    run.config.write_text(json.dumps(settings))
    with pytest.raises(ChatbotError, match=r"config\.json: method must be one of"):
        Chatbot.load(run.path)
