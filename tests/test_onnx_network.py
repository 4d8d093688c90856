"""The network in ONNX operators against the eager one, in every kind and size."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.settings import ModelConfig
from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from chatbot.decoding.search import GreedySearchDecoder, SearchResult
from chatbot.deployment.onnx_network import Network
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq
from chatbot.runs.quantization import quantize
from chatbot.system.errors import ChatbotError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

V = 19
NEVER = [PAD_ID, SOS_ID, 3]
KINDS: list[dict[str, Any]] = [
    {},
    {"attention": "general", "encoder_layers": 1, "decoder_layers": 2},
    {"attention": "concat", "encoder_layers": 3, "decoder_layers": 1, "tie_embeddings": False},
    {"scale_embeddings": True, "copy_mechanism": True},
    {"attention": "general", "copy_mechanism": True, "embedding_size": 4, "tutorial_tokens": True},
    {"bridge": "tutorial", "tie_embeddings": False, "tutorial_tokens": True},
    {"bridge": "tutorial", "attention": "concat", "encoder_layers": 1, "decoder_layers": 1, "embedding_size": 9},
]


def model_of(**kind: Any) -> tuple[Seq2Seq, Network]:
    torch.manual_seed(3)
    config = ModelConfig(**{"hidden_size": 9, "embedding_size": 5, **kind})
    model = Seq2Seq(config, V).eval()
    with torch.no_grad():  # far from uniform, and EOS likely enough to end some rows early
        model.decoder.out.weight.mul_(8)
        model.decoder.out.bias[EOS_ID] += 1.5
        if model.decoder.copying is not None:  # or copies would hardly show
            model.decoder.copying.bias.fill_(1)
            model.decoder.copying.projection.weight.mul_(20)
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    return model, Network(config, weights, V, NEVER)


def runner(content: bytes) -> Callable[..., list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [end.name for end in session.get_inputs()]
    return lambda *inputs: session.run(None, {n: np.asarray(i) for n, i in zip(names, inputs, strict=True)})


def prompts(count: int, longest: int) -> list[list[int]]:
    rng = random.Random(count)
    return [[rng.randrange(4, V) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def assert_found(expected: SearchResult, got: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(expected.tokens, got[0])
    np.testing.assert_allclose(expected.scores, got[1], atol=1e-5)
    np.testing.assert_allclose(expected.attention, got[2], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_greedy_search_finds_what_the_eager_search_finds(kind: dict[str, Any]) -> None:
    model, network = model_of(**kind)
    run = runner(network.greedy_model({}))
    eager = GreedySearchDecoder(model.encoder, model.decoder, NEVER).eval()
    lengths = set()
    with torch.inference_mode():
        for count, longest, max_length in ((1, 1, 9), (1, 8, 1), (2, 3, 2), (7, 40, 13), (40, 8, 9)):
            src, src_lengths = pad_prompts(prompts(count, longest))  # rows in no order of their lengths
            expected = eager(src, src_lengths, max_length)
            assert_found(expected, run(src, src_lengths, max_length))
            lengths |= set((expected.tokens != PAD_ID).sum(dim=1).tolist())
    assert len(lengths) > 2  # or the test would not see rows that end at different steps


@settings(max_examples=12, deadline=None)
@given(
    kind=st.fixed_dictionaries(
        {
            "hidden_size": st.integers(1, 7),
            "embedding_size": st.integers(1, 7),
            "encoder_layers": st.integers(1, 3),
            "decoder_layers": st.integers(1, 2),
            "attention": st.sampled_from(["dot", "general", "concat"]),
            "bridge": st.sampled_from(["linear", "tutorial"]),
            "tie_embeddings": st.booleans(),
            "scale_embeddings": st.booleans(),
            "copy_mechanism": st.booleans(),
            "tutorial_tokens": st.booleans(),
        }
    ),
    texts=st.lists(st.lists(st.integers(3, V - 1), min_size=1, max_size=5), min_size=1, max_size=4),
)
def test_any_sizes_give_the_states_and_logits_of_the_eager_parts(kind: dict[str, Any], texts: list[list[int]]) -> None:
    model, network = model_of(**kind)
    texts = sorted(texts, key=len, reverse=True)  # as the eager encoder wants them
    src, src_lengths = pad_prompts(texts)
    token = src[:, :1]
    with torch.inference_mode():
        memory, source, hidden = model.encoder(src, src_lengths)
        got = runner(network.encoder_model({}))(src, src_lengths)
        for ours, theirs in zip((memory, source, hidden), got, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        expected = model.decoder(token, hidden, memory, source)
        got = runner(network.decoder_model({}))(token, hidden, memory, source)
        for ours, theirs in zip(expected, got, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_batch_in_any_order_finds_what_each_prompt_finds_alone() -> None:
    for weights in ("fp32", "int8"):
        _, network = model_of()
        if weights == "int8":
            network = Network(network.config, quantize(network.weights), V, NEVER)
        run = runner(network.greedy_model({}))
        texts = prompts(30, 8)
        tokens, scores, attention = run(*pad_prompts(texts), 7)
        for row, text in enumerate(texts):
            alone = run(*pad_prompts([text]), 7)
            width = alone[0].shape[1]
            np.testing.assert_array_equal(tokens[row, :width], alone[0][0])
            assert np.all(tokens[row, width:] == PAD_ID)
            np.testing.assert_allclose(scores[row, :width], alone[1][0], atol=1e-5)
            np.testing.assert_allclose(attention[row, :width, : len(text)], alone[2][0], atol=1e-5)
            assert not scores[row, width:].any()
            assert not attention[row, :, len(text) :].any()
            assert not attention[row, width:].any()


def test_columns_of_padding_change_nothing() -> None:
    _, network = model_of()
    run = runner(network.greedy_model({}))
    src, src_lengths = pad_prompts(prompts(5, 6))
    wide = torch.nn.functional.pad(src, (0, 3), value=PAD_ID)
    narrow, padded = run(src, src_lengths, 7), run(wide, src_lengths, 7)
    np.testing.assert_array_equal(narrow[0], padded[0])
    np.testing.assert_allclose(narrow[1], padded[1], atol=1e-6)


def test_it_stops_when_every_row_has_ended_and_at_max_length_in_any_case() -> None:
    _, network = model_of()
    run = runner(network.greedy_model({}))
    texts = prompts(40, 8)
    found = run(*pad_prompts(texts), 20)[0]
    ending = [text for text, row in zip(texts, found, strict=True) if EOS_ID in row]
    ended = run(*pad_prompts(ending), 1000)[0]
    assert len(ending) > 5
    assert ended.shape[1] <= 20
    assert EOS_ID in ended[:, -1]
    np.testing.assert_array_equal(run(*pad_prompts(ending), 1)[0], ended[:, :1])


def test_special_tokens_are_never_said() -> None:
    model, _ = model_of()
    with torch.no_grad():
        model.decoder.out.bias[NEVER] += 1000
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    network = Network(ModelConfig(hidden_size=9, embedding_size=5), weights, V, NEVER)
    assert not set(runner(network.greedy_model({}))(*pad_prompts([[5, 6, 7]]), 5)[0].ravel().tolist()) & set(NEVER)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_in_bytes_it_computes_nearly_the_same(kind: dict[str, Any]) -> None:
    model, network = model_of(**{**kind, "hidden_size": 64, "embedding_size": 0})
    network = Network(network.config, quantize(network.weights), V, NEVER)
    run_encoder, run_decoder = runner(network.encoder_model({})), runner(network.decoder_model({}))
    texts = sorted(prompts(20, 9), key=len, reverse=True)
    src, src_lengths = pad_prompts(texts)
    with torch.inference_mode():
        memory, source, hidden = model.encoder(src, src_lengths)
        logits, _, _ = model.decoder(src[:, :1], hidden, memory, source)
    got_memory, got_source, got_hidden = run_encoder(src, src_lengths)
    np.testing.assert_allclose(memory, got_memory, atol=0.03)
    np.testing.assert_allclose(hidden, got_hidden, atol=0.03)
    got = run_decoder(src[:, :1], got_hidden, got_memory, got_source)[0]
    assert np.abs(got - logits.numpy()).mean() < 0.02 * logits.std()
    if model.decoder.copying is not None:
        of_prompts = src.unsqueeze(1)
        np.testing.assert_allclose(
            logits.gather(2, of_prompts), np.take_along_axis(got, of_prompts.numpy(), 2), atol=0.1
        )


def test_only_operators_of_the_standard_are_used_and_all_data_is_inside() -> None:
    for kind in KINDS:
        _, network = model_of(**kind)
        for weights in (network.weights, quantize(network.weights)):
            content = Network(network.config, weights, V, NEVER).greedy_model({"a": "b"})
            model = onnx.load_from_string(content)
            assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
            assert {node.domain for node in model.graph.node} == {""}
            assert not any(tensor.external_data for tensor in model.graph.initializer)
            assert [(entry.key, entry.value) for entry in model.metadata_props] == [("a", "b")]


@pytest.mark.parametrize("in_bytes", [False, True])
def test_the_standards_own_evaluator_finds_the_same_as_onnx_runtime(in_bytes: bool) -> None:
    _, network = model_of(attention="concat", copy_mechanism=True)
    weights = quantize(network.weights) if in_bytes else network.weights
    content = Network(network.config, weights, V, NEVER).decoder_model({})  # of the encoder it lacks a reversed Scan
    rng = np.random.default_rng(0)
    given = {
        "tokens": np.array([[5], [7], [18]]),
        "hidden": rng.uniform(-1, 1, (2, 3, 9)).astype(np.float32),
        "memory": rng.uniform(-2, 2, (3, 4, 9)).astype(np.float32),
        "source": np.array([[5, 6, 5, 7], [2, 8, 0, 0], [9, 0, 0, 0]]),
    }
    found = pytest.importorskip("onnx.reference").ReferenceEvaluator(content).run(None, given)
    for theirs, ours in zip(found, runner(content)(*given.values()), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("setting", ["attention", "bridge"])
def test_what_is_not_written_in_operators_is_refused_by_name(setting: str) -> None:
    config = ModelConfig()
    object.__setattr__(config, setting, "brand-new")  # as if somebody had added it to the settings and to the network
    with pytest.raises(ChatbotError, match=rf"{setting} 'brand-new', only for \w+, "):
        Network(config, {}, V, NEVER)
