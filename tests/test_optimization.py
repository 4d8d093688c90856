"""The update: the lineage's recipe is the baseline's, number for number; the rate; the weights of time steps."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from chatbot.config import PRESETS, ModelConfig, TrainingConfig
from chatbot.dataset import collate
from chatbot.model import Seq2Seq
from chatbot.optimization import Optimizer, batch_loss, learning_rate, passes_twice, step_weights

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
        loss, cost = batch_loss(model, batch, preset.training, len(batch.targets))
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
    whole = batch_loss(model, collate(PAIRS), settings, 11)
    parts = [batch_loss(model, collate(pairs), settings, 11) for pairs in (PAIRS[:1], PAIRS[1:])]
    assert sum(part[0].item() for part in parts) == pytest.approx(whole[0].item())
    assert whole[1].item() == pytest.approx(11 * whole[0].item())


def test_two_passes_are_drawn_together() -> None:
    """R-Drop, put together from what torch has for it: the mean of both losses, and the mean of both divergences."""
    settings = TrainingConfig(precision="fp32", consistency=0.7)
    model = Seq2Seq(ModelConfig(hidden_size=8, dropout=0.5), 20).train()
    batch = collate(PAIRS)
    torch.manual_seed(3)
    loss, cost = batch_loss(model, batch, settings, 11, twice=True)
    torch.manual_seed(3)
    first, second = (model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths) for _ in "ab")
    p, q = (Categorical(logits=logits) for logits in (first, second))
    said = [torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum") for logits in (first, second)]
    apart = (kl_divergence(p, q) + kl_divergence(q, p)).sum() / 2
    assert apart > 0.01
    torch.testing.assert_close(loss, ((said[0] + said[1]) / 2 + 0.7 * apart) / 11)
    torch.testing.assert_close(cost, said[0].detach())


def test_where_nothing_is_left_out_two_passes_are_one() -> None:
    model = Seq2Seq(ModelConfig(hidden_size=8, dropout=0.0), 20).train()
    settings = TrainingConfig(precision="fp32", consistency=5.0)
    found = []
    for twice in (False, True):
        model.zero_grad()
        loss, _ = batch_loss(model, collate(PAIRS), settings, 11, twice=twice)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    torch.testing.assert_close(found[0], found[1])


def test_second_passes_come_as_often_as_dropout_has_grown() -> None:
    settings = TrainingConfig(consistency=1.0, dropout_warmup_epochs=2.0)
    shares = [
        np.mean([passes_twice(settings, step, epochs) for step in range(4000)]) for epochs in (0.0, 0.5, 1.5, 2.0, 9.0)
    ]
    assert shares == pytest.approx([0, 0.25, 0.75, 1, 1], abs=0.03)
    assert passes_twice(TrainingConfig(consistency=1.0), 0, 0.0)  # dropout is whole from the start
    assert not any(passes_twice(TrainingConfig(), step, 9.0) for step in range(100))


def test_a_state_of_another_recipe_is_refused() -> None:
    model = Seq2Seq(dataclasses.replace(PRESETS["default"].model, hidden_size=8), 20)
    state = Optimizer(model, PRESETS["tutorial"].training).state_dict()
    with pytest.raises(ValueError, match="another recipe"):
        Optimizer(model, PRESETS["default"].training).load_state_dict(state)


def test_the_rate_rises_then_falls_to_zero() -> None:
    settings = TrainingConfig(steps=1000, warmup_steps=100, learning_rate=2.0)
    rates = [learning_rate(settings, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[100] == pytest.approx(2.0)
    assert rates[550] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)
    constant = dataclasses.replace(settings, schedule="constant")
    assert learning_rate(constant, 999) == 2.0
