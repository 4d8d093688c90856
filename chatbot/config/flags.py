"""A command-line flag for each setting, and back from the flags that were given to settings."""

import argparse
import dataclasses
import typing
from typing import Any

from .presets import DECODINGS, PRESETS, changed_decoding
from .settings import Config, DecodingConfig, section_name


class Rare(str):
    """The help of a flag that `--help` leaves out and `--help-all` shows."""


# the settings that most people change: `--help` shows these, `--help-all` shows every one
EVERYDAY = {
    *("corpus", "format", "max_length", "min_count", "context"),
    *("hidden_size", "encoder_layers", "decoder_layers", "attention", "dropout"),
    *("steps", "batch_size", "learning_rate", "max_minutes", "patience", "seed"),
    *("method", "beam_width", "length_penalty", "samples", "temperature", "top_k", "top_p", "anti_lm"),
}


def add_flags(parser: argparse.ArgumentParser, *sections: type) -> None:
    """One flag for each field of the dataclasses `sections`, shown with its value in the preset `default`.

    Absent flags set nothing.
    """
    for section in sections:
        values = getattr(PRESETS["default"], section_name(section))
        group = parser.add_argument_group(section_name(section) + " settings")
        for field in dataclasses.fields(section):
            kind = typing.get_type_hints(section)[field.name]
            default = "the run's own" if section is DecodingConfig else _shown(getattr(values, field.name))
            method = f"{field.metadata['method']}: " if field.metadata["method"] else ""
            said = f"{method}{field.metadata['help']} (default: {default})"
            options: dict[str, Any] = {"help": said if field.name in EVERYDAY else Rare(said)}
            if kind is bool:
                options["action"] = argparse.BooleanOptionalAction
            elif typing.get_origin(kind) is tuple:
                options |= {"type": float, "nargs": len(typing.get_args(kind)), "metavar": "SHARE"}
            else:
                options |= {"type": kind, "metavar": None if field.metadata["choices"] else kind.__name__.upper()}
                options["choices"] = field.metadata["choices"]
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                dest=f"{section_name(section)}.{field.name}",
                default=argparse.SUPPRESS,
                **options,
            )


def from_flags(arguments: argparse.Namespace) -> Config:
    """Preset, then `--config FILE`, then the flags given: each overrules the one before.

    Without `--preset`, the corpus `sample` takes the preset `sample`, every other the preset `default`.
    """
    preset = arguments.preset
    if preset is None:
        preset = "sample" if getattr(arguments, "corpus.corpus", None) == "sample" else "default"
    config = PRESETS[preset]
    if arguments.config is not None:
        # what a run's file does not name is what it was before there was such a setting
        config = Config.load(arguments.config, over=config if arguments.preset else Config())
    return Config.from_dict(flags_given(arguments), over=config)


def decoding_from_flags(arguments: argparse.Namespace, own: DecodingConfig) -> DecodingConfig:
    """A run's `own` decoding with what the flags that were given say; for another method, that one's plain form.

    Raises:
        ChatbotError: a value is out of bounds, or a flag belongs to another method.
    """
    given = flags_given(arguments).get("decoding", {})
    method = given.get("method", own.method)
    return changed_decoding(own if method == own.method else DECODINGS[method], given)


def flags_given(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the flags say that were given, by section."""
    given: dict[str, dict[str, Any]] = {}
    for name, value in vars(arguments).items():
        section, dot, field = name.partition(".")
        if dot:
            given.setdefault(section, {})[field] = value
    return given


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
