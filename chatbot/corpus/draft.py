"""Pairs in provisional numbers, between the two passes of a preparation: in temporary files, read in chunks.

Words are numbered as they are met; which of them are frequent enough is known only when all is read.
"""

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from .hashing import sums
from .pairs import Pairs
from .vocabulary import SEP, UNK

CHUNK_NUMBERS = 1 << 20
MAX_WORDS = 4_000_000  # different words told apart; those first seen later are unknown, whatever their count
UNK_NUMBER, SEP_NUMBER = 0, 1


class Chunk(NamedTuple):
    """P pairs of a draft, from pair number `first`: numbers (N,) int32; bounds (2P+1,) int64 of prompts and replies."""

    first: int
    numbers: np.ndarray
    bounds: np.ndarray

    @property
    def pairs(self) -> slice:
        """Their places among all pairs."""
        return slice(self.first, self.first + len(self.bounds) // 2)

    def per_number(self, of_pair: np.ndarray) -> np.ndarray:
        """(P,) values, one for each pair, to (N,)."""
        return np.repeat(of_pair, np.diff(self.bounds[::2]))

    def flagged(self, flags: np.ndarray) -> np.ndarray:
        """How many of the (N,) flags are set in each prompt and reply: (P, 2)."""
        return sums(flags, self.bounds, np.int64).reshape(-1, 2)


class Draft:
    """All pairs that passed the length filter, in the order read, in two temporary files that the caller opens.

    words: by number; sides (P,) uint8: `Pairs.sides`, both once it is closed; longest: words of the longest side.
    """

    words: list[str]
    sides: np.ndarray

    def __init__(self, numbers: IO[bytes], lengths: IO[bytes]) -> None:
        self._numbers, self._lengths = numbers, lengths
        self._sides = bytearray()
        self._table = {UNK: UNK_NUMBER, SEP: SEP_NUMBER}
        self._size = self.longest = 0

    def add(self, pairs: Pairs) -> None:
        """Append a batch; its words get the next numbers in the order in which the batch has them."""
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
        """End the text pass."""
        self.words, self._table = list(self._table), {}
        self.sides = np.frombuffer(self._sides, np.uint8)

    def chunks(self) -> Iterator[Chunk]:
        """All pairs, in runs of about CHUNK_NUMBERS numbers."""
        pairs = len(self._sides)
        step = max(1, CHUNK_NUMBERS * pairs // max(self._size, 1))
        self._numbers.seek(0)
        self._lengths.seek(0)
        for first in range(0, pairs, step):
            bounds = np.zeros(2 * min(step, pairs - first) + 1, np.int64)
            np.cumsum(np.fromfile(self._lengths, np.int32, len(bounds) - 1), out=bounds[1:])
            yield Chunk(first, np.fromfile(self._numbers, np.int32, int(bounds[-1])), bounds)
