"""A channel of Discord as DiscordChatExporter writes it (JSON). Its CSV is a table of messages (`delimited`)."""

import functools
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..json_stream import messages
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import iso

OWN_WORDS = ("Default", "Reply", "0", "19")  # other types say who joined, pinned or called
CHANNEL = re.compile(r'"channel"\s*:\s*\{')
EMOJI = re.compile(r"<a?:(\w+):\d+>")


def looks_like(head: Head) -> bool:
    return head.begins_with("{") and '"guild"' in head.text and CHANNEL.search(head.text) is not None


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; what bots and the program say is left out, and attachments."""
    yield from conversations(functools.partial(_messages, file), reading, "DiscordChatExporter's channel")


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    for number, value in messages(file, reading):
        author = value.get("author") if isinstance(value, dict) else None
        if not isinstance(author, dict) or not isinstance(value.get("content"), str):
            reading.damaged(file.name, 0, "a message without an author or content", f": number {number}")
            yield Message("", None)
        elif author.get("isBot"):
            reading.left_out["messages of bots"] += 1
        elif str(value.get("type", "Default")) not in OWN_WORDS:
            reading.left_out["lines of the program's own"] += 1
        elif not value["content"].strip():
            reading.left_out["media"] += 1
        else:
            name = author.get("nickname") or author.get("name") or author.get("id") or "unknown"
            text = EMOJI.sub(r":\1:", value["content"])
            yield Message(str(name)[:80], " ".join(text.split()), iso(value.get("timestamp")))
