"""Words to ids and back. On disk a vocabulary is one token a line; the line number, from 0, is the id."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..system.errors import ChatbotError, printable, shown
from ..system.files import atomic_file, read_whole
from .tokenizer import MARKS

PAD, SOS, EOS, UNK, SEP = "<pad>", "<sos>", "<eos>", "<unk>", "<sep>"
PAD_ID, SOS_ID, EOS_ID = 0, 1, 2  # in every vocabulary, the tutorial's included
MAX_BYTES = 1 << 28  # of a file: 16 million words


class Vocabulary:
    """A bijection between tokens and the ids 0 .. len-1.

    The first three tokens are always `<pad>`, `<sos>`, `<eos>`. Some vocabularies have `<unk>` (an unknown word) and
    `<sep>` (after a turn of context) next; the tutorial's has neither.

    Args:
        tokens: every token in order of its id, special tokens first.

    Raises:
        ChatbotError: the first three are others, a token occurs twice, or one holds a control character: replies are
            made of tokens, and must not steer a terminal.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        if self.tokens[:3] != [PAD, SOS, EOS]:
            raise ChatbotError(f"not a vocabulary: it must begin with {PAD}, {SOS}, {EOS}")
        if len(self.ids) != len(self.tokens):
            twice = next(token for id, token in enumerate(self.tokens) if self.ids[token] != id)
            raise ChatbotError(f"not a vocabulary: the token {shown(twice)} stands in it twice")
        if (joined := "".join(self.tokens)) != printable(joined):
            raise ChatbotError("not a vocabulary: a token holds a line break or another control character")
        self.unk_id: int | None = self.ids.get(UNK)
        self.sep_id: int | None = self.ids.get(SEP)

    @classmethod
    def from_words(cls, words: Iterable[str], *, unknown: bool, separator: bool) -> "Vocabulary":
        """Number `words` in the order given, after the special tokens."""
        return cls([PAD, SOS, EOS, *([UNK] if unknown else []), *([SEP] if separator else []), *words])

    def grown(self, other: "Vocabulary") -> "Vocabulary":
        """This vocabulary, every id as it is, and behind it the words of `other` that it lacks."""
        return Vocabulary([*self.tokens, *(word for word in other.tokens[other.num_special :] if word not in self.ids)])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_special(self) -> int:
        """How many ids are those of special tokens; words begin at this id."""
        return 3 + (self.unk_id is not None) + (self.sep_id is not None)

    @property
    def never_replied(self) -> list[int]:
        """Ids that a reply never contains: all special tokens but `<eos>`, which ends it."""
        return [id for id in range(self.num_special) if id != EOS_ID]

    @property
    def marks(self) -> list[int]:
        """Ids of the punctuation marks that are words here."""
        return [self.ids[mark] for mark in MARKS if mark in self.ids]

    @property
    def special_ids(self) -> dict[str, int | None]:
        """Ids of the special tokens by name, None for one that is missing; exports tell them to other programs."""
        return {"pad": PAD_ID, "sos": SOS_ID, "eos": EOS_ID, "unk": self.unk_id, "sep": self.sep_id}

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of `words`. An unknown word becomes `<unk>`, or is left out if the vocabulary has none."""
        ids = (self.ids.get(word, self.unk_id) for word in words)
        return [id for id in ids if id is not None]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of `ids` up to the first `<eos>`, without special tokens."""
        said = itertools.takewhile(lambda id: id != EOS_ID, ids)
        return [self.tokens[id] for id in said if id >= self.num_special]

    def unknown(self, words: Iterable[str]) -> list[str]:
        """The words that are not in the vocabulary, each once, in order."""
        return list(dict.fromkeys(word for word in words if word not in self.ids))

    def save(self, path: Path) -> None:
        """Write one token per line, UTF-8."""
        with atomic_file(path, "w") as file:
            file.writelines(f"{token}\n" for token in self.tokens)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a file that `save` wrote.

        Raises:
            ChatbotError: the file is missing, is not UTF-8, or is not a vocabulary.
        """
        try:
            return cls(read_whole(path, MAX_BYTES).decode("utf-8").split("\n")[:-1])
        except (OSError, ValueError) as error:
            raise ChatbotError(f"cannot read the vocabulary {path}: {error}") from error
        except ChatbotError as error:
            raise ChatbotError(f"{path}: {error}") from error
