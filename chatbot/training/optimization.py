"""One update's parts: the loss of a batch, the optimiser, its rate, and the average of the weights.

Two recipes: today's, and the lineage's (`loss="steps"`, `optimizer="two-adams"`), which `--preset tutorial` trains by.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.settings import TrainingConfig
from ..network.kernels.cross_entropy import cross_entropy
from ..network.model import Seq2Seq
from ..system.devices import sent
from ..system.errors import ChatbotError
from .batches import Part
from .ngrams import NgramTable

AVERAGE_EVERY = 8  # steps between two updates of the averaged weights, for each reads and writes all of them


class Optimizer:
    """AdamW over every parameter once (Loshchilov and Hutter 2019), or the lineage's two Adams.

    Those are one over the encoder and one over the decoder; the embedding that both share is in both, so it is
    clipped twice and moved twice.
    """

    def __init__(self, model: Seq2Seq, settings: TrainingConfig) -> None:
        self.settings = settings
        sides = [list(model.encoder.parameters()), list(model.decoder.parameters())]
        rates = [1.0, settings.decoder_rate_ratio]
        self._parts: list[torch.optim.Optimizer]
        if settings.optimizer == "two-adams":
            self._clipped = sides
            self._parts = [
                torch.optim.Adam([{"params": side, "ratio": rate}], fused=True)
                for side, rate in zip(sides, rates, strict=True)
            ]
        else:
            shared = {id(parameter) for parameter in sides[0]}
            sides[1] = [parameter for parameter in sides[1] if id(parameter) not in shared]
            self._clipped = [sides[0] + sides[1]]
            # biases do not decay: those of the output hold how often each word is said, and none learns pairs by heart
            biases = {id(value) for name, value in model.named_parameters() if ".bias" in name}
            groups: list[dict[str, Any]] = [
                {
                    "params": [parameter for parameter in side if (id(parameter) in biases) == are_biases],
                    "ratio": rate,
                    "weight_decay": 0.0 if are_biases else settings.weight_decay,
                }
                for side, rate in zip(sides, rates, strict=True)
                for are_biases in (False, True)
            ]
            self._parts = [torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)]

    def step(self, step: int) -> Tensor:
        """Clip the gradients, move the weights by them, forget them.

        Args:
            step: updates before this one, which the rate depends on.

        Returns:
            the gradient's norm before clipping (of two, the root of the sum of their squares): a scalar, not read here,
            for reading waits for the device.
        """
        rate = learning_rate(self.settings, step)
        squares = []
        for parameters in self._clipped:
            squares.append(clip(parameters, self.settings.clip_norm) ** 2)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate * group["ratio"]
            part.step()
        return torch.stack(squares).sum().sqrt()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Moments and step counts, of one optimiser or of both."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            ChatbotError: it is of another recipe, or of an older version of this program.
            ValueError: it belongs to another model.
        """
        groups = [len(part.param_groups) for part in self._parts]
        if not isinstance(states, list) or [len(state["param_groups"]) for state in states] != groups:
            raise ChatbotError(
                "its optimiser is of another recipe or of an older version of this program: train in another run "
                "(RUN=name), or resume with the version that began it"
            )
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def clip(parameters: list[nn.Parameter], most: float) -> Tensor:
    """As nn.utils.clip_grad_norm_, but on a CPU, which need not wait to know, nothing is multiplied by 1."""
    norm = nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
    if norm.device.type != "cpu" or not norm <= most:  # not a number: as clip_grad_norm_ has it
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm


def batch_loss(
    model: Seq2Seq,
    part: Part,
    settings: TrainingConfig,
    tokens: int,
    ngrams: NgramTable | None = None,
) -> tuple[Tensor, Tensor]:
    """What to differentiate for a batch, or for a part of one, and what it costs.

    Args:
        tokens: reply tokens of the whole batch, of which this may be a part.
        ngrams: what the batch's soft targets are made from, if it has any; on its device.

    Returns:
        the objective, a scalar: the parts' sum of it is the batch's loss, a mean over tokens (or, with `loss="steps"`,
        the lineage's sum over time steps of each step's mean), against the batch's soft targets if it has them;
        the negative log-likelihood of the replies in nats, summed over their tokens, a scalar without gradient.
    """
    batch = part.batch
    with torch.autocast(batch.src.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)  # (N, V)
    soft = ngrams.dense(part.soft) if ngrams and part.soft else None
    if settings.loss == "tokens" or soft is not None:
        loss, cost = cross_entropy(logits, batch.targets, soft)
        return loss / tokens, cost
    losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")  # (N,)
    return (losses * sent(step_weights(batch.tgt_lengths), losses.device)).sum(), losses.detach().sum()


def step_weights(lengths: Tensor) -> Tensor:
    """One over how many replies reach a token's time step, for the N real tokens row by row, from lengths (B,)."""
    steps = torch.cat([torch.arange(int(length)) for length in lengths])  # (N,)
    return 1 / torch.bincount(steps)[steps]


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
