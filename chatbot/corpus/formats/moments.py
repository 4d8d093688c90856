"""Dates and times as people's programs write them at the head of a line, in seconds."""

import datetime
import functools
import itertools
import re
from collections.abc import Iterable

DAY = 86400.0
DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\.?"
TIME = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[.,]\d{1,6})?(?:\s?[AaPp]\.?\s?[Mm]\.?(?![A-Za-z]))?"
PARTS = re.compile(r"\d+|[AaPp](?=\.?\s?[Mm])")
DAY_FIRST, MONTH_FIRST, YEAR_FIRST = "day/month/year", "month/day/year", "year-month-day"


def order_of(dates: Iterable[str]) -> str:
    """In which order dates stand: what makes all of them possible, or else what makes them ascend."""
    parts = [tuple(map(int, PARTS.findall(date)))[:3] for date in dates]
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
    """Seconds at midnight of a date; None if there is no such day."""
    parts = [int(part) for part in PARTS.findall(date)]
    if len(parts) != 3:
        return None
    year, month, number = {
        DAY_FIRST: parts[::-1],
        MONTH_FIRST: [parts[2], *parts[:2]],
        YEAR_FIRST: parts,
    }[order]
    try:
        return datetime.date(year + 2000 if year < 100 else year, month, number).toordinal() * DAY
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(maxsize=1 << 12)
def clock(time: str) -> float | None:
    """Seconds since midnight of a time of 12 or 24 hours; None if there is no such time."""
    parts = PARTS.findall(time)
    if not parts:
        return None
    half = parts.pop().lower() if parts and parts[-1].isalpha() else ""
    hour, minute, second = (int(part) for part in (*parts[:3], "0", "0")[:3])
    if half:
        hour = hour % 12 + 12 * (half == "p")
    return hour * 3600.0 + minute * 60 + second if hour < 24 and minute < 60 and second < 61 else None


def moment(value: object) -> float | None:
    """Seconds of a time as JSON has it: seconds or milliseconds since 1970, or ISO 8601; None for anything else."""
    if isinstance(value, str) and value.replace(".", "", 1).isdecimal() and len(value) < 20:
        value = float(value)
    if isinstance(value, int | float) and 0 <= value < 1e17:
        return value / 1000 if value > 1e11 else float(value)
    return iso(value)


def iso(text: object) -> float | None:
    """Seconds of an ISO 8601 time, or of one with a space for its T; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.datetime.fromisoformat(text[:19].replace(" ", "T")).timestamp()
    except (ValueError, OverflowError):
        return None
