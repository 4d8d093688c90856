"""Parquet, as data sets on the web have it: a record a row, or a message a row, by the names of the columns."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

from ...system.errors import ChatbotError, first_line
from ..inputs import MAX_RATIO, SMALL_MEMBER, InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .jsonl import Talk, are_messages, message
from .messages import Message, conversations
from .records import NO_TEXT, records_in

ROWS = 256  # read at once
ROW = 8  # bytes that a row counts at the least


def looks_like(head: Head) -> bool:
    return head.text.startswith("PAR1")


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the dialogues of every row, or the conversations of a table of messages.

    Raises:
        ChatbotError: pyarrow is not installed, or the file is damaged.
    """
    head = [row for _, row in itertools.islice(_rows(file, Reading()), 20)]
    if are_messages(head, Reading(config=reading.config)):
        talk = Talk.of(head, file.name)
        messages = functools.partial(_messages, file, talk)
        yield from conversations(messages, reading, "Parquet, a message a row", talk.is_export, talk.answerers)
        return
    reading.layouts["Parquet, a record a row"] += 1
    for number, row in _rows(file, reading):
        for found in records_in(row, reading):
            if found is None:
                reading.damaged(file.name, number, NO_TEXT)
            yield from found or ()


def _messages(file: InputFile, talk: Talk, reading: Reading) -> Iterator[Message]:
    for number, row in _rows(file, reading):
        yield message(row, file.name, number, talk, reading)


def _rows(file: InputFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ChatbotError(f"{file.name} is Parquet, which needs pyarrow: pip install -e '.[parquet]'") from error
    number, unfolded, most = 0, 0, max(SMALL_MEMBER, MAX_RATIO * file.size)
    try:
        with file.open() as stream:
            for batch in parquet.ParquetFile(stream).iter_batches(ROWS, use_threads=False):
                unfolded += max(batch.nbytes, ROW * len(batch))  # what is alike in all rows is written once
                if unfolded > most:
                    raise ChatbotError(f"{file.name} unpacks to far more than its size: refused as an archive bomb")
                rows = _table(batch).to_pylist()
                reading.records += len(rows)
                yield from enumerate(rows, number + 1)
                number += len(rows)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise ChatbotError(
            f"{file.name} is damaged behind row {number:,} ({first_line(error)}): get it again"
        ) from error
    reading.advance(file.size)


def _table(batch: Any) -> Any:
    """The rows with times in millionths of a second, for Python's own know none that are finer."""
    import pyarrow

    table = pyarrow.Table.from_batches([batch])
    for place, field in enumerate(table.schema):
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            column = table.column(place).cast(pyarrow.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(place, field.name, column)
    return table
