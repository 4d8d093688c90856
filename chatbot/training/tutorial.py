"""How the PyTorch chatbot tutorial trains, where that differs: its loss, its two optimisers, its way to draw batches.

Each has its setting (`loss`, `optimizer`, `draws`). The rest (a constant rate, clipping at 50, no averaged weights, no
dropped prompts) are values of the preset `tutorial`, in config/presets.py, which asks for all of it.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config.settings import TrainingConfig
from ..network.batch import Batch
from ..network.model import Seq2Seq
from ..system.devices import sent
from ..system.errors import ChatbotError
from .epoch import Epoch


def loss_over_steps(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The sum over time steps of each step's mean over the replies that reach it, of logits (N, V).

    Returns:
        that, and the sum of the losses in nats, without gradient: two scalars.
    """
    losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")  # (N,)
    return (losses * sent(step_weights(batch.tgt_lengths), losses.device)).sum(), losses.detach().sum()


def step_weights(lengths: Tensor) -> Tensor:
    """One over how many replies reach a token's time step, for the N real tokens row by row, from lengths (B,)."""
    steps = torch.cat([torch.arange(int(length)) for length in lengths])  # (N,)
    return 1 / torch.bincount(steps)[steps]


def two_adams(model: Seq2Seq, settings: TrainingConfig) -> tuple[list[Any], list[torch.optim.Optimizer]]:
    """One Adam over the encoder and one over the decoder, and the parameters of each.

    The embedding that both share is in both, so it is clipped twice and moved twice.
    """
    sides = [list(model.encoder.parameters()), list(model.decoder.parameters())]
    ratios = (1.0, settings.decoder_rate_ratio)
    groups = [[{"params": side, "ratio": ratio}] for side, ratio in zip(sides, ratios, strict=True)]
    return sides, [torch.optim.Adam(group, fused=True) for group in groups]


class ReplacementSampler:
    """The indices of each step's batch, every one drawn from all pairs: (batch_size,) int64."""

    def __init__(self, epoch: Epoch, batch_size: int, seed: int) -> None:
        self.epoch, self.batch_size, self.seed = epoch, batch_size, seed

    def __len__(self) -> int:
        """Batches in what would be an epoch."""
        return -(-len(self.epoch) // self.batch_size)

    def __getitem__(self, step: int) -> np.ndarray:
        places = np.random.default_rng([self.seed, step]).integers(len(self.epoch), size=self.batch_size)
        return self.epoch.pairs(places, step // len(self))


def check_whole_batches(settings: TrainingConfig, processes: int) -> None:
    """Raise a ChatbotError if a batch would be divided: its parts' sums of means are not those of the whole."""
    if settings.loss == "steps" and (processes > 1 or settings.accumulate > 1):
        raise ChatbotError("the tutorial's loss (--loss steps) is of whole batches: one process, and --accumulate 1")
