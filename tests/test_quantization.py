"""Matrices of bytes mean nearly what the floats say, and say nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from chatbot.runs.quantization import dequantized, quantize, quantized

floats = st.floats(-1e4, 1e4, width=32).map(lambda value: value if abs(value) > 1e-30 else 0.0)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=floats))
def test_no_value_is_off_by_more_than_half_a_step_of_its_row(matrix: np.ndarray) -> None:
    made = quantized(matrix)
    assert (made.values.dtype, made.scales.dtype) == (np.uint8, np.float32)
    assert made.scales.shape == (len(matrix), 1)
    assert made.values.min() >= 1
    steps = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(dequantized(made) - matrix) <= steps * (0.5 + 1 / 50))


def test_zeros_and_the_largest_values_stay_as_they_are() -> None:
    matrix = np.array([[0, 0, 0], [0, -2, 1], [3, 0, 3]], np.float32)
    got = dequantized(quantized(matrix))
    np.testing.assert_array_equal(got[matrix == 0], 0)
    np.testing.assert_allclose(got[[1, 2, 2], [1, 0, 2]], [-2, 3, 3], rtol=1 / 8192)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=floats))
def test_what_is_quantised_twice_is_quantised_once(matrix: np.ndarray) -> None:
    once = dequantized(quantized(matrix))
    np.testing.assert_array_equal(dequantized(quantized(once)), once)


def test_a_row_does_not_feel_the_others() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    loud = matrix * np.array([[1], [1e6], [1], [1e-6], [1]], np.float32)
    np.testing.assert_array_equal(quantized(matrix).values, quantized(loud).values)


def test_of_a_network_matrices_are_quantised_and_vectors_are_not() -> None:
    weights = {"weight": np.eye(3, dtype=np.float32), "bias": np.ones(3, np.float32)}
    made = quantize(weights)
    assert made["bias"] is weights["bias"]
    np.testing.assert_allclose(dequantized(made["weight"]), weights["weight"], rtol=1 / 8192)
