"""The bot in the box opens at once, in every form, and is what its manifest says."""

import json
import re
import shlex
import zipfile
from pathlib import Path

import pytest

from chatbot.__main__ import VERBS, main
from chatbot.chat.bot import Chatbot
from chatbot.config.arguments import flags_given, parser
from chatbot.config.presets import DECODINGS, PRESETS
from chatbot.config.settings import Config
from chatbot.deployment.manifest import read_manifest
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.runs.directory import RunDirectory

ROOT = Path(__file__).parent.parent
BOX = RunDirectory(ROOT / "checkpoints" / "pretrained")
TEXTS = ["hello", "how are you?", "what's your name?", "I lost my keys.", "who is she?", "good night"]


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in BOX.path.rglob("*") if file.is_file()) <= 34_000_000


def test_it_opens_where_nothing_is_trained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "pretrained").symlink_to(BOX.path)
    monkeypatch.chdir(tmp_path)
    assert main(["chat", "--prompt", "how are you?"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert captured.err.startswith("Nothing is trained here yet: this is the bot that comes with the program")


def test_its_card_tells_how_it_was_trained() -> None:
    """From the bot before it, in steps of which the last is its own. It answers as what `make train` makes does."""
    commands = re.findall(r"`chatbot (train .*?)`", (BOX.path / "MODEL_CARD.md").read_text())
    steps = [flags_given(parser(VERBS).parse_args(shlex.split(command))) for command in commands]
    assert all(step["training"]["base"] for step in steps)
    config = Config.load(BOX.config)
    assert Config.from_dict(steps[-1], over=config) == config
    assert config.decoding == PRESETS["everyday"].decoding
    parent = BOX.load_chosen().parent
    assert parent
    assert parent["checkpoint"][:8] in (BOX.path / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_every_form_gives_the_golden_replies() -> None:
    golden = read_manifest(BOX.export)["golden"]
    assert len(golden) >= 20
    module = load_bundle(BOX.export / "chatbot.pt").module
    run = Chatbot.load(BOX.path)
    for row in golden:
        assert module.reply(row.text) == run.reply(row.text) == row.reply
        assert module.reply_greedy(row.text) == run.reply(row.text, decoding=DECODINGS["greedy"]) == row.greedy


def test_its_own_decoding_is_that_of_its_settings_in_every_form() -> None:
    run, bundle = Chatbot.load(BOX.path), Chatbot.load(BOX.export)
    assert run.decoding == bundle.decoding == BOX.load_chosen().config.decoding
    assert run.reply_batch(TEXTS) == bundle.reply_batch(TEXTS)


def test_its_figures_and_its_export_are_of_these_weights() -> None:
    digest = BOX.load_chosen().digest()
    assert json.loads(BOX.evaluation("test").read_bytes())["checkpoint"] == digest
    assert read_manifest(BOX.export)["checkpoint"] == digest


@pytest.mark.slow
def test_it_can_be_exported_again(tmp_path: Path) -> None:
    export(BOX.load_chosen(), tmp_path / "export")
    size = (BOX.export / "chatbot.pt").stat().st_size
    assert (tmp_path / "export" / "chatbot.pt").stat().st_size == pytest.approx(size, rel=0.01)
    replies = [
        load_bundle(folder / "chatbot.pt").module.reply_batch(TEXTS) for folder in (BOX.export, tmp_path / "export")
    ]
    assert replies[0] == replies[1]


def test_its_settings_name_no_place_of_the_machine_that_trained_it() -> None:
    assert re.fullmatch(r"cornell\+chitchat\+sample\*\d+", BOX.load_chosen().config.corpus.corpus)
    for path in (BOX.best, BOX.export / "chatbot.pt"):
        with zipfile.ZipFile(path) as archive:
            assert not any(re.search(rb"/(work|home|root|usr|tmp)/", archive.read(name)) for name in archive.namelist())
    for path in (BOX.config, BOX.metrics, BOX.export / "manifest.json"):
        assert not re.search(r"/(work|home|root|usr|tmp)/", path.read_text())
