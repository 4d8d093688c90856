"""Delimited files: a prompt and a reply a row, or a message; between tabs, commas, semicolons or bars."""

import csv
import functools
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .columns import MOST_COLUMNS, Columns, asked, by_header, by_request, replies_by_id
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import dates_in, moment, order_of

MAX_ROW = 50  # lines that one row may run over, beside its first
SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
NAME = re.compile(r"[A-ZÀ-Þ][\w'’.-]{0,20}(?: [A-ZÀ-Þ][\w'’.-]{0,20}){0,2}(?<![.!?])")
EXCEL = re.compile(r'"?sep=.?"?')  # a first line that tells Excel the separator
COMMA = re.compile(r"_(comma|period|exclamation|question)_")  # EmpatheticDialogues
MARKS = {"comma": ",", "period": ".", "exclamation": "!", "question": "?"}


class Table(NamedTuple):
    """How a delimited file is laid out; `names` is its header, empty if it has none."""

    delimiter: str
    names: list[str]
    columns: Columns
    width: int


def looks_like(head: Head) -> bool:
    if head.begins_with("{", "[{", '["') or not head.lines:
        return False
    sure = head.file.base.endswith((".csv", ".tsv", ".tab"))
    if _table(_without_excels(head.lines), sure, asked(head.columns), head.file.name, recognising=True):
        return True
    tabs, count = Counter(line.count("\t") for line in head.lines).most_common(1)[0]
    if tabs >= 2 and count * 2 > len(head.lines):
        raise ChatbotError(
            f"{head.file.name}:1: {tabs + 1} columns and no header that names the prompt's and the reply's: give "
            "--columns prompt=2,reply=3 (from 1), or keep two columns (if it is a chat log, --format log)"
        )
    return False


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the prompt and the reply of every row, from the columns that `--columns` or the header names, or else the
    first two; or the conversations of a table of messages.

    Raises:
        ChatbotError: the file does not look like such a table, or has no such column.
    """
    table = _table(
        _without_excels(Head.of(file).lines),
        True,
        asked(reading.config.columns),
        file.name,
        "+" in reading.config.corpus,
    )
    if table is None:
        raise ChatbotError(
            f"{file.name} has no two columns separated by tab, comma, semicolon or bar, and no header that names the "
            "prompt's and the reply's: give --columns prompt=2,reply=3 (from 1, or by name)"
        )
    layout = f"{table.columns.told(table.names)}; between {SEPARATORS[table.delimiter]}"
    if not table.columns.are_pairs:
        time = table.columns.time
        times = [row[time] for _, row in itertools.islice(_whole_rows(file, table, Reading()), 200) if time is not None]
        messages = functools.partial(_messages, file, table, order_of(dates_in(times)))
        speakers = functools.partial(_speakers, file, table)
        yield from conversations(messages, reading, layout, is_export=time is not None, speakers=speakers)
        return
    reading.layouts[layout] += 1
    prompt, reply, further = table.columns.prompt, table.columns.reply, table.columns.further
    for _, row in _whole_rows(file, table, reading):
        said = row[prompt] if further is None else f"{row[prompt]}\n{row[further]}".strip()  # type: ignore[index]
        yield Dialogue("", "", [said, row[reply]])  # type: ignore[index]


def _without_excels(lines: list[str]) -> list[str]:
    return lines[1:] if lines and EXCEL.fullmatch(lines[0]) else lines


def _speakers(file: InputFile, table: Table) -> Iterator[str]:
    """Who writes, also what has no text; told more quickly than by `_messages`."""
    speaker = table.columns.speaker
    for _, row in _whole_rows(file, table, Reading()) if speaker is not None else ():
        yield _name(row[speaker])  # type: ignore[index]


def _name(cell: str) -> str:
    return cell.strip()[:80]


def _messages(file: InputFile, table: Table, order: str, reading: Reading) -> Iterator[Message]:
    text, speaker, conversation, time = table.columns[2:6]
    for _, row in _whole_rows(file, table, reading):
        said = " ".join(row[text].split())  # type: ignore[index]
        if "_" in said:
            said = COMMA.sub(lambda found: MARKS[found[1]], said)
        name = _name(row[speaker]) if speaker is not None else ""
        talk = row[conversation] if conversation is not None else ""
        if said:
            yield Message(name, said, None if time is None else moment(row[time], order), talk)
        else:
            reading.left_out["messages without text"] += 1


def _whole_rows(file: InputFile, table: Table, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header that have all columns."""
    rows = _rows(file, table, reading)
    if table.names:
        next(rows, None)
    for number, row in rows:
        if len(row) == table.width:
            yield number, row
        else:
            reading.damaged(file.name, number, f"not {table.width} columns", f" but {len(row)}")


def _table(
    lines: list[str],
    sure: bool,
    wanted: dict[str, str] | None = None,
    where: str = "",
    lenient: bool = False,
    recognising: bool = False,
) -> Table | None:
    """Guess the layout of a delimited file from its first lines; None if it does not look like one.

    Prose has commas too: without a header they count only if the file's name or the user says so (`sure`).

    Args:
        wanted: what `--columns` asks for.
        lenient: that may be of another corpus of a mixture.
        recognising: only whether it is a table matters.

    Raises:
        ChatbotError: rows reply to each other by ids, or there is no such column.
    """
    for delimiter in SEPARATORS if lines else ():
        rows = [_fields([line], delimiter) or [] for line in lines]
        width, often = Counter(map(len, rows)).most_common(1)[0]
        fits = often * 5 >= len(rows) * 4
        has_width = sum(len(row) == len(rows[0]) for row in rows) * 5 >= 4 * len(rows)
        named = by_header(rows[0], loosely=sure or has_width) if len(rows[0]) > 1 else None
        if wanted and width > 1 and (fits or sure):
            # by numbers, and with no usual name in the first row, that one is a row like the others
            is_header = named or len(rows[0]) > MOST_COLUMNS or not all(map(str.isdigit, wanted.values()))
            header = rows[0] if is_header else []
            names = header or [str(number) for number in range(1, width + 1)]
            try:
                return Table(delimiter, header, by_request(wanted, names, where), len(names))
            except ChatbotError:
                if recognising:
                    return Table(delimiter, header, Columns(), len(names))  # `read` will say what is wrong
                if not lenient or not (named or width == 2):
                    raise
        if named and not named.are_pairs and replies_by_id(rows[0]):
            raise ChatbotError(
                f"{where or 'the table'}: its rows reply to each other by ids, in any order: write them as pairs, or "
                "name the columns that are learnt as they stand (--columns)"
            )
        if named:
            return Table(delimiter, rows[0], named, len(rows[0]))
        if width == 2 and fits and (sure or delimiter == "\t") and _are_texts(rows):
            if recognising and _are_names([row[0] for row in rows if len(row) == 2]):
                raise ChatbotError(
                    f"{where}:1: the same few names stand in the first column ({rows[0][0].strip()[:40]!r}): give "
                    "--columns text=2,speaker=1 if they are who speaks, or --columns prompt=1,reply=2"
                )
            return Table(delimiter, [], Columns(0, 1), 2)
    return None


def _are_texts(rows: list[list[str]]) -> bool:
    """Whether neither column has words at its head and numbers alone below, as labels and scores have."""
    (first, *others) = [row for row in rows if len(row) == 2] or [["", ""]]
    counted = [row[0].strip() for row in others]
    are_numbers = all(cell.isdecimal() and len(cell) < 19 for cell in counted)
    if len(counted) > 2 and are_numbers and [*map(int, counted)] == sorted({*map(int, counted)}):
        return False  # a counter and a text
    numbers = [all(not any(map(str.isalpha, row[side])) for row in others) for side in (0, 1)]
    return not (others and any(numbers) and all(any(map(str.isalpha, cell)) for cell in first))


def _are_names(cells: list[str]) -> bool:
    """Whether they are a few names that come in turn, rather than what is said."""
    names = {cell.strip() for cell in cells}
    few = len(cells) > 3 and 1 < len(names) <= min(len(cells) // 2, 20)
    in_turn = sum(map(str.__ne__, cells, cells[1:])) * 2 > len(cells)
    return few and in_turn and all(NAME.fullmatch(name) for name in names)


def _rows(file: InputFile, table: Table, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the numbers of their first lines. A quoted field may run over MAX_ROW more lines.

    In tab-separated files a quote is often just a quote: if two neighbouring lines both have the right number of
    tabs, they are two rows, even if a quote is open between them.
    """
    delimiter, tabs = table.delimiter, table.width - 1
    lines = reading.lines(file)
    ahead = deque(itertools.islice(lines, MAX_ROW))
    marks = ""  # of the next lines, one each, as far as they were looked at: each is once, however many quotes are open
    while ahead:
        number, line = ahead.popleft()
        marks = marks[1:]
        if (following := next(lines, None)) is not None:
            ahead.append(following)
        if line == "\0" or not line.strip() or (number == 1 and EXCEL.fullmatch(line)):
            continue
        row = line.split(delimiter)
        if '"' in line:
            quoted = _fields([line], delimiter)
            if quoted is None:
                while len(marks) < len(ahead):
                    marks += _mark(ahead[len(marks)][1], delimiter, tabs)
                is_whole = delimiter == "\t" and line.count("\t") == tabs
                ends = marks if is_whole else marks.lower()
                more = len(ends) - len(ends.lstrip("o"))  # through which the quote stays open
                if ends[more : more + 1] == "c":
                    joined = [line, *(other for _, other in itertools.islice(ahead, more + 1))]
                    if quoted := _fields(joined, delimiter):
                        marks = marks[more + 1 :]
                        for _ in joined[1:]:
                            ahead.popleft()
                        ahead.extend(itertools.islice(lines, more + 1))
            row = quoted or row  # a quote that is never closed properly is an ordinary character
        yield number, row


def _mark(line: str, delimiter: str, tabs: int) -> str:
    """Whether a quote that is open where a line begins is open (o), closed (c) or misplaced (x) where it ends.

    A capital says that the line has all its tabs, and so may be a row of its own; x is a damaged line, too.
    """
    if line == "\0":
        return "x"
    mark = "o"
    if '"' in line:
        mark = _state(f'"{line}', delimiter)
    return mark.upper() if delimiter == "\t" and line.count("\t") == tabs else mark


@functools.cache
def _pattern(delimiter: str) -> re.Pattern[str]:
    """A line whose quotes are all closed (the group is there), or whose last is open, as `csv` reads them strictly."""
    inside, other = r'[^"]*(?:""[^"]*)*', re.escape(delimiter)
    field = rf'(?:"{inside}"|[^"{other}][^{other}]*|)'
    return re.compile(rf'(?:{field}{other})*(?:{field}()|"{inside})')


def _state(line: str, delimiter: str) -> str:
    """Whether all quotes of a line are closed (c), the last is open (o), or one is misplaced (x)."""
    if len(line) < csv.field_size_limit() and "\r" not in line:  # ten times as fast as an exception of `csv`
        found = _pattern(delimiter).fullmatch(line)
        return "x" if found is None else "o" if found.lastindex is None else "c"
    try:
        next(csv.reader((line + "\n",), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "o" if "unexpected end" in str(error) else "x"
    return "c"


def _fields(lines: list[str], delimiter: str) -> list[str] | None:
    """Split a row into fields; None if a quote is open at its end, an empty list if several lines are no single row."""
    if len(lines) == 1 and '"' in lines[0] and _state(lines[0], delimiter) == "o":
        return None
    try:
        return next(csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
    if len(lines) > 1:
        return []
    try:
        return next(csv.reader([lines[0] + "\n"], delimiter=delimiter), [])  # a stray quote in a field: leave it there
    except csv.Error:
        return lines[0].split(delimiter)
