"""Products of matrices in ONNX operators against numpy's, in floats and in bytes."""

from typing import Any

import numpy as np
import pytest

from chatbot.deployment.onnx_graph import Graph, extra
from chatbot.runs.quantization import dequantized, quantized
from chatbot.system.errors import ChatbotError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(1)
WEIGHT, BIAS = RNG.normal(size=(11, 6)).astype(np.float32), RNG.normal(size=11).astype(np.float32)


def run(graph: Graph, value: str, dtype: str, given: np.ndarray) -> np.ndarray:
    content = graph.model("test", [("x", dtype, given.shape)], [value], [("y", "FLOAT", ["N", "M"])], {})
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": given})[0]


@pytest.mark.parametrize("bias", ["bias", ""])
def test_a_product_in_floats(bias: str) -> None:
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    graph = Graph({"weight": WEIGHT, "bias": BIAS})
    got = run(graph, graph.product("x", "weight", bias), "FLOAT", x)
    np.testing.assert_allclose(got, x @ WEIGHT.T + (BIAS if bias else 0), rtol=1e-5, atol=1e-6)


def test_a_product_in_bytes_is_that_of_both_sides_rounded_to_bytes() -> None:
    x = RNG.normal(size=(5, 6)).astype(np.float32) * np.array([[1], [1000], [1e-3], [0], [1]], np.float32)
    matrix = quantized(WEIGHT)
    graph = Graph({"weight": matrix, "bias": BIAS})
    got = run(graph, graph.product("x", "weight", "bias"), "FLOAT", x)
    scales = np.abs(x).max(axis=1, keepdims=True) / 127
    rounded = np.rint(x / np.where(scales > 0, scales, 1)) * scales
    expected = rounded.astype(np.float64) @ dequantized(matrix).astype(np.float64).T
    np.testing.assert_allclose(got, expected + BIAS, rtol=1e-4, atol=1e-4)


def test_no_sum_of_bytes_overflows() -> None:
    size = 3000  # longer rows than the widest network has, every product at its largest
    signs = np.tile([[1], [-1]], (1, size)).astype(np.float32)
    graph = Graph({"weight": quantized(signs)})
    got = run(graph, graph.product("x", "weight"), "FLOAT", signs)
    np.testing.assert_allclose(got, [[size, -size], [-size, size]], rtol=1 / 4096)


@pytest.mark.parametrize("in_bytes", [False, True])
def test_a_look_up_and_its_product(in_bytes: bool) -> None:
    tokens, second = np.array([2, 0, 2, 10]), RNG.normal(size=(3, 6)).astype(np.float32)
    weights: Any = {"table": WEIGHT, "weight": second, "bias": BIAS[:3]}
    if in_bytes:
        weights |= {"table": quantized(WEIGHT), "weight": quantized(second)}
    graph = Graph(weights)
    got = run(graph, graph.product(graph.embedding("table", "x"), "weight", "bias"), "INT64", tokens)
    table, matrix = (dequantized(weights[name]) if in_bytes else weights[name] for name in ("table", "weight"))
    np.testing.assert_allclose(got, table[tokens] @ matrix.T + BIAS[:3], rtol=1e-5, atol=1e-5)


def test_a_weight_that_is_used_twice_is_stored_once() -> None:
    graph = Graph({"weight": np.zeros((100, 100), np.float32)})
    value = graph.product(graph.product("x", "weight"), "weight")
    content = graph.model("test", [("x", "FLOAT", ["N", 100])], [value], [("y", "FLOAT", ["N", 100])], {})
    assert 40_000 < len(content) < 41_000


def test_what_is_not_installed_is_named_with_its_cure() -> None:
    with pytest.raises(ChatbotError, match=r"^ONNX needs the package no_such_thing, .*pip install -e '\.\[onnx\]'$"):
        extra("no_such_thing")
