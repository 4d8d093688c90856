"""Settings: presets, files and flags overrule each other in that order, and nonsense is refused in one line."""

import argparse
import json
from pathlib import Path

import pytest

from chatbot.config import PRESETS, Config, CorpusConfig, ModelConfig, TrainingConfig, add_flags, from_flags
from chatbot.errors import ChatbotError


def parse(*flags: str) -> Config:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", choices=tuple(PRESETS))
    parser.add_argument("--config", type=Path)
    add_flags(parser, CorpusConfig, ModelConfig, TrainingConfig)
    return from_flags(parser.parse_args(flags))


def test_the_defaults_are_the_tutorials_sizes() -> None:
    model = Config().model
    assert (model.hidden_size, model.encoder_layers, model.decoder_layers) == (500, 2, 2)
    assert (model.attention, model.dropout) == ("dot", 0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_written_is_what_is_read(preset: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRESETS[preset].to_dict()))
    assert Config.load(path) == PRESETS[preset]
    assert parse("--config", str(path)) == PRESETS[preset]


def test_flags_overrule_the_file_and_the_file_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"model": {"hidden_size": 77, "dropout": 0}, "training": {"steps": 5}}')
    config = parse("--preset", "tutorial", "--config", str(path), "--steps", "6", "--no-tie-embeddings")
    assert config.corpus == PRESETS["tutorial"].corpus
    assert (config.model.hidden_size, config.model.dropout, config.training.steps) == (77, 0.0, 6)


def test_the_sample_corpus_takes_its_own_preset_unless_one_is_named() -> None:
    assert parse("--corpus", "sample") == PRESETS["sample"]
    assert parse("--corpus", "sample", "--preset", "default").model == ModelConfig()


def test_split_takes_three_shares() -> None:
    assert parse("--split", "0.8", "0.1", "0.1").corpus.split == (0.8, 0.1, 0.1)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ([], "object"),
        ({"modell": {}}, "modell"),
        ({"model": 3}, "model"),
        ({"model": {"hidden": 3}}, "model.hidden"),
        ({"model": {"hidden_size": "3"}}, "model.hidden_size"),
        ({"model": {"hidden_size": True}}, "model.hidden_size"),
        ({"model": {"hidden_size": 10**12}}, "hidden_size"),
        ({"model": {"attention": "best"}}, "attention"),
        ({"model": {"dropout": float("nan")}}, "dropout"),
        ({"model": {"bridge": "tutorial", "encoder_layers": 1, "decoder_layers": 3}}, "bridge"),
        ({"corpus": {"split": [0.5, 0.5]}}, "corpus.split"),
        ({"corpus": {"split": [0.5, 0.1, 0.1]}}, "split"),
        ({"corpus": {"min_length": 9, "max_length": 3}}, "min_length"),
        ({"training": {"steps": 0}}, "steps"),
    ],
)
def test_nonsense_is_refused_by_name(data: object, word: str) -> None:
    with pytest.raises(ChatbotError, match=word) as caught:
        Config.from_dict(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ChatbotError, match=r"config\.json"):
        Config.load(path)
