"""Logs of IRC and its like: `[12:30] <ann> Hi`, with or without a date, or a time alone; weechat's with tabs.

Who joins, leaves or acts (`* ann waves`) is left out. Where a nickname stands before what is said to it, it is cut off.
"""

import functools
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import YEAR_FIRST, Clock, clock, day

STAMP = (
    r"(?:[\[(]?(?:(?P<date>\d{4}-\d\d-\d\d)[ T]|[A-Z][a-z]{2} \d{1,2} )?(?P<time>\d{1,2}:\d{2}(?::\d{2})?)[\])]?\s+)"
)
SAID = re.compile(STAMP + r"?<[~&@%+! ]?(?P<nick>[^<>\s]{1,40})>\s(?P<text>.*)")
WEECHAT = re.compile(STAMP + r"[~&@%+]?(?P<nick>[^\s<>*=-][^\s]{0,39})\t(?P<text>.*)")
OTHER = re.compile(STAMP + r"?(?:Session (?:Start|Ident|Close|Time):|\*+|-!-|={2,3}|-{2,3}>?|<--?|<->|-\S+-)(?:\s.*|$)")
CODES = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")  # colours and bold
TO = re.compile(r"([^\s:,]{1,40})[:,]\s+")


def looks_like(head: Head) -> bool:
    """Most lines are someone's, or of the program's own; some are someone's."""
    said = sum(_said(line) is not None for line in head.lines)
    other = sum(OTHER.match(line) is not None for line in head.lines)
    return said >= 2 and (said + other) * 5 >= len(head.lines) * 4


def _said(line: str) -> re.Match[str] | None:
    return SAID.match(line) or WEECHAT.match(line)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; a channel where several talk at once is one stream, as it was seen."""
    yield from conversations(functools.partial(_messages, file), reading, "IRC log")


def _messages(file: InputFile, reading: Reading) -> Iterator[Message]:
    nicks: set[str] = set()
    times = Clock()
    for number, line in reading.lines(file):
        if line == "\0":
            yield Message("", None)
        elif found := _said(line):
            at = clock(found["time"] or "")
            if at is not None:
                at = times.moment(at, day(found["date"], YEAR_FIRST) or times.day if found["date"] else None)
            nick, text = found["nick"], CODES.sub("", found["text"]).strip()
            if len(nicks) < 10_000:
                nicks.add(nick)
            if (to := TO.match(text)) and to[1] in nicks:
                reading.left_out["nicknames before what is said to them"] += 1
                text = text[to.end() :]
            if text:
                yield Message(nick, text, at)
        elif OTHER.match(line):
            reading.left_out["lines of the program's own"] += 1
        elif line.strip():
            reading.damaged(file.name, number, "neither someone's words nor a line of the program's own")
