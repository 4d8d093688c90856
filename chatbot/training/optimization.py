"""What an update is made of: the loss of a batch, the optimiser, and the average of the weights."""

from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from ..config.settings import TrainingConfig
from ..network.kernels.cross_entropy import cross_entropy
from ..network.model import Seq2Seq
from ..runs.weights import check_moments
from ..system.errors import ChatbotError, command
from ..system.schema import Count
from .ngrams import NgramTable
from .schedule import Schedule
from .steps import Part
from .tutorial import loss_over_steps, two_adams

AVERAGE_EVERY = 8  # steps between two updates of the averaged weights, for each reads and writes all of them


def batch_loss(
    model: Seq2Seq, part: Part, settings: TrainingConfig, tokens: int, ngrams: NgramTable | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, or of a part of one, by teacher forcing.

    Args:
        tokens: reply tokens of the whole batch.
        ngrams: what the part's soft targets, if it has any, are made from; on its device.

    Returns:
        two scalars: the loss to differentiate, a mean over `tokens`, so that those of the parts add up to that of the
        batch (with `--loss steps` the tutorial's, of a whole batch); and the negative log-likelihood of the replies in
        nats, a sum, without gradient.
    """
    batch = part.batch
    with torch.autocast(batch.src.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)  # (N, V)
    if settings.loss == "steps":
        return loss_over_steps(logits, batch)
    loss, cost = cross_entropy(logits, batch.targets, ngrams.dense(part.soft) if ngrams and part.soft else None)
    return loss / tokens, cost


class Optimizer:
    """AdamW over every parameter (Loshchilov and Hutter 2019), or the tutorial's two Adams; gradients are clipped."""

    def __init__(self, model: Seq2Seq, settings: TrainingConfig) -> None:
        self.settings = settings
        self.schedule = Schedule(settings)
        make = two_adams if settings.optimizer == "two-adams" else _adamw
        self._clipped, self._optimizers = make(model, settings)
        self._on_device = False

    def keep_rates_on_device(self) -> None:
        """Have `update` read the rates where the weights are, so that it can be recorded once for every rate."""
        self._on_device = True
        for optimizer, parameters in zip(self._optimizers, self._clipped, strict=True):
            device = parameters[0].device
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=device)
                group["capturable"] = device.type == "cuda"  # torch asks for the word

    def step(self, step: int) -> Tensor:
        """Clip the gradients and move the weights by them, `step` updates after the first; returns as `update`."""
        self.set_rate(step)
        return self.update()

    def set_rate(self, step: int) -> None:
        """Take the rate of the update that comes after `step` updates."""
        rate = self.schedule.learning_rate(step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                if self._on_device:
                    group["lr"].fill_(rate * group["ratio"])
                else:
                    group["lr"] = rate * group["ratio"]

    def update(self) -> Tensor:
        """Clip the gradients and move the weights by them, at the rate that was set.

        Returns:
            the gradient's norm before clipping (of two, the root of the sum of their squares): a scalar on the device,
            where it stays, because reading it would wait for the device.
        """
        squares = [clip(parameters, self.settings.clip_norm) ** 2 for parameters in self._clipped]
        for optimizer in self._optimizers:
            optimizer.step()
        return torch.stack(squares).sum().sqrt()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> list[Tensor]:
        """Moments and step counts, where they are; none before the first update."""
        states = (state for optimizer in self._optimizers for state in optimizer.state.values())
        return [value for state in states for value in state.values()]

    def state_dict(self) -> list["OptimizerState"]:
        """Moments and step counts, of one optimiser or of both; the same wherever the rates are kept."""
        states: Any = [optimizer.state_dict() for optimizer in self._optimizers]
        for group in (group for state in states for group in state["param_groups"] if self._on_device):
            group |= {"lr": float(group["lr"]), "capturable": False}
        return states

    def looked_at(self, states: list["OptimizerState"], step: int) -> list["OptimizerState"]:
        """What `state_dict` gave after so many updates, as `take` wants it.

        Raises:
            ChatbotError: it is of another recipe, of an older version of this program, of another model, or damaged.
        """
        ours = self.state_dict()
        if list(map(_layout, states)) != list(map(_layout, ours)):
            raise ChatbotError(
                "its optimiser is of another recipe or of an older version of this program: train in another run "
                f"({command('train', 'NAME')}), or resume with the version that began it"
            )
        looked = list[OptimizerState]()
        for optimizer, own, state in zip(self._optimizers, ours, states, strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            moments = check_moments(state["state"], parameters, ("exp_avg", "exp_avg_sq"), step)
            # rates and decays are those of the settings, whatever the file says
            looked.append({"state": moments, "param_groups": own["param_groups"]})
        return looked

    def take(self, states: list["OptimizerState"]) -> None:
        """Go on from what was `looked_at`."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(dict(state))
        if self._on_device:
            self.keep_rates_on_device()


class ParameterGroup(TypedDict):
    """Of an optimiser's group: the parameters' numbers. Besides there are rates and decays."""

    params: list[Count]


class OptimizerState(TypedDict):
    """What torch's optimisers remember: moments by the parameters' numbers, and groups of these."""

    state: dict[int, dict[str, Any]]
    param_groups: list[ParameterGroup]


def _layout(state: OptimizerState) -> list[list[int]]:
    """Which parameters, by their numbers, each group of an optimiser has."""
    return [group["params"] for group in state["param_groups"]]


def _adamw(model: Seq2Seq, settings: TrainingConfig) -> tuple[list[Any], list[torch.optim.Optimizer]]:
    """One AdamW in four groups: weights and biases of the encoder, weights and biases of the decoder.

    Biases do not decay: those of the output layer hold how often each word is said, and none learns pairs by heart.
    """
    encoder = list(model.encoder.parameters())
    shared = {id(parameter) for parameter in encoder}  # the embedding, which both sides read
    decoder = [parameter for parameter in model.decoder.parameters() if id(parameter) not in shared]
    biases = {id(value) for name, value in model.named_parameters() if ".bias" in name}
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter for parameter in side if (id(parameter) in biases) == are_biases],
            "ratio": ratio,
            "weight_decay": 0.0 if are_biases else settings.weight_decay,
        }
        for side, ratio in ((encoder, 1.0), (decoder, settings.decoder_rate_ratio))
        for are_biases in (False, True)
    ]
    return [encoder + decoder], [torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)]


def clip(parameters: list[nn.Parameter], most: float) -> Tensor:
    """Cut the gradient's norm to `most`, and return what it was: nn.utils.clip_grad_norm_ with less work on a CPU."""
    norm = nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
    # a CPU can look at the norm without waiting, and save a multiplication by 1; NaN goes on as in clip_grad_norm_
    if norm.device.type != "cpu" or not norm <= most:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm


@torch.no_grad()
def average(averaged: Seq2Seq, model: Seq2Seq, decay: float, step: int) -> None:
    """Move `averaged` towards `model`: an exponential average over the steps (Polyak and Juditsky 1992).

    The decay is `decay` for each of the `AVERAGE_EVERY` steps since the last call, and less at the beginning, so that
    the first weights are soon forgotten (the first few steps, each averaged, are nearly a copy).
    """
    kept = min(decay, (1 + step) / (10 + step)) ** AVERAGE_EVERY
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - kept)
