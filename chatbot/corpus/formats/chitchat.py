"""The JSON of chitchat-dataset: one object that holds all dialogues and may be far larger than memory."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head

CHUNK = 1 << 20  # bytes read at once
MAX_MEMBER = 1 << 26  # characters that one dialogue may have
BEGINNING = re.compile(r'"messages"\s*:\s*\[\s*\[')
MEMBER = re.compile(r'(?<!\\)"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"messages"\s*:')
BETWEEN, COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")


def looks_like(head: Head) -> bool:
    return head.begins_with("{", "[") and '"sender"' in head.text and BEGINNING.search(head.text) is not None


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """`{id: {"messages": [[{"text": …}, …], …], …}, …}`: a turn is a list of messages, joined by a space.

    People who chat leave out the mark at a message's end. It gets a full stop, or two messages would read as one
    sentence, and a bot would learn that a sentence may end anywhere.
    """
    reading.layouts["chitchat-dataset: turns of several messages"] += 1
    for number, (key, value) in enumerate(_members(file, reading), 1):
        reading.records += 1
        try:
            turns: list[str | None] = [
                " ".join(_ended(message["text"]) for message in turn) for turn in value["messages"]
            ]
        except (TypeError, KeyError, AttributeError):
            reading.damaged(file.name, 0, "a conversation that is no list of turns of messages", f": {key[:40]}")
        else:
            yield Dialogue("", key or str(number), turns)


def _ended(message: str) -> str:
    message = message.rstrip()
    return message + "." if message[-1:].isalnum() else message


def _members(file: InputFile, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the members of the object one by one; memory holds a single member and a chunk of the file.

    A malformed member is counted as damaged, and reading continues at the next one that looks like a dialogue.

    Raises:
        ChatbotError: the file is no JSON object, or dialogues follow a malformed one but their start is not found.
    """
    raw_decode = json.JSONDecoder().raw_decode
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    buffer, position, size, ended = "", 0, 0, False
    with file.open() as stream:
        while True:
            position = BETWEEN.match(buffer, position).end()  # type: ignore[union-attr]
            if ended and buffer.startswith("}", position) and not buffer[position + 1 :].strip():
                return
            try:
                key, end = raw_decode(buffer, position)
                colon = COLON.match(buffer, end)
                value, position = raw_decode(buffer, colon.end() if colon else end)
            except (ValueError, RecursionError):
                left = len(buffer) - position
                if not ended and left <= MAX_MEMBER:  # the member may only be incomplete so far
                    data = stream.read(max(CHUNK, left))  # doubling keeps the number of parses small
                    begins, ended = size == 0, not data
                    size += len(data)
                    reading.advance(len(data))
                    buffer, position = buffer[position:] + decode(data), 0
                    if begins:
                        if not buffer.lstrip("\ufeff \t\r\n").startswith("{"):
                            raise ChatbotError(f"{file.name} is not a JSON object of conversations") from None
                        position = buffer.find("{") + 1
                    continue
                following = MEMBER.search(buffer, position + 1)
                if not following and (not ended or buffer.count('"messages"', position) > 1):
                    offset = size - len(buffer[position:].encode())
                    raise ChatbotError(
                        f"{file.name}: malformed JSON (or a conversation of over 64 MB) at byte {offset:,}, and no "
                        "conversation can be made out behind it: correct it there"
                    ) from None
                reading.records += 1
                detail = f" after {buffer[position : position + 40]!r}"
                reading.damaged(file.name, 0, "JSON that breaks off or is malformed", detail)
                if not following:
                    return
                position = following.start()
            else:
                yield str(key), value
