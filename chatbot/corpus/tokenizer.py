"""Text to words and back.

There are four tokenizers, chosen by name (`CorpusConfig.tokenizer`): `tutorial` does exactly what the tutorial does;
`english` keeps apostrophes, digits and basic punctuation, so that replies read as English. Both yield lower-case ASCII
words. `unicode` and `unicode-cased` keep the letters of every language (unicode_tokenizer.py). No word has white space,
and all yield the same words again for words joined by spaces.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, Protocol

from ..system.errors import ChatbotError, shown
from .unicode_tokenizer import UnicodeTokenizer

# the words that are punctuation and stand behind others
MARKS = (",", ".", "!", "?", "...", *":;…،؟؛۔।॥", "……", *"。，！？：；、")
MAX_WORDS = 100  # of a prompt its last words are read, no more
MAX_CHARACTERS = 10_000  # and only those that stand in its last code points
LONGEST_LINE = 4 * (MAX_CHARACTERS + 2)  # bytes: these code points, one that is cut in two, and the line break


class Tokenizer(Protocol):
    """Text to words and back; checkpoints and exports hold the `name` of the one that they were trained with."""

    name: str

    def fold(self, text: str) -> str:
        """Turn characters into those of words, before text is cut (mark-up is gone by then).

        Each character is folded by itself, whatever its neighbours are. For `english` and `tutorial` what is not ASCII
        afterwards counts as white space, and so do the characters of ASCII that occur in no word.
        """

    def tokenize(self, text: str) -> list[str]:
        """The words of any text, possibly none; it never raises."""

    def detokenize(self, words: Sequence[str], written: dict[str, str] | None = None) -> str:
        """Join words as a person would write them; `written` has those that are not written in lower case."""


class TutorialTokenizer:
    """The tutorial's `normalizeString`: accents folded, lower case, `.!?` are words, any other character is a space."""

    name = "tutorial"

    def fold(self, text: str) -> str:
        if not text.isascii():
            text = _TUTORIAL_NOT_KEPT.sub(" ", _without_marks("NFD", text.lower()))
        # a table for ASCII is eight times as fast as regular expressions
        return text.translate(_TUTORIAL_ASCII).replace(".", " .").replace("!", " !").replace("?", " ?")

    def tokenize(self, text: str) -> list[str]:
        return self.fold(text).split()

    def detokenize(self, words: Sequence[str], written: dict[str, str] | None = None) -> str:
        """Joined by spaces, as the tutorial prints them, whatever `written` says."""
        return " ".join(words)


class EnglishTokenizer:
    """English words, contractions cut as in the Penn Treebank (do n't, i 'm), numbers, `.,!?` and `...`.

    Compatibility forms and accents are folded (NFKD), typographic apostrophes become `'`, mark-up such as `<i>` is
    removed, a repeated mark counts once, two or more dots are `...`, and any other character is a space.
    """

    name = "english"

    def fold(self, text: str) -> str:
        text = text.replace("`", "'")
        return (text if text.isascii() else self.fold_characters(text)).lower()

    def fold_characters(self, text: str) -> str:
        """Fold what is not ASCII, capitals to capitals."""
        return _without_marks("NFKD", text.translate(_APOSTROPHES))

    def tokenize(self, text: str) -> list[str]:
        if "<" in text:
            text = _MARKUP.sub(" ", text)
        return list(itertools.chain.from_iterable(map(_words_of_run.__getitem__, self.fold(text).split())))

    def detokenize(self, words: Sequence[str], written: dict[str, str] | None = None) -> str:
        """Space and capitalise words as English: `i 'm fine , thanks .` is "I'm fine, thanks."."""
        return english_text(list(words), written or {})


def english_text(words: list[str], written: dict[str, str]) -> str:
    """Write words as English: contractions joined, marks after their words, I and the start of a sentence in capitals.

    A dot after a dot stands apart, since `..` would be read as `...`. So `tokenize` finds the words again, unless a
    mark is repeated (`! !`) or `n't` follows anything but letters. nltk's Treebank detokenizer puts the same spaces
    into well-formed sentences, except that it joins `can not`, and spaces `...` by what follows.

    TorchScript compiles this function too. Strings are bytes there, so only ASCII may be indexed or counted.

    Args:
        words: as `EnglishTokenizer.tokenize` yields them; any others are put between spaces.
        written: how words are written that are not in lower case, at the start of a sentence too (iPhone).
    """
    pieces: list[str] = []
    previous = "."  # as if a sentence had just ended
    for word in words:
        mark = word in (",", "!", "?") or (word in (".", "...") and not previous.endswith("."))
        if len(pieces) > 0 and (mark or word == "n't" or is_contraction(word)):
            pieces.append(word)
        else:
            spelt = written.get(word, word)
            letter = "abcdefghijklmnopqrstuvwxyz".find(word[:1])  # TorchScript's upper() depends on the locale
            capital = previous in (".", "!", "?") or word == "i" or word.startswith("i'")
            if spelt == word and capital and letter >= 0 and len(word) > 0:
                spelt = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[letter] + word[1:]
            if len(pieces) > 0:
                pieces.append(" ")
            pieces.append(spelt)
        previous = word
    return "".join(pieces)


def is_contraction(word: str) -> bool:
    """Whether a word is the second half of a contraction, or a possessive. TorchScript compiles this too."""
    return word in ("'s", "'m", "'re", "'ve", "'ll", "'d")


def last_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words that are read of a prompt: at most the last 100, of its last 10,000 characters."""
    return tokenizer.tokenize(text[-MAX_CHARACTERS:])[-MAX_WORDS:]


TOKENIZERS: dict[str, Tokenizer] = {
    tokenizer.name: tokenizer
    for tokenizer in (
        EnglishTokenizer(),
        TutorialTokenizer(),
        UnicodeTokenizer("unicode", cased=False),
        UnicodeTokenizer("unicode-cased", cased=True),
    )
}


def tokenizer_named(name: str) -> Tokenizer:
    """The tokenizer that a file names.

    Raises:
        ChatbotError: there is none of that name.
    """
    if name not in TOKENIZERS:
        raise ChatbotError(f"there is no tokenizer {shown(name)}; there are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[name]


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
    """Decompose characters (NFD, or NFKD for compatibility forms too) and drop combining marks: é becomes e."""
    return "".join(c for c in unicodedata.normalize(form, text) if unicodedata.category(c) != "Mn")


class _Runs(dict[str, tuple[str, ...]]):
    """A cache of the words in each run of characters without white space.

    Few different runs make up most of a corpus, and a lookup is several times as fast as matching.
    """

    def __missing__(self, run: str) -> tuple[str, ...]:
        words = tuple(_ENGLISH_WORD.findall(_REPEATED_MARK.sub(r"\1", _DOTS.sub("...", run))))
        if len(run) < 32:
            if len(self) >= 1 << 17:
                self.clear()
            self[run] = words
        return words


_words_of_run = _Runs()
