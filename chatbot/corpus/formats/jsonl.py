"""JSON Lines: each line is an object with a prompt and a reply, or with the turns of a dialogue."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .delimited import PROMPT_KEYS, REPLY_KEYS
from .dialogue import Dialogue, Head

TURNS_KEYS = ("turns", "messages", "dialog", "dialogue", "utterances", "conversation")
TEXT_KEYS = ("text", "content", "utterance", "value")
ARRAY = re.compile(r"\s*\[\s*(?:[\[{\"]|$)")  # and not the `[12:30] ann: hi` of a log


def looks_like(head: Head) -> bool:
    return bool(keys(head)) or (head.begins_with("{", "[") and head.file.base.endswith((".jsonl", ".ndjson")))


def keys(head: Head) -> set[str]:
    """All keys of the objects on the first lines.

    Raises:
        ChatbotError: the file is one JSON array.
    """
    if not head.begins_with("{", "["):
        return set()
    found = {key for line in head.lines[:20] for key in _object(line) or ()}
    if ARRAY.match(head.text) and (not found or head.lines[0].strip() == "["):
        raise ChatbotError(f"{head.file.name}:1: a JSON array: write one object a line instead (JSONL, docs/data.md)")
    return found


def objects(file: InputFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of every line that is not blank."""
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            continue
        if (record := _object(line)) is not None:
            yield number, record
        else:
            reading.damaged(file.name, number, "not a JSON object")


def _object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """`{"prompt": …, "reply": …}` or `{"turns": [...]}` a line; turns are texts or objects with a text."""
    reading.layouts["an object a line"] += 1
    for number, record in objects(file, reading):
        listed = next((record[key] for key in TURNS_KEYS if isinstance(record.get(key), list)), None)
        if listed is None:
            listed = [next((record[key] for key in of if key in record), None) for of in (PROMPT_KEYS, REPLY_KEYS)]
        turns = [_text(turn) for turn in listed if not (isinstance(turn, dict) and turn.get("role") == "system")]
        if None in turns or len(turns) < 2:
            reading.damaged(file.name, number, "neither a prompt and a reply nor two or more turns of text")
        else:
            yield Dialogue("", "", turns)


def _text(turn: Any) -> str | None:
    if isinstance(turn, dict):
        turn = next((turn[key] for key in TEXT_KEYS if key in turn), None)
    return turn if isinstance(turn, str) else None
