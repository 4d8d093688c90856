"""Which tokenizer a corpus needs: what of its letters each one loses, and whether it is English.

`english` and `tutorial` know the letters of ASCII. What they make of others is another word (señor: senor), or nothing
at all (你好). So a corpus in which they would do that is read by `unicode`, unless the user says otherwise; and
what the user says is refused where it loses too much.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable

from .tokenizer import TOKENIZERS

KEEPS_ALL = "unicode"  # the tokenizer that loses no letter
MOST_LOST = 0.02  # of the characters of a corpus: beyond that a tokenizer is refused
LEAST_ENGLISH = 0.2  # of English words these are; of dialogue in other languages under a tenth
LOOKED_AT = 2000  # turns at the beginning of a corpus that tell its language
# the commonest of English dialogue, without those that are common in other languages, too (no, me, a, in, is, was)
_COMMON = """
the you i to and it of that what my your for have this be with not are but know how they she can get just like 's 'm n't
're 'll 've do did there all here if out about go right him her one been would could were from want why who when where
think yes yeah hello thank thanks please good
"""
_COMMON_WORDS = frozenset(_COMMON.split())


def letters_lost(tokenizer: str, turns: Iterable[str]) -> Counter[str]:
    """The letters of these turns, marks among them, that a tokenizer leaves out or makes another letter of."""
    if tokenizer.startswith(KEEPS_ALL):
        return Counter()
    counts = Counter("".join(turn for turn in turns if not turn.isascii()))
    return Counter({character: count for character, count in counts.items() if _is_lost(tokenizer, character)})


@functools.lru_cache(maxsize=1 << 16)
def _is_lost(tokenizer: str, character: str) -> bool:
    if character.isascii() or unicodedata.category(character)[0] not in "LM" or "\ufe00" <= character <= "\ufe0f":
        return False
    form = unicodedata.normalize("NFKC", character).lower()  # an f and an i for their ligature are no loss
    read = TOKENIZERS[tokenizer].fold(character)
    return not read.isascii() or read != form


def size_of(turns: Iterable[str]) -> int:
    """How many characters these turns have, spaces not counted."""
    return sum(len(turn) - turn.count(" ") for turn in turns)


def is_english(turns: list[str]) -> bool:
    """Whether the tokenizer `english` reads these turns as they are: nearly all of its letters, and English words.

    Where no letter at all is lost, what language it is makes no difference.
    """
    lost = letters_lost("english", turns).total()
    if not lost:
        return True
    words = [
        word for turn in turns for word in TOKENIZERS["english"].tokenize(turn) if word[0].isalpha() or "'" in word
    ]
    common = sum(word in _COMMON_WORDS for word in words)
    return lost <= MOST_LOST * size_of(turns) and common >= LEAST_ENGLISH * len(words)
