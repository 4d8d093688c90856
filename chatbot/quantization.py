"""Matrices of 8 bits: a quarter of the bytes, and bytes are what a reply at batch 1 takes its time to read.

Each row of a matrix has its own scale (per output channel), found from its largest value alone: nothing is calibrated.
What is multiplied by it is quantised too, when it is there, each row by its own largest value (`graph`), so that a
batch answers as each of its prompts does alone.

Values are kept as uint8 around a zero point of 128. With signed ones the usual kernels of processors without VNNI
(AVX2) add pairs of products up in 16 bits, which overflows unless a bit of precision is given away; between unsigned
bytes they do not.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

ZERO = 128  # the byte that means 0
LARGEST = 127  # bytes reach from 1 to 255


class ByteMatrix(NamedTuple):
    """A matrix (N, K): (values - 128) * scales, where values are (N, K) uint8 and scales (N, 1) float32."""

    values: np.ndarray
    scales: np.ndarray


def quantized(matrix: np.ndarray) -> ByteMatrix:
    """matrix (N, K) float32 -> the nearest that there is: no value is off by more than half its row's scale."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    scales = _short(np.where(largest > 0, largest, 1) / LARGEST)
    values = np.rint(matrix / scales) + ZERO
    return ByteMatrix(values.clip(1, 255).astype(np.uint8), scales)


def _short(scales: np.ndarray) -> np.ndarray:
    """Scales rounded to 12 bits: times 127 they stay exact, so what is quantised twice is what is quantised once."""
    mantissas, exponents = np.frexp(scales.astype(np.float32))
    return np.ldexp(np.rint(mantissas * 4096) / 4096, exponents).astype(np.float32)


def dequantized(matrix: ByteMatrix) -> np.ndarray:
    """The matrix (N, K) in float32 that the bytes mean."""
    return (matrix.values.astype(np.float32) - ZERO) * matrix.scales


def quantize(weights: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray | ByteMatrix]":
    """A network's weights with every matrix of them in bytes; vectors (biases, `v`) stay as they are."""
    return {name: quantized(weight) if weight.ndim == 2 else weight for name, weight in weights.items()}
