"""Equal things found by their hashes, eight bytes each: runs of numbers, pairs of runs, which come again and how often.

Of 20 million different values two have the same hash in one corpus of 100,000.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, made odd


def splitmix64(states: np.ndarray) -> np.ndarray:
    """uint64 to uint64: what the generator splitmix64 gives next in each state (Steele, Lea and Flood 2014)."""
    return mix64(states + GAMMA)


def mix64(values: np.ndarray) -> np.ndarray:
    """The last step of splitmix64, a bijection of uint64: each bit of the result depends on all bits of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def sums(values: np.ndarray, bounds: np.ndarray, dtype: Any) -> np.ndarray:
    """The sum of each run of `values` between neighbouring bounds, runs of nothing included."""
    running = np.zeros(len(values) + 1, dtype)  # not np.add.reduceat, which gives an empty run its neighbour's value
    np.cumsum(values, dtype=dtype, out=running[1:])
    return running[bounds[1:]] - running[bounds[:-1]]


def run_hashes(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(S,) uint64 for S runs of numbers (N,), by their values and order; bounds (S+1,) say where each begins."""
    place = np.arange(len(numbers)) - np.repeat(bounds[:-1], np.diff(bounds))
    # a sum over a run does not know the order of its numbers, so each goes in together with its place
    mixed = splitmix64((numbers.astype(np.int64) << 20 | place).view(np.uint64))
    return splitmix64(sums(mixed, bounds, np.uint64) + np.diff(bounds).astype(np.uint64))


def pair_hashes(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(P,) uint64, the same for pairs with the same prompt and reply; bounds (2P+1,) of prompts and replies in turn."""
    sides = run_hashes(numbers, bounds)
    return splitmix64(sides[0::2]) + sides[1::2]


def repeats(hashes: np.ndarray, sides: np.ndarray, used: np.ndarray | bool) -> tuple[np.ndarray, np.ndarray]:
    """Of equal hashes (P,), which come again, and which stand on a later side of the split than the first: (P,) bool.

    Only pairs that are `used` (P,) count. "First" is by side, then by place.
    """
    again, leaked = np.zeros(len(hashes), bool), np.zeros(len(hashes), bool)
    for chosen in _buckets(hashes, used):
        values, of = hashes[chosen], sides[chosen]
        order = np.lexsort((of, values))
        values, of, chosen = values[order], of[order], chosen[order]
        new = np.ones(len(values), bool)
        np.not_equal(values[1:], values[:-1], out=new[1:])
        first = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
        again[chosen] = ~new
        leaked[chosen] = of > of[first]
    return again, leaked


def commonest(hashes: np.ndarray, used: np.ndarray | bool, most: int) -> list[tuple[int, int]]:
    """The `most` commonest of the hashes that are `used`: (place of the first, how often); of equals the first."""
    found: list[tuple[int, int]] = []
    for chosen in _buckets(hashes, used):
        _, first, counts = np.unique(hashes[chosen], return_index=True, return_counts=True)
        top = np.lexsort((first, -counts))[:most]
        found += zip((-counts[top]).tolist(), chosen[first[top]].tolist(), strict=True)
    return [(place, -count) for count, place in sorted(found)[:most]]


def _buckets(hashes: np.ndarray, used: np.ndarray | bool) -> Iterator[np.ndarray]:
    """Places of the hashes that are `used`, equal hashes in the same one of sixteen arrays.

    Sorting takes several times the memory of what it sorts, so only a sixteenth is sorted at a time.
    """
    high = hashes.astype("<u8", copy=False).view(np.uint8)[7::8] >> 4
    return (np.flatnonzero((high == bucket) & used) for bucket in range(16))
