"""Skype's export, `messages.json`: conversations with a `MessageList` each, the newest message first."""

import functools
import html
import re
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import Path, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import iso

MARK_UP = re.compile(r"<[^<>]{0,400}>")
QUOTED, ENDS = "<quote", "</quote>"
TEXTS = ("RichText", "Text")


def looks_like(head: Head) -> bool:
    return head.begins_with("{") and '"MessageList"' in head.text and '"conversations"' in head.text


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; calls, pictures, quotations and what the program says are left out."""
    yield from conversations(functools.partial(_messages, file), reading, "Skype's export")


def _enters(path: Path) -> bool:
    """The conversations, and their messages one by one."""
    inside = path[:1] == ("conversations",)
    return path == () or (inside and (len(path) <= 2 or (len(path) == 3 and path[2] == "MessageList")))


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    names: dict[str, str] = {}
    for path, value in values(file, reading, _enters):
        if path[:1] != ("conversations",) or len(path) < 4:
            continue
        reading.records += 1
        if not isinstance(value, dict) or not isinstance(value.get("from"), str):
            reading.damaged(file.name, 0, "a message that does not say from whom", f": number {path[-1]}")
            yield Message("", None)
            continue
        name, text = value["from"], _text(value.get("content"))
        if isinstance(value.get("displayName"), str) and len(names) < 10_000:
            names[name] = value["displayName"].strip() or name
        if value.get("messagetype") not in TEXTS:
            reading.left_out["lines of the program's own"] += 1
        elif not text:
            reading.left_out["media"] += 1
        else:
            name = names.get(name, name.partition(":")[2] or name)
            yield Message(name[:80], text, iso(value.get("originalarrivaltime")), str(path[1]))


def _text(content: Any) -> str:
    """The text without mark-up and quotations."""
    if not isinstance(content, str):
        return ""
    pieces, at = [], 0
    while (begins := content.find(QUOTED, at)) >= 0 and (ends := content.find(ENDS, begins)) >= 0:
        pieces.append(content[at:begins])
        at = ends + len(ENDS)
    return " ".join(html.unescape(MARK_UP.sub(" ", " ".join((*pieces, content[at:])))).split())
