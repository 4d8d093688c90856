"""What stands in the training replies, and how often: passes over the memory-mapped arrays, a chunk at a time."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .hashing import commonest, run_hashes
from .prepared import PairDataset


@dataclass(frozen=True)
class Frequencies:
    """Of certain replies, what the training replies say of them.

    probabilities: of each of their words (a tuple of one id) and bigrams that training replies have, its share of all
    words, or of all bigrams, there. repeated: those of them that are word for word a training reply.
    """

    probabilities: dict[tuple[Hashable, ...], float]
    repeated: set[tuple[Hashable, ...]]

    @classmethod
    def of(cls, training: PairDataset, replies: Iterable[Sequence[int]]) -> "Frequencies":
        """Look for all of `replies` (ids) in one pass."""
        wanted = list(set(map(tuple, replies)))
        ids = np.array([id for reply in wanted for id in reply], np.int64)
        bounds = np.cumsum([0, *map(len, wanted)])
        hashes, repeated = run_hashes(ids, bounds), np.zeros(len(wanted), bool)
        words, bigrams = _Tally(ids), _Tally(_bigrams(ids, bounds))
        for ids, bounds in training.replies():
            repeated |= np.isin(hashes, run_hashes(ids, bounds))
            words.add(ids)
            bigrams.add(_bigrams(ids, bounds))
        probabilities: dict[tuple[Hashable, ...], float] = {(id,): share for id, share in words.shares().items()}
        probabilities |= {(key >> 32, key & 0xFFFFFFFF): share for key, share in bigrams.shares().items()}
        return cls(probabilities, {reply for reply, again in zip(wanted, repeated, strict=True) if again})


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

    def shares(self) -> dict[int, float]:
        found = self.counts > 0
        return dict(zip(self.wanted[found].tolist(), (self.counts[found] / max(self.total, 1)).tolist(), strict=True))


def _bigrams(ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Every two neighbours within a run of ids, as one int64: the first of them in its upper half."""
    run = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return (ids[:-1] << 32 | ids[1:])[run[:-1] == run[1:]]
