"""Messages to dialogues: what all chat exports share.

Consecutive messages of one speaker are one turn, a pause of hours (`--gap`) begins a new conversation, and `--me` has
only one speaker's turns learnt as replies. Messages may come oldest or newest first.
"""

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue
from .privacy import Privacy

SPEAKER = operator.attrgetter("speaker")
HOUR = 3600.0
MAX_NAMES = 100_000  # speakers whose names are left out
MAX_TURN = 1 << 16  # characters after which a turn of many messages takes no more
ORDER_FROM = 64  # messages whose times tell whether the newest comes first
STOPS = ((range(0x3040, 0x3100), "。"), (range(0x4E00, 0xA000), "。"), (range(0x0900, 0x0980), "।"))


class Message(NamedTuple):
    """What somebody wrote at once.

    speaker: "" if it is not said who: then speakers take turns.
    text: None if it is damaged: no pair is made across it.
    time: in seconds since any moment; None if it is not known.
    talk: messages of another talk than the one before begin a new conversation.
    """

    speaker: str
    text: str | None
    time: float | None = None
    talk: str = ""


def conversations(
    messages: Callable[[Reading], Iterable[Message]],
    reading: Reading,
    layout: str,
    is_export: bool = True,
    answerers: Collection[str] = (),
    names: Iterable[str] = (),
    speakers: Callable[[], Iterable[str]] | None = None,
) -> Iterator[Dialogue]:
    """Yield the dialogues of a chat export.

    Args:
        messages: yields the messages of the file, and counts in the `Reading` that it is given; it is called twice
            where names are left out, for all of them must be known before.
        layout: what the file is, for people.
        names: further ones that are left out.
        speakers: yields who writes, where that is told more quickly than by `messages`.
        answerers: the names, in lower case, of those who alone are learnt from; by default all are.
        is_export: people wrote these messages to each other, so `private` is on if it is not off.
    """
    clean = None
    if reading.config.private or (is_export and reading.config.private is None):
        known = dict.fromkeys(names)
        for speaker in speakers() if speakers else map(SPEAKER, messages(Reading(config=reading.config))):
            if len(known) < MAX_NAMES:
                known[speaker] = None
        clean = Privacy(known, reading.left_out).clean
    said = (message for message in messages(reading) if message.text != "")
    for turns, start, newest_first in _apart(said, reading, clean, layout):
        turns = turns[::-1] if newest_first else turns
        answers = None
        if reading.config.me:
            answers = [reading.is_me(turn.speaker) for turn in turns]
        elif answerers:
            answers = [turn.speaker.lower() in answerers for turn in turns]
        if len(turns) > start + 1 and (answers is None or any(answers[start + 1 :])):
            yield Dialogue("", "", [turn.text for turn in turns], start, answers)


def _apart(
    messages: Iterator[Message], reading: Reading, clean: Callable[[str], str] | None, layout: str
) -> Iterator[tuple[list[Message], int, bool]]:
    """Yield the turns of each conversation in the order of the file, how many of them only repeat those of the piece
    before, and whether the newest comes first."""
    first = list(itertools.islice(messages, ORDER_FROM))
    newest_first = is_newest_first(_times(first))
    gap = reading.config.gap * HOUR
    pause = f"a pause of {reading.config.gap:g} hours begins a new conversation" if _times(first) else "no times"
    order = "; newest first, turned round" if newest_first else ""
    reading.layouts[f"{layout}; {pause}{order}"] += 1
    turns: list[Message] = []
    said: list[str] = []  # the messages of the last turn, joined once it ends: at every message would be quadratic
    start = 0
    size = 0  # characters of the last turn
    for message in itertools.chain(first, messages):
        text = message.text
        if text is not None:
            if message.speaker:
                reading.speakers[message.speaker] += 1
            if clean and (cleaned := clean(text)) != text:
                if not cleaned:
                    reading.left_out["messages with nothing else"] += 1
                    continue
                text = cleaned
                message = message._replace(text=text)
        last = turns[-1] if turns else message
        paused = None not in (message.time, last.time) and abs(message.time - last.time) > gap  # type: ignore[operator]
        if turns and (paused or message.talk != last.talk):
            yield _whole(turns, said, newest_first), start, newest_first
            turns, start = [], 0
        elif (
            turns
            and message.speaker
            and message.speaker == last.speaker
            and None not in (text, last.text)
            and size < MAX_TURN
        ):
            size += len(text or "")
            said.append(text or "")
            turns[-1] = message
            continue
        elif len(turns) >= MAX_TURNS:
            yield _whole(turns, said, newest_first), start, newest_first
            turns = turns[-1:] if newest_first else turns[-OVERLAP:]
            start = len(turns) - 1
        turns = _whole(turns, said, newest_first)
        turns.append(message)
        said = [text or ""]
        size = len(said[0])
    if turns:
        yield _whole(turns, said, newest_first), start, newest_first


def _whole(turns: list[Message], said: list[str], newest_first: bool) -> list[Message]:
    """The turns, the last of them with all its messages."""
    if turns and len(said) > 1:
        *before, last = said[::-1] if newest_first else said
        turns[-1] = turns[-1]._replace(text=" ".join([*map(ended, before), last]))
    return turns


def is_newest_first(times: list[float]) -> bool:
    """Whether times mostly fall."""
    steps = [b - a for a, b in itertools.pairwise(times)]
    return sum(step < 0 for step in steps) > sum(step > 0 for step in steps)


def _times(messages: Iterable[Message]) -> list[float]:
    return [message.time for message in messages if message.time is not None]


def ended(message: str) -> str:
    """A message with a full stop where it ends in a letter or digit, so that two read as two sentences."""
    message = message.rstrip()
    if not message[-1:].isalnum():
        return message
    return message + next((stop for codes, stop in STOPS if ord(message[-1]) in codes), ".")
