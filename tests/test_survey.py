"""The longest turn that fits a corpus, and the preset that suits its size, each chosen by itself and said."""

import json
from pathlib import Path

import pytest

from chatbot.__main__ import main
from chatbot.config.settings import CorpusConfig
from chatbot.corpus import preparation, survey
from chatbot.corpus.formats.dialogue import Dialogue
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset
from chatbot.verbs.prepare import FEW_PAIRS


def pairs(path: Path, lengths: list[int]) -> Path:
    """A table with a pair for each length: that of its longer side, in words."""
    path.write_text("".join(f"p{i} is it\t{' '.join(['w'] * length)}\n" for i, length in enumerate(lengths)))
    return path


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([5] * 100, 12),  # a shorter limit saves nothing
        ([10] * 89 + [17] * 11, 17),
        ([10] * 90 + [17] * 10, 12),
        ([10] * 50 + [20] * 40 + [90] * 10, 20),
        ([10] * 50 + [60] * 50, 40),
        (list(range(1, 101)), 40),
    ],
)
def test_auto_keeps_nine_tenths_up_to_forty_words(tmp_path: Path, lengths: list[int], expected: int) -> None:
    config = CorpusConfig(
        corpus=str(pairs(tmp_path / "a.tsv", lengths)), max_length=0, min_count=1, split=(1.0, 0.0, 0.0)
    )
    prepared = prepare(config, tmp_path / "data")
    assert prepared.figures["settings"]["max_length"] == expected
    kept = sum(length <= expected for length in lengths)
    assert prepared.figures["pairs_short"] == kept
    assert kept >= 0.9 * len(lengths) or expected == 40
    assert prepared.figures["length_is_chosen"]


def test_auto_gives_what_the_same_number_gives(tmp_path: Path) -> None:
    path = pairs(tmp_path / "a.tsv", [10] * 50 + [20] * 50)
    config = CorpusConfig(corpus=str(path), max_length=0, min_count=1, split=(1.0, 0.0, 0.0))
    chosen = prepare(config, tmp_path / "data")
    again = prepare(config, tmp_path / "data")
    said = prepare(CorpusConfig(corpus=str(path), max_length=20, min_count=1, split=(1.0, 0.0, 0.0)), tmp_path / "data")
    assert chosen.folder == again.folder == said.folder
    assert (again.reused, again.figures["length_is_chosen"]) == (True, True)
    assert (said.reused, said.figures["length_is_chosen"]) == (True, False)
    assert len(PairDataset(said.folder, "train")) == 100


def test_the_length_of_a_large_corpus_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "SMALL_INPUT", 100)
    config = CorpusConfig(
        corpus=str(pairs(tmp_path / "a.tsv", [20] * 50)), max_length=0, min_count=1, split=(1.0, 0.0, 0.0)
    )
    chosen = prepare(config, tmp_path / "data", workers=1)
    monkeypatch.setattr(preparation, "fitting_length", None)
    assert prepare(config, tmp_path / "data").folder == chosen.folder
    (tmp_path / "data" / "prepared" / "lengths.json").write_text(json.dumps({"x": 1}))
    with pytest.raises(TypeError):
        prepare(config, tmp_path / "data")


def test_later_parts_of_a_large_corpus_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "WHOLE", 1)
    found = [Dialogue("", "", ["hi", " ".join(["w"] * (10 if i < 20_000 else 30))]) for i in range(400_000)]
    assert survey.fitting_length([(iter(found), 1.0)], CorpusConfig()) == 30


@pytest.mark.parametrize(("count", "few"), [(FEW_PAIRS - 1, True), (FEW_PAIRS, False)])
def test_a_small_corpus_gets_its_preset_and_is_told(
    tmp_path: Path, count: int, few: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pairs(tmp_path / "a.tsv", [3] * count)
    assert main(["prepare", "--corpus", str(path), "--data-dir", str(tmp_path / "data"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert (f"{count:,} pairs are few: preset sample" in err) is few
    assert json.loads(out)["settings"]["min_count"] == (1 if few else 3)
    assert "with 1 to 12 words on both sides, which keeps 90% of the pairs or more" in err
    asked = ["--preset", "default", "--max-length", "9"]
    assert main(["prepare", "--corpus", str(path), "--data-dir", str(tmp_path / "data"), "--json", *asked]) == 0
    out, err = capsys.readouterr()
    assert "are few" not in err
    assert json.loads(out)["settings"]["min_count"] == 3
    assert json.loads(out)["settings"]["max_length"] == 9


def test_a_run_of_a_small_corpus_has_its_settings_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pairs(tmp_path / "a.tsv", [3] * 30 + [18] * 20)
    flags = ["--data-dir", str(tmp_path / "data"), "--checkpoints-dir", str(tmp_path / "runs"), "--hidden-size", "8"]
    more = ["--steps", "2", "--batch-size", "4", "--split", "1", "0", "0", "--precision", "fp32"]
    assert main(["train", "--corpus", str(path), "--run", "a", *flags, *more]) == 0
    err = capsys.readouterr().err
    assert "50 pairs are few: preset sample" in err
    assert "is it => w w w\n" in err
    settings = json.loads((tmp_path / "runs" / "a" / "config.json").read_text())
    assert (settings["corpus"]["max_length"], settings["corpus"]["min_count"]) == (18, 1)
    assert main(["evaluate", "a", *flags[:4], "--split", "train", "--limit", "4"]) == 0
