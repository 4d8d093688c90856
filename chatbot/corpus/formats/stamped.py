"""Chats with a time and a name at the head of each message: `[12:30] Ann: Hi`, `2024-01-31 12:30:05 Ann: Hi`.

So are what WhatsApp on the web copies (`[12:30, 31/01/2024] Ann: Hi`), Viber's and KakaoTalk's exports from phones.
"""

import functools
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import DATE, TIME, Clock, clock, day, order_of

TITLE = 4  # lines that may stand above the first message
LONGEST = 65_536  # characters of a message; what goes on longer is something else
STAMP = re.compile(
    rf"\s*[\[(]?(?:\s?(?P<date>{DATE})\s?[\])]?[ T,]+)?(?P<time>{TIME})Z?(?:, (?P<after>{DATE}))?"
    r"[\])]?,?\s*[-–|]?\s*"
)
NAMED = re.compile(
    r"(?:From )?([^\s:\[\]()<>][^:\[\]()<>\"]{0,59}?)"
    r"(?:\s?\((?:private|direct message)\)| to everyone| to [^:()]{1,60}\((?:private|direct message)\))?\s?:\s+(\S.*)",
    re.IGNORECASE,
)


def looks_like(head: Head) -> bool:
    """Half of the lines or more begin with a time and a name, one of the first among them."""
    found = [_parts(line) for line in head.lines]
    return any(found[: TITLE + 1]) and sum(map(bool, found)) * 2 >= len(found) >= 2


def _parts(line: str) -> tuple[str, str, str, str] | None:
    """Date ("" if there is none), time, name and text of a line; None if one of the last three is missing."""
    stamp = STAMP.match(line)
    named = stamp and NAMED.match(line, stamp.end())
    return (stamp["date"] or stamp["after"] or "", stamp["time"], named[1], named[2]) if stamp and named else None


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; a line without a time goes on with the message before, one without a name goes."""
    dates = [parts[0] for line in Head.of(file).lines if (parts := _parts(line)) and parts[0]]
    layout = "times and names" + f" ({order_of(dates)})" * bool(dates)
    yield from conversations(functools.partial(_messages, file, order_of(dates)), reading, layout)


def _messages(file: InputFile, order: str, reading: Reading) -> Iterator[Message]:
    message: Message | None = None
    times = Clock()
    begun = False
    for number, line in reading.lines(file):
        if line == "\0":
            if message:
                yield message
            message = None
            yield Message("", None)
        elif parts := _parts(line):
            if message:
                yield message
            date, time, name, text = parts
            at = clock(time)
            if at is not None:
                at = times.moment(at, day(date, order) or times.day if date else None)
            message, begun = Message(name, text.strip(), at), True
        elif STAMP.match(line):
            if message:
                yield message
            message = None
            reading.left_out["lines without a name"] += 1
        elif message and len(message.text or "") < LONGEST:
            message = message._replace(text=f"{message.text} {line.strip()}".strip())
        elif not begun and number <= TITLE:
            reading.left_out["lines above the first message"] += bool(line.strip())
        elif line.strip() and (message or not begun):
            reading.damaged(file.name, number, "no time and name, and no message that it goes on with")
    if message:
        yield message
