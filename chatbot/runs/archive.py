"""A file that torch.save wrote -> plain data and tensors. No other file of the program calls torch.load.

torch is never handed a stranger's archive: two readers of zip may find different members in the same bytes. It gets one
that is made here, of members whose checksums are right and whose pickle was looked through (`pickled`).
"""

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from ..system.archives import opened_zip
from ..system.errors import ChatbotError
from ..system.files import named, regular
from .pickled import Storage, scan

MAX_PICKLE = 32 << 20  # bytes of the pickle: all but the tensors' numbers
MAX_TABLE = 1 << 20  # bytes of an archive's table of contents: some ten thousand tensors
MAX_CODE = 64 << 20  # bytes that the compressed members of a bundle, its code, may unfold to
ZIP, TAR = b"PK\x03\x04", b"ustar"
# besides `data/0` and so on; the last three say nothing that is needed here
MEMBERS = {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}


def plain_data(path: Path) -> Any:
    """What torch.save wrote, on the CPU. Nothing in the file is run; files of torch before 1.6 are no archives.

    Raises:
        OSError: it cannot be read.
        ChatbotError: it is a program (TorchScript), something else, damaged, or holds more than plain data and tensors.
    """
    try:
        with regular(named(path)) as file:
            start = file.read(512)
            file.seek(0)
            if start[257:262] == TAR:
                raise ChatbotError("it is a tar archive, which the tutorial's file is by its name only")
            whole = _remade(file) if start.startswith(ZIP) else _scanned(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an old file torch says this and that
                return torch.load(whole, map_location="cpu", weights_only=True)
    except (ChatbotError, OSError):
        raise
    except MemoryError as error:
        raise ChatbotError("there is too little memory for it") from error
    except Exception as error:  # a damaged file makes the readers fail in every way there is
        if type(error) is ValueError and not path.is_file():
            raise ChatbotError(str(error)) from error  # of `regular`
        raise ChatbotError("it is damaged, or torch.save did not write it") from error


def _remade(file: IO[bytes]) -> IO[bytes]:
    """An archive of the members of another one, each of which was found whole and is what torch.save writes."""
    with opened_zip(file, MAX_TABLE) as archive:
        if is_torchscript(archive):
            raise ChatbotError("it is a TorchScript file, which is a program: none is opened as a checkpoint")
        members = _checked(archive, file, compressed=False)
        names = [member.filename.partition("/")[2] for member in members]
        if len({*names}) < len(names) or not all(map(_is_known, names)) or "data.pkl" not in names:
            raise ChatbotError("it holds something else than torch.save writes")
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as whole:
            for name, member in zip(names, members, strict=True):
                content = archive.read(member)  # whose checksum zipfile compares
                if name == "data.pkl":
                    _check_sizes(_scanned_pickle(content), dict(zip(names, members, strict=True)))
                elif name == "byteorder" and content not in (b"little", b"big"):
                    raise ChatbotError("its byte order is none")
                if not name.startswith(".") and name != "version":
                    whole.writestr(f"archive/{name}", content)
            whole.writestr("archive/version", b"3\n")
    made.seek(0)
    return made


def _is_known(name: str) -> bool:
    number = name.removeprefix("data/")
    return name in MEMBERS or (number != name and number.isascii() and number.isdigit())


def _scanned_pickle(content: bytes) -> list[Storage]:
    if len(content) > MAX_PICKLE:
        raise ChatbotError(f"its pickle has more than {MAX_PICKLE:,} bytes")
    pickle = io.BytesIO(content)
    storages = scan(pickle)
    if pickle.read(1):
        raise ChatbotError("its pickle goes on behind its end")
    return storages


def _check_sizes(storages: list[Storage], members: dict[str, zipfile.ZipInfo]) -> None:
    """torch takes as many numbers as the pickle says, whatever there is."""
    for storage in storages:
        member = members.get(f"data/{storage.key}")
        if member is None or member.file_size != storage.numbers * storage.item:
            raise ChatbotError("it has a tensor of which the numbers are not there")


def _scanned(file: IO[bytes]) -> IO[bytes]:
    """A file of torch before 1.6: five pickles, and the numbers behind them."""
    bounded = io.BytesIO(file.read(MAX_PICKLE))
    storages = [storage for _ in range(5) for storage in scan(bounded)]
    behind = file.seek(0, io.SEEK_END) - bounded.tell()
    sizes = {storage.key: storage.numbers * storage.item + 8 for storage in storages}
    if sum(sizes.values()) > behind or len({*storages}) > len(sizes):
        raise ChatbotError("it has a tensor of which the numbers are not there")
    file.seek(0)
    return file


def check_bundle_archive(path: Path) -> None:
    """Every byte of a bundle against the archive's own checksums; its code, and that alone, may be compressed.

    Raises:
        ChatbotError: members are larger than there is, compressed in a rare way, or damaged. (The archive's reader
            raises whatever it likes.)
    """
    with regular(named(path)) as file, opened_zip(file, MAX_TABLE) as archive:
        _checked(archive, file, compressed=True)
        if damaged := archive.testzip():
            raise ChatbotError(f"it is damaged at {damaged!r}")


def _checked(archive: zipfile.ZipFile, file: IO[bytes], *, compressed: bool) -> list[zipfile.ZipInfo]:
    """The members, none of which unfolds to more than there is."""
    members = archive.infolist()
    allowed = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} if compressed else {zipfile.ZIP_STORED}
    if not {member.compress_type for member in members} <= allowed:
        raise ChatbotError("it has compressed members, as no checkpoint has")
    for way, most in ((zipfile.ZIP_STORED, os.fstat(file.fileno()).st_size), (zipfile.ZIP_DEFLATED, MAX_CODE)):
        if sum(member.file_size for member in members if member.compress_type == way) > most:
            raise ChatbotError("it would unfold to far more than its size")
    return members


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """By its table of contents; nothing of it is run."""
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def is_bundle(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with regular(named(path)) as file, opened_zip(file, MAX_TABLE) as archive:
            return is_torchscript(archive)
    except Exception:  # whoever opens it as something else will say what is wrong
        return False
