"""What stands in the training replies, and how often: passes over the memory-mapped arrays, a chunk at a time.

In memory are what is asked for, and a chunk.
"""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .hashing import commonest, run_hashes
from .prepared import PairDataset

Ngram: TypeAlias = tuple[Hashable, ...]
KEY = np.dtype("<i4")


@dataclass(frozen=True)
class Frequencies:
    """Of certain replies, what the training replies say of them.

    probabilities: of each of their words (a tuple of one id) and bigrams that training replies have, its share of all
    words, or of all bigrams, there. repeated: those of them that are word for word a training reply.
    """

    probabilities: dict[Ngram, float]
    repeated: set[Ngram]

    @classmethod
    def of(cls, training: PairDataset, replies: Iterable[Sequence[int]]) -> "Frequencies":
        """Look for all of `replies` (ids) in one pass."""
        wanted = {np.array(reply, KEY).tobytes(): tuple(reply) for reply in replies}
        words = _Tally(np.array([id for reply in wanted.values() for id in reply], np.int64))
        bigrams = _Tally(
            np.array([a << 32 | b for reply in wanted.values() for a, b in itertools.pairwise(reply)], np.int64)
        )
        repeated: set[bytes] = set()
        for ids, bounds in training.replies():
            repeated.update(filter(wanted.__contains__, _keys(ids, bounds)))
            words.add(ids)
            bigrams.add((ids[:-1] << 32 | ids[1:])[_within(bounds)])
        probabilities: dict[Ngram, float] = {(id,): share for id, share in words.shares()}
        probabilities |= {(key >> 32, key & 0xFFFFFFFF): share for key, share in bigrams.shares()}
        return cls(probabilities, {wanted[key] for key in repeated})


def most_frequent_reply(training: PairDataset) -> list[int]:
    """The ids of the commonest reply; of equally common ones the first. It takes 16 bytes a pair."""
    hashes = np.concatenate([run_hashes(ids, bounds) for ids, bounds in training.replies()])
    [(place, _)] = commonest(hashes, True, 1)
    reply: list[int] = training[place][1].tolist()
    return reply


class _Tally:
    """How often each of some numbers was added, and how many numbers were added in all."""

    def __init__(self, wanted: np.ndarray) -> None:
        self.wanted = np.unique(wanted)
        self.counts = np.zeros(len(self.wanted), np.int64)
        self.total = 0

    def add(self, numbers: np.ndarray) -> None:
        self.total += len(numbers)
        if len(self.wanted):
            places = np.searchsorted(self.wanted, numbers).clip(max=len(self.wanted) - 1)
            self.counts += np.bincount(places[self.wanted[places] == numbers], minlength=len(self.wanted))

    def shares(self) -> Iterator[tuple[int, float]]:
        found = self.counts > 0
        return zip(self.wanted[found].tolist(), (self.counts[found] / max(self.total, 1)).tolist(), strict=True)


def _keys(ids: np.ndarray, bounds: np.ndarray) -> Iterator[bytes]:
    """The replies of a chunk as bytes, which Python compares and hashes faster than lists."""
    raw = ids.astype(KEY).tobytes()
    return (raw[start:end] for start, end in itertools.pairwise((bounds * KEY.itemsize).tolist()))


def _within(bounds: np.ndarray) -> np.ndarray:
    """(N-1,) whether neighbours in a chunk of N ids are of the same reply."""
    inside = np.ones(max(int(bounds[-1]) - 1, 0), bool)
    seams = bounds[1:-1]
    inside[seams[(seams > 0) & (seams < bounds[-1])] - 1] = False
    return inside
