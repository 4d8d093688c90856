"""Which pair stands at each place of an epoch: every pair as often as the weight of its corpus says."""

import math

import numpy as np

from ..corpus.prepared import PairDataset, PartOfSplit


def rehearsed(parts: list[PartOfSplit], share: float) -> list[PartOfSplit]:
    """Weigh the old corpora among `parts` so that this share of the places of an epoch is theirs together."""
    own, old = (sum(part.weight * len(part.indices) for part in parts if part.is_old == side) for side in (False, True))
    factor = share / (1 - share) * own / old if old else 1.0
    return [part._replace(weight=factor * part.weight) if part.is_old else part for part in parts]


class Epoch:
    """The places of an epoch, those of one corpus behind those of another.

    Of a weight that is no whole number, an epoch shows a part of the pairs once more often than the others, and the
    next epoch goes on behind that part.
    """

    def __init__(self, dataset: PairDataset) -> None:
        parts = [part for part in dataset.parts if len(part.indices)]
        self._first = np.array([part.indices.start for part in parts], np.int64)
        self._pairs = np.array([len(part.indices) for part in parts], np.int64)
        self._places = np.maximum(1, np.rint([part.weight * len(part.indices) for part in parts])).astype(np.int64)
        self._ends = np.cumsum(self._places)
        few = self._places < self._pairs  # of such a corpus an epoch shows pairs from everywhere, not of a film or two
        self._strides = np.array([_stride(int(pairs)) for pairs in self._pairs], np.int64) * few + ~few

    def __len__(self) -> int:
        return int(self._places.sum())

    def pairs(self, places: np.ndarray, epoch: int) -> np.ndarray:
        """The indices of the pairs at `places` of the epoch with this number; int64, places from 0 to len(self) - 1."""
        part = np.searchsorted(self._ends, places, side="right")
        within = places - (self._ends - self._places)[part] + epoch * self._places[part]
        return self._first[part] + within % self._pairs[part] * self._strides[part] % self._pairs[part]


def _stride(count: int) -> int:
    """A number of places to go on in a circle of `count`, far, that leads to each of them before it leads back."""
    stride = max(1, round(0.618 * count))
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride
