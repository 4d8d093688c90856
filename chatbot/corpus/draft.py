"""Pairs between the two passes of a preparation: temporary files of provisional word numbers, read in chunks.

Words are numbered as they are first seen; which of them are frequent enough is known only after the whole first pass.
"""

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from .hashing import sums
from .pairs import Pairs
from .vocabulary import SEP, UNK

CHUNK_NUMBERS = 1 << 20
MAX_WORDS = 4_000_000  # different words that are counted; further ones are unknown, however frequent
UNK_NUMBER, SEP_NUMBER = 0, 1


class Chunk(NamedTuple):
    """P consecutive pairs of a draft, from pair `first`: word numbers (N,) int32, and bounds (2P+1,) int64 in them."""

    first: int
    numbers: np.ndarray
    bounds: np.ndarray

    @property
    def pairs(self) -> slice:
        """The places of these pairs among all pairs."""
        return slice(self.first, self.first + len(self.bounds) // 2)

    def per_number(self, of_pair: np.ndarray) -> np.ndarray:
        """Repeat the value of each pair for each of its words: (P,) to (N,)."""
        return np.repeat(of_pair, np.diff(self.bounds[::2]))

    def flagged(self, flags: np.ndarray) -> np.ndarray:
        """Count the set flags (N,) in each prompt and reply: (P, 2)."""
        return sums(flags, self.bounds, np.int64).reshape(-1, 2)


class Draft:
    """All pairs that passed the length filter, in the order read, in two temporary files that the caller opens.

    words: all words by number, and sides (P,) uint8: `Pairs.sides`, both available after `close`;
    longest: the number of words in the longest prompt or reply;
    runs: how often each run stands inside a sentence of the training turns (`forms.count_runs`), as the caller says.
    """

    words: list[str]
    sides: np.ndarray

    def __init__(self, numbers: IO[bytes], lengths: IO[bytes]) -> None:
        self._numbers, self._lengths = numbers, lengths
        self._sides = bytearray()
        self._table = {UNK: UNK_NUMBER, SEP: SEP_NUMBER}
        self._size = self.longest = 0
        self.runs: dict[str, float] = {}

    def add(self, pairs: Pairs) -> None:
        """Append a batch; new words get the next numbers, in the batch's order."""
        table = self._table
        final = [
            table.setdefault(word, len(table)) if len(table) < MAX_WORDS else table.get(word, UNK_NUMBER)
            for word in pairs.words
        ]
        # not ndarray.tofile, whose errors do not say why: the disk may be full
        self._numbers.write(np.array(final, np.int32)[pairs.numbers].data)
        self._lengths.write(np.ascontiguousarray(pairs.lengths).data)
        self._sides += pairs.sides.tobytes()
        self._size += len(pairs.numbers)
        self.longest = max(self.longest, int(pairs.lengths.max(initial=0)))

    def close(self) -> None:
        """End the first pass; this frees the table of words."""
        self.words, self._table = list(self._table), {}
        self.sides = np.frombuffer(self._sides, np.uint8)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all pairs, in chunks of about CHUNK_NUMBERS numbers."""
        pairs = len(self._sides)
        step = max(1, CHUNK_NUMBERS * pairs // max(self._size, 1))
        self._numbers.seek(0)
        self._lengths.seek(0)
        for first in range(0, pairs, step):
            bounds = np.zeros(2 * min(step, pairs - first) + 1, np.int64)
            np.cumsum(np.fromfile(self._lengths, np.int32, len(bounds) - 1), out=bounds[1:])
            yield Chunk(first, np.fromfile(self._numbers, np.int32, int(bounds[-1])), bounds)
