"""The JSON of chitchat-dataset: one object that holds all dialogues and may be far larger than memory."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head

CHUNK = 1 << 20  # bytes read at once
MAX_MEMBER = 1 << 22  # characters that one dialogue may have
MAX_BEGINNING = 1000  # characters from the beginning of its key to MESSAGES
DEEP = 256  # containers inside each other that are too many for Python's parser, at the least
MESSAGES = '"messages"'
BEGINNING = re.compile(r'"messages"\s*:\s*\[\s*\[')
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

    A malformed member is counted as damaged, and reading continues at the next one that looks like a dialogue. No part
    of the file is parsed more than a few times, whatever is malformed in it.

    Raises:
        ChatbotError: the file is no JSON object, or dialogues follow a malformed one but their start is not found.
    """
    with file.open() as stream:
        text = _Text(stream.read, reading.advance)
        if not text.begins():
            raise ChatbotError(f"{file.name} is not a JSON object of conversations")
        while True:
            member = text.member()
            if member is not None:
                yield member
            elif text.is_over():
                return
            else:
                reading.records += 1
                reading.damaged(file.name, 0, "JSON that breaks off or is malformed", f" after {text.shown()!r}")
                offset = text.offset()
                if text.next_dialogue():
                    continue
                if text.passed > 1:
                    raise ChatbotError(
                        f"{file.name}: malformed JSON (or a conversation of over {MAX_MEMBER >> 20} MB) at byte "
                        f"{offset:,}, and no conversation can be made out behind it: correct it there"
                    )
                return


class _Text:
    """The text of a stream, of which some megabytes are held: what is before `_at` is done with."""

    def __init__(self, read: Callable[[int], bytes], advance: Callable[[int], Any]) -> None:
        self._read, self._advance = read, advance
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._parse = json.JSONDecoder().raw_decode
        self._buffer, self._at, self._ended = "", 0, False
        self._before = 0  # bytes of the file before the buffer
        self._failed = 0  # where the last malformed member is so
        self.passed = 0  # dialogues whose beginning was not found, since then

    def begins(self) -> bool:
        """Pass over the brace that the file begins with."""
        while not (start := self._buffer.lstrip("\ufeff \t\r\n")):
            self._at = len(self._buffer)
            if not self._more():
                return False
        self._at = len(self._buffer) - len(start) + 1
        return start.startswith("{")

    def is_over(self) -> bool:
        """Whether the object ends here, and the file with it."""
        return self._ended and self._buffer.startswith("}", self._at) and not self._buffer[self._at + 1 :].strip()

    def member(self) -> tuple[str, Any] | None:
        """The member that begins here, which is passed over; None if it is malformed, breaks off or is too long."""
        if self._at > CHUNK >> 4:  # an error of the parser counts the lines before it
            self._forget()
        while True:
            self._at = BETWEEN.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            try:
                key, end = self._parse(self._buffer, self._at)
                colon = COLON.match(self._buffer, end)
                value, end = self._parse(self._buffer, colon.end() if colon else end)
                self._at = end
                return str(key), value
            except json.JSONDecodeError as error:
                self._failed = error.pos
            except (ValueError, RecursionError):  # a number of thousands of digits, or a depth of hundreds
                self._failed = self._at + DEEP
            if self.is_over() or len(self._buffer) - self._at > MAX_MEMBER or not self._more():
                return None

    def next_dialogue(self) -> bool:
        """Go on to where the next member that looks like a dialogue begins; False if the file has none."""
        # what begins long before the place where the last was malformed is a part of that one
        self._at = max(self._at + 1, min(self._failed, len(self._buffer)) - MAX_BEGINNING)
        searched, self.passed = self._at, 0
        while True:
            found = self._buffer.find(MESSAGES, searched)
            if found >= 0:
                if (beginning := self._beginning(found)) >= 0:
                    self._at = beginning
                    return True
                self.passed += 1
                searched = found + len(MESSAGES)
                continue
            searched = max(searched, len(self._buffer) - len(MESSAGES) + 1)
            self._at = max(self._at, searched - MAX_BEGINNING)
            searched -= self._at
            if not self._more():
                return False

    def _beginning(self, messages: int) -> int:
        """Where the key stands of the object whose first key stands there; -1 if it does not look so."""
        start = max(self._at, messages - MAX_BEGINNING)
        before = self._buffer[start:messages]
        for mark in "{", ":", '"':
            before = before.rstrip()
            if not before.endswith(mark):
                return -1
            before = before[:-1]
        quote = before.rfind('"')
        return -1 if quote < 0 or "\\" in before[max(quote - 1, 0) :] else start + quote

    def shown(self) -> str:
        """A few characters from here."""
        return self._buffer[self._at : self._at + 40]

    def offset(self) -> int:
        """How many bytes of the file are before here."""
        return self._before + len(self._buffer[: self._at].encode("utf-8", "replace"))

    def _forget(self) -> None:
        self._before, self._failed = self.offset(), self._failed - self._at
        self._buffer, self._at = self._buffer[self._at :], 0

    def _more(self) -> bool:
        if self._ended:
            return False
        data = self._read(max(CHUNK, len(self._buffer) - self._at))  # doubling keeps the number of parses small
        self._ended = not data
        self._advance(len(data))
        self._forget()
        self._buffer += self._decode(data, self._ended)
        return not self._ended
