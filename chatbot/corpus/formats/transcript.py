"""A transcript, as `chatbot chat --log` writes one: what a visitor says behind `> `, what is answered on lines without.

Only what answers a visitor is learnt as a reply, never the visitor's own words. A blank line, or one that begins with
`===`, ends a conversation; several lines of one speaker are one turn.
"""

import itertools
from collections.abc import Iterable, Iterator

from ..inputs import InputFile
from ..reading import MAX_LINE, Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

MARK = "> "
VISITOR, BOT, DAMAGE, END = range(4)


def looks_like(head: Head) -> bool:
    """Its first line is the visitor's, and somebody answers."""
    speakers = [speaker for speaker in map(_speaker, head.lines) if speaker != END]
    return speakers[:1] == [VISITOR] and BOT in speakers


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the turns between two separators as a dialogue; a long one is cut here, since it may have no end."""
    reading.layouts["a transcript; learnt as replies: what answers a visitor's `> `"] += 1
    turns: list[str | None] = []
    answers: list[bool] = []
    start = 0
    lines = itertools.chain(reading.lines(file), [(0, "")])  # the end of the file separates too
    for speaker, said in itertools.groupby(lines, lambda numbered: _speaker(numbered[1])):
        if speaker != END:
            turns.append(None if speaker == DAMAGE else _turn(said, file.name, reading))
            answers.append(speaker == BOT)
            if len(turns) - start >= MAX_TURNS:
                yield _dialogue(turns, start, answers)
                turns, answers = turns[-OVERLAP:], answers[-OVERLAP:]
                start = len(turns) - 1
            continue
        if len(turns) > start + 1:
            yield _dialogue(turns, start, answers)
        turns, answers, start = [], [], 0


def _speaker(line: str) -> int:
    if line == "\0":
        return DAMAGE
    if not line.strip() or line.startswith("==="):
        return END
    return VISITOR if line.startswith(MARK) else BOT


def _turn(lines: Iterable[tuple[int, str]], file: str, reading: Reading) -> str | None:
    """The lines as one text; None if that is too long, for there may be no end of them."""
    texts, size = [], 0
    for number, line in lines:
        texts.append(line.removeprefix(MARK).strip())
        size += len(line)
        if size > MAX_LINE:
            reading.damaged(file, number, f"a turn longer than {MAX_LINE:,} characters")
            return None
    return " ".join(texts)


def _dialogue(turns: list[str | None], start: int, answers: list[bool]) -> Dialogue:
    """Named by the first turn of the visitor's, so that what begins with the same question is held out together."""
    asked = (turn for turn, is_answer in zip(turns, answers, strict=True) if turn and not is_answer)
    return Dialogue("", " ".join(next(asked, "").lower().split()), turns, start, answers)
