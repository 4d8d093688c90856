"""How frequent words, bigrams and whole replies are in the training replies, read from the arrays in chunks."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .hashing import commonest, run_hashes
from .prepared import PairDataset


@dataclass(frozen=True)
class Frequencies:
    """How frequent in the training replies is what certain other replies consist of.

    probabilities: for each of their words (a tuple of one id) and bigrams that training replies contain, its share of
        all words or all bigrams there.
    repeated: those replies that are a training reply word for word.
    """

    probabilities: dict[tuple[Hashable, ...], float]
    repeated: set[tuple[Hashable, ...]]

    @classmethod
    def of(cls, training: PairDataset, replies: Iterable[Sequence[int]]) -> "Frequencies":
        """Look for `replies` (ids), for their words and for their bigrams, in a pass each."""
        wanted = list(set(map(tuple, replies)))
        ids = np.array([id for reply in wanted for id in reply], np.int64)
        bounds = np.cumsum([0, *map(len, wanted)])
        hashes, repeated = run_hashes(ids, bounds), np.zeros(len(wanted), bool)
        for chunk in training.replies():
            repeated |= np.isin(hashes, run_hashes(*chunk))
        words = _shares(ids, (ids for ids, _ in training.replies()))
        bigrams = _shares(_bigrams(ids, bounds), (_bigrams(*chunk) for chunk in training.replies()))
        probabilities: dict[tuple[Hashable, ...], float] = {(id,): share for id, share in words.items()}
        probabilities |= {(key >> 32, key & 0xFFFFFFFF): share for key, share in bigrams.items()}
        return cls(probabilities, {reply for reply, again in zip(wanted, repeated, strict=True) if again})


def most_frequent_reply(training: PairDataset) -> list[int]:
    """The ids of the commonest reply; of equally common ones the first. It takes 16 bytes of memory a pair."""
    hashes = np.concatenate([run_hashes(ids, bounds) for ids, bounds in training.replies()])
    [(place, _)] = commonest(hashes, True, 1)
    reply: list[int] = training[place][1].tolist()
    return reply


def _shares(wanted: np.ndarray, chunks: Iterable[np.ndarray]) -> dict[int, float]:
    """For each of the `wanted` numbers that the chunks contain, its share of all their numbers."""
    wanted = np.append(np.unique(wanted), np.iinfo(np.int64).max)  # searchsorted needs an end; no number is that large
    counts, total = np.zeros(len(wanted), np.int64), 0
    for numbers in chunks:
        total += len(numbers)
        places = np.searchsorted(wanted, numbers)
        counts += np.bincount(places[wanted[places] == numbers], minlength=len(wanted))
    return {number: count / total for number, count in zip(wanted.tolist(), counts.tolist(), strict=True) if count}


def _bigrams(ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Every two neighbours within a run of ids as one int64, the first of them in its upper half."""
    run = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return (ids[:-1] << 32 | ids[1:])[run[:-1] == run[1:]]
