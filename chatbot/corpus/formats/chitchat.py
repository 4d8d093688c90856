"""The JSON of chitchat-dataset: one object that holds all dialogues and may be far larger than memory."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..json_stream import CHUNK, Text
from ..reading import Reading
from .dialogue import Dialogue, Head

MAX_MEMBER = 1 << 22  # characters that one dialogue may have
MAX_BEGINNING = 1000  # characters from the beginning of its key to MESSAGES
DEEP = 256  # containers inside each other that no dialogue has, and fewer than are too many for Python's parser
MESSAGES = '"messages"'
BEGINNING = re.compile(r'"messages"\s*:\s*\[\s*\[')
BETWEEN, COLON = re.compile(r"[\s,]*"), re.compile(r"\s*:\s*")
NESTING = re.compile(r'"(?:[^"\\]|\\.)*"?|([\[{])|([\]}])', re.DOTALL)


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
        text = _Members(stream.read, reading.advance)
        if text.peek() != "{":
            raise ChatbotError(f"{file.name} is not a JSON object of conversations")
        text.skip()
        while True:
            member = text.member()
            if member is not None:
                yield member
            elif text.is_over():
                return
            else:
                reading.records += 1
                reading.damaged(file.name, 0, "JSON that breaks off or is malformed", f" after {text.shown()!r}")
                _, offset = text.place()
                if text.next_dialogue():
                    continue
                if text.missed > 1:
                    raise ChatbotError(
                        f"{file.name}: malformed JSON (or a conversation of over {MAX_MEMBER >> 20} MB) at byte "
                        f"{offset:,}, and no conversation can be made out behind it: correct it there"
                    )
                return


class _Members(Text):
    """The members of the object, of which some may be malformed."""

    def __init__(self, read: Callable[[int], bytes], advance: Callable[[int], Any]) -> None:
        super().__init__(read, advance)
        self._failed = 0  # where the last malformed member is so, in characters from the beginning of the file
        self.missed = 0  # dialogues whose beginning was not found, since then

    def is_over(self) -> bool:
        """Whether the object ends here, and the file with it."""
        return self.ended and self.buffer.startswith("}", self.at) and not self.buffer[self.at + 1 :].strip()

    def member(self) -> tuple[str, Any] | None:
        """The member that begins here, which is passed over; None if it is malformed, breaks off or is too long."""
        if self.at > CHUNK >> 8:  # an error of the parser counts the lines before it
            self.forget()
        while True:
            self.at = BETWEEN.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            try:
                key, end = self.parse(self.buffer, self.at)
                colon = COLON.match(self.buffer, end)
                value, end = self.parse(self.buffer, colon.end() if colon else end)
                self.at = end
                return str(key), value
            except json.JSONDecodeError as error:
                self._failed = self.dropped + error.pos
            except ValueError:  # a number of thousands of digits
                self._failed = self.dropped + self.at + 1
            except RecursionError:
                self._failed = self.dropped + self._too_deep() + MAX_BEGINNING
                return None
            if self.is_over() or self.left() > MAX_MEMBER or not self.more():
                return None

    def _too_deep(self) -> int:
        """Where more containers are open than any dialogue has; what is inside of them is passed over with them."""
        depth = 0
        for found in NESTING.finditer(self.buffer, self.at):
            depth += (found[1] is not None) - (found[2] is not None)
            if depth > DEEP:
                return found.end()
        return self.at + 1

    def next_dialogue(self) -> bool:
        """Go on to where the next member that looks like a dialogue begins; False if the file has none."""
        # what begins long before the place where the last was malformed is a part of that one
        failed = min(self._failed - self.dropped, len(self.buffer))
        self.at = max(self.at + 1, failed - MAX_BEGINNING)
        searched, self.missed = self.at, 0
        while True:
            found = self.buffer.find(MESSAGES, searched)
            if found >= 0:
                if (beginning := self._beginning(found)) >= 0:
                    self.at = beginning
                    return True
                self.missed += 1
                searched = found + len(MESSAGES)
                continue
            searched = max(searched, len(self.buffer) - len(MESSAGES) + 1)
            self.at = max(self.at, searched - MAX_BEGINNING)
            searched -= self.at
            if not self.more():
                return False

    def _beginning(self, messages: int) -> int:
        """Where the key stands of the object whose first key stands there; -1 if it does not look so."""
        start = max(self.at, messages - MAX_BEGINNING)
        before = self.buffer[start:messages]
        for mark in "{", ":", '"':
            before = before.rstrip()
            if not before.endswith(mark):
                return -1
            before = before[:-1]
        quote = before.rfind('"')
        return -1 if quote < 0 or "\\" in before[max(quote - 1, 0) :] else start + quote

    def shown(self) -> str:
        """A few characters from here."""
        return self.buffer[self.at : self.at + 40]
