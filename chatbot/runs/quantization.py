"""Matrices of 8 bits: a quarter of the bytes, and reading bytes is what takes the time of a reply to one prompt.

Each row of a matrix has its own scale (per output channel), found from its largest value alone: nothing is calibrated.
In int8 ONNX files what is multiplied by a matrix is quantized as well, while it runs, each row by its own largest
value, so that a batch answers as each of its prompts does alone.

Values are uint8 around a zero point of 128, not int8: with signed values the usual kernels of processors without VNNI
(AVX2) add pairs of products up in 16 bits, which overflows unless a bit of precision is given away.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ZERO = 128  # the byte that means 0
LARGEST = 127  # bytes reach from 1 to 255


class ByteMatrix(NamedTuple):
    """A matrix (N, K): (values - 128) * scales, where values are (N, K) uint8 and scales (N, 1) float32."""

    values: np.ndarray
    scales: np.ndarray


def quantized(matrix: np.ndarray) -> ByteMatrix:
    """Round a matrix (N, K) float32; no value is off by more than half its row's scale."""
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    scales = _short(np.where(largest > 0, largest, 1) / LARGEST)
    values = np.rint(matrix / scales) + ZERO
    return ByteMatrix(values.clip(1, 255).astype(np.uint8), scales)


def _short(scales: np.ndarray) -> np.ndarray:
    """Round scales to mantissas of 12 bits."""
    # A byte is at most 127 from the zero point, 7 bits, and 12 + 7 bits fit into float32's 24: value times scale is
    # exact. So quantizing what was dequantized finds the same scales and bytes again, and rounding happens only once.
    mantissas, exponents = np.frexp(scales.astype(np.float32))
    return np.ldexp(np.rint(mantissas * 4096) / 4096, exponents).astype(np.float32)


def dequantized(matrix: ByteMatrix) -> np.ndarray:
    """The matrix (N, K) in float32 that the bytes mean."""
    return (matrix.values.astype(np.float32) - ZERO) * matrix.scales


def quantize(weights: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray | ByteMatrix]":
    """A network's weights with every matrix in 8 bits; vectors (biases, `v`) stay as they are."""
    return {name: quantized(weight) if weight.ndim == 2 else weight for name, weight in weights.items()}


def in_bytes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """A state dict as a checkpoint stores it: each matrix as a dict of its values and scales, the rest unchanged.

    A matrix with several names (a tied embedding) is still one object under all of them.
    """

    def change(weight: Tensor) -> Any:
        if weight.dim() != 2:
            return weight
        values, scales = quantized(weight.float().numpy())
        return {"values": torch.from_numpy(values), "scales": torch.from_numpy(scales)}

    return _each_once(weights, lambda weight: (weight.data_ptr(), weight.shape), change)


def from_bytes(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in float32 that `in_bytes` made, or one that was never in bytes.

    Raises:
        ValueError: values and scales do not make a matrix, or matrices share storage. Data of quite another kind raises
            whatever reading it raises, so callers catch Exception.
    """

    def change(weight: Any) -> Tensor:
        if not isinstance(weight, dict):
            return weight
        values, scales = weight["values"], weight["scales"]
        if (values.dtype, scales.dtype) != (torch.uint8, torch.float32) or scales.shape != (len(values), 1):
            raise ValueError("a matrix of bytes without its scales")
        return torch.from_numpy(dequantized(ByteMatrix(values.numpy(), scales.numpy())))

    def place(weight: Any) -> tuple[int, torch.Size]:
        tensor = weight["values"] if isinstance(weight, dict) else weight
        return tensor.data_ptr(), tensor.shape

    matrices = {place(weight): weight["values"] for weight in stored.values() if isinstance(weight, dict)}
    kept = {values.untyped_storage().data_ptr(): values.untyped_storage().nbytes() for values in matrices.values()}
    if sum(values.numel() for values in matrices.values()) > sum(kept.values()):
        raise ValueError("matrices share their bytes")  # a small file would become many large matrices
    return _each_once(stored, place, change)


def _each_once(weights: Mapping[str, Any], place: Callable[[Any], Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Change each weight, those that lie in one place (by `place`) only once."""
    changed: dict[Any, Any] = {}
    for weight in weights.values():
        if place(weight) not in changed:
            changed[place(weight)] = change(weight)
    return {name: changed[place(weight)] for name, weight in weights.items()}
