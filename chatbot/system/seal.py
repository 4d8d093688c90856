"""Checksums by which a bit that rotted is noticed: of whole files, and of JSON that carries its own.

CRC-32 finds each burst of up to 32 bits, and reads faster than most disks. It is no defence against a person.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import CHUNK, read_json, regular

SEAL = "crc32"  # the key, in JSON


def crc32(path: Path, advance: Callable[[int], Any] = lambda read: None) -> str:
    """The CRC-32 of a regular file's bytes, in hexadecimal; `advance` is told how many were read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file.
    """
    checksum = 0
    with regular(path) as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
            advance(len(chunk))
    return f"{checksum:08x}"


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data as JSON keeps them, with their checksum under SEAL."""
    plain = json.loads(json.dumps(data))
    return plain | {SEAL: _checksum(plain)}


def unsealed(data: Any) -> Any:
    """What `sealed` was given. Data without a checksum, as older versions wrote them, are taken as they are.

    Raises:
        ValueError: the checksum is of other data.
    """
    if not isinstance(data, dict) or SEAL not in data:
        return data
    plain = {key: value for key, value in data.items() if key != SEAL}
    if data[SEAL] != _checksum(plain):
        raise ValueError("it is damaged (its checksum differs)")
    return plain


def read_sealed(path: Path, most: int) -> Any:
    """The JSON value of a file that holds what `sealed` gave.

    Raises:
        OSError: it cannot be read.
        ValueError: as `read_json` and `unsealed`.
    """
    return unsealed(read_json(path, most))


def _checksum(plain: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"
