"""Telegram Desktop's export (JSON): one chat, `{"name": …, "messages": […]}`, or all of them in `chats`."""

import functools
import re
from collections.abc import Iterator
from typing import Any

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..json_stream import Path, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import iso

MESSAGE = re.compile(r'"type"\s*:\s*"(?:message|service)"\s*,[^{}]{0,80}"date(?:_unixtime)?"\s*:')
CHATS = ("chats", "left_chats")
NAMES = re.compile(r'"(?:from|actor)"\s*:')


def looks_like(head: Head) -> bool:
    """Messages have a type and a date, and say whom they are from.

    Raises:
        ChatbotError: it is the export as HTML.
    """
    if head.begins_with("<") and "Exported Data" in head.text[:2000]:
        raise ChatbotError(f"{head.file.name} is Telegram's export as HTML: export the chat again as JSON")
    return head.begins_with("{") and bool(MESSAGE.search(head.text)) and bool(NAMES.search(head.text))


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations of every chat; service messages and media without words are left out."""
    yield from conversations(functools.partial(_messages, file), reading, "Telegram's export")


def _enters(path: Path) -> bool:
    """The object, the lists of chats, each chat, its messages."""
    return path in ((), ("messages",), *((key, *inside) for key in CHATS for inside in ((), ("list",)))) or (
        path[0] in CHATS and path[1:2] == ("list",) and (len(path) == 3 or path[3:] == ("messages",))
    )


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    for path, value in values(file, reading, _enters):
        if len(path) < 2 or path[-2] != "messages":
            continue
        reading.records += 1
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            reading.damaged(file.name, 0, "a message that is no object with a type", f": number {path[-1]}")
            yield Message("", None)
            continue
        talk, text = "/".join(map(str, path[:-1])), _text(value.get("text"))
        if value["type"] != "message":
            reading.left_out["lines of the program's own"] += 1
        elif text is None:
            reading.damaged(file.name, 0, "a message whose text is none", f": number {path[-1]}")
            yield Message("", None, talk=talk)
        elif not text.strip():
            reading.left_out["media"] += 1
        elif value.get("forwarded_from"):
            reading.left_out["forwarded messages"] += 1
        else:
            name = value.get("from") or value.get("from_id") or "deleted account"
            yield Message(str(name)[:80], " ".join(text.split()), _time(value), talk)


def _text(text: Any) -> str | None:
    """The text of a message: a string, or a list of strings and of objects with a text."""
    if isinstance(text, str):
        return text
    pieces = (
        [piece.get("text") if isinstance(piece, dict) else piece for piece in text] if isinstance(text, list) else [0]
    )
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else None  # type: ignore[arg-type]


def _time(message: dict[str, Any]) -> float | None:
    stamp = message.get("date_unixtime")
    return (
        float(stamp) if isinstance(stamp, str) and stamp.isdecimal() and len(stamp) < 15 else iso(message.get("date"))
    )
