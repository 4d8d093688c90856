"""A room of Matrix as Element exports it (JSON): events, of which those with a text are messages."""

import functools
import re
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import Path, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import moment

TEXTS = ("m.text", "m.emote", "m.notice")
QUOTED = re.compile(r"(?:> .*\n)+\n?")  # what is answered stands above the answer


def looks_like(head: Head) -> bool:
    return head.begins_with("{", "[") and '"m.room.' in head.text and '"origin_server_ts"' in head.text


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; what is no text, and quotations in answers, are left out."""
    yield from conversations(functools.partial(_messages, file), reading, "Element's export of a Matrix room")


def _enters(path: Path) -> bool:
    return path in ((), ("messages",), ("chunk",))


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    names: dict[str, str] = {}
    for path, value in values(file, reading, _enters):
        if not path or (len(path) == 1 and isinstance(path[0], str)):
            continue  # what is said of the room
        reading.records += 1
        content = value.get("content") if isinstance(value, dict) else None
        if not isinstance(content, dict) or not isinstance(value.get("sender"), str):
            reading.damaged(file.name, 0, "an event without a sender and a content", f": number {path[-1]}")
            yield Message("", None)
            continue
        sender = value["sender"]
        if isinstance(content.get("displayname"), str) and len(names) < 10_000:
            names[sender] = content["displayname"]
        text = _text(content)
        if value.get("type") != "m.room.message":
            reading.left_out["lines of the program's own"] += 1
        elif not text:
            reading.left_out["media and deleted messages"] += 1
        else:
            name = names.get(sender) or sender.lstrip("@").partition(":")[0]
            yield Message(name[:80], text, moment(value.get("origin_server_ts")))


def _text(content: dict[str, Any]) -> str:
    """The words of a message, and not those that it answers."""
    relation, body = content.get("m.relates_to"), content.get("body")
    if content.get("msgtype") not in TEXTS or not isinstance(body, str):
        return ""
    if isinstance(relation, dict) and "m.in_reply_to" in relation:
        quoted = QUOTED.match(body)
        body = body[quoted.end() :] if quoted else body
    return " ".join(body.split())
