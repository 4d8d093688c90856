"""Messenger's and Instagram's export (JSON): the newest message first, UTF-8 written as if it were Latin-1.

Both are mended: `cafÃ©` is café. The newer export of Messenger (`senderName`, `text`) is read too.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import messages
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations

MESSAGE = re.compile(r'"sender_?[nN]ame"\s*:')
TIME = re.compile(r'"timestamp(?:_ms)?"\s*:\s*\d')
OWN_WORDS = re.compile(
    r"(?:.{1,60} (?:liked|reacted .{1,20} to) (?:a|your) message|liked a message|reacted .{1,20} to your message ?|"
    r".{0,60}(?:sent an attachment|missed (?:a|your) (?:video |audio )?(?:call|chat)|called .{1,60}|"
    r"(?:started|joined) (?:a|the) (?:video |audio |)(?:call|chat)|unsent a message)|you sent an attachment)\.?\s*",
    re.IGNORECASE,
)


def looks_like(head: Head) -> bool:
    return head.begins_with("{") and bool(MESSAGE.search(head.text)) and bool(TIME.search(head.text))


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations, turned round where the newest message comes first."""
    yield from conversations(functools.partial(_messages, file), reading, "Messenger's or Instagram's export")


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    for number, value in messages(file, reading):
        name = value.get("sender_name", value.get("senderName")) if isinstance(value, dict) else None
        if not isinstance(name, str):
            reading.damaged(file.name, 0, "a message without a sender's name", f": number {number}")
            yield Message("", None)
            continue
        text, time = value.get("content", value.get("text")), _time(value)
        if value.get("is_unsent") or value.get("isUnsent"):
            reading.left_out["deleted messages"] += 1
        elif not isinstance(text, str) or not text.strip():
            reading.left_out["media"] += 1
        elif value.get("call_duration") is not None or OWN_WORDS.fullmatch(_mended(text)):
            reading.left_out["lines of the program's own"] += 1
        else:
            yield Message(_mended(name)[:80], " ".join(_mended(text).split()), time)


def _mended(text: str) -> str:
    """Text whose bytes of UTF-8 were taken for characters; any other text as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _time(message: dict[str, Any]) -> float | None:
    stamp = message.get("timestamp_ms", message.get("timestamp"))
    return stamp / 1000 if isinstance(stamp, int | float) and 0 <= stamp < 1e15 else None
