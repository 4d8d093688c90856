"""What is said where no reply that a beam found is likely enough: the likeliest of some that fit almost any prompt.

The confidence of a reply is the geometric mean of its words' probabilities, EOS counted:
exp(log p(reply | prompt) / tokens), from 0 to 1. Of replies that readers marked as odd, most have little of it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from ..corpus.tokenizer import Tokenizer, last_words
from ..corpus.vocabulary import EOS_ID, Vocabulary
from ..system.errors import ChatbotError

Numbered = Callable[[tuple[str, ...]], list[list[int]]]


class Fallback(NamedTuple):
    """What a search falls back to. Scriptable.

    min_confidence: the least that the best reply of a beam needs; 0 takes every reply.
    replies: ids of what is said otherwise, EOS at each end.
    """

    min_confidence: float
    replies: list[list[int]]


def numbered_by(vocabulary: Vocabulary, tokenizer: Tokenizer, max_length: int) -> Numbered:
    """Gives the ids of replies, EOS at each end, in a bot whose replies have at most `max_length` words.

    Raises:
        ChatbotError: when called with a reply that this bot cannot say.
    """

    @functools.cache
    def numbered(replies: tuple[str, ...]) -> list[list[int]]:
        found = []
        for reply in replies:
            words = last_words(tokenizer, reply)
            if unknown := vocabulary.unknown(words):
                raise ChatbotError(f"the bot cannot fall back to {reply!r}: it does not know {', '.join(unknown)}")
            if not 0 < len(words) <= max_length:
                raise ChatbotError(f"the bot cannot fall back to {reply!r}: a reply has from 1 to {max_length} words")
            found.append([*vocabulary.encode(words), EOS_ID])
        return found

    return numbered


def sayable(replies: tuple[str, ...], numbered: Numbered) -> tuple[str, ...]:
    """Those of `replies` that a bot can say."""

    def can(reply: str) -> bool:
        try:
            return bool(numbered((reply,)))
        except ChatbotError:
            return False

    return tuple(filter(can, replies))
