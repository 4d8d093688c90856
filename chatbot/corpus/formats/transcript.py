"""A transcript, as `chatbot chat --log` writes one: what a visitor says behind `> `, what is answered on lines without.

Only what answers a visitor is learnt as a reply, never the visitor's own words. A blank line, or one that begins with
`===`, ends a conversation; several lines of one speaker are one turn.
"""

import itertools
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

VISITOR = "> "


def looks_like(head: Head) -> bool:
    """Its first line is the visitor's, and somebody answers."""
    visitors = [line.startswith(VISITOR) for line in head.lines]
    return len(visitors) > 1 and visitors[0] and not all(visitors)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations. Each is named by its first turn, so that the split keeps a question on one side."""
    turns: list[str | None] = []
    answers: list[bool] = []
    start, name = 0, ""
    for _, line in itertools.chain(reading.lines(file), [(0, "")]):  # the end of the file separates too
        if not line.strip() or line.startswith("==="):
            if len(turns) > start + 1:
                yield Dialogue("", name, turns, start, answers)
            turns, answers, start, name = [], [], 0, ""
            continue
        is_answer, text = not line.startswith(VISITOR), line.removeprefix(VISITOR).strip()
        name = name or " ".join(text.lower().split())
        if line == "\0":
            turns.append(None)
            answers.append(False)
        elif turns and answers[-1] == is_answer and (before := turns[-1]) is not None:
            turns[-1] = f"{before} {text}"
        else:
            turns.append(text)
            answers.append(is_answer)
        if len(turns) - start > MAX_TURNS:  # it may have no end; the newest turn may still go on
            yield Dialogue("", name, turns[:-1], start, answers[:-1])
            turns, answers = turns[-OVERLAP - 1 :], answers[-OVERLAP - 1 :]
            start = len(turns) - 2
