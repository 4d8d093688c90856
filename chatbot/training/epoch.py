"""Which pair stands at each place of an epoch: every pair as often as the weight of its corpus says."""

import numpy as np

from ..corpus.prepared import PairDataset


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

    def __len__(self) -> int:
        return int(self._places.sum())

    def pairs(self, places: np.ndarray, epoch: int) -> np.ndarray:
        """The indices of the pairs at `places` of the epoch with this number; int64, places from 0 to len(self) - 1."""
        part = np.searchsorted(self._ends, places, side="right")
        within = places - (self._ends - self._places)[part] + epoch * self._places[part]
        return self._first[part] + within % self._pairs[part]
