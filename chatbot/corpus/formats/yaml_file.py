"""YAML of conversations, as ChatterBot's corpora are: `conversations:`, a list of lists of what is said in turn."""

import re
from collections.abc import Iterable, Iterator
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
        return _built(yaml.parse(content.decode("utf-8", "replace"), loader), len(content) + 100)
    except _BombError as error:
        raise ChatbotError(
            f"{file.name}: its anchors and aliases unfold to far more than its size: refused as a bomb"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
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


class _BombError(Exception):
    """Aliases unfold to too much, or to themselves."""


def _built(events: Iterable[Any], most: int) -> Any:
    """The value that the events of one document make: ten times as fast as PyYAML's nodes, and as deep as any file.

    As YAML 1.2 has it, and PyYAML not, an anchor may be used twice: then the last one counts.

    Args:
        most: lists, mappings and characters of texts with the aliases written out; each takes a byte or more.

    Raises:
        _BombError: there are more of them, or an alias stands inside what it stands for.
        MarkedYAMLError: an alias without an anchor, a list as a key, a second document.
    """
    from yaml.error import MarkedYAMLError

    documents: list[Any] = []
    parts, sizes, names = documents, [0], [""]  # of what is open: its parts so far, how much it holds, its anchor
    outer: list[list[Any]] = []
    anchors: dict[str, tuple[Any, int] | None] = {}  # what each stands for, and how much it holds; None while open
    for event in events:
        kind = type(event).__name__
        if kind in ("SequenceStartEvent", "MappingStartEvent"):
            outer.append(parts)
            parts = []
            sizes.append(1)
            names.append(event.anchor)
            if event.anchor:
                anchors[event.anchor] = None
            continue
        if kind == "ScalarEvent":
            made, size, name = event.value, max(1, len(event.value)), event.anchor
        elif kind == "AliasEvent":
            if event.anchor not in anchors:
                raise MarkedYAMLError(problem=f"found undefined alias {event.anchor!r}", problem_mark=event.start_mark)
            if (known := anchors[event.anchor]) is None:
                raise _BombError
            (made, size), name = known, None
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            made, size, name = parts, sizes.pop(), names.pop()
            parts = outer.pop()
            if kind == "MappingEndEvent":
                if any(isinstance(key, list | dict) for key in made[::2]):
                    raise MarkedYAMLError(problem="found unhashable key", problem_mark=event.start_mark)
                made = dict(zip(made[::2], made[1::2], strict=True))
        elif kind == "DocumentStartEvent" and documents:
            raise MarkedYAMLError(problem="expected a single document", problem_mark=event.start_mark)
        else:
            continue
        if name:
            anchors[name] = made, size
        parts.append(made)
        sizes[-1] += size
        if sizes[-1] > most:
            raise _BombError
    return documents[0] if documents else None
