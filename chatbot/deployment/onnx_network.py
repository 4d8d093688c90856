"""The network and greedy search in ONNX operators, written from the weights instead of traced, so that no exporter of
torch's is needed, nor torch.jit. Whoever adds an attention score or a bridge to the network adds it here, too.

Shapes as in network/model.py: B batch, S source length (one more where the encoder reads EOS), T reply length, H hidden
size, L decoder layers, V vocabulary; R rows, those of the B prompts whose reply has not ended. Within the encoder time
comes first, as ONNX's Scan has it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config.settings import ModelConfig
from ..corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from ..network.copy_mechanism import TINY
from ..system.errors import ChatbotError
from .onnx_graph import Bytes, End, Graph, Weights

EMBEDDING = "encoder.embedding.weight"
SCORES, BRIDGES = ("dot", "general", "concat"), ("linear", "tutorial")  # those that are written in operators below
PROMPTS: list[End] = [("src", "INT64", ["B", "S"]), ("src_lengths", "INT64", ["B"])]


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
        weights: its state dict as arrays, any of the matrices in 8 bits.
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
        # what the encoder gives and the decoder takes
        self.memory: End = ("memory", "FLOAT", ["B", "read", config.hidden_size])
        self.source: End = ("source", "INT64", ["B", "read"])
        self.state: End = ("hidden", "FLOAT", [config.decoder_layers, "B", config.hidden_size])

    def greedy_model(self, metadata: Mapping[str, str], longest: int | None = None) -> bytes:
        """src (B, S) int64 padded with PAD, src_lengths (B,) int64, max_length () int64 at least 1 -> tokens (B, T)
        int64, scores (B, T), attention (B, T, S): what `GreedySearchDecoder` finds, rows in any order.

        Args:
            longest: the file's one max_length; then it is no input.
        """
        graph = Graph(self.weights)
        memory, source, hidden = self._encoder(graph)
        count = graph.add("Gather", graph.add("Shape", "src"), graph.ints(0))  # [B]
        rows = graph.add("Range", graph.constant(0, np.int64), graph.squeeze(count, 0), graph.constant(1, np.int64))
        first = graph.add("Expand", graph.constant(SOS_ID, np.int64), count)
        truth = graph.constant(True, np.bool_)
        step = self._greedy_step(graph, self._given(graph, memory, source), count)
        most = "max_length" if longest is None else graph.constant(longest, np.int64)
        inputs = most, truth, rows, first, hidden
        *_, tokens, scores, attention = graph.add_many(6, "Loop", *inputs, body=step)  # (T, B), (T, B), (T, B, S)
        values = [graph.add("Transpose", value, perm=[1, 0]) for value in (tokens, scores)]
        values.append(graph.add("Transpose", attention, perm=[1, 0, 2]))
        outputs: list[End] = [("tokens", "INT64", ["B", "T"]), ("scores", "FLOAT", ["B", "T"])]
        outputs.append(("attention", "FLOAT", ["B", "T", "read"]))
        given: list[End] = [("max_length", "INT64", [])] if longest is None else []
        return graph.model("greedy", [*PROMPTS, *given], values, outputs, metadata)

    def encoder_model(self, metadata: Mapping[str, str]) -> bytes:
        """src (B, S), src_lengths (B,) -> memory (B, S, H), source (B, S) int64, hidden (L, B, H); any order."""
        graph = Graph(self.weights)
        outputs = [self.memory, self.source, self.state]
        return graph.model("encoder", PROMPTS, self._encoder(graph), outputs, metadata)

    def decoder_model(self, metadata: Mapping[str, str]) -> bytes:
        """One token further: tokens (B, 1) int64, hidden (L, B, H), memory, source -> logits (B, 1, V), new_hidden
        (L, B, H), attention (B, 1, S)."""
        graph = Graph(self.weights)
        given = self._given(graph, "memory", "source")
        logits, hidden, attention = self._step(graph, graph.squeeze("tokens", 1), "hidden", given)
        values = [graph.unsqueeze(logits, 1), hidden, graph.unsqueeze(attention, 1)]
        outputs: list[End] = [("logits", "FLOAT", ["B", 1, self.vocabulary_size]), ("new_hidden", *self.state[1:])]
        outputs.append(("attention", "FLOAT", ["B", 1, "read"]))
        inputs: list[End] = [("tokens", "INT64", ["B", 1]), self.state, self.memory, self.source]
        return graph.model("decoder", inputs, values, outputs, metadata)

    def _greedy_step(self, outer: Graph, given: Given, count: str) -> Any:
        """From the R rows that go on, (R,), what each said last, (R,), and hidden (L, R, H) to the next such three.

        Rows that have ended are left out of the next step instead of being computed and masked.
        """
        graph = Graph(self.weights, outer)
        step, go, rows, token, hidden = (graph.name(name) for name in ("step", "go", "rows", "token", "hidden"))
        here = Given(*(graph.add("Gather", value, rows) if value else "" for value in given))
        logits, after, attention = self._step(graph, token, hidden, here)
        log_probs = graph.add("LogSoftmax", logits, axis=1)
        never = np.zeros(self.vocabulary_size)
        never[self.never_replied] = -np.inf
        allowed = graph.add("Add", log_probs, graph.constant(never, np.float32, "never_replied"))
        # In ONNX Runtime TopK takes half of ArgMax's time, and it too takes the lowest id of equal ones. The value that
        # it finds is the score, of which what may not be replied has its share.
        best = graph.add_many(2, "TopK", allowed, graph.ints(1), axis=1)  # (R, 1) each
        score, said = (graph.squeeze(value, 1) for value in best)
        # to their places among all B, where the others are padding
        place = graph.unsqueeze(rows, 1)
        zero, pad = graph.constant(0, np.float32), graph.constant(PAD_ID, np.int64)
        others = ((said, pad, count), (score, zero, count), (attention, zero, graph.add("Shape", given.mask)))
        told = [graph.add("ScatterND", graph.add("Expand", blank, to), place, value) for value, blank, to in others]
        going = graph.add("Not", graph.add("Equal", said, graph.constant(EOS_ID, np.int64)))
        going = graph.squeeze(graph.add("NonZero", going), 0)
        again = graph.add("Greater", graph.add("Size", going), graph.constant(0, np.int64))
        kept = [graph.add("Gather", value, going, axis=axis) for value, axis in ((rows, 0), (said, 0), (after, 1))]
        dtypes = [*("INT64", "INT64", "FLOAT") * 2, "INT64", "FLOAT", "FLOAT"]
        names = (rows, token, hidden, *kept, *told)
        states: list[End] = [(name, dtype, None) for name, dtype in zip(names, dtypes, strict=True)]
        inputs: list[End] = [(step, "INT64", []), (go, "BOOL", []), *states[:3]]
        return graph.body("step", inputs, [(again, "BOOL", []), *states[3:]])

    def _encoder(self, graph: Graph) -> list[str]:
        """memory (B, S, H), source (B, S), hidden (L, B, H)."""
        src, src_lengths = "src", "src_lengths"
        size, pad = self.config.hidden_size, graph.constant(PAD_ID, np.int64)
        if self.config.tutorial_tokens:  # the tutorial's models read EOS behind each prompt
            real = graph.cast(graph.add("Not", graph.add("Equal", src, pad)), "INT64")
            src = graph.add("Pad", src, graph.ints(0, 0, 0, 1), pad)
            end = graph.add("ReduceSum", real, graph.ints(1), keepdims=1)  # (B, 1)
            eos = graph.add("Expand", graph.constant(EOS_ID, np.int64), graph.add("Shape", end))
            src = graph.add("ScatterElements", src, end, eos, axis=1)
            src_lengths = graph.add("Add", src_lengths, graph.constant(1, np.int64))
        shape = graph.add("Shape", graph.add("Transpose", src, perm=[1, 0]))  # [S, B]
        steps, batch = graph.add("Gather", shape, graph.ints(0)), graph.add("Gather", shape, graph.ints(1))
        numbers = graph.constant(0, np.int64), graph.squeeze(steps, 0), graph.constant(1, np.int64)
        time = graph.unsqueeze(graph.add("Range", *numbers), 1)  # (S, 1)
        real = graph.unsqueeze(graph.add("Less", time, src_lengths), 2)  # (S, B, 1)
        words = graph.add("Reshape", graph.add("Transpose", src, perm=[1, 0]), graph.ints(-1))
        x: str | Bytes = graph.embedding(EMBEDDING, words, self.times)  # (S * B, E)
        zero = graph.add("Expand", graph.constant(0, np.float32), graph.add("Concat", batch, graph.ints(size), axis=0))
        to_time = graph.add("Concat", shape, graph.ints(-1), axis=0)
        # of two gates, masks and outputs the second goes from the last word to the first
        ways: Any = {"num_scan_inputs": 4, "scan_input_directions": [0, 1, 0, 1], "scan_output_directions": [0, 1]}
        hidden: list[str] = []
        for layer in range(self.config.encoder_layers):
            names = [f"encoder.gru.{{}}_l{layer}{direction}" for direction in ("", "_reverse")]
            gates = [graph.add("Reshape", self._gates(graph, x, name, "ih"), to_time) for name in names]
            inputs, cells = (zero, zero, *gates, real, real), self._both_cells(graph, names)
            # states (B, H) twice, outputs (S, B, H) twice
            *last, forward, backward = graph.add_many(4, "Scan", *inputs, body=cells, **ways)
            hidden += last
            if layer + 1 < self.config.encoder_layers:
                both = graph.add("Concat", forward, backward, axis=2)
                x = graph.add("Reshape", both, graph.ints(-1, 2 * size))
        memory = graph.add("Transpose", graph.add("Add", forward, backward), perm=[1, 0, 2])
        return [memory, src, self._bridge(graph, hidden)]

    def _both_cells(self, outer: Graph, names: Sequence[str]) -> Any:
        """One word further in each direction; at padding (the reverse direction begins with it) a state stays."""
        graph = Graph(self.weights, outer)
        states, gates, reals = ([graph.name(kind) for _ in names] for kind in ("state", "gates", "real"))
        after, seen = [], []
        for name, state, gate, real in zip(names, states, gates, reals, strict=True):
            new = self._cell(graph, gate, state, name)
            after.append(graph.add("Where", real, new, state))
            seen.append(graph.add("Where", real, new, graph.constant(0, np.float32)))
        inputs: list[End] = [(end, "FLOAT", None) for end in states + gates]
        inputs += [(end, "BOOL", None) for end in reals]
        return graph.body("cells", inputs, [(end, "FLOAT", None) for end in after + seen])

    def _gates(self, graph: Graph, x: "str | Bytes", name: str, side: str) -> str:
        return graph.product(x, name.format(f"weight_{side}"), name.format(f"bias_{side}"))

    def _cell(self, graph: Graph, gates: str, state: str, name: str) -> str:
        """W_i x + b_i (B, 3H), whose parts are r, z, n, and h (B, H) -> h' (B, H): the GRU of Cho et al. 2014 as
        nn.GRU computes it, n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), h' = (1 - z) * n + z * h."""
        parts = graph.ints(2 * self.config.hidden_size, self.config.hidden_size)
        rz, n = graph.add_many(2, "Split", gates, parts, axis=1)
        rz_of_state, n_of_state = graph.add_many(2, "Split", self._gates(graph, state, name, "hh"), parts, axis=1)
        r, z = graph.add_many(2, "Split", graph.add("Sigmoid", graph.add("Add", rz, rz_of_state)), axis=1)
        n = graph.add("Tanh", graph.add("Add", n, graph.add("Mul", r, n_of_state)))
        return graph.add("Add", n, graph.add("Mul", z, graph.add("Sub", state, n)))

    def _bridge(self, graph: Graph, hidden: list[str]) -> str:
        """Last states (B, H), those of a layer forward and backward beside each other -> (L, B, H)."""
        layers, above = self.config.decoder_layers, self.config.encoder_layers - self.config.decoder_layers
        if self.config.bridge == "tutorial":
            return _stacked(graph, hidden[:layers])
        states = []
        for layer in range(layers):
            # the decoder's top layer begins with the encoder's top one; a decoder with more layers repeats the lowest
            source, name = 2 * max(0, above + layer), f"encoder.bridge.projections.{layer}"
            both = graph.add("Concat", *hidden[source : source + 2], axis=1)
            states.append(graph.add("Tanh", graph.product(both, f"{name}.weight", f"{name}.bias")))
        return _stacked(graph, states)

    def _step(self, graph: Graph, token: str, hidden: str, given: Given) -> tuple[str, str, str]:
        """token (B,), hidden (L, B, H) -> logits (B, V), hidden, attention (B, S)."""
        x: Any = graph.embedding(EMBEDDING, token, self.times)
        states = []
        for layer, state in enumerate(graph.add_many(self.config.decoder_layers, "Split", hidden, axis=0)):
            name = f"decoder.gru.{{}}_l{layer}"
            gates = self._gates(graph, x, name, "ih")
            x = self._cell(graph, gates, graph.squeeze(state, 0), name)
            states.append(x)
        nowhere = graph.constant(-np.inf, np.float32)
        scores = graph.add("Where", given.mask, self._scores(graph, x, given.keys), nowhere)
        attention = graph.add("Softmax", scores, axis=1)
        context = graph.add("MatMul", graph.unsqueeze(attention, 1), given.memory)  # (B, 1, H)
        both = graph.add("Concat", x, graph.squeeze(context, 1), axis=1)
        attended = graph.add("Tanh", graph.product(both, "decoder.concat.weight", "decoder.concat.bias"))
        logits = graph.product(attended, self.output, "decoder.out.bias")
        if self.config.copy_mechanism:
            logits = self._with_copies(graph, logits, attended, given)
        return logits, _stacked(graph, states), attention

    def _with_copies(self, graph: Graph, logits: str, attended: str, given: Given) -> str:
        """logits (B, V), attended (B, E) -> logits (B, V), to which the words of the prompt add their copy scores.

        A word's logit becomes log(exp(logit) + exp(copied)), copied being the log of the sum over the word's places;
        added as softplus(copied - logit), at the word's first place only, or it would count once for each place.
        """
        name = "decoder.copying.projection.{}"
        query = graph.product(attended, name.format("weight"), name.format("bias"))  # (B, H)
        query = graph.add("Mul", query, graph.constant(self.config.hidden_size**-0.5, np.float32))
        scores = graph.squeeze(graph.add("MatMul", given.memory, graph.unsqueeze(query, 2)), 2)  # (B, S)
        scores = graph.add("Add", scores, graph.weight("decoder.copying.bias"))
        largest = graph.add("ReduceMax", scores, axes=[1], keepdims=1)
        weights = graph.unsqueeze(graph.add("Exp", graph.add("Sub", scores, largest)), 1)
        summed = graph.squeeze(graph.add("MatMul", weights, given.same), 1)
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
        same = graph.cast(graph.add("Equal", *(graph.unsqueeze(source, axis) for axis in (1, 2))), "FLOAT")
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
            energy = graph.add("Tanh", graph.add("Add", graph.unsqueeze(query, 1), keys))
            return graph.add("MatMul", energy, graph.weight("decoder.attention.v"))
        return graph.squeeze(graph.add("MatMul", keys, graph.unsqueeze(query, 2)), 2)

    def _half(self, weight: str, half: int) -> str:
        """The name of one half of a matrix's columns: 8-bit values keep the scales of their rows."""
        name, matrix = f"{weight}.{half}", self.weights[weight]
        if isinstance(matrix, np.ndarray):
            self.weights[name] = np.split(matrix, 2, axis=1)[half]
        else:
            self.weights[name] = matrix._replace(values=np.split(matrix.values, 2, axis=1)[half])
        return name


def _stacked(graph: Graph, states: Sequence[str]) -> str:
    return graph.add("Concat", *(graph.unsqueeze(state, 0) for state in states), axis=0)
