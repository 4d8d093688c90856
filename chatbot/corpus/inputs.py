"""The files of a corpus, single, in a folder, in a zip archive or gzipped, as streams of bytes of whatever format.

Archives are limited in size, and their members are read in place: nothing is unpacked to a path that an archive names.
"""

import codecs
import contextlib
import gzip
import itertools
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from ..system.archives import opened_zip
from ..system.errors import ChatbotError, failing_as

MAX_RATIO = 200  # of an archive member's size to its compressed size; for text it is 3 to 30
SMALL_MEMBER = 1 << 24  # bytes of a member that is read whatever its ratio
SMALL_TOTAL = 1 << 28  # bytes of all members of an archive that is read whatever its ratio
MAX_TOTAL = 1 << 36  # bytes of all members of any archive
MAX_FILES = 10_000
MAX_TABLE = 1 << 22  # bytes of an archive's table of contents: 400 for each of so many files
MAX_DEPTH = 4
HEAD = 1 << 16  # bytes that tell a file's format


class BadLine(NamedTuple):
    """Something that could not be read; `line` counts from 1, and is 0 for a whole file."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class InputFile:
    """A file of the corpus: on disk, or a member of a zip archive.

    `name` is shown to people and ends with the file's own name; for a member, `path` is that of the archive.
    """

    name: str
    path: Path
    member: str = ""
    # shared by all its members, and closed by Python when the last of them is gone
    archive: zipfile.ZipFile | None = field(default=None, compare=False, repr=False)

    @property
    def base(self) -> str:
        """The file's own name, in lower case, without `.gz`."""
        return PurePosixPath(self.member or self.path.name).name.lower().removesuffix(".gz")

    @property
    def size(self) -> int:
        """Bytes of the content, or of the file on disk if that is gzipped."""
        if self.archive:
            return self.archive.getinfo(self.member).file_size
        return self.path.stat().st_size

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The content as a stream of bytes; UTF-16 that says so by its first two bytes comes as UTF-8.

        Raises:
            ChatbotError: it cannot be read, its archive is damaged, or it is an archive bomb.
        """
        try:
            with failing_as(f"cannot read {self.name}"):
                if self.archive:
                    with self.archive.open(self._checked(self.archive.getinfo(self.member))) as stream:
                        yield _as_utf8(stream)
                else:
                    with self.path.open("rb") as file:
                        gzipped = file.read(2) == b"\x1f\x8b"
                        file.seek(0)
                        yield _as_utf8(_Gunzipped(file, self) if gzipped else file)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ChatbotError(f"{self.name} is a damaged or unsupported archive ({error}): get it again") from error

    def _checked(self, member: zipfile.ZipInfo) -> zipfile.ZipInfo:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError("compressed in a way that is rare")  # and may need much memory
        if member.file_size > max(SMALL_MEMBER, MAX_RATIO * member.compress_size):
            raise ChatbotError(
                f"{self.name} would unpack to {member.file_size:,} bytes from {member.compress_size:,}: "
                "refused as an archive bomb"
            )
        return member

    def head(self) -> bytes:
        """The first 64 KiB of the content."""
        with self.open() as stream:
            return stream.read(HEAD)


def _as_utf8(stream: Any) -> IO[bytes]:
    if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return codecs.EncodedFile(stream, "utf-8", "utf-16", "replace")
    return stream


class _Gunzipped(gzip.GzipFile):
    """The content of a gzip file. Its size is not known in advance, so a bomb is refused while it is read."""

    def __init__(self, file: IO[bytes], of: InputFile) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._of, self._left = of, max(SMALL_MEMBER, MAX_RATIO * of.size)

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ChatbotError(f"{self._of.name} unpacks to far more than its size: refused as an archive bomb")
        return data


def input_files(path: Path) -> tuple[list[InputFile], list[BadLine]]:
    """The files in `path` (a file, a folder or a zip archive), sorted by name, and archive members that are refused.

    Raises:
        ChatbotError: `path` cannot be read, holds too many files, or is a damaged archive.
    """
    with failing_as(f"cannot read {path}"):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _inside(path)
        if not stat.S_ISREG(mode):
            raise ChatbotError(f"{path} is neither a file nor a folder")
        with path.open("rb") as stream:
            zipped = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    return _members(path) if zipped else ([InputFile(str(path), path)], [])


def _inside(folder: Path) -> tuple[list[InputFile], list[BadLine]]:
    """The files in a folder, sorted by name, and links that are refused, for what they lead to was not named."""
    found = sorted(map(str, itertools.islice(_walk(folder, MAX_DEPTH), MAX_FILES + 1)))
    if len(found) > MAX_FILES:
        raise ChatbotError(f"{folder} holds over {MAX_FILES:,} files: name the one that is the corpus")
    files, refused, root = [], [], folder.resolve()
    for name in found:
        file = Path(name)
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            refused.append(BadLine(name, 0, "a link that leads out of the folder, ignored"))
        else:
            files.append(InputFile(name, file))
    return files, refused


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith((".", "__")):
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir() and depth > 1 and not entry.is_symlink():
            yield from _walk(entry, depth - 1)


def _members(path: Path) -> tuple[list[InputFile], list[BadLine]]:
    """The members of a zip archive, sorted by name, and those refused for a path that points outside of it."""
    files, refused = [], []
    try:
        with path.open("rb") as file:
            archive = opened_zip(file, MAX_TABLE)
    except (
        ChatbotError,
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        ValueError,
        struct.error,
    ) as error:
        raise ChatbotError(f"{path} is not a whole zip archive ({error}): get it again") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    _refuse_bomb(path, members)
    for name in sorted(member.filename for member in members):
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
            reason = f"member {name[:80]!r} is nameless or points outside the archive, ignored"
            refused.append(BadLine(str(path), 0, reason))
        elif not any(part.startswith((".", "__")) for part in parts):  # __MACOSX/._movie_lines.txt and its like
            files.append(InputFile(f"{path}/{name}", path, name, archive))
    return files, refused


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise ChatbotError(f"{path} holds over {MAX_FILES:,} files: give the one that is the corpus")
    # compared with the archive's size, since members may share bytes
    total, packed = sum(member.file_size for member in members), path.stat().st_size
    if total > min(MAX_TOTAL, max(SMALL_TOTAL, MAX_RATIO * packed)):
        raise ChatbotError(
            f"{path} would unpack to {total:,} bytes from {packed:,}: refused as an archive bomb; "
            "give the file that is the corpus, unpacked"
        )
