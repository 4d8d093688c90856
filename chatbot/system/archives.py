"""Zip archives of strangers, opened with as much memory as their number of members can need."""

import os
import zipfile
from typing import IO

from .errors import ChatbotError

END = 1 << 17  # bytes at the end of an archive in which its last record is looked for


class _Table:
    """The file of an archive, of which no single read may be large: the table of contents is read by one."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        # a descriptor of its own, which lasts as long as the archive does and all that reads its members
        self._descriptor, self.most = os.dup(file.fileno()), most
        self._file = os.fdopen(self._descriptor, "rb", closefd=False)
        self.seek, self.tell, self.seekable = self._file.seek, self._file.tell, self._file.seekable

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, size: int = -1) -> bytes:
        """Raises a ChatbotError where there is more than the table may have."""
        content = self._file.read(self.most + 1 if size < 0 else size) if size <= self.most else b""
        if max(size, len(content)) > self.most:
            raise ChatbotError(f"it has a table of contents of over {self.most:,} bytes")
        return content


def opened_zip(file: IO[bytes], most_table: int) -> zipfile.ZipFile:
    """A zip archive in an open file, which may be closed then, but not be read meanwhile.

    The table of contents takes some 30 times its size in memory. Which bytes are that table is for zipfile to say: an
    archive may have several records that name one, and whoever looked for himself might find another.

    Args:
        most_table: bytes of its table of contents.

    Raises:
        ChatbotError: the table is larger.
        OSError, ValueError, zipfile.BadZipFile, and whatever zipfile raises: it is damaged.
    """
    table = _Table(file, max(most_table, END))
    archive = zipfile.ZipFile(table)
    table.most = 1 << 62  # from here on members are read, in pieces
    return archive
