"""One update's parts: the loss of a batch, the optimiser, its rate, and the average of the weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import TrainingConfig
from .dataset import Batch
from .model import Seq2Seq

AVERAGE_EVERY = 8  # steps between two updates of the averaged weights, for each reads and writes all of them


def make_optimizer(model: Seq2Seq, settings: TrainingConfig) -> torch.optim.Optimizer:
    """One AdamW over every parameter once."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True,
    )


def batch_loss(model: Seq2Seq, batch: Batch, settings: TrainingConfig, *, forced: bool = True) -> Tensor:
    """Negative log-likelihood of the replies in nats, summed over their tokens: a scalar to differentiate.

    forced: whether the network reads the true reply or its own words.
    """
    with torch.autocast(batch.src.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        if forced:
            logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)  # (N, V)
        else:
            logits = model.free_running(batch.src, batch.src_lengths, batch.tgt_lengths)
    return F.cross_entropy(logits.float(), batch.targets, reduction="sum")


def learning_rate(settings: TrainingConfig, step: int) -> float:
    """The rate of the update that comes after `step` updates: linear warm-up, then constant or a cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def average(averaged: Seq2Seq, model: Seq2Seq, decay: float, step: int) -> None:
    """Move `averaged` towards `model`: an exponential average over the steps (Polyak and Juditsky 1992).

    The decay is `decay` for each of the `AVERAGE_EVERY` steps since the last call, and less at the beginning, so that
    the first weights are soon forgotten (the first few steps, each averaged, are nearly a copy).
    """
    kept = min(decay, (1 + step) / (10 + step)) ** AVERAGE_EVERY
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - kept)
