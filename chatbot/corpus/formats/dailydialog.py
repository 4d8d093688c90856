"""DailyDialog's text file (Li et al. 2017): one dialogue a line, each utterance ended by `__eou__`."""

import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import Dialogue, Head

APOSTROPHE = re.compile(r"(?<=\w) ?(['\u2019]) (?=(?:s|t|m|d|re|ve|ll)\b)", re.IGNORECASE)


def looks_like(head: Head) -> bool:
    return not head.begins_with("{") and sum("__eou__" in line for line in head.lines) * 2 > len(head.lines)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield one dialogue a line, with the spaces around apostrophes removed: `It ' s` becomes `It's`."""
    reading.layouts["a conversation a line, turns ended by __eou__"] += 1
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            continue
        if "__eot__" in line:  # Ubuntu's: a turn of several utterances
            said = [" ".join(turn.replace("__eou__", " ").split()) for turn in line.split("__eot__")]
        else:
            said = line.split("__eou__")
        turns: list[str | None] = [APOSTROPHE.sub(r"\1", turn) for turn in said if turn.strip()]
        if "__eou__" not in line:
            reading.damaged(file.name, number, "no __eou__")
        elif len(turns) > 1:
            yield Dialogue("", "", turns)
