"""The update: the lineage's recipe is the baseline's, number for number; the rate; the weights of time steps."""

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from chatbot.config.presets import PRESETS
from chatbot.config.settings import ModelConfig, TrainingConfig
from chatbot.network.batch import collate
from chatbot.network.kernels.cross_entropy import cross_entropy
from chatbot.network.model import Seq2Seq
from chatbot.system.errors import ChatbotError
from chatbot.training.ngrams import NgramModel
from chatbot.training.optimization import Optimizer, batch_loss, clip
from chatbot.training.steps import Part, smoothed
from chatbot.training.tutorial import step_weights

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
import tutorial_training

PAIRS = [([5, 6, 7], [8]), ([9], [10, 11, 12, 13]), ([14, 15], []), ([5, 9, 6, 10, 7], [16, 8])]


def test_the_tutorial_preset_trains_as_the_baseline_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tutorial_training, "HIDDEN", 16)
    monkeypatch.setattr(tutorial_training, "DROPOUT", 0.0)
    torch.manual_seed(1)
    baseline = tutorial_training.TutorialTraining(20)
    preset = PRESETS["tutorial"]
    model = Seq2Seq(dataclasses.replace(preset.model, hidden_size=16, dropout=0.0), 20).train()
    ours = model.state_dict()
    theirs = {
        "encoder.embedding.weight": baseline.embedding.weight,
        "decoder.embedding.weight": baseline.embedding.weight,
        **{f"encoder.gru.{name}": value for name, value in baseline.gru.named_parameters()},
        **{
            f"decoder.{name}": value
            for name, value in baseline.decoder.named_parameters()
            if not name.startswith("embedding")
        },
    }
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        ours[name].copy_(value.detach())
    optimizer = Optimizer(model, preset.training)
    batch = collate(PAIRS)
    for step in range(3):
        printed = baseline.step(PAIRS)
        optimizer.zero_grad()
        loss, cost = batch_loss(model, Part(batch), preset.training, len(batch.targets))
        loss.backward()
        optimizer.step(step)
        assert cost.item() / len(batch.targets) == pytest.approx(printed, rel=1e-5)
        for name, value in theirs.items():
            # Adam's first steps are of the rate's size whatever the gradient's: rounding is felt where it is near zero
            torch.testing.assert_close(ours[name], value.detach(), rtol=0, atol=2e-5)


def test_a_token_weighs_as_much_as_its_time_step_has_tokens() -> None:
    weights = step_weights(torch.tensor([2, 1, 3]))
    assert weights.tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1])


def test_parts_of_a_batch_add_up_to_its_mean_loss() -> None:
    torch.manual_seed(0)
    model = Seq2Seq(dataclasses.replace(PRESETS["default"].model, hidden_size=8), 20).eval()
    settings = TrainingConfig(precision="fp32")
    whole = batch_loss(model, Part(collate(PAIRS)), settings, 11)
    parts = [batch_loss(model, Part(collate(pairs)), settings, 11) for pairs in (PAIRS[:1], PAIRS[1:])]
    assert sum(part[0].item() for part in parts) == pytest.approx(whole[0].item())
    assert whole[1].item() == pytest.approx(11 * whole[0].item())


@pytest.mark.parametrize(("spread", "offset"), [(5, 0), (5, 1e5), (300, -200)])
def test_the_loss_and_its_gradient_are_those_of_torch(spread: float, offset: float) -> None:
    torch.manual_seed(0)
    logits = (spread * torch.randn(6, 9) + offset).requires_grad_()
    targets, soft = torch.tensor([0, 8, 3, 3, 1, 5]), torch.rand(6, 9).softmax(dim=1)
    for given, expected_targets in ((None, targets), (soft, soft.double())):
        exact = logits.detach().double().requires_grad_()
        expected = F.cross_entropy(exact, expected_targets, reduction="sum")
        loss, cost = cross_entropy(logits, targets, given)
        torch.testing.assert_close(loss.double(), expected, rtol=3e-6, atol=1e-6)
        torch.testing.assert_close(
            cost.double(), F.cross_entropy(exact, targets, reduction="sum"), rtol=3e-6, atol=1e-6
        )
        assert not cost.requires_grad
        ours, theirs = (torch.autograd.grad(0.3 * v, of)[0] for v, of in ((loss, logits), (expected, exact)))
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def test_the_loss_of_bfloat16_logits_is_that_of_the_same_numbers_in_float32() -> None:
    narrow = torch.randn(6, 9).bfloat16().requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    before, targets = wide.detach().clone(), torch.tensor([0, 8, 3, 3, 1, 5])
    for soft in (None, torch.rand(6, 9).softmax(dim=1)):
        found, expected = (cross_entropy(logits, targets, soft) for logits in (narrow, wide))
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        gradients = torch.autograd.grad(found[0], narrow)[0], torch.autograd.grad(expected[0], wide)[0].bfloat16()
        assert torch.equal(*gradients)
    assert torch.equal(wide, before)
    assert torch.equal(narrow.float(), before)


def test_the_loss_of_a_word_that_cannot_be_said_is_infinite_and_of_others_not() -> None:
    logits = torch.tensor([[1.0, float("-inf"), 2.0]])
    assert cross_entropy(logits, torch.tensor([1]))[1] == float("inf")
    loss, _ = cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0])))


@pytest.mark.parametrize("size", [0.1, 10.0, float("inf"), float("nan")])
def test_gradients_are_cut_as_torch_cuts_them(size: float) -> None:
    found = []
    for cut in (clip, torch.nn.utils.clip_grad_norm_):
        parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in "abc"]
        parameters[0].grad, parameters[1].grad = torch.tensor([0.1, -0.2, size]), torch.tensor([0.3, 0.0, 0.1])
        norm = cut(parameters, 1.0)
        assert parameters[2].grad is None
        found.append([norm, parameters[0].grad, parameters[1].grad])
    torch.testing.assert_close(*found, equal_nan=True)


def test_a_state_of_another_recipe_is_refused() -> None:
    model = Seq2Seq(dataclasses.replace(PRESETS["default"].model, hidden_size=8), 20)
    ours = Optimizer(model, PRESETS["default"].training)
    before = torch.optim.AdamW([{"params": model.encoder.parameters()}, {"params": model.decoder.out.bias}])
    for state in (Optimizer(model, PRESETS["tutorial"].training).state_dict(), [before.state_dict()]):
        with pytest.raises(ChatbotError, match=r"another recipe or of an older version .* another run"):
            ours.looked_at(state, 1)
    ours.take(ours.looked_at(ours.state_dict(), 0))


@pytest.mark.parametrize("attention", ["dot", "concat"])
def test_weights_decay_and_biases_do_not(attention: str) -> None:
    model = Seq2Seq(ModelConfig(hidden_size=8, attention=attention), 20)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    settings = TrainingConfig(learning_rate=0.5, weight_decay=0.5, warmup_steps=0, schedule="constant")
    optimizer = Optimizer(model, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0)
    biases = {name for name in before if name.split(".")[-1].startswith("bias")}
    assert 10 < len(biases) < len(before)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (1.0 if name in biases else 0.75))


class Copies(TorchDispatchMode):
    """Fails where a copy to the device would wait for it. (Reads from it torch itself refuses for the meta device.)"""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if func is torch.ops.aten._to_copy.default else args[1]
            if found.is_meta and not source.is_meta:
                assert (kwargs or {}).get("non_blocking"), f"{func} waits"
                self.seen += 1
        return found


@pytest.mark.parametrize("preset", ["default", "tutorial"])
def test_loss_gradients_and_clipping_wait_for_no_device(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which has no values that could be read, they take the ways that they take on a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows no such device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    config, device = PRESETS[preset], torch.device("meta")
    with device:
        model = Seq2Seq(dataclasses.replace(config.model, hidden_size=8), 20).train()
    ngrams = NgramModel([(np.array(prompt), np.array(reply)) for prompt, reply in PAIRS], 20, 4, 2)
    batch, table = collate(PAIRS), ngrams.table().to(device)
    part = smoothed(batch, ngrams, 0.5) if preset == "default" else Part(batch)
    with Copies() as copies:
        loss, cost = batch_loss(model, part.to(device), config.training, len(batch.targets), ngrams=table)
        loss.backward()
        norm = clip(list(model.parameters()), 1.0)
    assert copies.seen > 3
    assert all(value.is_meta for value in (loss, cost, norm))
    assert all(parameter.grad is not None for parameter in model.parameters())
