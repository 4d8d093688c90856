"""Settings: presets, files and flags overrule each other in that order, and nonsense is refused in one line."""

import argparse
import dataclasses
import json
import re
from pathlib import Path

import pytest

from chatbot.__main__ import main
from chatbot.config.arguments import add_flags, decoding_from_flags, flags_given, from_flags
from chatbot.config.presets import DECODINGS, PRESETS, decoding_named
from chatbot.config.settings import Config, CorpusConfig, DecodingConfig, ModelConfig, TrainingConfig
from chatbot.system.errors import ChatbotError


def parse(*flags: str) -> Config:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", choices=tuple(PRESETS))
    parser.add_argument("--config", type=Path)
    add_flags(parser, CorpusConfig, ModelConfig, TrainingConfig)
    return from_flags(parser.parse_args(flags))


def test_the_defaults_are_the_tutorials_sizes() -> None:
    model = Config().model
    assert (model.hidden_size, model.encoder_layers, model.decoder_layers) == (500, 2, 2)
    assert (model.attention, model.dropout) == ("dot", 0.2)


def test_what_a_file_of_settings_does_not_name_is_what_it_was_before_there_was_such_a_setting() -> None:
    """What is chosen anew is chosen in a preset: a run, a bundle or an ONNX file of before goes on as it was."""
    assert not any(Config.from_dict({}).unlike_defaults().values())


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


def test_a_corpus_takes_the_preset_of_its_kind_unless_one_is_named() -> None:
    assert parse("--corpus", "sample") == PRESETS["sample"]
    assert (
        parse("--corpus", "cornell").corpus.max_length
        == parse("--corpus", "my.tsv+cornell").corpus.max_length - 2
        == 12
    )
    assert parse("--corpus", "my.tsv").corpus.max_length == parse("--corpus", "my.tsv*2+sample").corpus.max_length == 0
    assert parse("--corpus", "my.tsv", "--max-length", "auto").corpus.max_length == 0
    assert parse("--corpus", "my.tsv", "--max-length", "9").corpus.max_length == 9
    assert parse() == parse("--corpus", "auto") == PRESETS["everyday"]
    assert parse("--corpus", "cornell+my.tsv*2").model == PRESETS["everyday"].model
    assert parse("--corpus", "cornell").model == parse("--corpus", "my.tsv").model == PRESETS["default"].model
    assert parse("--corpus", "sample", "--preset", "default").model == PRESETS["default"].model


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


def test_decoding_has_flags_of_its_own_over_the_runs() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, ModelConfig, DecodingConfig)
    flags = parser.parse_args(["--method", "beam", "--beam-width", "7", "--hidden-size", "9", "--min-length", "2"])
    own = DecodingConfig(method="beam", seed=5, beam_width=3)
    assert decoding_from_flags(flags, own) == DecodingConfig(method="beam", beam_width=7, min_length=2, seed=5)
    # another method begins from its plain form, and not from what goes with the run's own
    plain = dataclasses.replace(DECODINGS["beam"], beam_width=7, min_length=2)
    assert decoding_from_flags(flags, DecodingConfig(method="sample", min_length=3, anti_lm=0.5)) == plain
    assert flags_given(flags)["model"] == {"hidden_size": 9}


NONSENSE = ["best", "beam:width=3", "beam:beam_width", "sample:temperature=warm", "beam:beam_width=0"]


@pytest.mark.parametrize("text", NONSENSE)
def test_a_decoding_is_named_with_changes(text: str) -> None:
    own = DecodingConfig(method="sample", top_k=9)
    assert decoding_named("default", own) == own
    assert decoding_named("beam", own) == DECODINGS["beam"]
    unsure = decoding_named('beam:min_confidence=0.5,fallback=["Well, well.", "No, I\'m afraid."],beam_width=3', own)
    assert (unsure.fallback, unsure.beam_width) == (("Well, well.", "No, I'm afraid."), 3)
    assert decoding_named("sample:temperature=0.5,top_k=3", own) == DecodingConfig(
        method="sample", temperature=0.5, top_k=3
    )
    with pytest.raises(ChatbotError):
        decoding_named(text, own)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("method", "best"),
        ("beam_width", 0),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("seed", -1),
        ("anti_lm", float("nan")),
    ],
)
def test_nonsense_in_decoding_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ChatbotError, match=setting):
        DecodingConfig(**{setting: value})  # type: ignore[arg-type]


def test_how_many_replies_are_chosen_from() -> None:
    ways = [DecodingConfig(method=method, beam_width=7, samples=3) for method in ("greedy", "beam", "sample")]
    assert [way.candidates for way in ways] == [1, 7, 3]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ChatbotError, match=r"config\.json"):
        Config.load(path)


@pytest.mark.parametrize(
    ("text", "owner"),
    [("greedy:temperature=0.5", "sample"), ("beam:top_k=3", "sample"), ("sample:beam_width=5", "beam")],
)
def test_a_setting_of_another_method_is_refused(text: str, owner: str) -> None:
    with pytest.raises(
        ChatbotError, match=f"belongs to the method {owner}, and the method here is {text.split(':')[0]}"
    ):
        decoding_named(text, DecodingConfig())
    assert decoding_named('default:method="beam",beam_width=2', DecodingConfig()).beam_width == 2


def test_every_setting_of_a_decoding_says_whose_it_is() -> None:
    owners = {field.name: field.metadata["method"] for field in dataclasses.fields(DecodingConfig)}
    assert {name for name, owner in owners.items() if owner == "beam"} == {
        "beam_width",
        "beam_threshold",
        "length_penalty",
        "min_confidence",
        "fallback",
    }
    sampling = {"samples", "temperature", "top_k", "top_p", "seed"}
    assert {name for name, owner in owners.items() if owner == "sample"} == sampling


@pytest.mark.parametrize("verb", ["prepare", "train", "evaluate", "export", "chat", "pack", "import-checkpoint"])
def test_help_fits_two_screens_and_help_all_has_every_setting(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def shown(flag: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([verb, flag])
        assert left.value.code == 0
        return capsys.readouterr().out

    short, whole = shown("--help"), shown("--help-all")
    assert len(short.splitlines()) <= 48
    assert set(re.findall(r"--[a-z-]+", short)) <= set(re.findall(r"--[a-z-]+", whole))
    sections = {
        "prepare": (CorpusConfig,),
        "train": (CorpusConfig, ModelConfig, TrainingConfig),
        "chat": (DecodingConfig,),
    }
    for section in sections.get(verb, ()):
        for field in dataclasses.fields(section):
            assert f"--{field.metadata['flag'] or field.name.replace('_', '-')}" in whole
