"""Hashes of 64 bits for runs of numbers and for pairs: which are equal to an earlier one, and which are commonest.

Among 20 million different values, some two share a hash with probability 1 in 100,000.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, made odd


def splitmix64(states: np.ndarray) -> np.ndarray:
    """The next output of the generator splitmix64 for each state, uint64 to uint64 (Steele, Lea and Flood 2014)."""
    return mix64(states + GAMMA)


def mix64(values: np.ndarray) -> np.ndarray:
    """The last step of splitmix64, a bijection of uint64: each bit of the result depends on all bits of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def sums(values: np.ndarray, bounds: np.ndarray, dtype: Any) -> np.ndarray:
    """Sum each run of `values` between neighbouring bounds; an empty run has the sum 0."""
    running = np.zeros(len(values) + 1, dtype)  # np.add.reduceat would give an empty run its neighbour's value
    np.cumsum(values, dtype=dtype, out=running[1:])
    return running[bounds[1:]] - running[bounds[:-1]]


def run_hashes(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Hash S runs of numbers (N,), by their values and order, to (S,) uint64; bounds (S+1,) say where each begins."""
    place = np.arange(len(numbers)) - np.repeat(bounds[:-1], np.diff(bounds))
    # a sum does not depend on the order of the numbers, so each is mixed with its place in the run
    mixed = splitmix64((numbers.astype(np.int64) << 20 | place).view(np.uint64))
    return splitmix64(sums(mixed, bounds, np.uint64) + np.diff(bounds).astype(np.uint64))


def pair_hashes(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Hash P pairs by prompt and reply to (P,) uint64; bounds (2P+1,) are those of prompt 0, reply 0, prompt 1, …"""
    sides = run_hashes(numbers, bounds)
    return splitmix64(sides[0::2]) + sides[1::2]


def repeats(hashes: np.ndarray, sides: np.ndarray, used: np.ndarray | bool) -> tuple[np.ndarray, np.ndarray]:
    """Find hashes (P,) that equal an earlier one, and those that equal one on an earlier side: two masks (P,).

    Only pairs that are `used` (P,) are compared. "Earlier" means by side of the split, then by place.
    """
    again, leaked = np.zeros(len(hashes), bool), np.zeros(len(hashes), bool)
    for chosen in _buckets(hashes, used):
        chosen = chosen[np.argsort(sides[chosen], kind="stable")]
        _, first, which = np.unique(hashes[chosen], return_index=True, return_inverse=True)
        earliest = chosen[first[which]]
        again[chosen] = earliest != chosen
        leaked[chosen] = sides[earliest] < sides[chosen]
    return again, leaked


def commonest(hashes: np.ndarray, used: np.ndarray | bool, most: int) -> list[tuple[int, int]]:
    """The `most` commonest of the `used` hashes, as (place of the first, count); of equally common ones the first."""
    found: list[tuple[int, int]] = []
    for chosen in _buckets(hashes, used):
        _, first, counts = np.unique(hashes[chosen], return_index=True, return_counts=True)
        top = np.lexsort((first, -counts))[:most]
        found += zip((-counts[top]).tolist(), chosen[first[top]].tolist(), strict=True)
    return [(place, -count) for count, place in sorted(found)[:most]]


def _buckets(hashes: np.ndarray, used: np.ndarray | bool) -> Iterator[np.ndarray]:
    """Divide the places of the `used` hashes among sixteen arrays, equal hashes into the same one.

    Sorting needs several times the memory of what it sorts, so only a sixteenth is sorted at a time.
    """
    high = hashes.astype("<u8", copy=False).view(np.uint8)[7::8] >> 4
    return (np.flatnonzero((high == bucket) & used) for bucket in range(16))
