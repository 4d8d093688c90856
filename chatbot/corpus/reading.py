"""Bytes of a corpus's files to decoded lines, and the account of what was damaged in them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..system.errors import ChatbotError
from .inputs import BadLine, InputFile

CHUNK = 1 << 20  # bytes read at once
MAX_LINE = 1 << 20  # bytes, no less than CHUNK; a dialogue of JSONL fits many times over
MAX_EXAMPLES = 100

# cp1252, with ISO-8859-1 in the five places that it leaves undefined
_CP1252 = {code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", chr(code)) for code in range(128, 160)}


@dataclass
class Reading:
    """One reading of a corpus: how its bytes become text, and the account of what was damaged.

    Attributes:
        latin: decode all as ISO-8859-1, as the tutorial does; otherwise as UTF-8, or cp1252 where a line is not UTF-8.
        advance: called with the number of bytes read, as they are read.
        records: lines read, or whatever else the format counts in.
        recoded: lines that were not UTF-8. first_recoded: file and line of the first.
    """

    latin: bool = False
    advance: Callable[[int], Any] = lambda size: None
    records: int = 0
    recoded: int = 0
    first_recoded: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[BadLine] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """How many records were damaged."""
        return self.reasons.total()

    def damaged(self, file: str, line: int, reason: str, detail: str = "") -> None:
        """Count one damaged record; the first ones are kept as examples."""
        self.reasons[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(BadLine(file, line, reason + detail))

    def check(self, most: float) -> None:
        """Give up if more than the fraction `most` of the records was damaged.

        Raises:
            ChatbotError: it was; the message names the first damaged line.
        """
        if self.bad > most * max(self.records, 1):
            first = next((example for example in self.examples if example.line), self.examples[0])
            raise ChatbotError(
                f"{self.bad:,} of {self.records:,} lines are damaged, more than max_bad_fraction {most:g}; "
                f"first {first.file}:{first.line}: {first.reason}"
            )

    def lines(self, file: InputFile) -> Iterator[tuple[int, str]]:
        """Every line that can be read, with its number from 1 and without its end (`\\n` or `\\r\\n`).

        A line that cannot be (a NUL byte, more than MAX_LINE bytes) comes as `(number, "\\0")` after it is counted
        as damaged: what stands before it and what stands behind it are no neighbours.
        """
        number = 0
        for block in self._blocks(file):
            if block is None:
                self.damaged(file.name, number + 1, f"longer than {MAX_LINE:,} bytes")
                lines = ["\0"]
            else:
                if number == 0:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise ChatbotError(f"{file.name} is UTF-16: save it as UTF-8")
                lines = self._decoded(block, file.name, number + 1)
                if b"\0" in block or b"\r" in block:
                    lines = [self._cleaned(file.name, number + i, line) for i, line in enumerate(lines, 1)]
            self.records += len(lines)
            yield from enumerate(lines, number + 1)
            number += len(lines)

    def _blocks(self, file: InputFile) -> Iterator[bytes | None]:
        """Runs of whole lines, without the last line's end; None in place of a line that is too long."""
        rest = b""
        with file.open() as stream:
            while chunk := stream.read(CHUNK):
                self.advance(len(chunk))
                block = rest + chunk
                first, last = block.find(b"\n"), block.rfind(b"\n")
                if first > MAX_LINE:  # only the first line of a block can be: the others are within the chunk
                    yield None
                    if last > first:
                        yield block[first + 1 : last]
                elif last >= 0:
                    yield block[:last]
                rest = block[last + 1 :][: MAX_LINE + 1]  # of a line that is too long, what shows that it is
        if rest:
            yield rest if len(rest) <= MAX_LINE else None

    def _decoded(self, block: bytes, file: str, number: int) -> list[str]:
        """The lines of a block, the first of them being line `number`."""
        try:
            return block.decode("latin-1" if self.latin else "utf-8").split("\n")
        except UnicodeDecodeError:
            if b"\n" in block:  # one line that is not UTF-8 says nothing of the others
                return [self._decoded(line, file, number + i)[0] for i, line in enumerate(block.split(b"\n"))]
            self.recoded += 1
            self.first_recoded = self.first_recoded or f"{file}:{number}"
            return [block.decode("latin-1").translate(_CP1252)]

    def _cleaned(self, file: str, number: int, line: str) -> str:
        if "\0" in line:
            self.damaged(file, number, "a NUL byte")
            return "\0"
        return line.removesuffix("\r")
