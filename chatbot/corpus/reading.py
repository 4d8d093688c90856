"""Decode the bytes of a corpus's files to lines; keep account of how they are understood and what is damaged."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError, shown
from .inputs import BadLine, InputFile

CHUNK = 1 << 20  # bytes read at once
MAX_LINE = 1 << 20  # bytes, no less than CHUNK; a dialogue of JSONL fits many times over
MAX_EXAMPLES = 100

# cp1252, with ISO-8859-1 in the five places that it leaves undefined
_CP1252 = {code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", chr(code)) for code in range(128, 160)}


@dataclass
class Reading:
    """One reading of a corpus: how its bytes are decoded, and the account of what was understood and what is damaged.

    Attributes:
        latin: decode all as ISO-8859-1, as the tutorial does; otherwise as UTF-8, and lines that are not as cp1252.
        config: what the user asked of it (`columns`, `me`, `gap`, `private`).
        advance: called with the number of bytes that were just read.
        layouts: how the files were understood, and how many of them so.
        speakers: how many messages each speaker has, where a format names them.
        left_out: how many of what was left out on purpose, such as pictures or links.
        names: of people by their ids, from the files of a corpus that say so.
        records: lines read so far, or dialogues where the format has no lines.
        recoded, first_recoded: how many lines were not UTF-8, and the file and line of the first.
        reasons, examples: how many records were damaged in each way, and the first MAX_EXAMPLES of them.
    """

    latin: bool = False
    config: CorpusConfig = field(default_factory=CorpusConfig)
    advance: Callable[[int], Any] = lambda size: None
    records: int = 0
    recoded: int = 0
    first_recoded: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[BadLine] = field(default_factory=list)
    layouts: Counter[str] = field(default_factory=Counter)
    speakers: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        """How many records were damaged."""
        return self.reasons.total()

    def damaged(self, file: str, line: int, reason: str, detail: str = "") -> None:
        """Count a damaged record."""
        self.reasons[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(BadLine(file, line, reason + detail))

    def check(self, most: float) -> None:
        """Refuse a corpus that is too damaged.

        Raises:
            ChatbotError: more than the fraction `most` of the records is; the message names the first damaged line.
        """
        if self.bad > most * max(self.records, 1):
            first = next((example for example in self.examples if example.line), self.examples[0])
            raise ChatbotError(
                f"{self.bad:,} of {self.records:,} lines are damaged, more than max_bad_fraction {most:g}; "
                f"first {first.file}:{first.line}: {first.reason}"
            )

    def is_me(self, speaker: str) -> bool:
        """Whether `--me` names this speaker: alone, or among several names between commas; capitals don't matter."""
        wanted, name = self.config.me.strip().casefold(), speaker.strip().casefold()
        return bool(name) and (name == wanted or name in map(str.strip, wanted.split(",")))

    def check_me(self, where: str) -> None:
        """Refuse a corpus that names its speakers, if none of them is the one whose replies are to be learnt.

        Raises:
            ChatbotError: nobody is called so; the message names those who speak most.
        """
        if self.config.me and self.speakers and not any(map(self.is_me, self.speakers)):
            there = ", ".join(f"{name!r} ({count:,} messages)" for name, count in self.speakers.most_common(5))
            raise ChatbotError(f"{where}: --me {shown(self.config.me)} is nobody's name; there are {there}")

    def understood(self) -> dict[str, Any]:
        """How it was understood, as plain data for the figures of a preparation."""
        return {
            "layouts": dict(self.layouts.most_common(8)),
            "speakers": dict(self.speakers.most_common(8)),
            "speakers_in_all": len(self.speakers),
            "left_out": dict(self.left_out.most_common()),
        }

    def lines(self, file: InputFile) -> Iterator[tuple[int, str]]:
        """Yield every line with its number from 1, without its end (`\\n` or `\\r\\n`).

        In place of a line that holds a NUL byte or is over MAX_LINE bytes comes "\\0", and it is counted as damaged;
        readers need to know of it, since the lines around it do not belong together.
        """
        number = 0
        for block in self._blocks(file):
            if block is None:
                self.damaged(file.name, number + 1, f"longer than {MAX_LINE:,} bytes")
                lines = ["\0"]
            else:
                if number == 0:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                lines = self._decoded(block, file.name, number + 1)
                if b"\0" in block or b"\r" in block:
                    lines = [self._cleaned(file.name, number + i, line) for i, line in enumerate(lines, 1)]
            self.records += len(lines)
            yield from enumerate(lines, number + 1)
            number += len(lines)

    def _blocks(self, file: InputFile) -> Iterator[bytes | None]:
        """Yield runs of whole lines, without the last line's end; None stands for a line that is too long."""
        rest = b""
        with file.open() as stream:
            while chunk := stream.read(CHUNK):
                self.advance(len(chunk))
                block = rest + chunk
                first, last = block.find(b"\n"), block.rfind(b"\n")
                if first > MAX_LINE:  # later lines of a block lie within a chunk and cannot be too long
                    yield None
                    if last > first:
                        yield block[first + 1 : last]
                elif last >= 0:
                    yield block[:last]
                rest = block[last + 1 :][: MAX_LINE + 1]  # enough to see that a line is too long
        if rest:
            yield rest if len(rest) <= MAX_LINE else None

    def _decoded(self, block: bytes, file: str, number: int) -> list[str]:
        """The lines of a block, the first of them being line `number`."""
        try:
            return block.decode("latin-1" if self.latin else "utf-8").split("\n")
        except UnicodeDecodeError:
            if b"\n" in block:  # decode line by line: the others may be UTF-8
                return [self._decoded(line, file, number + i)[0] for i, line in enumerate(block.split(b"\n"))]
            self.recoded += 1
            self.first_recoded = self.first_recoded or f"{file}:{number}"
            return [block.decode("latin-1").translate(_CP1252)]

    def _cleaned(self, file: str, number: int, line: str) -> str:
        if "\0" in line:
            self.damaged(file, number, "a NUL byte")
            return "\0"
        return line.removesuffix("\r")
