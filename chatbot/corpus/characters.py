"""What each character of Unicode is to the tokenizers `unicode` and `unicode-cased`: the one table of all runtimes.

Three facts of a character make up all that these tokenizers know of scripts:

- its kind (`kind_of`), which says how it stands in words and between them;
- what it is read as (`read_as`), before text is cut: its compatibility form, in lower case if case is folded;
- the letter that it makes with the mark behind it (`Table.pairs`): e and U+0301 are é, as in Unicode's form NFC.

They come from the `unicodedata` of Python, are asked for as they are met, and are remembered. A runtime that has no
`unicodedata` takes all of them as plain data, from `table(cased)`, which `json.dumps` writes as it is. chatbot.pt holds
it (deployment/torchscript_unicode.py), and so can a page in JavaScript: there, decode text into code points, replace
each by `folds`, join neighbours by `pairs` (and Hangul by `hangul`, which is arithmetic), look up kinds by bisection in
`starts`, and go on as unicode_tokenizer.py does, whose functions work on code points and kinds alone.
"""

import functools
import sys
import unicodedata
from typing import NamedTuple

KINDS = {
    "nothing": "in no word: white space, controls, symbols that are not kept",
    "letter": "of a script that puts spaces between words",
    "digit": "of a number",
    "extending": "a mark that belongs to the letter before it",
    "character": "a word by itself: Han, kana, Thai and others that put no spaces between words",
    "joiner": "only between letters and digits: an apostrophe, and what is not seen (zero width)",
    "hyphen": "as a joiner, or else free",
    "closing": "a punctuation mark behind its word",
    "opening": "a punctuation mark before its word",
    "quote": "the first opens, the next closes",
    "wide": "a punctuation mark without any space around it",
    "free": "a mark or symbol with spaces on both sides",
}
_MARKS = {
    "closing": ",.!?:;)]%°…،؟؛۔।॥։",
    "opening": "([¿¡",
    "quote": '"«»“”„‟‹›',
    "wide": "/·。，！？：；、「」『』（）《》〈〉【】〔〕・〜～",
    "free": "–—&+=",
    "joiner": "'\u200c\u200d",
    "hyphen": "-",
}
_KINDS = {mark: kind for kind, marks in _MARKS.items() for mark in marks}
_READ_AS = dict.fromkeys("`\u00b4\u02b9\u02bc\u2018\u2019\u201b", "'") | dict.fromkeys("\u2010\u2011\u2212", "-")
_READ_AS |= dict.fromkeys("\u066b\u066c", ",")  # inside Arabic numbers
_WITHOUT_SPACES = (  # first and last code points of scripts
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),  # Thai to Khmer
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF)),
)
# their compatibility forms are other characters to a reader: Thai and Lao am, and the letters of Hangul alone
_AS_IT_IS = {0x0E33, 0x0EB3, *range(0x3131, 0x318F)}
_SKIPPED = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x20E3, *range(0x1F3FB, 0x1F400)}  # how emoji are drawn


class Table(NamedTuple):
    """All characters at once, as plain data.

    starts, kinds: a character has the kind of the last start that is not above its code point.
    folds: code points that are not read as themselves, and the code points that they are read as, possibly none.
    pairs: two code points, the first times 2 ** 21 plus the second, and the code point that stands for both.
    titles: code points of small letters and those of their capitals.
    """

    starts: list[int]
    kinds: list[str]
    folds: dict[int, list[int]]
    pairs: dict[int, int]
    titles: dict[int, int]


def kind_of(character: str) -> str:
    """The kind of a character that has been read (`read_as`)."""
    if (kind := _KINDS.get(character)) is not None:
        return kind
    code, category = ord(character), unicodedata.category(character)
    if category[0] == "M":
        return "extending"
    if category == "Nd":
        return "digit"
    if category[0] in "LN":
        without = code >= 0x0E00 and any(first <= code <= last for first, last in _WITHOUT_SPACES)
        return "character" if without else "letter"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "letter"  # two of them are a flag
    if category in ("So", "Sc") and code not in (0xFFFC, 0xFFFD):
        return "free"
    return "nothing"


def read_as(character: str, cased: bool) -> str:
    """What a character is read as, whatever its neighbours are: "" if it is not seen, " " if no word holds it."""
    if character in _KINDS:
        return character
    if character in _READ_AS:
        return _READ_AS[character]
    code, category = ord(character), unicodedata.category(character)
    if code in _SKIPPED or (category == "Cf" and code != 0x200B):  # zero width space is a space
        return ""
    text = character if code in _AS_IT_IS else unicodedata.normalize("NFKC", character)
    if text[:1] == " ":  # an accent without a letter
        return " "
    if not cased:  # letter by letter: the end of a word changes no letter
        text = unicodedata.normalize("NFKC", "".join(map(str.lower, text))) if text != character else text.lower()
    return "".join(_READ_AS.get(c, c) if kind_of(_READ_AS.get(c, c)) != "nothing" else " " for c in text)


def title(character: str) -> str:
    """The capital of a small letter at the beginning of a sentence, where that is one character; else itself."""
    capital = character.title()
    small = unicodedata.category(character) == "Ll" and len(capital) == 1 and capital.lower() == character
    return capital if small else character


def small(character: str) -> str:
    """The small letter of a capital, where each is the other's; else itself."""
    letter = character.lower()
    return letter if len(letter) == 1 and letter != character == title(letter) else character


@functools.cache
def pairs() -> dict[int, int]:
    """Letter and mark, as in `Table.pairs`."""
    found = {}
    for code in range(0xC0, sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", chr(code)) == chr(code):
            found[(int(parts[0], 16) << 21) + int(parts[1], 16)] = code
    return found


@functools.cache
def seconds() -> frozenset[str]:
    """The characters that may be the second of a pair, or of a syllable of Hangul."""
    marks = {pair & (1 << 21) - 1 for pair in pairs()}
    return frozenset(map(chr, marks | {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}))


@functools.cache
def table(cased: bool) -> Table:
    """The whole table; it takes about a second to make."""
    starts, kinds, folds, titles = [0], ["nothing"], dict[int, list[int]](), dict[int, int]()
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        kind = "nothing"
        if category not in ("Cn", "Co", "Cs", "Cc"):
            kind = kind_of(character)
            # most characters have one form only, and to see that is several times as fast as to read them
            plain = category == "Lo" and unicodedata.is_normalized("NFKC", character)
            # what is in no word, and read as a space, need not be replaced
            if not plain and (text := read_as(character, cased)) != character and (text != " " or kind != "nothing"):
                folds[code] = list(map(ord, text))
            if (capital := title(character)) != character:
                titles[code] = ord(capital)
        if kind != kinds[-1]:
            starts.append(code)
            kinds.append(kind)
    return Table(starts, kinds, folds, pairs(), titles)
