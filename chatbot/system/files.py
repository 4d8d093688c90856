"""Files on disk that are either whole or not there: write beside, fsync, rename; and their digests.

What is being written is called `.NAME.RANDOM.part` and locked by its writer, so that the next writer of NAME can tell
what a killed one left behind from what is still being written.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import ChatbotError, failing_as
from .lock import LOCKS, take

CHUNK = 1 << 20
ASIDE = ".aside"  # of a folder that gives way to a new one
OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")  # Windows opens none, and flushes only what is open for writing
# another may have taken the place of a file: a link fails, and a pipe does not wait (0 is what a system does not have)
GUARDED = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success it is fsynced and renamed over `path`.

    If the block raises, the temporary file is removed and whatever stood at `path` is untouched. A link there gives
    way to the file; what it pointed to stays. Text modes write UTF-8 with LF line ends.

    Raises:
        ChatbotError: the folder cannot be written to, or the disk is full.
    """
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with failing_as(f"cannot write {path}"):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ChatbotError(f"cannot write {path}: it is no file that another can take the place of")
        with _part(path, Path.touch) as part:
            with part.open(mode, encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _fsync(path.parent)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what is in the making; afterwards it is gone, unless it was renamed.

    Raises:
        ChatbotError: none can be made there.
    """
    with _part(path, Path.mkdir) as part:
        yield part


@contextlib.contextmanager
def _part(path: Path, make: Callable[..., None]) -> Iterator[Path]:
    """A new file or folder beside `path`, locked if it can be; afterwards it is gone, unless it was renamed."""
    with failing_as(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        tidy(path.parent, path.name)
        part = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
        make(part, exist_ok=False)
        # without locks it is left closed: Windows renames nothing that is open
        descriptor = os.open(part, os.O_RDONLY) if LOCKS else None
    try:
        if descriptor is not None:
            take(descriptor)
        yield part
    finally:
        _remove(part)
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; on success its files are fsynced and it takes the place of `path`.

    If the block raises, the temporary folder is removed and whatever stood at `path` is untouched. A folder
    cannot be renamed over one that holds files: the old one is renamed first, and for that moment there is none.
    Who is killed then leaves both beside `path`, and the next writer (`tidy`) brings the old one back.

    Raises:
        ChatbotError: the folder cannot be written to, the disk is full, or a file stands at `path`.
    """
    with failing_as(f"cannot write {path}"), scratch_folder(path) as part:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                _fsync(file)
        _fsync(part)
        if path.exists() and not path.is_dir():
            raise ChatbotError(f"cannot write {path}: Not a directory")
        aside = part.with_suffix(ASIDE)
        if os.path.lexists(path):
            path.replace(aside)
        try:
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.replace(path)
            raise
        _fsync(path.parent)
        with contextlib.suppress(OSError):
            aside.replace(part)  # to be removed under a name that is nobody's: what is put aside is always whole


def tidy(folder: Path, name: str = "") -> None:
    """Undo what killed writers of `name` in a folder (without it: of anything there) did not bring to its end.

    What they had half-written is removed, and what they had put aside to make room for it comes back. What a living
    process is writing is locked by it, and stays.
    """
    prefix = f".{name}." if name else "."
    dots = 1 if name else 2  # NAME, RANDOM and suffix: somebody's own .NAME.part is not touched
    left = [path for path in folder.glob(f"{prefix}*") if path.name[len(prefix) :].count(".") >= dots]
    for part in {path.with_suffix(".part") for path in left if path.suffix in (".part", ASIDE)}:
        place, aside = folder / part.name[1:].rsplit(".", 2)[0], part.with_suffix(ASIDE)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if os.path.lexists(part):
                descriptor = os.open(part, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                if not take(descriptor):
                    continue  # its writer lives
            if os.path.lexists(aside) and not os.path.lexists(place):
                aside.replace(place)
            _remove(part)
            aside.replace(part)  # if it is still there, the new one has its place
            _remove(part)


def _remove(path: Path) -> None:
    """As far as that can be done: what stays is tried again by the next `tidy`."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextlib.contextmanager
def regular(path: Path, most: int | None = None, *, follow: bool = False) -> Iterator[IO[bytes]]:
    """A file that lies there itself, open for reading; whatever else stands there may have no end, or be another's.

    A pipe or a device is not even opened, for that alone may wait, or do something.

    Args:
        most: bytes that it may have.
        follow: a link to such a file will do, as for a path that a person named.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a link, a pipe, a device or a folder, or has more than `most` bytes.
    """
    mode = (path.stat() if follow else path.lstat()).st_mode
    if stat.S_ISLNK(mode):
        raise ValueError("it is a link, which is not followed: put the file itself there")
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError("it is no regular file")
    flags = os.O_RDONLY | GUARDED | (0 if follow else NO_LINK)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if most is not None and status.st_size > most:
            raise ValueError(f"it has more than {most:,} bytes")
        yield file


def named(path: Path) -> Path:
    """A path that a person named, behind a link to it: who names a link means what it leads to."""
    return path.resolve() if path.is_symlink() else path


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a file (`regular`) that has no business being large; of a larger one none is read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or has more than `most` bytes.
    """
    with regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it grew meanwhile, or is of those in /proc that say they have none
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path, most: int) -> Any:
    """What a JSON file (`regular`) of at most `most` bytes holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, larger, no JSON, or nested too deeply.
    """
    try:
        return json.loads(read_whole(path, most))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def exists(text: str) -> bool:
    """Whether a user's `text` is the path of something, `~` being his home; "" is none."""
    try:
        return text != "" and Path(text).expanduser().exists()
    except (RuntimeError, OSError, ValueError):  # `~nobody`, longer than a name can be, or a NUL
        return False


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read in chunks."""
    return _digest(path, hashlib.sha256())


def git_blob_id(path: Path) -> str:
    """The id git gives a file's bytes: SHA-1 over `blob <size>\\0` and the content, in hexadecimal."""
    return _digest(path, hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False))


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fsync(path: Path) -> None:
    """Have a file's bytes reach the disk, or a folder's entries, without which a rename in it would not last."""
    if not OPENS_FOLDERS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if OPENS_FOLDERS else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
