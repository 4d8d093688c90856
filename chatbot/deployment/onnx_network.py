"""The network and greedy search in ONNX operators, written from the weights and not traced: no exporter of upstream's
is needed, nor torch.jit.

Shapes as in `model`: B batch, S source length, T reply length, H hidden size, L decoder layers, V vocabulary; R rows,
of the B prompts those whose reply has not ended. Within the encoder time comes first, as ONNX's Scan has it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..config.settings import ModelConfig
from ..corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from ..network.copy_mechanism import TINY
from ..system.errors import ChatbotError
from .onnx_graph import Bytes, End, Graph, Weights

EMBEDDING = "encoder.embedding.weight"
SCORES, BRIDGES = ("dot", "general", "concat"), ("linear", "tutorial")  # those that are written in operators below


class Given(NamedTuple):
    """Names of what a step is given of B prompts; the last three with a copy mechanism only.

    memory (B, S, H); keys (B, S, H), what queries are compared with; mask (B, S) bool, False at padding; source (B, S)
    int64; same (B, S, S) float32, 1 where two places hold one word; once (B, S) bool, a word's first place.
    """

    memory: str
    keys: str
    mask: str
    source: str = ""
    same: str = ""
    once: str = ""


class Network:
    """The parts of a `Seq2Seq` as operators.

    Args:
        config: sizes and kinds of the parts.
        weights: its state dict as arrays, any of the matrices in bytes.
        vocabulary_size: V.
        never_replied: ids that greedy search passes over.

    Raises:
        ChatbotError: the network has an attention or a bridge that is not written in operators here.
    """

    def __init__(
        self, config: ModelConfig, weights: Weights, vocabulary_size: int, never_replied: Sequence[int]
    ) -> None:
        for what, kind, known in (("attention", config.attention, SCORES), ("bridge", config.bridge, BRIDGES)):
            if kind not in known:
                raise ChatbotError(f"no ONNX operators are written for {what} {kind!r}, only for {', '.join(known)}")
        self.config = config
        self.weights = dict(weights)
        self.vocabulary_size = vocabulary_size
        self.never_replied = list(never_replied)
        self.output = EMBEDDING if config.tie_embeddings else "decoder.out.weight"
        size = config.embedding_size or config.hidden_size
        self.times = size**0.5 if config.scale_embeddings else 1.0  # what is read of an embedding
        # a lineage's model reads EOS behind each prompt
        self.reads_eos = config.tutorial_tokens

    def greedy_model(self, metadata: Mapping[str, str]) -> bytes:
        """src (B, S) int64 padded with PAD, src_lengths (B,) int64, max_length () int64 at least 1 -> tokens (B, T)
        int64, scores (B, T), attention (B, T, S): all as `search.GreedySearchDecoder` has them, rows in any order.
        """
        graph = Graph(self.weights)
        found = self._greedy(graph, "src", "src_lengths", "max_length")
        for value, name in zip(found, ("tokens", "scores", "attention"), strict=True):
            graph.output(value, name)
        inputs: list[End] = [*_prompts(), ("max_length", "INT64", [])]
        outputs: list[End] = [
            ("tokens", "INT64", ["B", "T"]),
            ("scores", "FLOAT", ["B", "T"]),
            ("attention", "FLOAT", ["B", "T", "read"]),
        ]
        return graph.model("greedy", inputs, outputs, metadata)

    def encoder_model(self, metadata: Mapping[str, str]) -> bytes:
        """src (B, S), src_lengths (B,) -> memory (B, S, H), source (B, S) int64, hidden (L, B, H), rows in any order:
        otherwise as `model.Encoder.forward`.
        """
        graph = Graph(self.weights)
        for value, (name, _, _) in zip(self._encoder(graph, "src", "src_lengths"), self._read(), strict=True):
            graph.output(value, name)
        return graph.model("encoder", _prompts(), self._read(), metadata)

    def decoder_model(self, metadata: Mapping[str, str]) -> bytes:
        """tokens (B, 1) int64, hidden, memory, source -> logits (B, 1, V), new_hidden (L, B, H), attention (B, 1, S):
        `model.Decoder.forward` for one token.
        """
        graph = Graph(self.weights)
        token = graph.add("Squeeze", "tokens", graph.ints(1))
        logits, hidden, attention = self._step(graph, token, "hidden", self._given(graph, "memory", "source"))
        graph.output(graph.add("Unsqueeze", logits, graph.ints(1)), "logits")
        graph.output(hidden, "new_hidden")
        graph.output(graph.add("Unsqueeze", attention, graph.ints(1)), "attention")
        memory, source, state = self._read()
        inputs: list[End] = [("tokens", "INT64", ["B", 1]), state, memory, source]
        outputs: list[End] = [
            ("logits", "FLOAT", ["B", 1, self.vocabulary_size]),
            ("new_hidden", *state[1:]),
            ("attention", "FLOAT", ["B", 1, "read"]),
        ]
        return graph.model("decoder", inputs, outputs, metadata)

    def _read(self) -> list[End]:
        size, layers = self.config.hidden_size, self.config.decoder_layers
        return [
            ("memory", "FLOAT", ["B", "read", size]),
            ("source", "INT64", ["B", "read"]),
            ("hidden", "FLOAT", [layers, "B", size]),
        ]

    def _greedy(self, graph: Graph, src: str, src_lengths: str, max_length: str) -> list[str]:
        memory, source, hidden = self._encoder(graph, src, src_lengths)
        count = graph.add("Gather", graph.add("Shape", src), graph.ints(0))  # [B]
        rows = graph.add("Range", *(graph.constant(0, np.int64), _scalar(graph, count), graph.constant(1, np.int64)))
        first = graph.add("Expand", graph.constant(SOS_ID, np.int64), count)
        truth = graph.constant(True, np.bool_)
        step = self._greedy_step(graph, self._given(graph, memory, source), count)
        *_, tokens, scores, attention = graph.add_many(
            6, "Loop", max_length, truth, rows, first, hidden, body=step
        )  # (T, B), (T, B), (T, B, S)
        return [
            graph.add("Transpose", tokens, perm=[1, 0]),
            graph.add("Transpose", scores, perm=[1, 0]),
            graph.add("Transpose", attention, perm=[1, 0, 2]),
        ]

    def _greedy_step(self, outer: Graph, given: Given, count: str):  # type: ignore[no-untyped-def]
        """From the R rows that go on, (R,), what each said last, (R,), and hidden (L, R, H) to the next such three."""
        graph = Graph(self.weights, outer)
        step, go, rows, token, hidden = (graph.name(name) for name in ("step", "go", "rows", "token", "hidden"))
        here = Given(*(graph.add("Gather", value, rows) if value else "" for value in given))
        logits, after, attention = self._step(graph, token, hidden, here)
        log_probs = graph.add("LogSoftmax", logits, axis=1)
        never = np.zeros(self.vocabulary_size)
        never[self.never_replied] = -np.inf
        allowed = graph.add("Add", log_probs, graph.constant(never, np.float32, "never_replied"))
        best = graph.add("ArgMax", allowed, axis=1, keepdims=1)  # (R, 1), of equal ones the lowest id
        said = graph.add("Squeeze", best, graph.ints(1))
        score = graph.add("Squeeze", graph.add("GatherElements", log_probs, best, axis=1), graph.ints(1))
        # to their places among all B, where the others are padding
        place = graph.add("Unsqueeze", rows, graph.ints(1))
        padding = graph.add("Expand", graph.constant(PAD_ID, np.int64), count)
        nothing = graph.add("Expand", graph.constant(0, np.float32), count)
        width = graph.add("Shape", given.mask)
        unseen = graph.add("Expand", graph.constant(0, np.float32), width)
        told = [
            graph.add("ScatterND", padding, place, said),
            graph.add("ScatterND", nothing, place, score),
            graph.add("ScatterND", unseen, place, attention),
        ]
        going = graph.add("Not", graph.add("Equal", said, graph.constant(EOS_ID, np.int64)))
        going = graph.add("Squeeze", graph.add("NonZero", going), graph.ints(0))
        again = graph.add("Greater", graph.add("Size", going), graph.constant(0, np.int64))
        kept = [graph.add("Gather", value, going, axis=axis) for value, axis in ((rows, 0), (said, 0), (after, 1))]
        inputs: list[End] = [
            (step, "INT64", []),
            (go, "BOOL", []),
            (rows, "INT64", None),
            (token, "INT64", None),
            (hidden, "FLOAT", None),
        ]
        dtypes = ("BOOL", "INT64", "INT64", "FLOAT", "INT64", "FLOAT", "FLOAT")
        outputs: list[End] = [(value, dtype, None) for value, dtype in zip((again, *kept, *told), dtypes, strict=True)]
        outputs[0] = (again, "BOOL", [])
        return graph.body("step", inputs, outputs)

    def _encoder(self, graph: Graph, src: str, src_lengths: str) -> list[str]:
        """memory (B, S, H), source (B, S), hidden (L, B, H)."""
        size, pad = self.config.hidden_size, graph.constant(PAD_ID, np.int64)
        if self.reads_eos:
            real = graph.cast(graph.add("Not", graph.add("Equal", src, pad)), "INT64")
            src = graph.add("Pad", src, graph.ints(0, 0, 0, 1), pad)
            end = graph.add("ReduceSum", real, graph.ints(1), keepdims=1)  # (B, 1)
            eos = graph.add("Expand", graph.constant(EOS_ID, np.int64), graph.add("Shape", end))
            src = graph.add("ScatterElements", src, end, eos, axis=1)
            src_lengths = graph.add("Add", src_lengths, graph.constant(1, np.int64))
        shape = graph.add("Shape", graph.add("Transpose", src, perm=[1, 0]))  # [S, B]
        steps, batch = graph.add("Gather", shape, graph.ints(0)), graph.add("Gather", shape, graph.ints(1))
        numbers = graph.constant(0, np.int64), _scalar(graph, steps), graph.constant(1, np.int64)
        time = graph.add("Unsqueeze", graph.add("Range", *numbers), graph.ints(1))  # (S, 1)
        real = graph.add("Unsqueeze", graph.add("Less", time, src_lengths), graph.ints(2))  # (S, B, 1)
        words = graph.add("Reshape", graph.add("Transpose", src, perm=[1, 0]), graph.ints(-1))
        x: str | Bytes = graph.embedding(EMBEDDING, words, self.times)  # (S * B, E)
        zero = graph.add("Expand", graph.constant(0, np.float32), graph.add("Concat", batch, graph.ints(size), axis=0))
        to_time = graph.add("Concat", shape, graph.ints(-1), axis=0)
        hidden: list[str] = []
        for layer in range(self.config.encoder_layers):
            names = [f"encoder.gru.{{}}_l{layer}{direction}" for direction in ("", "_reverse")]
            gates = [graph.add("Reshape", self._gates(graph, x, name, "ih"), to_time) for name in names]
            *last, forward, backward = graph.add_many(
                4,
                "Scan",
                *(zero, zero, *gates, real, real),
                body=self._both_cells(graph, names),
                num_scan_inputs=4,
                scan_input_directions=[0, 1, 0, 1],
                scan_output_directions=[0, 1],
            )  # states (B, H) twice, outputs (S, B, H) twice
            hidden += last
            if layer + 1 < self.config.encoder_layers:
                both = graph.add("Concat", forward, backward, axis=2)
                x = graph.add("Reshape", both, graph.ints(-1, 2 * size))
        memory = graph.add("Transpose", graph.add("Add", forward, backward), perm=[1, 0, 2])
        return [memory, src, self._bridge(graph, hidden)]

    def _both_cells(self, outer: Graph, names: Sequence[str]):  # type: ignore[no-untyped-def]
        """One word further in each direction; at padding (the reverse direction begins with it) a state stays."""
        graph = Graph(self.weights, outer)
        ends = [[graph.name(kind) for _ in names] for kind in ("state", "gates", "real")]
        after, seen = [], []
        for name, state, gates, real in zip(names, *ends, strict=True):
            new = self._cell(graph, gates, state, name)
            after.append(graph.add("Where", real, new, state))
            seen.append(graph.add("Where", real, new, graph.constant(0, np.float32)))
        inputs: list[End] = [
            (end, dtype, None) for side, dtype in zip(ends, ("FLOAT", "FLOAT", "BOOL"), strict=True) for end in side
        ]
        return graph.body("cells", inputs, [(end, "FLOAT", None) for end in after + seen])

    def _gates(self, graph: Graph, x: "str | Bytes", name: str, side: str) -> str:
        return graph.product(x, name.format(f"weight_{side}"), name.format(f"bias_{side}"))

    def _cell(self, graph: Graph, gates: str, state: str, name: str) -> str:
        """W_i x + b_i (B, 3H), which are the parts r, z, n, and h (B, H) -> h' (B, H), in the notation of `gru`."""
        size = self.config.hidden_size
        parts = graph.ints(2 * size, size)
        rz, n = graph.add_many(2, "Split", gates, parts, axis=1)
        rz_of_state, n_of_state = graph.add_many(2, "Split", self._gates(graph, state, name, "hh"), parts, axis=1)
        r, z = graph.split(graph.add("Sigmoid", graph.add("Add", rz, rz_of_state)), 2, axis=1)
        n = graph.add("Tanh", graph.add("Add", n, graph.add("Mul", r, n_of_state)))
        return graph.add("Add", n, graph.add("Mul", z, graph.add("Sub", state, n)))

    def _bridge(self, graph: Graph, hidden: list[str]) -> str:
        """Last states (B, H), those of a layer forward and backward beside each other -> (L, B, H)."""
        layers, above = self.config.decoder_layers, self.config.encoder_layers - self.config.decoder_layers
        if self.config.bridge == "tutorial":
            states = hidden[:layers]
        else:
            states = []
            for layer in range(layers):
                source, name = 2 * max(0, above + layer), f"encoder.bridge.projections.{layer}"
                both = graph.add("Concat", *hidden[source : source + 2], axis=1)
                states.append(graph.add("Tanh", graph.product(both, f"{name}.weight", f"{name}.bias")))
        return _stacked(graph, states)

    def _step(self, graph: Graph, token: str, hidden: str, given: Given) -> tuple[str, str, str]:
        """token (B,), hidden (L, B, H) -> logits (B, V), hidden, attention (B, S)."""
        layers, x = self.config.decoder_layers, graph.embedding(EMBEDDING, token, self.times)
        states = []
        for layer, state in enumerate(graph.split(hidden, layers, axis=0)):
            name = f"decoder.gru.{{}}_l{layer}"
            gates = self._gates(graph, x, name, "ih")
            x = self._cell(graph, gates, graph.add("Squeeze", state, graph.ints(0)), name)
            states.append(x)
        assert isinstance(x, str)
        nowhere = graph.constant(-np.inf, np.float32)
        scores = graph.add("Where", given.mask, self._scores(graph, x, given.keys), nowhere)
        attention = graph.add("Softmax", scores, axis=1)
        context = graph.add("MatMul", graph.add("Unsqueeze", attention, graph.ints(1)), given.memory)  # (B, 1, H)
        both = graph.add("Concat", x, graph.add("Squeeze", context, graph.ints(1)), axis=1)
        attended = graph.add("Tanh", graph.product(both, "decoder.concat.weight", "decoder.concat.bias"))
        logits = graph.product(attended, self.output, "decoder.out.bias")
        if self.config.copy_mechanism:
            logits = self._with_copies(graph, logits, attended, given)
        return logits, _stacked(graph, states), attention

    def _with_copies(self, graph: Graph, logits: str, attended: str, given: Given) -> str:
        """logits (B, V), attended (B, E) -> logits (B, V), as `CopyMechanism` has them."""
        name = "decoder.copying.projection.{}"
        query = graph.product(attended, name.format("weight"), name.format("bias"))  # (B, H)
        query = graph.add("Mul", query, graph.constant(self.config.hidden_size**-0.5, np.float32))
        scores = graph.add("MatMul", given.memory, graph.add("Unsqueeze", query, graph.ints(2)))  # (B, S, 1)
        scores = graph.add("Add", graph.add("Squeeze", scores, graph.ints(2)), graph.weight("decoder.copying.bias"))
        largest = graph.add("ReduceMax", scores, axes=[1], keepdims=1)
        weights = graph.add("Unsqueeze", graph.add("Exp", graph.add("Sub", scores, largest)), graph.ints(1))
        summed = graph.add("Squeeze", graph.add("MatMul", weights, given.same), graph.ints(1))
        summed = graph.add("Max", summed, graph.constant(TINY, np.float32))
        copied = graph.add("Add", graph.add("Log", summed), largest)
        generated = graph.add("GatherElements", logits, given.source, axis=1)
        gain = graph.add("Softplus", graph.add("Sub", copied, generated))
        gain = graph.add("Where", given.once, gain, graph.constant(0, np.float32))
        return graph.add("ScatterElements", logits, given.source, gain, axis=1, reduction="add")

    def _given(self, graph: Graph, memory: str, source: str) -> Given:
        """From memory (B, S, H) and source (B, S)."""
        mask = graph.add("Not", graph.add("Equal", source, graph.constant(PAD_ID, np.int64)))
        keys = self._keys(graph, memory)
        if not self.config.copy_mechanism:
            return Given(memory, keys, mask)
        same = graph.add("Equal", *(graph.add("Unsqueeze", source, graph.ints(axis)) for axis in (1, 2)))
        same = graph.cast(same, "FLOAT")
        before = graph.add("Trilu", same, graph.constant(-1, np.int64), upper=0)
        again = graph.cast(graph.add("ReduceMax", before, axes=[2], keepdims=0), "BOOL")
        words = graph.add("Greater", source, graph.constant(EOS_ID, np.int64))
        return Given(memory, keys, mask, source, same, graph.add("And", words, graph.add("Not", again)))

    def _keys(self, graph: Graph, memory: str) -> str:
        """What queries are compared with, (B, S, H): all of an attention's work that does not depend on the query."""
        if self.config.attention == "dot":
            return memory
        weight, bias = "decoder.attention.projection.weight", "decoder.attention.projection.bias"
        if self.config.attention == "concat":  # W is applied to each half once; the bias goes with the query
            weight, bias = self._half(weight, 1), ""
        flat = graph.add("Reshape", memory, graph.ints(-1, self.config.hidden_size))
        return graph.add("Reshape", graph.product(flat, weight, bias), graph.add("Shape", memory))

    def _scores(self, graph: Graph, query: str, keys: str) -> str:
        """query (B, H), keys (B, S, H) -> (B, S)."""
        if self.config.attention == "concat":
            weight = self._half("decoder.attention.projection.weight", 0)
            query = graph.product(query, weight, "decoder.attention.projection.bias")
            energy = graph.add("Tanh", graph.add("Add", graph.add("Unsqueeze", query, graph.ints(1)), keys))
            v = graph.weight("decoder.attention.v")
            return graph.add("MatMul", energy, v)
        scores = graph.add("MatMul", keys, graph.add("Unsqueeze", query, graph.ints(2)))  # (B, S, 1)
        return graph.add("Squeeze", scores, graph.ints(2))

    def _half(self, weight: str, half: int) -> str:
        """The name of one half of a matrix's columns: bytes keep the scales of their rows."""
        name = f"{weight}.{half}"
        matrix = self.weights[weight]
        if isinstance(matrix, np.ndarray):
            self.weights[name] = np.split(matrix, 2, axis=1)[half]
        else:
            self.weights[name] = matrix._replace(values=np.split(matrix.values, 2, axis=1)[half])
        return name


def _prompts() -> list[End]:
    return [("src", "INT64", ["B", "S"]), ("src_lengths", "INT64", ["B"])]


def _scalar(graph: Graph, value: str) -> str:
    return graph.add("Squeeze", value, graph.ints(0))


def _stacked(graph: Graph, states: Sequence[str]) -> str:
    return graph.add("Concat", *(graph.add("Unsqueeze", state, graph.ints(0)) for state in states), axis=0)
