"""Files on disk that are either whole or not there: write beside, fsync, rename; and their digests."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import ChatbotError

CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success it is fsynced and renamed over `path`.

    If the block raises, the temporary file is removed and whatever stood at `path` is untouched.
    Text modes write UTF-8 with LF line ends.

    Raises:
        ChatbotError: the folder cannot be written to, or the disk is full.
    """
    text = "b" not in mode
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            encoding, newline = ("utf-8", "\n") if text else (None, None)
            os.close(descriptor)  # opened again by its name, so that the file knows it
            with Path(name).open(mode, encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())  # mkstemp makes files that only the owner can read
            Path(name).replace(path)
            _fsync_folder(path.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ChatbotError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; on success its files are fsynced and it takes the place of `path`.

    If the block raises, the temporary folder is removed and whatever stood at `path` is untouched.

    Raises:
        ChatbotError: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
            part.chmod(0o777 & ~_umask())
            if path.exists():  # a folder cannot be renamed over one that holds files
                shutil.rmtree(path)
            part.replace(path)
            _fsync_folder(path.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise ChatbotError(f"cannot write {path}: {error.strerror or error}") from error


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a file that has no business being large; of a larger or an endless one no more is read.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than `most` bytes.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    """Make a rename last: the folder's own entry must reach the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
