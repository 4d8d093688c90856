"""The tokenizers `unicode` and `unicode-cased` inside `chatbot.pt`: corpus/unicode_tokenizer.py over a table.

There a `str` is its UTF-8 bytes, so text becomes code points first, and words are made of code points again. What each
of them is stands in the table of corpus/characters.py, as the Python that exported the file knows it.
"""

import functools

from torch import nn

from ..corpus import characters
from ..corpus.tokenizer import MAX_CHARACTERS, MAX_WORDS
from ..corpus.unicode_tokenizer import composed, spaced, word_ends
from .utf8 import last_characters, utf8_bytes, utf8_character, utf8_text, without_markup


class TorchScriptUnicode(nn.Module):
    """The tokenizer `unicode`, or `unicode-cased`, scriptable: text to words, and words to text."""

    starts: list[int]
    kinds: list[str]
    folds: dict[int, list[int]]
    pairs: dict[int, int]
    titles: dict[int, int]

    def __init__(self, cased: bool) -> None:
        super().__init__()
        self.cased = cased
        self.max_characters, self.max_words = MAX_CHARACTERS, MAX_WORDS
        table = _table(cased)
        self.starts, self.kinds, self.folds = list(table.starts), list(table.kinds), dict(table.folds)
        self.pairs, self.titles = dict(table.pairs), dict(table.titles)

    def forward(self, text: str) -> list[str]:
        """The words of any text, the same as the Python tokenizer of that name finds."""
        text = without_markup(text)
        data = utf8_bytes(text)
        codes: list[int] = []
        at = 0
        while at < len(text):
            code, width = utf8_character(data, at)
            if code in self.folds:
                codes += self.folds[code]
            else:
                codes.append(code)
            at += width
        codes = composed(codes, self.pairs)
        ends = word_ends(codes, [self.kind(code) for code in codes])
        words: list[str] = []
        for at in range(0, len(ends), 2):
            word = utf8_text(codes[ends[at] : ends[at + 1]])
            words.append("..." if word == ".." else word)
        return words

    def kind(self, code: int) -> str:
        """The kind of a character, by bisection."""
        low, high = 0, len(self.starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self.starts[middle] <= code:
                low = middle
            else:
                high = middle
        return self.kinds[low]

    def last_words(self, text: str) -> list[str]:
        """The words that are read of a prompt: at most the last 100, of its last 10,000 code points."""
        return self.forward(last_characters(text, self.max_characters))[-self.max_words :]

    def text(self, words: list[str], written: dict[str, str]) -> str:
        """Words joined as a person would write them, the same as the Python tokenizer's `detokenize`."""
        kinds: list[str] = []
        forms: list[str] = []
        titles: list[str] = []
        for word in words:
            code, width = utf8_character(utf8_bytes(word[:4]), 0)
            form = written.get(word, word)
            kinds.append(self.kind(code) if len(word) > 0 else "nothing")
            forms.append(form)
            title = self.titles.get(code, -1)
            capital = not self.cased and form == word and len(word) > 0 and title >= 0
            titles.append(utf8_text([title]) + word[width:] if capital else form)
        return spaced(words, kinds, forms, titles)

    def capitals(self) -> dict[int, int]:
        """Code points of small letters and of their capitals, if words may have such."""
        return self.titles if self.cased else {}

    def table(self) -> list[object]:
        """All that the words depend on besides the code, as plain data."""
        folds, pairs, titles = (sorted(part.items()) for part in (self.folds, self.pairs, self.titles))
        return [self.starts, self.kinds, folds, pairs, titles]


@functools.cache
def _table(cased: bool) -> characters.Table:
    return characters.table(cased)
