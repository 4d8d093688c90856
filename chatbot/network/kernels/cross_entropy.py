"""The loss of a softmax over a large vocabulary, in fewer passes over the logits than torch takes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .linear import aligned


def cross_entropy(
    logits: Tensor, targets: Tensor, soft: Tensor | None = None, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy over all rows, in nats.

    Args:
        logits: (N, V) of any floating dtype; those narrower than float32 are worked on in that. targets: (N,).
        soft: (N, V) distributions. counts: (N,) bool, False for rows that do not count, of which `soft` is 0.

    Returns:
        two scalars: the loss to differentiate, against `soft` or, where there is none, against `targets`; and the cost
        against `targets` alone, without gradient. The loss can be differentiated once.
    """
    loss, cost = _CrossEntropy.apply(logits, targets, soft, counts)
    return loss, cost


class _CrossEntropy(torch.autograd.Function):
    """log Z - target . logits, for targets that sum to 1; its gradient is softmax(logits) - target."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, soft: Tensor | None, counts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        is_copy = logits.dtype not in (torch.float32, torch.float64)
        wide = logits.float() if is_copy else logits
        # less each row's largest, or exp would overflow; float32 logits are the caller's and stay as they are
        shifted = wide if is_copy else aligned(len(logits), logits.size(1), logits)
        torch.sub(wide, wide.amax(1, keepdim=True), out=shifted)
        own = shifted.gather(1, targets.unsqueeze(1)).squeeze(1)
        mean = own if soft is None else torch.linalg.vecdot(soft, shifted)
        powers = shifted.exp_()
        total = powers.sum(1)
        log_total = total.log()
        costs, losses = log_total - own, log_total - mean
        if counts is not None:
            costs, losses = costs * counts, losses * counts
        cost, loss = costs.sum(), losses.sum()
        ctx.save_for_backward(powers, total, targets, soft, counts)
        ctx.mark_non_differentiable(cost)
        return loss, cost

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        powers, total, targets, soft, counts = ctx.saved_tensors
        d_row = d_loss if counts is None else d_loss * counts  # of each row's loss
        d_logits = powers.mul_((d_row / total).unsqueeze(1))  # in place: (N, V) is the largest tensor of a step
        if soft is None:
            d_logits.scatter_add_(1, targets.unsqueeze(1), (-d_row).expand(len(targets)).unsqueeze(1))
        else:
            d_logits.addcmul_(soft, d_loss, value=-1)
        return d_logits, None, None, None
