"""What all formats share: the dialogue that a reader yields, and the head of a file, which tells its format."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ..inputs import HEAD, InputFile
from ..reading import Reading

MAX_TURNS = 256  # a longer dialogue is cut into pieces, each with the end of the one before as its context
OVERLAP = 21  # turns that a piece repeats: its first prompt, and the most that CorpusConfig.context may ask for


class Dialogue(NamedTuple):
    """Turns of raw text; a missing turn is None, and makes no pair with its neighbours.

    film, key: groups that the split keeps on one side: the film, "" if there is none, and the dialogue's own name, ""
        if its text serves as its name.
    start: index of the first turn that is a prompt; earlier ones are only context.
    answers: of each turn, whether it is learnt as a reply to the one before; None: all are.
    """

    film: str
    key: str
    turns: list[str | None]
    start: int = 0
    answers: Sequence[bool] | None = None


def in_pieces(dialogue: Dialogue) -> Iterator[Dialogue]:
    """Cut a dialogue of more than MAX_TURNS turns into pieces; every prompt and its reply are in exactly one piece."""
    film, key, turns, start, answers = dialogue
    if len(turns) <= MAX_TURNS:
        yield dialogue
        return
    while start < len(turns) - 1:
        first, end = max(start - OVERLAP + 1, 0), start + MAX_TURNS
        yield Dialogue(film, key, turns[first:end], start - first, answers and answers[first:end])
        start = end - 1  # the last turn is a reply in this piece, and a prompt in the next


class Head(NamedTuple):
    """The head of a file: its first 64 KiB as text, the first 200 whole lines that are not blank, and `--columns`."""

    file: InputFile
    text: str
    lines: list[str]
    columns: str = ""

    @classmethod
    def of(cls, file: InputFile, columns: str = "") -> "Head":
        content = file.head()
        text = content.decode("utf-8", "replace").lstrip("\ufeff")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        whole = lines[:-1] if len(lines) > 1 and len(content) >= HEAD else lines  # the last line may be cut off
        return cls(file, text, [line for line in whole if line.strip()][:200], columns)

    def begins_with(self, *marks: str) -> bool:
        """Whether the text begins with one of `marks`, after any white space."""
        return self.text.lstrip().startswith(marks)


class Format(Protocol):
    """The two functions in each format's module, except for Cornell's, which reads two files together."""

    def looks_like(self, head: Head) -> bool:
        """Whether a file with this head is of this format; formats earlier in the table were asked before.

        Raises:
            ChatbotError: the file is of no supported format; the message says how to convert it.
        """

    def read(self, file: InputFile, reading: Reading) -> Iterator[Dialogue]:
        """Yield the dialogues of a file. Damaged records are counted in `reading` and end a dialogue.

        Raises:
            ChatbotError: the file cannot be read at all.
        """
