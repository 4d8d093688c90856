"""A JSON file of any size, read value by value: memory holds one value and a chunk of the file."""

import codecs
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from ..system.errors import ChatbotError
from .inputs import InputFile
from .reading import Reading

CHUNK = 1 << 20  # bytes read at once
MAX_VALUE = 1 << 23  # characters that one value may have
MAX_DEPTH = 8  # containers that may be entered inside each other
SPACE = " \t\r\n\ufeff"

Path = tuple[str | int, ...]


class BrokenJsonError(Exception):
    """The text is no JSON from here on; it breaks off, if nothing but its end is missing."""

    def __init__(self, breaks_off: bool) -> None:
        super().__init__()
        self.breaks_off = breaks_off


def values(file: InputFile, reading: Reading, enters: Callable[[Path], bool]) -> Iterator[tuple[Path, Any]]:
    """Yield the values of a JSON file with the keys and indices that lead to them, in the order of the file.

    Where the text breaks off, what stands before is yielded, and the value that is not whole is a damaged record.

    Args:
        enters: whether the values inside the array or object at this path are to come one by one (and it not itself).

    Raises:
        ChatbotError: it is malformed, or a value is over MAX_VALUE characters.
    """
    with file.open() as stream:
        text = Text(stream.read, reading.advance)
        try:
            yield from _inside(text, (), enters)
            if text.peek():
                raise BrokenJsonError(False)
        except BrokenJsonError as error:
            line, byte = text.place()
            if not error.breaks_off:
                raise ChatbotError(
                    f"{file.name}:{line}: malformed JSON (or a value of over {MAX_VALUE >> 20} MB) near byte {byte:,}: "
                    "correct it there, or get the file again"
                ) from None
            reading.records += 1
            reading.damaged(file.name, line, "JSON that breaks off")


def messages(file: InputFile, reading: Reading) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each message of an object that has a list of `messages`; each is a record.

    Raises:
        ChatbotError: as `values`.
    """
    for path, value in values(file, reading, lambda path: path in ((), ("messages",))):
        if path[:1] == ("messages",):
            reading.records += 1
            yield int(path[-1]) if len(path) > 1 else 0, value


def first_values(head: str, enters: Callable[[Path], bool]) -> list[tuple[Path, Any]]:
    """The whole values in the beginning of a JSON file, with their paths."""
    text = Text(io.BytesIO(head.encode("utf-8", "replace")).read, lambda size: None)
    found: list[tuple[Path, Any]] = []
    with contextlib.suppress(BrokenJsonError):
        found.extend(_inside(text, (), enters))
    return found


def _inside(text: "Text", path: Path, enters: Callable[[Path], bool]) -> Iterator[tuple[Path, Any]]:
    mark = text.peek()
    if mark not in ("{", "[") or len(path) >= MAX_DEPTH or not enters(path):
        yield path, text.value()
        return
    text.skip()
    end, index = "}" if mark == "{" else "]", 0
    if text.peek() == end:
        text.skip()
        return
    while True:
        key: str | int = index
        if mark == "{":
            name = text.value()
            if not isinstance(name, str) or text.peek() != ":":
                raise BrokenJsonError(text.peek() == "")
            text.skip()
            key = name
        yield from _inside(text, (*path, key), enters)
        index += 1
        following = text.peek()
        if following == "" or following not in (",", end):
            raise BrokenJsonError(following == "")
        text.skip()
        if following == end:
            return


class Text:
    """The text of a stream, of which a buffer is held: what is before `at` is passed, `dropped` counts what is gone."""

    def __init__(self, read: Callable[[int], bytes], advance: Callable[[int], Any]) -> None:
        self._read, self._advance = read, advance
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.parse = json.JSONDecoder().raw_decode
        self.buffer, self.at, self.dropped, self._bytes, self._lines = "", 0, 0, 0, 1
        self.ended = False

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            buffer, at = self.buffer, self.at
            while at < len(buffer) and buffer[at] in SPACE:
                at += 1
            self.at = at
            if at < len(buffer) or not self.more():
                return self.buffer[self.at : self.at + 1]

    def skip(self) -> None:
        """Pass over one character."""
        self.at += 1

    def value(self) -> Any:
        """The value that begins here.

        Raises:
            BrokenJsonError: there is none.
        """
        self.peek()
        while True:
            end, breaks_off = -1, True
            try:
                value, end = self.parse(self.buffer, self.at)
            except json.JSONDecodeError as error:
                breaks_off = error.pos >= len(self.buffer) - 8 or error.msg.startswith("Unterminated")
            except (ValueError, RecursionError):  # a number of thousands of digits, or a depth of thousands
                breaks_off = False
            # a number at the end of the buffer may go on behind it
            if end >= 0 and (end < len(self.buffer) or self.ended):
                self.at = end
                return value
            if not breaks_off or self.left() > MAX_VALUE or not self.more():
                raise BrokenJsonError(breaks_off and self.ended)

    def left(self) -> int:
        """How many characters are held and not passed."""
        return len(self.buffer) - self.at

    def place(self) -> tuple[int, int]:
        """The line, from 1, and about the byte up to which all was passed."""
        passed = self.buffer[: self.at]
        return self._lines + passed.count("\n"), self._bytes + len(passed.encode("utf-8", "replace"))

    def more(self) -> bool:
        """Read on; whether there was something."""
        if self.ended:
            return False
        data = self._read(max(CHUNK, self.left()))  # doubling keeps the number of parses small
        self.ended = not data
        self._advance(len(data))
        self.forget()
        self.buffer += self._decode(data, self.ended)
        return True

    def forget(self) -> None:
        """Hold what is passed no longer."""
        self._lines, self._bytes = self.place()
        self.dropped += self.at
        self.buffer, self.at = self.buffer[self.at :], 0
