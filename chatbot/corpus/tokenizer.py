"""Text to words and back; the only regular expressions on text.

Two tokenizers, chosen by name (`CorpusConfig.tokenizer`): `tutorial` is the tutorial's normaliser, letter for letter;
`english` keeps what English spelling needs (apostrophes, digits, basic punctuation), so that replies read as English.
Both give lower-case ASCII words without white space, and both are idempotent on their own output joined by spaces.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, Protocol

# what is read of a prompt: so many of its last words, in so many of its last code points
MAX_CHARACTERS = 10_000
LONGEST_LINE = 4 * (MAX_CHARACTERS + 2)  # bytes: what is read of a prompt, a character cut in two, and the line break
MAX_WORDS = 100


class Tokenizer(Protocol):
    """Text to words and back; `name` says in a checkpoint or a bundle which one it was trained with."""

    name: str

    def fold(self, text: str) -> str:
        """The first step of `tokenize`, the one that knows Unicode: text as the lower-case ASCII it is read as.

        Each character is read the same beside any other. What is not ASCII afterwards is in no word and counts as a
        space, and so do white space and those characters of ASCII that are in no word.
        """

    def tokenize(self, text: str) -> list[str]:
        """The words of any text whatever, possibly none; never raises."""

    def detokenize(self, words: Sequence[str]) -> str:
        """Words as a person would write them."""


class TutorialTokenizer:
    """The tutorial's normaliser: accents folded, lower case, `.!?` as words, every other character a space."""

    name = "tutorial"

    def fold(self, text: str) -> str:
        if not text.isascii():
            text = _TUTORIAL_NOT_KEPT.sub(" ", _without_marks("NFD", text.lower()))
        # characters of ASCII are looked up: eight times faster than regular expressions
        return text.translate(_TUTORIAL_ASCII).replace(".", " .").replace("!", " !").replace("?", " ?")

    def tokenize(self, text: str) -> list[str]:
        return self.fold(text).split()

    def detokenize(self, words: Sequence[str]) -> str:
        """Joined by spaces, as the tutorial prints them."""
        return " ".join(words)


class EnglishTokenizer:
    """Contractions in the Penn Treebank's pieces (do n't, i 'm), numbers, `.,!?` and `...`; the rest is space.

    Compatibility forms and accents are folded (NFKD), typographic apostrophes become `'`, mark-up such as `<i>` goes,
    repeated marks collapse (`!!!` is `!`; two or more dots are `...`). A dash or a colon between words is a space.
    """

    name = "english"

    def fold(self, text: str) -> str:
        text = text.replace("`", "'")
        if not text.isascii():
            text = _without_marks("NFKD", text.translate(_APOSTROPHES))
        return text.lower()

    def tokenize(self, text: str) -> list[str]:
        if "<" in text:
            text = _MARKUP.sub(" ", text)
        return list(itertools.chain.from_iterable(map(_words_of_run.__getitem__, self.fold(text).split())))

    def detokenize(self, words: Sequence[str]) -> str:
        """Spaced and capitalised as English: `i 'm fine , thanks .` is "I'm fine, thanks."."""
        return english_text(list(words), WRITTEN)


# words that are written otherwise than they are read, at the beginning of a sentence or not
WRITTEN = {"i": "I"}


def english_text(words: list[str], written: dict[str, str]) -> str:
    """Words as English is written: contractions in one piece, marks after their words, capitals to begin sentences.

    A dot stands apart from a dot before it, for two are read as three. So `tokenize` finds the words again, except
    where a mark is repeated (`! !`) or `n't` follows something else than letters. nltk's Treebank detokenizer spaces
    the same in well-formed sentences; it closes up `can not`, though, and spaces `...` by what follows.

    TorchScript compiles this function too, and there `len` and `[]` count bytes: it takes apart ASCII only.

    Args:
        words: as `EnglishTokenizer.tokenize` gives them; any others stand between spaces.
        written: how a word, or what stands before its first apostrophe, is written inside a sentence, where that is
            otherwise than it is read.
    """
    pieces: list[str] = []
    previous = "."  # as if a sentence had just ended
    for word in words:
        mark = word in (",", "!", "?") or (word in (".", "...") and not previous.endswith("."))
        if len(pieces) > 0 and (mark or word == "n't" or is_contraction(word)):
            pieces.append(word)
        else:
            stem = word.find("'")
            if word in written or stem < 0:
                spelt = written.get(word, word)
            else:
                spelt = written.get(word[:stem], word[:stem]) + word[stem:]
            letter = "abcdefghijklmnopqrstuvwxyz".find(spelt[:1])  # upper() would ask the locale
            if previous in (".", "!", "?") and letter >= 0 and len(spelt) > 0:
                spelt = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[letter] + spelt[1:]
            if len(pieces) > 0:
                pieces.append(" ")
            pieces.append(spelt)
        previous = word
    return "".join(pieces)


def is_contraction(word: str) -> bool:
    """Whether it is an auxiliary or a possessive after its apostrophe, the end of another word; for TorchScript too."""
    return word in ("'s", "'m", "'re", "'ve", "'ll", "'d")


def last_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words that are read of a prompt: at most the last 100, of its last 10,000 characters."""
    return tokenizer.tokenize(text[-MAX_CHARACTERS:])[-MAX_WORDS:]


TOKENIZERS: dict[str, Tokenizer] = {t.name: t for t in (EnglishTokenizer(), TutorialTokenizer())}

_TUTORIAL_ASCII = {code: chr(code).lower() if chr(code).isalpha() or chr(code) in ".!?" else " " for code in range(128)}
_TUTORIAL_NOT_KEPT = re.compile(r"[^a-z.!?]+")

_MARKUP = re.compile(r"</?[A-Za-z]{1,10}>")
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u00b4"), "'")  # the ASCII one is in `fold`
_DOTS, _REPEATED_MARK = re.compile(r"\.{2,}"), re.compile(r"([,!?])\1+")
_CONTRACTED = r"'(?:s|m|re|ve|ll|d)(?![a-z])"
_ENGLISH_WORD = re.compile(
    r"\.\.\."
    r"|[a-z]+(?=n't(?![a-z]))|n't(?![a-z])"  # do + n't, as the Penn Treebank cuts it
    rf"|{_CONTRACTED}"
    rf"|[a-z]+(?:(?!{_CONTRACTED})'[a-z]+)*"  # o'clock, rock'n'roll
    r"|[0-9]+(?:[:.,][0-9]+)*[a-z]*"  # 5:30, 3.14, 2nd
    r"|[.,!?]"
)


def _without_marks(form: Literal["NFD", "NFKD"], text: str) -> str:
    """Decompose, by canon (NFD) or by compatibility too (NFKD), and drop the combining marks: é is e."""
    return "".join(c for c in unicodedata.normalize(form, text) if unicodedata.category(c) != "Mn")


class _Runs(dict[str, tuple[str, ...]]):
    """The words of a run of lower-case characters without white space (no word reaches beyond one), remembered.

    Few runs make up most of a corpus, and looking them up is several times faster than matching each one.
    """

    def __missing__(self, run: str) -> tuple[str, ...]:
        words = tuple(_ENGLISH_WORD.findall(_REPEATED_MARK.sub(r"\1", _DOTS.sub("...", run))))
        if len(run) < 32:
            if len(self) >= 1 << 17:
                self.clear()
            self[run] = words
        return words


_words_of_run = _Runs()
