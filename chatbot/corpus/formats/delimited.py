"""Delimited files: a prompt and a reply a row, separated by tab, comma, semicolon or bar, quoted or not."""

import csv
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head

PROMPT_KEYS = ("prompt", "question", "input", "query", "text", "message", "context", "source", "q", "utterance")
REPLY_KEYS = ("reply", "answer", "output", "response", "target", "completion", "a")
MAX_ROW = 50  # lines that one row may run over


class Table(NamedTuple):
    """How a delimited file is laid out."""

    delimiter: str
    header: bool
    prompt: int
    reply: int
    columns: int


def looks_like(head: Head) -> bool:
    if head.begins_with("{") or not head.lines:
        return False
    if _table(head.lines, sure=head.file.base.endswith((".csv", ".tsv", ".tab"))):
        return True
    tabs, count = Counter(line.count("\t") for line in head.lines).most_common(1)[0]
    if tabs >= 2 and count * 2 > len(head.lines):
        raise ChatbotError(
            f"{head.file.name}:1: {tabs + 1} columns and no header: put a header line that names the prompt's and the "
            "reply's column, or keep two columns (if it is a chat log, give --format log)"
        )
    return False


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the prompt and the reply of every row, from the columns that the header names, or else the first two.

    Raises:
        ChatbotError: the file does not look like two columns.
    """
    table = _table(Head.of(file).lines, sure=True)
    if table is None:
        raise ChatbotError(f"{file.name} has no two columns separated by tab, comma, semicolon or bar")
    rows = _rows(file, table, reading)
    separator = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}[table.delimiter]
    columns = f"columns {table.prompt + 1} and {table.reply + 1} of {table.columns}"
    reading.layouts[f"{columns}, between {separator}"] += 1
    if table.header:
        next(rows, None)
    for number, row in rows:
        if len(row) == table.columns:
            yield Dialogue("", "", [row[table.prompt], row[table.reply]])
        else:
            reading.damaged(file.name, number, f"not {table.columns} columns", f" but {len(row)}")


def _table(lines: list[str], sure: bool) -> Table | None:
    """Guess the layout of a delimited file from its first lines; None if it does not look like one.

    Prose has commas too: without a header they count only if the file's name or the user says so (`sure`).
    """
    if not lines:
        return None
    for delimiter in "\t,;|":
        rows = [_fields([line], delimiter) or [] for line in lines]
        names = [name.strip().lower() for name in rows[0]]
        prompts = [names.index(key) for key in PROMPT_KEYS if key in names]
        replies = [names.index(key) for key in REPLY_KEYS if key in names]
        if prompts and replies:
            return Table(delimiter, True, prompts[0], replies[0], len(names))
        columns, count = Counter(map(len, rows)).most_common(1)[0]
        if columns == 2 and count * 5 >= len(rows) * 4 and (sure or delimiter == "\t"):
            return Table(delimiter, False, 0, 1, 2)
    return None


def _rows(file: InputFile, table: Table, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the numbers of their first lines. A quoted field may run over up to MAX_ROW lines.

    In tab-separated files a quote is often just a quote: if two neighbouring lines both have the right number of
    tabs, they are two rows, even if a quote is open between them.
    """
    delimiter, tabs = table.delimiter, table.columns - 1
    lines = reading.lines(file)
    ahead = deque(itertools.islice(lines, MAX_ROW))
    while ahead:
        number, line = ahead.popleft()
        ahead.extend(itertools.islice(lines, MAX_ROW - len(ahead)))
        if line == "\0" or not line.strip():
            continue
        row = line.split(delimiter)
        if '"' in line:
            joined, quoted = [line], _fields([line], delimiter)
            for _, more in itertools.islice(ahead, MAX_ROW - 1):
                if quoted is not None or more == "\0":
                    break
                if delimiter == "\t" and line.count("\t") == more.count("\t") == tabs:
                    break
                joined.append(more)
                quoted = _fields(joined, delimiter)
            if quoted:  # otherwise the quote is never closed properly, so it is an ordinary character
                row = quoted
                for _ in joined[1:]:
                    ahead.popleft()
        yield number, row


def _fields(lines: list[str], delimiter: str) -> list[str] | None:
    """Split a row into fields; None if a quote is open at its end, an empty list if several lines are no single row."""
    text = [line + "\n" for line in lines]
    try:
        return next(csv.reader(text, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
    if len(lines) > 1:
        return []
    try:
        return next(csv.reader(text, delimiter=delimiter), [])  # a stray quote inside a field: leave it there
    except csv.Error:
        return lines[0].split(delimiter)
