"""Text to words and back inside `chatbot.pt`: the tokenizers in the part of Python that TorchScript compiles.

There a `str` is its UTF-8 bytes (utf8.py), there are no regular expressions, and `lower` asks the locale. So for
`english` and `tutorial` text is first folded, by a table, into lower-case ASCII, and what follows reads the same in
both languages. The table is made by asking the Python tokenizer about every code point: an exported file keeps the
Unicode of the Python that exported it, wherever it is used. The other two tokenizers are in torchscript_unicode.py.
"""

import functools
import hashlib
import json
import sys
import unicodedata

from torch import nn

from ..corpus.language import KEEPS_ALL
from ..corpus.tokenizer import MAX_CHARACTERS, MAX_WORDS, TOKENIZERS, english_text, is_contraction
from .torchscript_unicode import TorchScriptUnicode
from .utf8 import last_characters, utf8_bytes, utf8_character, without_markup

_IN_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789'.,!?:")  # the characters of any tokenizer's words
# unassigned, private and surrogate code points: without case, decomposition or place in a word
_NO_CHARACTER = frozenset({"Cn", "Co", "Cs"})


def torchscript_tokenizer(name: str) -> "TorchScriptTokenizer | TorchScriptUnicode":
    """The tokenizer of that name in TOKENIZERS, scriptable."""
    return TorchScriptUnicode(name != KEEPS_ALL) if name.startswith(KEEPS_ALL) else TorchScriptTokenizer(name)


class TorchScriptTokenizer(nn.Module):
    """The tokenizer `english` or `tutorial`, scriptable: text to words, and words to text."""

    ascii: list[str]
    folds: dict[int, str]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.english = name == "english"
        self.max_characters, self.max_words = MAX_CHARACTERS, MAX_WORDS
        ascii, folds = _fold_table(name)
        self.ascii, self.folds = list(ascii), dict(folds)

    def forward(self, text: str) -> list[str]:
        """The words of any text, the same as the Python tokenizer of that name finds."""
        text = folded(without_markup(text) if self.english else text, self.ascii, self.folds)
        return english_words(text) if self.english else text.split()

    def last_words(self, text: str) -> list[str]:
        """The words that are read of a prompt: at most the last 100, of its last 10,000 code points."""
        return self.forward(last_characters(text, self.max_characters))[-self.max_words :]

    def text(self, words: list[str], written: dict[str, str]) -> str:
        """Words joined as a person would write them, the same as the Python tokenizer's `detokenize`."""
        return english_text(words, written) if self.english else " ".join(words)

    def capitals(self) -> dict[int, int]:
        """Small letters and their capitals, if words may have such: none."""
        return {}

    def table(self) -> list[object]:
        """All that the words depend on besides the code, as plain data."""
        return [self.ascii, sorted(self.folds.items())]


def table_sha256(tokenizer: TorchScriptTokenizer | TorchScriptUnicode) -> str:
    """The SHA-256 of the table of code points as JSON: it tells tokenizers and versions of Unicode apart."""
    return hashlib.sha256(json.dumps(tokenizer.table(), separators=(",", ":")).encode()).hexdigest()


@functools.cache
def _fold_table(name: str) -> tuple[list[str], dict[int, str]]:
    """What a tokenizer reads each character as: lower-case ASCII, "" if it is skipped, " " if no word holds it.

    The list has the 128 characters of ASCII, the dict those other code points that are not read as spaces.
    """
    fold = TOKENIZERS[name].fold

    def read(code: int) -> str:
        return "".join(c if c in _IN_WORDS else " " for c in fold(chr(code)))

    codes = (code for code in range(128, sys.maxunicode + 1) if unicodedata.category(chr(code)) not in _NO_CHARACTER)
    folds = {code: text for code in codes if (text := read(code)).strip() or not text}
    return [read(code) for code in range(128)], folds


def folded(text: str, ascii: list[str], folds: dict[int, str]) -> str:
    """Text as the lower-case ASCII it is read as (`Tokenizer.fold`), by its table."""
    data = utf8_bytes(text)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        byte = data[at]
        if byte < 0x80:
            pieces.append(ascii[byte])
            at += 1
        else:
            code, width = utf8_character(data, at)
            pieces.append(folds.get(code, " "))
            at += width
    return "".join(pieces)


def english_words(text: str) -> list[str]:
    """The words of folded text, as the `english` tokenizer's regular expressions find them."""
    while text.find(",,") >= 0:  # now, for 1,,2 is a number
        text = text.replace(",,", ",")
    words: list[str] = []
    for run in text.split():
        words.extend([run] if run.isalpha() else words_of_run(run))
    return words


def words_of_run(run: str) -> list[str]:
    """The words of folded text without a space."""
    words: list[str] = []
    at = 0
    while at < len(run):
        start = at
        first = run[at]
        at += 1
        if first.isalpha():
            at = end_of(run, at, digits=False)
            end = end_of(run, at + 1, digits=False)
            if run[at - 1] == "n" and run[at:end] == "'t":  # do n't
                if at - 1 > start:
                    words.append(run[start : at - 1])
                words.append("n't")
                at = end
            else:  # o'clock
                while run[at : at + 1] == "'" and end > at + 1 and not is_contraction(run[at:end]):
                    at = end
                    end = end_of(run, at + 1, digits=False)
                words.append(run[start:at])
        elif first.isdigit():
            at = end_of(run, at, digits=True)
            while run[at : at + 1] in (":", ".", ",") and run[at + 1 : at + 2].isdigit():  # 5:30
                at = end_of(run, at + 1, digits=True)
            at = end_of(run, at, digits=False)  # 2nd
            words.append(run[start:at])
        elif first == "'":
            end = end_of(run, at, digits=False)
            if is_contraction(run[start:end]):
                words.append(run[start:end])
                at = end
        elif first in (".", ",", "!", "?"):
            while run[at : at + 1] == first:
                at += 1
            words.append("..." if first == "." and at > start + 1 else first)
    return words


def end_of(run: str, at: int, digits: bool) -> int:
    """Where the digits (or else the letters) that begin at `at` end; `at` if there are none."""
    while run[at : at + 1].isdigit() if digits else run[at : at + 1].isalpha():
        at += 1
    return at
