"""Dates and times as people's programs write them at the head of a line, in seconds."""

import datetime
import functools
import itertools
import re
from collections.abc import Iterable, Iterator

DAY = 86400.0
EPOCH = datetime.datetime(1970, 1, 1)
UNITS, LATEST = (1, 1e3, 1e6, 1e9), 1e11  # of a second, in which machines count; some thousand years
DATE = r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\.?|\d{4}[.년年] ?\d{1,2}[.월月] ?\d{1,2}[.일日])"
BEFORE_NOON, AFTER_NOON = (
    ("上午", "凌晨", "清晨", "早上", "오전", "午前", "ص"),
    ("下午", "中午", "晚上", "오후", "午後", "م"),
)
HALVES = "|".join((*BEFORE_NOON, *AFTER_NOON))
TIME = (
    rf"(?:(?:{HALVES})\s?)?\d{{1,2}}[:.]\d{{2}}(?:[:.]\d{{2}})?(?:[.,]\d{{1,6}})?"
    r"(?:\s?[AaPp]\.?\s?[Mm]\.?(?![A-Za-z])|\s[صم](?!\w))?"
)
WRITTEN = re.compile(rf"({DATE})(?:[,،]?[ T]\s?({TIME})Z?)?")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = rf"({'|'.join(MONTHS)})[a-z]{{0,6}}\.?"
IN_WORDS = re.compile(
    rf"(?:(\d{{1,2}})[ -]{MONTH}|{MONTH} (\d{{1,2}}),?)[ ,-]+(?:[\d:]+ (?:[+-]\d+ |UTC |GMT )?)?(\d{{4}}|\d\d)(?!\d|:)",
    re.I,
)
PARTS = re.compile(rf"\d+|[AaPp](?=\.?\s?[Mm])|{HALVES}")
DAY_FIRST, MONTH_FIRST, YEAR_FIRST = "day/month/year", "month/day/year", "year-month-day"


def order_of(dates: Iterable[str]) -> str:
    """In which order dates stand: what makes all of them possible, or else what makes them ascend."""
    parts = [tuple(int(part) for part in PARTS.findall(date) if part.isdecimal())[:3] for date in dates]
    parts = [part for part in parts if len(part) == 3]
    if any(part[0] > 31 for part in parts):
        return YEAR_FIRST
    if any(part[0] > 12 for part in parts):
        return DAY_FIRST
    if any(part[1] > 12 for part in parts):
        return MONTH_FIRST
    back = [sum(a > b for a, b in itertools.pairwise(keys)) for keys in _keys(parts)]
    return MONTH_FIRST if back[1] < back[0] else DAY_FIRST


def _keys(parts: list[tuple[int, ...]]) -> list[list[tuple[int, int, int]]]:
    return [[(y, m, d) for d, m, y in parts], [(y, m, d) for m, d, y in parts]]


@functools.lru_cache(maxsize=1 << 12)
def day(date: str, order: str) -> float | None:
    """Seconds since 1970 at midnight of a date; None if there is no such day."""
    parts = [int(part) for part in PARTS.findall(date) if part.isdecimal()]
    if len(parts) != 3:
        return None
    year, month, number = {
        DAY_FIRST: parts[::-1],
        MONTH_FIRST: [parts[2], *parts[:2]],
        YEAR_FIRST: parts,
    }[order]
    try:
        date_of = datetime.datetime(year + 2000 if year < 100 else year, month, number)
        return (date_of - EPOCH).total_seconds()
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(maxsize=1 << 12)
def clock(time: str) -> float | None:
    """Seconds since midnight of a time of 12 or 24 hours; None if there is no such time."""
    found = PARTS.findall(time)
    parts = [part for part in found if part.isdecimal()]
    half = next((part.lower() for part in found if not part.isdecimal()), "")
    if not parts:
        return None
    hour, minute, second = (int(part) for part in (*parts[:3], "0", "0")[:3])
    if half:
        hour = hour % 12 + 12 * (half == "p" or half in AFTER_NOON)
    return hour * 3600.0 + minute * 60 + second if hour < 24 and minute < 60 and second < 61 else None


class Clock:
    """Times of a log one after the other: one that is before the last, without a date, is of the next day."""

    def __init__(self) -> None:
        self.day = self._last = 0.0

    def moment(self, time: float, begins: float | None = None) -> float:
        """Seconds of a time of day, on the day that `begins` then, or else on the last one or the next."""
        if begins is not None:
            self.day = begins
        elif time < self._last:
            self.day += DAY
        self._last = time
        return self.day + time


def moment(value: object, order: str = DAY_FIRST) -> float | None:
    """Seconds of a time as records and tables have it; None for anything else.

    That is: seconds since 1970, or thousandths, millionths or billionths of them; ISO 8601; a date and a time as people
    write them, in numbers or with English months; Python's own.

    Args:
        order: of a date that people write (`order_of`).
    """
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if isinstance(value, str) and value.replace(".", "", 1).isdecimal() and len(value) < 24:
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return next((value / unit for unit in UNITS if 0 <= value < unit * LATEST), None)
    if not isinstance(value, str) or (found := iso(value)) is not None:
        return found if isinstance(value, str) else None
    text = " ".join(value[:60].split())
    if written := WRITTEN.fullmatch(text):
        begins, time = day(written[1], order), written[2]
    elif written := IN_WORDS.search(text):
        month = MONTHS.index((written[2] or written[3]).lower()) + 1
        clocks = re.search(TIME.replace("[:.]", ":"), text)
        begins, time = day(f"{written[5]}-{month}-{written[1] or written[4]}", YEAR_FIRST), clocks and clocks[0]
    else:
        return None
    at = clock(time) if time else 0.0
    return None if begins is None or at is None else begins + at


def dates_in(values: Iterable[object]) -> Iterator[str]:
    """The dates that people wrote among these values."""
    for value in values:
        if isinstance(value, str) and (written := WRITTEN.fullmatch(value.strip()[:60])):
            yield written[1]


def iso(text: object) -> float | None:
    """Seconds of an ISO 8601 time, or of one with a space for its T; None for anything else."""
    if not isinstance(text, str) or not text[:4].isdecimal():  # most writings of people, without an exception
        return None
    try:
        written = datetime.datetime.fromisoformat(text[:19].replace(" ", "T"))  # whatever the zone: pauses are asked
        return (written.replace(tzinfo=None) - EPOCH).total_seconds()
    except (ValueError, OverflowError):
        return None
