"""Unknown words as `chatbot.pt` reads them: corpus/mending.py on words that are bytes."""

from torch import nn

from ..corpus.mending import Spellings, mended
from ..corpus.tokenizer import MAX_WORDS, Tokenizer
from ..corpus.vocabulary import Vocabulary
from .utf8 import utf8_bytes, utf8_character, utf8_text


class TorchScriptMending(nn.Module):
    """The known words that unknown ones are read as, scriptable.

    Args:
        vocabulary, tokenizer: the words that are known, and what makes them.
        capitals: code points of small letters and of their capitals, for words that have such.
    """

    alphabet: list[str]
    short: dict[str, list[str]]
    plain: dict[str, str]
    capitals: dict[int, int]
    smalls: dict[int, int]

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer, capitals: dict[int, int]) -> None:
        super().__init__()
        spellings = Spellings.of(vocabulary, tokenizer)
        self.first, self.end, self.max_words = spellings.first, spellings.end, MAX_WORDS
        self.alphabet, self.short, self.plain = spellings.alphabet, spellings.short, spellings.plain
        self.capitals, self.smalls = capitals, {capital: small for small, capital in capitals.items()}

    def forward(self, words: list[str], ids: dict[str, int]) -> list[str]:
        """Words as they are read, `Spellings.read`; `ids` are those of all words."""
        found: list[str] = []
        for word in words:
            if word in ids:
                found.append(word)
            else:
                codes = self.codes(word)
                letters = [utf8_text([code]) for code in codes]
                cases = self.in_other_capitals(codes)
                found += mended(word, letters, cases, ids, self.first, self.end, self.alphabet, self.short, self.plain)
        return found[-self.max_words :]

    def codes(self, word: str) -> list[int]:
        """The code points of a word."""
        data = utf8_bytes(word)
        codes: list[int] = []
        at = 0
        while at < len(word):
            code, width = utf8_character(data, at)
            codes.append(code)
            at += width
        return codes

    def in_other_capitals(self, codes: list[int]) -> list[str]:
        """A word in small letters, with a first capital, and all in capitals; nothing where none has capitals."""
        low = [self.smalls.get(code, code) for code in codes]
        high = [self.capitals.get(code, code) for code in low]
        return [utf8_text(low), utf8_text(high[:1] + low[1:]), utf8_text(high)]
