"""A builder of ONNX graphs, with products of matrices in float32 or in 8 bits. A value is known by its name (str).

Shapes: N rows, K columns that are multiplied, M columns that come out.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..runs.quantization import LARGEST, ZERO, ByteMatrix
from ..system.errors import ChatbotError

OPSET, IR_VERSION = 17, 8  # of 2022: whatever reads ONNX reads them, ONNX Runtime since 1.12
TINY = 1e-30  # the least scale: a row of zeros is divided by it

Weights = Mapping[str, "np.ndarray | ByteMatrix"]
End = tuple[str, str, "Sequence[int | str] | None"]  # a graph's input or output: name, element type, shape if known
Ends = Sequence[End]


def extra(name: str) -> Any:
    """The package `name`, of the extra `[onnx]`.

    Raises:
        ChatbotError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ChatbotError(
            f"ONNX needs the package {name}, which is not installed: pip install -e '.[onnx]'"
        ) from error


class Bytes(NamedTuple):
    """Names of a quantized value (N, K): (values - 128) * scales, values uint8, scales (N, 1) float32."""

    values: str
    scales: str


class Graph:
    """Nodes in the order in which they are computed, and the tensors that they start from.

    Args:
        weights: what `embedding` and `product` find by name, each stored once.
        outer: the graph whose loop or branch this one is the body of; its values are seen from here.
        in_floats: matrices of 8 bits are turned into floats when a runtime loads the file, and products are of floats.
    """

    def __init__(self, weights: Weights, outer: "Graph | None" = None, *, in_floats: bool = False) -> None:
        self.weights = weights
        self.root: Graph = outer.root if outer else self
        self.in_floats: bool = outer.in_floats if outer else in_floats
        self.onnx = extra("onnx")
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}  # of the root: those of all
        self._turned: dict[str, str] = {}
        self._count = 0

    def name(self, kind: str) -> str:
        """A name that no other value has."""
        self.root._count += 1
        return f"{kind}_{self.root._count}"

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output; returns the output's name."""
        return self.add_many(1, operator, *inputs, **attributes)[0]

    def add_many(self, outputs: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        """One node with several outputs."""
        names = [self.name(operator) for _ in range(outputs)]
        self._nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def unsqueeze(self, value: str, axis: int) -> str:
        """With one more axis, of size 1."""
        return self.add("Unsqueeze", value, self.ints(axis))

    def squeeze(self, value: str, axis: int) -> str:
        """Without an axis of size 1."""
        return self.add("Squeeze", value, self.ints(axis))

    def cast(self, value: str, dtype: str) -> str:
        """Another element type, by its name in ONNX."""
        return self.add("Cast", value, to=self.onnx.TensorProto.DataType.Value(dtype))

    def constant(self, value: Any, dtype: Any, name: str = "") -> str:
        """A tensor; one without a name of its own is named by what it holds."""
        array = np.asarray(value, dtype)
        name = name or f"{array.dtype}{list(array.shape)}_{'_'.join(map(str, array.ravel().tolist()))}"
        if name not in self.root._tensors:
            self.root._tensors[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def ints(self, *values: int) -> str:
        """A vector of int64, as axes and shapes are given."""
        return self.constant(values, np.int64)

    def weight(self, name: str) -> str:
        """The weight of that name; of one in bytes its values."""
        found = self.weights[name]
        if isinstance(found, ByteMatrix):
            return self.constant(found.values, np.uint8, name)
        return self.constant(found, np.float32, name)

    def embedding(self, name: str, tokens: str, times: float = 1.0) -> "str | Bytes":
        """Rows of a matrix (V, K) by tokens (N,) int64, times a number -> (N, K)."""
        table = self.weights[name]
        rows = self.add("Gather", self.weight(name), tokens)
        if isinstance(table, ByteMatrix):
            scales = self.add("Gather", self.constant(table.scales, np.float32, f"{name}.scales"), tokens)
            scales = self._times(scales, times)
            return self._floats(rows, scales) if self.in_floats else Bytes(rows, scales)
        return self._times(rows, times)

    def _times(self, value: str, factor: float) -> str:
        return value if factor == 1 else self.add("Mul", value, self.constant(factor, np.float32))

    def product(self, x: "str | Bytes", weight: str, bias: str = "") -> str:
        """x (N, K) times the transpose of a weight (M, K), plus a bias (M,) -> (N, M) float32."""
        matrix = self.weights[weight]
        biases = [self.weight(bias)] if bias else []
        if not isinstance(matrix, ByteMatrix):
            assert isinstance(x, str)
            return self.add("Gemm", x, self.weight(weight), *biases, transB=1)
        if self.in_floats:
            assert isinstance(x, str)
            return self.add("Gemm", x, self._unpacked(weight, matrix), *biases, transB=1)
        x = self._quantized(x) if isinstance(x, str) else x
        # Unsigned bytes around a zero point of 128, on both sides: between signed ones the kernels of processors with
        # AVX2 alone add pairs of products in 16 bits, which overflow. The sums here are exact, in int32.
        zero = self.constant(ZERO, np.uint8)
        sums = self.add("MatMulInteger", x.values, self._transpose(weight), zero, zero)
        scales = self.constant(matrix.scales[:, 0], np.float32, f"{weight}.scales_in_a_row")
        result = self.add("Mul", self.add("Mul", self.cast(sums, "FLOAT"), scales), x.scales)
        return self.add("Add", result, *biases) if biases else result

    def _quantized(self, x: str) -> Bytes:
        """x (N, K) float32 with a scale for each row, so that no reply depends on the others in its batch."""
        largest = self.add("ReduceMax", self.add("Abs", x), axes=[1], keepdims=1)
        scales = self.add("Mul", largest, self.constant(1 / LARGEST, np.float32))
        scales = self.add("Max", scales, self.constant(TINY, np.float32))
        one, zero = self.constant(1, np.float32), self.constant(ZERO, np.uint8)
        return Bytes(self.add("QuantizeLinear", self.add("Div", x, scales), one, zero), scales)

    def _floats(self, values: str, scales: str) -> str:
        """The floats that bytes (N, K) with scales (N, 1) mean."""
        offsets = self.add("Sub", self.cast(values, "FLOAT"), self.constant(ZERO, np.float32))
        return self.add("Mul", offsets, scales)

    def _unpacked(self, weight: str, matrix: ByteMatrix) -> str:
        """A matrix (M, K) of 8 bits in floats. It depends on no input, so a runtime computes it once, at loading."""
        root = self.root
        if weight not in root._turned:
            scales = root.constant(matrix.scales, np.float32, f"{weight}.scales")
            root._turned[weight] = root._floats(root.weight(weight), scales)
        return root._turned[weight]

    def _transpose(self, weight: str) -> str:
        """A weight (M, K) as (K, M), which MatMulInteger wants: stored once as look-ups need it, and turned when a
        runtime loads it."""
        root = self.root
        if weight not in root._turned:
            root._turned[weight] = root.add("Transpose", root.weight(weight), perm=[1, 0])
        return root._turned[weight]

    def body(self, name: str, inputs: Ends, outputs: Ends, tensors: Sequence[Any] = ()) -> Any:
        """This graph as a whole, by default without tensors: so it is the body of a loop in the outer one."""
        kinds, helper = self.onnx.TensorProto.DataType, self.onnx.helper
        ends = [
            [helper.make_tensor_value_info(end, kinds.Value(dtype), shape) for end, dtype, shape in side]
            for side in (inputs, outputs)
        ]
        return helper.make_graph(self._nodes, name, *ends, tensors)

    def model(
        self, name: str, inputs: Ends, values: Sequence[str], outputs: Ends, metadata: Mapping[str, str]
    ) -> bytes:
        """The whole as a file's content, after the checks of the onnx package; `values` become the outputs.

        Raises:
            onnx.checker.ValidationError, onnx.shape_inference.InferenceError: it is no valid model.
        """
        helper = self.onnx.helper
        for value, (output, _, _) in zip(values, outputs, strict=True):
            self._nodes.append(helper.make_node("Identity", [value], [output]))
        graph = self.body(name, inputs, outputs, list(self._tensors.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="chatbot")
        self.onnx.checker.check_model(made, full_check=True)
        helper.set_model_props(made, dict(metadata))
        return made.SerializeToString()
