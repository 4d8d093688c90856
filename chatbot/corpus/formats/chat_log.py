"""A chat log: one utterance a line; a blank line or one that begins with `===` ends a dialogue."""

import itertools
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head


def looks_like(head: Head) -> bool:
    """Any text except JSON may be a chat log, so this format is asked last."""
    return not head.begins_with("{")


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the lines between two separators as a dialogue; a long one is cut here, since it may have no end."""
    turns: list[str | None] = []
    start = 0
    for _, line in itertools.chain(reading.lines(file), [(0, "")]):  # the end of the file separates too
        if line.strip() and not line.startswith("==="):
            turns.append(line if line != "\0" else None)
            if len(turns) - start >= MAX_TURNS:
                yield Dialogue("", "", turns, start)
                turns = turns[-OVERLAP:]
                start = len(turns) - 1
            continue
        if len(turns) > start + 1:
            yield Dialogue("", "", turns, start)
        turns, start = [], 0
