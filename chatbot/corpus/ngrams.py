"""The texts that n-grams are counted from, laid out for numpy. No torch here.

Training makes soft targets from such counts, and evaluation tells broken English by them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .vocabulary import EOS_ID, SOS_ID

COUNTED_PAIRS = 200_000  # at most so many, because the counts are held in memory


def evenly_spaced(count: int) -> np.ndarray:
    """The places of at most COUNTED_PAIRS of `count` pairs, evenly spaced, int64."""
    return np.linspace(0, count - 1, min(count, COUNTED_PAIRS)).astype(np.int64)


def turns(pairs: Sequence[tuple[np.ndarray, np.ndarray]], num_special: int) -> list[np.ndarray]:
    """Each turn once: all replies, and of the prompts those that are not equal to a reply, counted one for one.

    In a dialogue every turn but the first and the last is a reply and then a prompt.

    Args:
        pairs: (prompt, reply).
        num_special: how many ids, from 0 up, are not words; prompts that hold one are left out, and empty ones.
    """
    texts = [reply for _, reply in pairs]
    replies = Counter(reply.tobytes() for reply in texts)
    for prompt, _ in pairs:
        key = prompt.tobytes()
        if replies[key]:
            replies[key] -= 1
        elif len(prompt) and prompt.min() >= num_special:
            texts.append(prompt)
    return texts


def with_ends(texts: Sequence[Sequence[int] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The words of text after text, EOS last in each, (N,) int64; and where in them each text begins, (texts,)."""
    lengths = np.array([len(text) + 1 for text in texts])
    return np.concatenate([np.append(text, EOS_ID) for text in texts]).astype(np.int64), np.cumsum(lengths) - lengths


def behind_sos(said: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The texts with SOS before each, as int64; and how far each token is from the SOS of its text."""
    tokens = np.insert(said.astype(np.int64), starts, SOS_ID)
    lengths = np.diff(np.append(starts, len(said))) + 1
    return tokens, np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def looked_up(rising: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each value in a rising array, and whether it is there (where not, its place means nothing)."""
    places = np.searchsorted(rising, values).clip(max=max(len(rising) - 1, 0))
    if not len(rising):
        return places, np.zeros(len(values), bool)
    return places, rising[places] == values
