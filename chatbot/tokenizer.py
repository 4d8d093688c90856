"""Text to words and back; the only regular expressions on text.

Two tokenizers, chosen by name (`CorpusConfig.tokenizer`): `tutorial` is the lineage's normaliser, letter for letter;
`english` keeps what English spelling needs (apostrophes, digits, basic punctuation), so that replies read as English.
Both give lower-case ASCII words without white space, and both are idempotent on their own output joined by spaces.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nltk.tokenize import RegexpTokenizer, TreebankWordDetokenizer


class Tokenizer(Protocol):
    """Text to words and back; `name` says in a checkpoint or a bundle which one it was trained with."""

    name: str

    def tokenize(self, text: str) -> list[str]:
        """The words of any text whatever, possibly none; never raises."""

    def detokenize(self, words: Sequence[str]) -> str:
        """Words as a person would write them."""


class TutorialTokenizer:
    """The lineage's normaliser: accents folded, lower case, `.!?` as words, every other character a space."""

    name = "tutorial"

    def tokenize(self, text: str) -> list[str]:
        if not text.isascii():
            text = _TUTORIAL_NOT_KEPT.sub(" ", _fold_accents(text.lower()))
        # characters of ASCII are looked up: eight times faster than regular expressions
        text = text.translate(_TUTORIAL_ASCII).replace(".", " .").replace("!", " !").replace("?", " ?")
        return text.split()

    def detokenize(self, words: Sequence[str]) -> str:
        """Joined by spaces, as the tutorial prints them."""
        return " ".join(words)


class EnglishTokenizer:
    """Contractions in the Penn Treebank's pieces (do n't, i 'm), numbers, `.,!?` and `...`; the rest is space.

    Compatibility forms and accents are folded (NFKD), typographic apostrophes become `'`, mark-up such as `<i>` goes,
    repeated marks collapse (`!!!` is `!`; two or more dots are `...`). A dash or a colon between words is a space.
    """

    name = "english"

    def tokenize(self, text: str) -> list[str]:
        if "<" in text:
            text = _MARKUP.sub(" ", text)
        if not text.isascii():
            text = _fold_accents(unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)))
        return list(itertools.chain.from_iterable(map(_words_of_run.__getitem__, text.lower().split())))

    def detokenize(self, words: Sequence[str]) -> str:
        """Spaced and capitalised as English: `i 'm fine , thanks .` is "I'm fine, thanks."."""
        text: str = _treebank_detokenizer().detokenize(list(words))
        text = _SPACED_PIECE.sub(r"\1", text)
        text = _GLUED_ELLIPSIS.sub("... ", _SPACED_ELLIPSIS.sub("...", text))
        text = _PRONOUN_I.sub("I", text)
        return _SENTENCE_START.sub(lambda match: match[0].upper(), text)


TOKENIZERS: dict[str, Tokenizer] = {t.name: t for t in (EnglishTokenizer(), TutorialTokenizer())}

_TUTORIAL_ASCII = {code: chr(code).lower() if chr(code).isalpha() or chr(code) in ".!?" else " " for code in range(128)}
_TUTORIAL_NOT_KEPT = re.compile(r"[^a-z.!?]+")

_MARKUP = re.compile(r"</?[A-Za-z]{1,10}>")
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u00b4`"), "'")
_REPEATED_MARK = re.compile(r"[.\u2026]{2,}|\u2026|,{2,}|!{2,}|\?{2,}")
_CONTRACTED = r"'(?:s|m|re|ve|ll|d)(?![a-z0-9])"
_ENGLISH_WORD = (
    r"\.\.\."
    r"|[a-z]+(?=n't(?![a-z0-9]))|n't(?![a-z0-9])"  # do + n't, as the Penn Treebank cuts it
    rf"|{_CONTRACTED}"
    rf"|[a-z]+(?:(?!{_CONTRACTED})'[a-z]+)*"  # o'clock, rock'n'roll
    r"|[0-9]+(?:[:.,][0-9]+)*[a-z]*"  # 5:30, 3.14, 2nd
    r"|[.,!?]"
)
_SPACED_PIECE = re.compile(r"(?<=[A-Za-z0-9']) ('(?:s|m|re|ve|ll|d)|n't)(?![A-Za-z0-9])")
_SPACED_ELLIPSIS = re.compile(r"(?<=[A-Za-z0-9]) \.\.\.")
_GLUED_ELLIPSIS = re.compile(r"\.\.\.(?=[A-Za-z0-9])")
_PRONOUN_I = re.compile(r"(?<![A-Za-z0-9'])i(?![A-Za-z0-9])")
_SENTENCE_START = re.compile(r"(?:^|(?<!\.\.)[.!?] )[a-z]")


def _fold_accents(text: str) -> str:
    """Drop the combining marks of the canonical decomposition: é is e."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


class _Runs(dict[str, "tuple[str, ...]"]):
    """The words of a run of lower-case characters without white space (no word reaches beyond one), remembered.

    Few runs make up most of a corpus, and looking them up is several times faster than matching each one.
    """

    def __missing__(self, run: str) -> "tuple[str, ...]":
        words = tuple(_pattern_tokenizer().tokenize(_REPEATED_MARK.sub(_collapse, run)))
        if len(run) < 32:
            if len(self) >= 1 << 17:
                self.clear()
            self[run] = words
        return words


_words_of_run = _Runs()


def _collapse(match: re.Match[str]) -> str:
    return "..." if match[0][0] in ".\u2026" else match[0][0]


@functools.cache
def _pattern_tokenizer() -> "RegexpTokenizer":
    from nltk.tokenize import RegexpTokenizer  # here, for its import takes a third of a second

    return RegexpTokenizer(_ENGLISH_WORD)


@functools.cache
def _treebank_detokenizer() -> "TreebankWordDetokenizer":
    from nltk.tokenize import TreebankWordDetokenizer

    return TreebankWordDetokenizer()
