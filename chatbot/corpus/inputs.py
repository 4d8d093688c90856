"""Raw files, in a folder or in an archive, to decoded lines; and the account of what was damaged in them.

Nothing here knows a format. Every read is bounded: a line, an archive member and an archive have limits, members are
read in place and are never unpacked to a path that the archive chose.
"""

import contextlib
import gzip
import io
import stat
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from ..system.errors import ChatbotError

CHUNK = 1 << 20
MAX_LINE = 1 << 20  # bytes; a conversation of JSONL fits many times over
MAX_RATIO = 200  # of an archive member's size to its compressed size; text comes to 3 - 30
SMALL_MEMBER = 1 << 24  # bytes that any member may have, however well it was compressed
SMALL_TOTAL = 1 << 28  # bytes that all members of an archive may have together, however well they were compressed
MAX_TOTAL = 1 << 36  # bytes that they may have at all
MAX_FILES = 10_000
MAX_TABLE = 1 << 25  # bytes of an archive's table of contents, which is read as a whole
MAX_DEPTH = 4
MAX_EXAMPLES = 100

# cp1252, with ISO-8859-1 in the five places that it leaves undefined
_CP1252 = {code: bytes([code]).decode("cp1252", "replace").replace("\ufffd", chr(code)) for code in range(128, 160)}


class BadLine(NamedTuple):
    """One thing that could not be read: `line` counts from 1, and is 0 where the whole file is meant."""

    file: str
    line: int
    reason: str


class _Archive:
    """A zip archive whose directory is read once; closed as soon as no file of it is referred to any more."""

    def __init__(self, path: Path) -> None:
        try:
            if _table_size(path) > MAX_TABLE:
                raise ValueError(f"a table of contents of over {MAX_TABLE:,} bytes")
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as error:
            raise ChatbotError(f"{path} is not a whole zip archive ({error}): get it again") from error
        weakref.finalize(self, self.zip.close)


def _table_size(path: Path) -> int:
    """Bytes of a zip archive's table of contents, as its last record says, or the one for large archives if larger."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 17)))
        end = file.read()
    at, at64 = end.rfind(b"PK\x05\x06"), end.rfind(b"PK\x06\x06")
    small = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    large = int.from_bytes(end[at64 + 40 : at64 + 48], "little") if at64 >= 0 else 0
    return large if small == 0xFFFFFFFF else max(small, large)


@dataclass(frozen=True)
class InputFile:
    """A file of the corpus: on disk, or a member of a zip archive.

    `name` is for people and ends with the file's own name; `path` is what is on disk (the archive, for a member).
    """

    name: str
    path: Path
    member: str = ""
    archive: _Archive | None = field(default=None, compare=False, repr=False)  # shared by all its members

    @property
    def base(self) -> str:
        """The file's own name, in lower case, without `.gz`."""
        return PurePosixPath(self.member or self.path.name).name.lower().removesuffix(".gz")

    @property
    def suffix(self) -> str:
        """The end of that name: `.txt`, or "" if it has none."""
        return PurePosixPath(self.base).suffix

    @property
    def size(self) -> int:
        """Bytes, for the progress bar (those on disk where the content's are not known)."""
        if self.archive:
            return self.archive.zip.getinfo(self.member).file_size
        return self.path.stat().st_size

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The content as a stream of bytes.

        Raises:
            ChatbotError: it cannot be read, the archive is damaged, or it unpacks to far more than it should.
        """
        try:
            if self.archive:
                member = self.archive.zip.getinfo(self.member)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise NotImplementedError("compressed in a way that is rare")  # and may ask for memory by itself
                if member.file_size > max(SMALL_MEMBER, MAX_RATIO * member.compress_size):
                    raise ChatbotError(
                        f"{self.name} would unpack to {member.file_size:,} bytes from {member.compress_size:,}: "
                        "refused as an archive bomb"
                    )
                with self.archive.zip.open(member) as stream:
                    yield stream
            else:
                with self.path.open("rb") as stream:
                    packed = stream.read(2) == b"\x1f\x8b"
                    stream.seek(0)
                    if packed:
                        limit = max(SMALL_MEMBER, MAX_RATIO * self.path.stat().st_size)
                        yield io.BufferedReader(_Limited(gzip.GzipFile(fileobj=stream), limit, self.name), CHUNK)
                    else:
                        yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ChatbotError(f"{self.name} is a damaged or unsupported archive ({error}): get it again") from error
        except OSError as error:
            raise ChatbotError(f"cannot read {self.name}: {error.strerror or error}") from error

    def head(self, size: int = 1 << 16) -> bytes:
        """The first bytes of the content."""
        with self.open() as stream:
            return stream.read(size)


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than `limit` bytes."""

    def __init__(self, stream: gzip.GzipFile, limit: int, name: str) -> None:
        self._stream, self._left, self._name = stream, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise ChatbotError(f"{self._name} unpacks to far more than its size: refused as an archive bomb")
        buffer[: len(data)] = data
        return len(data)


def line_ends(stream: IO[bytes], most: int) -> Iterator[bytes]:
    """Every line of a stream as soon as it is there, of a longer one its last `most` bytes; no more is ever held."""
    while line := stream.readline(most):
        more = line
        while not more.endswith(b"\n") and (more := stream.readline(most)):
            line = (line + more)[-most:]
        yield line


def input_files(path: Path) -> tuple[list[InputFile], list[BadLine]]:
    """The files that `path` (a file, a folder, a zip archive) holds, sorted by name, and what was refused.

    Raises:
        ChatbotError: there is nothing to read, too many files, or the archive is damaged.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            files = [InputFile(str(file), file) for file in _walk(path, MAX_DEPTH)]
            return sorted(files, key=lambda file: file.name), []
        if not stat.S_ISREG(mode):
            raise ChatbotError(f"{path} is neither a file nor a folder")
        with path.open("rb") as stream:
            packed = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise ChatbotError(f"cannot read {path}: {error.strerror or error}") from error
    return _members(path) if packed else ([InputFile(str(path), path)], [])


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for count, entry in enumerate(folder.iterdir()):
        if count >= MAX_FILES:
            raise ChatbotError(f"{folder} holds over {MAX_FILES:,} files: name the one that is the corpus")
        if entry.name.startswith(".") or entry.name.startswith("__"):
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir() and depth > 1 and not entry.is_symlink():
            yield from _walk(entry, depth - 1)


def _members(path: Path) -> tuple[list[InputFile], list[BadLine]]:
    files, refused = [], []
    archive = _Archive(path)
    members = [member for member in archive.zip.infolist() if not member.is_dir()]
    names = [member.filename for member in members]
    if len(names) > MAX_FILES:
        raise ChatbotError(f"{path} holds over {MAX_FILES:,} files: give the one that is the corpus")
    total, packed = sum(member.file_size for member in members), path.stat().st_size
    if total > min(MAX_TOTAL, max(SMALL_TOTAL, MAX_RATIO * packed)):  # of the archive: members may share their bytes
        raise ChatbotError(
            f"{path} would unpack to {total:,} bytes from {packed:,}: refused as an archive bomb; "
            "give the file that is the corpus, unpacked"
        )
    for name in sorted(names):
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
            refused.append(
                BadLine(str(path), 0, f"member {name[:80]!r} is nameless or points outside the archive, ignored")
            )
        elif not any(part.startswith((".", "__")) for part in parts):  # __MACOSX/._movie_lines.txt and its like
            files.append(InputFile(f"{path}/{name}", path, name, archive))
    return files, refused


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
        return sum(self.reasons.values())

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
                number += 1
                self.records += 1
                self.damaged(file.name, number, f"longer than {MAX_LINE:,} bytes")
                yield number, "\0"
                continue
            if number == 0:
                block = block.removeprefix(b"\xef\xbb\xbf")
                if block.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise ChatbotError(f"{file.name} is UTF-16: save it as UTF-8")
            lines = self._decoded(block, file.name, number)
            if b"\0" in block or b"\r" in block:
                lines = [self._cleaned(file.name, number + i, line) for i, line in enumerate(lines, 1)]
            self.records += len(lines)
            yield from enumerate(lines, number + 1)
            number += len(lines)

    def _blocks(self, file: InputFile) -> Iterator[bytes | None]:
        """Runs of whole lines, without the last line's end; None in place of a line that is too long."""
        rest, skipping = b"", False
        with file.open() as stream:
            while chunk := stream.read(CHUNK):
                self.advance(len(chunk))
                if skipping:
                    _, newline, chunk = chunk.partition(b"\n")
                    if not newline:
                        continue
                    skipping = False
                    if not chunk:
                        continue
                whole, newline, tail = chunk.rpartition(b"\n")
                if newline:
                    first, _, others = whole.partition(b"\n")
                    if len(rest) + len(first) <= MAX_LINE:
                        yield rest + whole
                    else:
                        yield None
                        if _:
                            yield others
                    rest = tail
                else:
                    rest += tail
                if len(rest) > MAX_LINE:
                    yield None
                    rest, skipping = b"", True
        if rest:
            yield rest

    def _decoded(self, block: bytes, file: str, number: int) -> list[str]:
        if self.latin:
            return block.decode("latin-1").split("\n")
        try:
            return block.decode().split("\n")
        except UnicodeDecodeError:
            return [self._decoded_line(line, file, number + i) for i, line in enumerate(block.split(b"\n"), 1)]

    def _decoded_line(self, line: bytes, file: str, number: int) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.recoded += 1
            self.first_recoded = self.first_recoded or f"{file}:{number}"
            return line.decode("latin-1").translate(_CP1252)

    def _cleaned(self, file: str, number: int, line: str) -> str:
        if "\0" in line:
            self.damaged(file, number, "a NUL byte")
            return "\0"
        return line.removesuffix("\r")
