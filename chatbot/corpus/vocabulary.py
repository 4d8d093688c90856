"""Words to ids and back.

On disk a vocabulary is one token a line; the line number, from 0, is the id. A token that replies do not write in lower
case has its written form behind a tab: `boston<TAB>Boston`.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..system.errors import ChatbotError, printable, shown
from ..system.files import atomic_file, read_whole
from .tokenizer import MARKS

PAD, SOS, EOS, UNK, SEP = "<pad>", "<sos>", "<eos>", "<unk>", "<sep>"
VOICE = "<as:{}>"
PAD_ID, SOS_ID, EOS_ID = 0, 1, 2  # in every vocabulary, the tutorial's included
MAX_WORDS = 1 << 18  # fourteen times those of all films and chats; each costs a network a row of weights
MAX_CHARACTERS = 1 << 22  # of all words
MAX_BYTES = 8 * MAX_CHARACTERS  # of a file: four for each, and as many for their written forms


class Vocabulary:
    """A bijection between tokens and the ids 0 .. len-1.

    The first three tokens are always `<pad>`, `<sos>`, `<eos>`. Some vocabularies have `<unk>` (an unknown word) and
    `<sep>` (after a turn of context) next; the tutorial's has neither. That of a mixture may go on with voices: a
    token such as `<as:cornell>` for each corpus, with which its prompts begin.

    Args:
        tokens: every token in order of its id, special tokens first.
        written: the forms in which tokens are written in text, of those that are not written as they are.

    Raises:
        ChatbotError: the first three are others, a token occurs twice, or one holds a control character: replies are
            made of tokens, and must not steer a terminal. Or a form is not its token with capitals. Or there are more
            than MAX_WORDS of them, or of MAX_CHARACTERS.
    """

    def __init__(self, tokens: Sequence[str], written: Mapping[str, str] | None = None) -> None:
        if len(tokens) > MAX_WORDS or sum(map(len, tokens)) > MAX_CHARACTERS:
            raise ChatbotError(
                f"a vocabulary has at most {MAX_WORDS:,} words of {MAX_CHARACTERS:,} characters together, and this one "
                f"{len(tokens):,} of {sum(map(len, tokens)):,}: leave out what is rare (--min-count)"
            )
        self.tokens = list(tokens)
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        if self.tokens[:3] != [PAD, SOS, EOS]:
            raise ChatbotError(f"not a vocabulary: it must begin with {PAD}, {SOS}, {EOS}")
        if len(self.ids) != len(self.tokens):
            twice = next(token for id, token in enumerate(self.tokens) if self.ids[token] != id)
            raise ChatbotError(f"not a vocabulary: the token {shown(twice)} stands in it twice")
        if (joined := "".join(self.tokens)) != printable(joined):
            raise ChatbotError("not a vocabulary: a token holds a line break or another control character")
        self.written = dict(sorted((written or {}).items(), key=lambda item: self.ids.get(item[0], -1)))
        for token, form in self.written.items():
            same = isinstance(form, str) and "".join(map(str.lower, form)) == token != form
            if not same or token not in self.ids:
                raise ChatbotError(f"not a vocabulary: {shown(form)} is no token of it, {shown(token)}, with capitals")
        self.unk_id: int | None = self.ids.get(UNK)
        self.sep_id: int | None = self.ids.get(SEP)
        named = itertools.takewhile(_is_voice, self.tokens[3 + (UNK in self.ids) + (SEP in self.ids) :])
        self.voices: dict[str, int] = {token: self.ids[token] for token in named}

    @classmethod
    def from_words(
        cls,
        words: Iterable[str],
        *,
        unknown: bool,
        separator: bool,
        voices: Iterable[str] = (),
        written: Mapping[str, str] | None = None,
    ) -> "Vocabulary":
        """Number `words` in the order given, after the special tokens and a voice for each of the names."""
        special = [PAD, SOS, EOS, *([UNK] if unknown else []), *([SEP] if separator else [])]
        return cls([*special, *map(VOICE.format, voices), *words], written)

    def grown(self, other: "Vocabulary") -> "Vocabulary":
        """This vocabulary, every id and form as it is, and behind it the words of `other` that it lacks."""
        new = [word for word in other.tokens[other.num_special :] if word not in self.ids]
        return Vocabulary(
            [*self.tokens, *new], self.written | {word: other.written[word] for word in new if word in other.written}
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_special(self) -> int:
        """How many ids are those of special tokens; words begin at this id."""
        return 3 + (self.unk_id is not None) + (self.sep_id is not None) + len(self.voices)

    @property
    def voice_id(self) -> int | None:
        """The voice that a bot answers in, the last one; None where there is none."""
        return max(self.voices.values(), default=None)

    def voiced(self, prompt: list[int]) -> list[int]:
        """A prompt with words, with the voice to answer in before it, if there is one."""
        return [self.voice_id, *prompt] if prompt and self.voice_id is not None else prompt

    def voice_of(self, corpus: str) -> int | None:
        """The voice of a corpus by its name, or else the one that a bot answers in."""
        return self.voices.get(VOICE.format(corpus), self.voice_id)

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
        return {
            "pad": PAD_ID,
            "sos": SOS_ID,
            "eos": EOS_ID,
            "unk": self.unk_id,
            "sep": self.sep_id,
            "voice": self.voice_id,
        }

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
        """Write one token per line, and its written form behind a tab where it has one, UTF-8."""
        with atomic_file(path, "w") as file:
            for token in self.tokens:
                file.write(f"{token}\t{self.written[token]}\n" if token in self.written else f"{token}\n")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a file that `save` wrote.

        Raises:
            ChatbotError: the file is missing, is not UTF-8, or is not a vocabulary.
        """
        try:
            content = read_whole(path, MAX_BYTES)
            if (count := content.count(b"\n")) > MAX_WORDS:
                raise ValueError(f"it has {count:,} lines, more than {MAX_WORDS:,}")
            lines = [line.partition("\t") for line in content.decode("utf-8").split("\n")[:-1]]
            return cls([token for token, _, _ in lines], {token: form for token, tab, form in lines if tab})
        except (OSError, ValueError) as error:
            raise ChatbotError(f"cannot read the vocabulary {path}: {error}") from error
        except ChatbotError as error:
            raise ChatbotError(f"{path}: {error}") from error


def _is_voice(token: str) -> bool:
    return token.startswith("<as:") and token.endswith(">")
