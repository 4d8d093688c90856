"""The network as the page of `export --web` loads it: encoder and decoder in one ONNX file, shared weights stored once.

Matrices are stored in 8 bits and turned into floats when the file is loaded; all products are of floats. So a browser
computes what torch computes with the same rounded weights, but for the order of sums. With products of bytes
(`chatbot.int8.onnx`) a difference in the seventh digit may round to another byte, and then the words differ.
"""

from collections.abc import Mapping

import numpy as np

from .onnx_graph import End, Graph
from .onnx_network import PROMPTS, Network


class WebNetwork(Network):
    """A `Network` that is written as one file; shapes as there, R rows that a search follows."""

    def web_model(self, metadata: Mapping[str, str]) -> bytes:
        """A file of both calls, of which `read` () bool says the one that runs. What the other takes may have no rows,
        and what the other gives has none.

            True: src (B, S), src_lengths (B,) -> new_memory, new_source, new_hidden, as of `encoder_model`
            False: tokens (R, 1), hidden, memory, source -> new_hidden, logits and log_probs (R, 1, V), attention
        """
        graph = Graph(self.weights, in_floats=True)
        values = graph.add_many(6, "If", "read", then_branch=self._reading(graph), else_branch=self._saying(graph))
        size, layers = self.config.hidden_size, self.config.decoder_layers
        words: list[int | str] = ["R", 1, self.vocabulary_size]
        inputs: list[End] = [("read", "BOOL", []), *PROMPTS, ("tokens", "INT64", ["R", 1])]
        inputs += [("hidden", "FLOAT", [layers, "R", size])]
        inputs += [("memory", "FLOAT", ["R", "read_words", size]), ("source", "INT64", ["R", "read_words"])]
        outputs: list[End] = [
            ("new_memory", "FLOAT", ["B", "new_words", size]),
            ("new_source", "INT64", ["B", "new_words"]),
        ]
        outputs += [("new_hidden", "FLOAT", [layers, "rows", size]), ("logits", "FLOAT", words)]
        outputs += [("log_probs", "FLOAT", words), ("attention", "FLOAT", ["R", 1, "read_words"])]
        return graph.model("web", inputs, values, outputs, metadata)

    def _reading(self, outer: Graph) -> object:
        graph = Graph(self.weights, outer)
        nothing = self._nothing(graph)
        return self._branch(graph, "reading", [*self._encoder(graph), nothing, nothing, nothing])

    def _saying(self, outer: Graph) -> object:
        graph = Graph(self.weights, outer)
        given = self._given(graph, "memory", "source")
        logits, hidden, attention = self._step(graph, graph.squeeze("tokens", 1), "hidden", given)
        log_probs = graph.add("LogSoftmax", logits, axis=1)
        told = [graph.unsqueeze(value, 1) for value in (logits, log_probs, attention)]
        sources = graph.cast(graph.squeeze(self._nothing(graph), 0), "INT64")
        return self._branch(graph, "saying", [self._nothing(graph), sources, hidden, *told])

    def _branch(self, graph: Graph, name: str, values: list[str]) -> object:
        values = [graph.add("Identity", value) for value in values]  # a branch may not give what is outside of it
        dtypes = ["FLOAT", "INT64", *["FLOAT"] * 4]
        ends: list[End] = [(value, dtype, None) for value, dtype in zip(values, dtypes, strict=True)]
        return graph.body(name, [], ends)

    def _nothing(self, graph: Graph) -> str:
        """Floats (1, 0, 1): three axes and no element."""
        return graph.add("Expand", graph.constant(0, np.float32), graph.ints(1, 0, 1))
