"""One JSON array or object of dialogues, pairs, messages or `{question: answer}`; it may be larger than memory."""

import functools
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import Path, first_values, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .jsonl import Talk, are_messages, message
from .messages import Message, conversations
from .records import NO_TEXT, records_in

WRAPPERS = {  # keys whose value is the list of all records
    *(
        "data",
        "train",
        "training",
        "valid",
        "validation",
        "val",
        "dev",
        "test",
        "dialogs",
        "dialogues",
        "conversations",
    ),
    *("intents", "examples", "rows", "items", "records", "results", "list", "chats", "questions", "samples", "pairs"),
    *("messages", "value", "dataset", "faq", "faqs", "entries", "threads", "qa", "utterances"),
}
PAIRS, MESSAGES, RECORDS = (
    "an object of prompts and their replies",
    "one array of messages",
    "records of one JSON value",
)


def looks_like(head: Head) -> bool:
    """JSON whose first values hold a dialogue, a pair or a message."""
    if not head.begins_with("{", "["):
        return False
    return _kind(head.text, Reading()) != ""


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the dialogues, value by value."""
    kind = _kind(Head.of(file).text, Reading(config=reading.config)) or RECORDS
    if kind == MESSAGES:
        talk = Talk.of([value for _, value in first_values(Head.of(file).text, _enters)], file.name)
        messages = functools.partial(_messages, file, talk)
        yield from conversations(messages, reading, kind, talk.is_export, talk.answerers)
        return
    reading.layouts[kind] += 1
    for path, value in values(file, reading, _enters):
        reading.records += 1
        if kind == PAIRS:
            replies = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            for reply in replies:
                if isinstance(reply, str):
                    yield Dialogue("", "", [str(path[-1]), reply])
            if not replies:
                reading.damaged(file.name, 0, "a prompt without a reply", f": {str(path[-1])[:40]!r}")
        elif isinstance(value, list | dict):
            for found in records_in(value, reading):
                if found is None:
                    reading.damaged(file.name, 0, NO_TEXT, f": at {_shown(path)}")
                yield from found or ()
        elif len(path) > 1 or isinstance(path[0] if path else "", int):
            reading.damaged(file.name, 0, NO_TEXT, f": at {_shown(path)}")
        else:
            reading.left_out["fields that are no dialogue"] += 1


def _shown(path: Path) -> str:
    return "/".join(str(part)[:40] for part in path)


def _enters(path: Path) -> bool:
    """The array or object itself, and lists of records inside it."""
    return path == () or (len(path) == 1 and isinstance(path[0], str) and path[0].strip().lower() in WRAPPERS)


def _kind(text: str, reading: Reading) -> str:
    """What the beginning of a file holds: PAIRS, MESSAGES, RECORDS, or "" for nothing of these."""
    found = first_values(text, _enters)
    inside = [value for path, value in found if len(path) != 1 or isinstance(path[0], int)]
    if are_messages(inside, reading):
        return MESSAGES
    said = {path[0]: value for path, value in found if len(path) == 1 and isinstance(path[0], str)}
    asked = [key for key, value in said.items() if _are_texts(value) and (" " in key.strip() or key.endswith("?"))]
    if len(asked) * 2 > len(found):
        return PAIRS
    if any(any(records_in(value, reading)) for _, value in found if isinstance(value, list | dict)):
        return RECORDS
    texts = [value for value in said.values() if isinstance(value, str) or _are_texts(value)]
    return PAIRS if len(texts) >= 2 and len(texts) * 5 >= 4 * len(found) else ""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _messages(file: InputFile, talk: Talk, reading: Reading) -> Iterator[Message]:
    for path, value in values(file, reading, _enters):
        if len(path) == 1 and isinstance(path[0], str):
            continue  # what is said of the whole
        reading.records += 1
        yield message(value, file.name, 0, talk, reading)
