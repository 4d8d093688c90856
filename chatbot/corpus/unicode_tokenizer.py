"""Text of any language to words and back: the tokenizers `unicode` and `unicode-cased`.

Words are those of Unicode (UAX #29, Unicode Text Segmentation, rules WB5 to WB13) as far as dialogue needs them, with
hyphens inside words, and marks as words of their own. Scripts that put no spaces between words are read by character.
What each character is stands in characters.py. The functions here work on numbers and lists, and TorchScript compiles
them too.
"""

import re
from collections.abc import Sequence

from .characters import kind_of, pairs, read_as, seconds, title

_MARKUP = re.compile(r"</?[A-Za-z]{1,10}>")
_REMEMBERED = 1 << 17  # runs of characters whose words are remembered


class UnicodeTokenizer:
    """Words of any script: letters keep their marks, case is kept or folded, marks are words.

    Compatibility forms are read as what they stand for (NFKC), typographic apostrophes as `'`, mark-up such as `<i>` is
    removed, a repeated mark counts once, but two or more dots are `...`. Symbols such as emoji are words, too.
    """

    def __init__(self, name: str, cased: bool) -> None:
        self.name, self.cased = name, cased
        self._folds, self._kinds, self._words = _Folds(cased), _Kinds(), _Words(self)

    def fold(self, text: str) -> str:
        """Each character as it is read, by itself; spaces stand for those that are in no word."""
        return text.translate(self._folds)

    def tokenize(self, text: str) -> list[str]:
        """The words of any text."""
        if "<" in text:
            text = _MARKUP.sub(" ", text)
        words: list[str] = []
        for run in self.fold(text).split():
            words += self._words[run]
        return words

    def words_of_run(self, run: str) -> list[str]:
        """The words of folded text without white space."""
        if not seconds().isdisjoint(run):
            run = "".join(map(chr, composed(list(map(ord, run)), pairs())))
        codes = list(map(ord, run))
        ends = word_ends(codes, list(map(self._kinds.__getitem__, codes)))
        words = [run[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True)]
        return ["..." if word == ".." else word for word in words]

    def detokenize(self, words: Sequence[str], written: dict[str, str] | None = None) -> str:
        """Space words as their script does; if case is folded, capitalise the beginnings of sentences."""
        kinds = [self._kinds[ord(word[0])] if word else "nothing" for word in words]
        forms = [word if written is None else written.get(word, word) for word in words]
        titles = (
            forms
            if self.cased
            else [titled(word) if form == word else form for word, form in zip(words, forms, strict=True)]
        )
        return spaced(list(words), kinds, forms, titles)


def titled(word: str) -> str:
    """A word as it begins a sentence."""
    return title(word[0]) + word[1:] if word else word


def composed(codes: list[int], pairs: dict[int, int]) -> list[int]:
    """Code points in which each letter that has one takes in the marks behind it, as in Unicode's NFC.

    Marks in an order that is not Unicode's own stay behind their letter, unlike there.
    """
    found: list[int] = []
    for code in codes:
        if len(found) > 0:
            both = hangul(found[-1], code)
            if both < 0:
                both = pairs.get((found[-1] << 21) + code, -1)
            if both >= 0:
                found[-1] = both
                continue
        found.append(code)
    return found


def hangul(first: int, second: int) -> int:
    """The syllable that two parts of Hangul make, or -1 (The Unicode Standard, section 3.12)."""
    if 0x1100 <= first < 0x1113 and 0x1161 <= second < 0x1176:
        return 0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28
    if 0xAC00 <= first < 0xD7A4 and (first - 0xAC00) % 28 == 0 and 0x11A8 <= second < 0x11C3:
        return first + second - 0x11A7
    return -1


def word_ends(codes: list[int], kinds: list[str]) -> list[int]:
    """Where words begin and end: start and end of the first, start and end of the second, and so on.

    Of a mark that is repeated the first is the word, but of dots the first two (`...`), and of ellipses as well.
    """
    found: list[int] = []
    at = 0
    while at < len(codes):
        start = at
        kind = kinds[at]
        at += 1
        if kind in ("letter", "digit", "extending"):
            at = end_of_word(codes, kinds, at)
        elif kind == "character":
            while at < len(codes) and kinds[at] == "extending":
                at += 1
        elif kind in ("nothing", "joiner"):
            continue
        else:
            while kind == "free" and at + 1 < len(codes) and codes[at] == 0x200D and kinds[at + 1] == "free":
                at += 2  # a family is one emoji
            if at - start == 1:
                end = at
                while end < len(codes) and codes[end] == codes[start]:
                    end += 1
                dots = end > at and (codes[start] == 0x2E or codes[start] == 0x2026)
                found.append(start)
                found.append(start + 2 if dots else at)
                at = end
                continue
        found.append(start)
        found.append(at)
    return found


def end_of_word(codes: list[int], kinds: list[str], at: int) -> int:
    """Where the word ends that has begun before `at`: joiners between letters are in it, and `:.,` between digits."""
    while at < len(codes):
        kind = kinds[at]
        if kind in ("letter", "digit", "extending"):
            at += 1
        elif at + 1 < len(codes) and (
            (kind in ("joiner", "hyphen") and kinds[at + 1] in ("letter", "digit"))
            or (
                (codes[at] == 0x3A or codes[at] == 0x2E or codes[at] == 0x2C)
                and kinds[at - 1] == "digit"
                and kinds[at + 1] == "digit"
            )
        ):
            at += 2
        else:
            break
    return at


def spaced(words: list[str], kinds: list[str], forms: list[str], titles: list[str]) -> str:
    """Write words with the spaces that their scripts put, so that `tokenize` finds the words again.

    It finds them unless a mark is repeated or words stand there that it does not make.

    Args:
        kinds: of the first characters of the words.
        forms, titles: how each word is written inside a sentence, and at its beginning.
    """
    pieces: list[str] = []
    previous, before = "", "nothing"  # the last word and its kind
    begins, opened, tight = True, False, True  # a sentence begins; a quotation is open; no space comes next
    for at in range(len(words)):
        word, kind = words[at], kinds[at]
        attached = (
            (kind == "closing" and before != "nothing")
            or (kind == "quote" and opened)
            or kind in ("character", "wide")
            or (before in ("character", "wide") and kind != "extending")
        )
        mark = kind in ("hyphen", "closing", "opening", "quote", "wide", "free")
        if mark and (word.startswith(previous) or previous.endswith(word)):
            attached = False  # it would be one mark with the one before
        if len(pieces) > 0 and not tight and not attached:
            pieces.append(" ")
        pieces.append(titles[at] if begins else forms[at])
        tight = kind == "opening" or (kind == "quote" and not opened)
        if kind == "quote":
            opened = not opened
        if not mark:
            begins = False
        elif word == "." or word == "!" or word == "?":
            begins = True
        previous, before = word, kind if kind != "nothing" else "letter"
    return "".join(pieces)


class _Folds(dict[int, str]):
    """What each code point is read as, found out when it is met."""

    def __init__(self, cased: bool) -> None:
        self.cased = cased

    def __missing__(self, code: int) -> str:
        text = self[code] = read_as(chr(code), self.cased)
        return text


class _Kinds(dict[int, str]):
    """The kinds of characters, likewise."""

    def __missing__(self, code: int) -> str:
        kind = self[code] = kind_of(chr(code))
        return kind


class _Words(dict[str, list[str]]):
    """A cache of the words in each run of characters without white space: few make up most of a corpus."""

    def __init__(self, tokenizer: UnicodeTokenizer) -> None:
        self.tokenizer = tokenizer

    def __missing__(self, run: str) -> list[str]:
        words = self.tokenizer.words_of_run(run)
        if len(run) < 32:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[run] = words
        return words
