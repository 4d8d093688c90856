"""What all formats share: the dialogue that a reader yields, and the beginning of a file that a format is known by."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from ..inputs import InputFile
from ..reading import Reading

MAX_TURNS = 256  # a longer dialogue is read as several, the end of one being the context of the next
OVERLAP = 21  # turns of context that such a piece brings along: one for its first prompt, and CorpusConfig.context


class Dialogue(NamedTuple):
    """Turns of raw text, None for one that is missing: nothing answers it and it answers nothing.

    `film` and `key` name what must not be divided between training and held-out data.
    film: the film it is from, "" if there are none; key: a name of its own, "" if its text is its name;
    start: index of the first turn that is a prompt here (earlier ones are only context).
    """

    film: str
    key: str
    turns: list[str | None]
    start: int = 0


def in_pieces(dialogue: Dialogue) -> Iterator[Dialogue]:
    """Cut a dialogue of more than MAX_TURNS turns into pieces; each turn and its answer are in exactly one of them."""
    film, key, turns, start = dialogue
    if len(turns) <= MAX_TURNS:
        yield dialogue
        return
    while start < len(turns) - 1:
        first, end = max(start - OVERLAP + 1, 0), start + MAX_TURNS
        yield Dialogue(film, key, turns[first:end], start - first)
        start = end - 1  # the last turn was only a reply so far


class Head(NamedTuple):
    """The beginning of a file: its first 64 KiB as text, and the first 200 whole lines of it that are not blank."""

    file: InputFile
    text: str
    lines: list[str]

    @classmethod
    def of(cls, file: InputFile) -> "Head":
        text = file.head().decode("utf-8", "replace").lstrip("\ufeff")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        whole = lines[:-1] if len(lines) > 1 else lines  # the last line may be cut off
        return cls(file, text, [line for line in whole if line.strip()][:200])

    def begins_with(self, *marks: str) -> bool:
        """Whether one of `marks` is what comes first, white space aside."""
        return self.text.lstrip().startswith(marks)


class Format(Protocol):
    """What the file of a format has (all but Cornell's, which reads two files together)."""

    def looks_like(self, head: Head) -> bool:
        """Whether a file that begins so is of this format; formats that come earlier in the table were asked before.

        Raises:
            ChatbotError: it is of no format, but can be made into one; the message says how.
        """

    def read(self, file: InputFile, reading: Reading) -> Iterator[Dialogue]:
        """The dialogues of a file. What is damaged is counted in `reading` and left out; a dialogue is cut there.

        Raises:
            ChatbotError: the file cannot be read at all.
        """
