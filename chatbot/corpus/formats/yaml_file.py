"""YAML of conversations, as ChatterBot's corpora are: `conversations:`, a list of lists of what is said in turn."""

import re
from collections.abc import Iterator
from typing import Any

from ...system.errors import ChatbotError, first_line
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .records import NO_TEXT, records_in

MAX_SIZE = 1 << 23  # bytes; it is read as a whole, and slowly
LISTS = re.compile(r"\s*-\s+-\s+\S")
KEY = re.compile(r"(?:conversations|categories|dialogues|intents|faqs?)\s*:")


def looks_like(head: Head) -> bool:
    """Lists in a list, or the usual keys, or a name that says so."""
    if head.begins_with("{", "["):
        return False
    lists = sum(LISTS.match(line) is not None for line in head.lines)
    keys = any(KEY.match(line) for line in head.lines)
    return lists * 5 > len(head.lines) or (keys and lists > 0) or head.file.base.endswith((".yml", ".yaml"))


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations. Nothing but plain texts, lists and mappings is made of a file, whatever its tags say.

    Raises:
        ChatbotError: PyYAML is not installed, the file is too large, or no YAML.
    """
    reading.layouts["YAML of conversations"] += 1
    data = _loaded(file, reading)
    conversations = next((data[key] for key in ("conversations", "dialogues") if key in data), data) if isinstance(
        data, dict
    ) else data  # fmt: skip
    found = 0
    for number, value in enumerate(conversations if isinstance(conversations, list) else [conversations], 1):
        reading.records += 1
        for dialogues in records_in(_unfolded(value), reading):
            if dialogues is None:
                reading.damaged(file.name, 0, NO_TEXT, f": conversation {number}")
            found += len(dialogues or ())
            yield from dialogues or ()
    if not found:
        raise ChatbotError(f"{file.name} is YAML without conversations: write `conversations:` with a list of lists")


def _loaded(file: InputFile, reading: Reading) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ChatbotError(f"{file.name} is YAML, which needs PyYAML: pip install -e '.[yaml]'") from error
    with file.open() as stream:
        content = stream.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise ChatbotError(f"{file.name} is over {MAX_SIZE >> 20} MB of YAML: write it as JSON")
    reading.advance(len(content))
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # all scalars are texts: `Yes` is not true
    try:
        data = yaml.load(content.decode("utf-8", "replace"), loader)
        if b"*" in content and _size(data, {}) > len(content) + 100:  # what is written out takes a byte or more each
            raise ChatbotError(
                f"{file.name}: its anchors and aliases unfold to far more than its size: refused as a bomb"
            )
        return data
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise ChatbotError(f"{file.name}{place}: no YAML ({first_line(error)}): correct it there") from error


def _unfolded(value: Any) -> Any:
    """A conversation in which `How are you: well?` is the text that somebody forgot to quote."""
    if not isinstance(value, list) or not any(isinstance(turn, str) for turn in value):
        return value
    return [
        f"{next(iter(turn))}: {next(iter(turn.values()))}"
        if isinstance(turn, dict) and len(turn) == 1 and all(isinstance(part, str) for part in (*turn, *turn.values()))
        else turn
        for turn in value
    ]


def _size(value: Any, known: dict[int, float]) -> float:
    """How many texts, lists and mappings a value holds with its aliases written out; no end of them in a circle."""
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        known[id(value)] = float("inf")
        inside = value if isinstance(value, list) else [*value.keys(), *value.values()]
        known[id(value)] = 1 + sum(_size(part, known) for part in inside)
    return known[id(value)]
