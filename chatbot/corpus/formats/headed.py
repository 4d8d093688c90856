"""Messages under a line with a time and a name, as DiscordChatExporter's text and what is copied from chats have them.

`[5/12/2023 9:04 PM] ann` (Discord, Teams), `Ann, [12.05.2023 21:04]` (Telegram), `2023-05-12 21:04:00 Ann` (QQ),
`21:04:00 From Ann to Everyone:` (Zoom), `Ann  9:04 PM` (Slack), and a time and a name on two lines (iMessage).
"""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import DATE, TIME, Clock, clock, dates_in, moment, order_of

LONGEST = 65_536  # characters of a message; what goes on longer is something else
NAME = r"(?P<name>[^:\[\]<>]{1,60}?)"
HEADS = [
    re.compile(rf"\[(?P<when>[^\[\]]{{6,40}})\] {NAME}(?: \(pinned\))?\s*"),
    re.compile(rf"{NAME}, \[(?P<when>[^\[\]]{{6,40}})\]\s*"),
    re.compile(rf"(?P<when>{DATE}[ ,]+{TIME}) {NAME}\s*"),
    re.compile(rf"(?P<when>\d\d:\d\d:\d\d)\s+From\s+{NAME}\s+to\s+[^:]{{1,80}}:\s*"),
    re.compile(r"(?P<when>[A-Z][a-z]{2} \d{1,2}, \d{4}\s+\d{1,2}:\d\d:\d\d [AP]M)(?: \(.*\))?(?P<name>)\s*"),
    re.compile(rf"{NAME}\s{{2,}}(?P<when>{TIME})\s*"),
]
NO_WORDS = re.compile(r"\{(?:Attachments|Embed|Reactions|Stickers)\}|\[In reply to .{1,60}\]|\[?(?:Photo|Sticker)\]?")
RULE = re.compile(r"={5,}")


class _Begun(NamedTuple):
    when: str
    name: str  # "" if it stands on the next line


def _head(line: str) -> _Begun | None:
    """When and by whom the message below this line was written; None if it is no such line."""
    for pattern in HEADS if len(line) < 200 and any(map(str.isdigit, line)) else ():
        if (found := pattern.fullmatch(line)) and (":" in found["when"] or "." in found["when"]):
            when = found["when"].strip()
            if moment(when) is not None or moment(when, "month/day/year") is not None or clock_alone(when):
                return _Begun(when, found["name"].strip())
    return None


def clock_alone(when: str) -> bool:
    """Whether it is a time without a date."""
    return re.fullmatch(TIME, when) is not None and clock(when) is not None


def looks_like(head: Head) -> bool:
    """Two lines or more head messages, with words under them and not more than a few dozen lines between."""
    places = [place for place, line in enumerate(head.lines) if _head(line)]
    apart = [after - before for before, after in itertools.pairwise([*places, len(head.lines)])]
    said = sum(lines > 1 for lines in apart)
    return len(places) >= 2 and said * 3 >= 2 * len(places) and len(places) * 40 >= len(head.lines)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations; what stands above the first message, attachments and reactions are left out."""
    whens = [begun.when for line in Head.of(file).lines if (begun := _head(line))]
    dates = list(dates_in(whens))
    layout = "a line with time and name above each message" + f" ({order_of(dates)})" * bool(dates)
    yield from conversations(functools.partial(_messages, file, order_of(dates)), reading, layout)


def _messages(file: InputFile, order: str, reading: Reading) -> Iterator[Message]:
    message: Message | None = None
    ended = False  # nothing more of this message is anyone's words
    times = Clock()
    for number, line in reading.lines(file):
        if line == "\0":
            if message:
                yield message
            message = None
            yield Message("", None)
        elif begun := _head(line):
            if message:
                yield message
            at = moment(begun.when, order)
            if at is None and (time := clock(begun.when)) is not None:
                at = times.moment(time)
            message, ended = Message(begun.name, "", at), False
        elif RULE.match(line) or (message is None and line.strip()):
            reading.left_out["lines of the program's own"] += 1
            ended = ended or bool(RULE.match(line))
        elif message and not message.speaker and line.strip():
            message = message._replace(speaker=line.strip()[:80])
        elif NO_WORDS.fullmatch(line.strip()):
            reading.left_out["media"] += 1
            ended = ended or line.startswith("{")
        elif message and not ended and line.strip():
            if len(message.text or "") > LONGEST:
                reading.damaged(file.name, number, "no time and name, and no message that it goes on with")
            else:
                message = message._replace(text=f"{message.text} {line.strip()}".strip())
    if message:
        yield message
