"""The order of work in fixed shapes: the same numbers as the other order, nothing from padding, no look at a value."""

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import chatbot.network.fixed_order as fixed_order
import chatbot.network.kernels.dropout as dropout
import chatbot.network.kernels.gru as gru
from chatbot.config.presets import PRESETS
from chatbot.config.settings import ModelConfig
from chatbot.network.batch import collate
from chatbot.network.fixed_order import FixedOrder
from chatbot.network.kernels.dropout import dropout_by
from chatbot.network.model import Seq2Seq
from chatbot.training.fixed_batch import Fields, FixedBatch, Widths
from chatbot.training.graph import fixed_loss
from chatbot.training.ngrams import NgramModel, NgramTable, SoftTargets
from chatbot.training.optimization import Optimizer, batch_loss, clip
from chatbot.training.steps import Part, smoothed

V, SPECIAL, LONGEST = 17, 4, 6
WORDS = st.integers(SPECIAL, V - 1)
BATCHES = st.lists(
    st.tuples(st.lists(WORDS, max_size=LONGEST), st.lists(WORDS, max_size=LONGEST - 1)), min_size=1, max_size=5
)
RECIPE = dataclasses.replace(PRESETS["default"].training, precision="fp32")
ONE = torch.tensor(1.0, dtype=torch.float64)
WIDTHS = Widths(5, (3, LONGEST), (3, LONGEST))


def network(**changes: Any) -> tuple[ModelConfig, Seq2Seq]:
    sizes = {"hidden_size": 4, "embedding_size": 3, "dropout": 0.0, "recurrent_dropout": 0.0, **changes}
    config = dataclasses.replace(PRESETS["default"].model, **sizes)
    return config, Seq2Seq(config, V).double().train()


def parted(pairs: list[tuple[list[int], list[int]]], share: float = 0.6) -> tuple[Part, NgramTable]:
    """Pairs as a batch with soft targets, and the n-grams' table, of double precision."""
    arrays = [(np.array(prompt, np.int64), np.array(reply, np.int64)) for prompt, reply in pairs]
    ngrams = NgramModel(arrays, V, SPECIAL)
    words, weights, bounds, common = ngrams.table()
    return smoothed(collate(arrays), ngrams, share), NgramTable(words, weights.double(), bounds, common.double())


def in_double(soft: SoftTargets) -> SoftTargets:
    return soft._replace(**{name: getattr(soft, name).double() for name in ("shares", "weights", "rest")})


def fixed(part: Part, widths: Widths = WIDTHS) -> Fields:
    """The batch in its fixed shape; its soft targets as they are before they are rounded to single precision."""
    fields = widths.batch(part).fields()
    if part.soft and fields.soft:
        own = torch.zeros(len(fields.real), dtype=torch.float64)
        own.index_add_(0, part.soft.places // V, part.soft.weights.double())
        torch.testing.assert_close(fields.soft.own.double(), own, rtol=0, atol=1e-6)
        floats = {name: getattr(fields.soft, name).double() for name in ("shares", "rest")}
        return fields._replace(soft=fields.soft._replace(own=own, **floats))
    return fields


def assert_the_same(config: ModelConfig, model: Seq2Seq, part: Part, table: NgramTable | None) -> None:
    """Loss, cost and all gradients, in both orders."""
    parameters, tokens = list(model.parameters()), len(part.batch.targets)
    doubled = part._replace(soft=part.soft and in_double(part.soft))
    loss, cost = batch_loss(model, doubled, RECIPE, tokens, table)
    found, found_cost = fixed_loss(FixedOrder(model, config), fixed(part), "fp32", ONE, table)
    torch.testing.assert_close((found / tokens, found_cost), (loss, cost), rtol=0, atol=1e-10)
    here, there = (torch.autograd.grad(value, parameters) for value in (loss, found / tokens))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=15)
@given(pairs=BATCHES, smooth=st.booleans(), seed=st.integers(0, 9))
def test_losses_and_gradients_are_those_of_the_other_order(
    pairs: list[tuple[list[int], list[int]]], smooth: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    part, table = parted(pairs)
    assert_the_same(*network(), part if smooth else Part(part.batch), table if smooth else None)


PAIRS = [([5, 6, 5, 7, 9, 9], [8, 9]), ([], [5]), ([6], [7, 7, 7, 5, 6]), ([9, 10, 11], []), ([5, 6], [5, 6])]


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "general"},
        {"attention": "concat"},
        {"copy_mechanism": False, "scale_embeddings": False},
        {"tie_embeddings": False},
        {"encoder_layers": 3, "decoder_layers": 1},
        {"encoder_layers": 1, "decoder_layers": 3},
        {"bridge": "tutorial", "encoder_layers": 2},
    ],
    ids=str,
)
def test_so_they_are_for_every_kind_of_network(changes: dict[str, Any]) -> None:
    part, table = parted(PAIRS)
    assert_the_same(*network(**changes), part, table)


def test_dropout_is_at_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is made the same in both orders: every value of some units, and a share of the connections."""

    def of_units(input: Tensor, share: Any, training: bool = True) -> Tensor:
        return input * (1 + float(share) * torch.arange(input.size(-1), dtype=input.dtype).sin())

    def some(weight: Tensor, share: Any) -> Tensor:
        return weight * (1 + float(share) * torch.arange(weight.numel(), dtype=weight.dtype).sin().view(weight.shape))

    monkeypatch.setattr(dropout, "dropout", of_units)
    monkeypatch.setattr(gru, "dropout", of_units)
    monkeypatch.setattr(fixed_order, "dropout_by", of_units)
    for file in (gru, fixed_order):
        monkeypatch.setattr(file, "without_some", some)
    part, table = parted(PAIRS)
    config, model = network(dropout=0.4, recurrent_dropout=0.25, encoder_layers=2)
    assert_the_same(config, model, part, table)
    model.scale_dropout(0.5)  # and it grows alike
    loss, _ = batch_loss(model, Part(part.batch), RECIPE, 1)
    half, _ = fixed_loss(FixedOrder(model, config), fixed(Part(part.batch)), "fp32", ONE / 2, None)
    whole, _ = fixed_loss(FixedOrder(model, config), fixed(Part(part.batch)), "fp32", ONE, None)
    torch.testing.assert_close(half, loss, rtol=0, atol=1e-10)
    assert not torch.isclose(half, whole)


def test_a_share_on_the_device_is_left_out_and_the_rest_makes_up_for_it() -> None:
    values = torch.ones(400, 500)
    found = dropout_by(values, torch.tensor(0.4))
    assert (found == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert found.max().item() == pytest.approx(1 / 0.6, rel=1e-4)
    assert torch.equal(dropout_by(values, torch.tensor(0.0)), values)


def test_padding_never_reaches_a_real_state() -> None:
    """Other words in the padding, and other vectors of PAD, change no logit at a real place and get no gradient."""
    config, model = network(tie_embeddings=False, encoder_layers=2)
    part, _ = parted(PAIRS)
    said, order = len(part.batch.targets), FixedOrder(model, config)
    wide, wider = (fixed(Part(part.batch), Widths(rows, (size,), (size,))) for rows, size in ((5, 6), (8, 11)))
    logits = order(wide.src, wide.tgt, wide.real, ONE)[:said]
    torch.testing.assert_close(order(wider.src, wider.tgt, wider.real, ONE)[:said], logits, rtol=0, atol=1e-12)
    with torch.no_grad():
        model.encoder.embedding.weight[0] += 100
    torch.testing.assert_close(order(wide.src, wide.tgt, wide.real, ONE)[:said], logits, rtol=0, atol=1e-12)
    loss, _ = fixed_loss(order, wider, "fp32", ONE, None)
    (gradient,) = torch.autograd.grad(loss, [model.encoder.embedding.weight])
    assert torch.all(gradient[0] == 0)
    assert gradient.abs().sum() > 0


@settings(deadline=None, max_examples=15)
@given(pairs=BATCHES, rows=st.integers(5, 7))
def test_a_fixed_shape_holds_all_of_a_batch(pairs: list[tuple[list[int], list[int]]], rows: int) -> None:
    part, table = parted(pairs)
    batch = dataclasses.replace(WIDTHS, rows=rows).batch(part)
    fields, (src, _, tgt, _, targets) = batch.fields(), part.batch
    assert batch.values.dtype == torch.int32
    assert torch.equal(fields.src[: len(src), : src.size(1)], src)
    assert torch.equal(fields.tgt[: len(tgt), : tgt.size(1)], tgt)
    assert fields.src.count_nonzero() == src.count_nonzero() + rows - len(src)
    assert fields.tgt.count_nonzero() == tgt.count_nonzero() == len(targets)
    assert torch.equal(fields.targets[: len(targets)], targets)
    assert fields.targets.count_nonzero() == len(targets)
    read = fields.tgt.flatten()[fields.real[: len(targets)]]
    assert torch.equal(read, tgt.flatten()[tgt.flatten() != 0])
    assert fields.soft
    assert part.soft
    single = NgramTable(table.words, table.weights.float(), table.bounds, table.common.float())
    dense = single.dense_fixed(fields.soft, fields.targets)
    torch.testing.assert_close(dense[: len(targets)], single.dense(part.soft))
    assert torch.all(dense[len(targets) :] == 0)


def test_the_shapes_of_a_batch_are_few() -> None:
    rng, shapes = np.random.default_rng(1), set()
    words = [
        (rng.integers(SPECIAL, V, rng.integers(0, 7)), rng.integers(SPECIAL, V, rng.integers(0, 6))) for _ in range(400)
    ]
    ngrams = NgramModel(words, V, SPECIAL)
    for start in range(0, 400, 8):
        part = smoothed(collate(words[start : start + 8]), ngrams, 0.5)
        shapes.add(Widths(8, (3, 6), (3, 6)).batch(part).shape)
    assert len(shapes) < 6


def test_no_value_decides_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, where there are shapes and no values: torch raises where one is read, or decides on a shape.

    So a GPU is never waited for, and a recorded step does the same for every batch of its shape.
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows no such device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    config = dataclasses.replace(PRESETS["default"].model, hidden_size=8, encoder_layers=2)
    (part, table), device = parted(PAIRS), torch.device("meta")
    batch = WIDTHS.batch(part)
    with device:
        model = Seq2Seq(config, V).train()
    optimizer = Optimizer(model, RECIPE)
    optimizer.keep_rates_on_device()
    single = NgramTable(table.words, table.weights.float(), table.bounds, table.common.float()).to(device)
    with NoTransfers():
        fields = FixedBatch(batch.shape, batch.values.to(device, non_blocking=True)).fields()
        loss, cost = fixed_loss(FixedOrder(model, config), fields, "fp32", torch.ones((), device=device), single)
        loss.backward()
        norm = clip(list(model.parameters()), 1.0)
    assert all(value.is_meta for value in (loss, cost, norm))
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(RuntimeError):
        bool(loss > 0)


class NoTransfers(TorchDispatchMode):
    """Fails where a value of the host is needed on the device, but for the batch: a recording would keep it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if func is torch.ops.aten._to_copy.default else args[1]
            assert source.is_meta or source.dtype == torch.int32, f"{func} is done once, when the step is recorded"
        return found
