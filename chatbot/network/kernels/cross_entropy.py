"""The loss of a softmax over a large vocabulary, in fewer passes over the logits than torch takes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .linear import aligned


def cross_entropy(logits: Tensor, targets: Tensor, soft: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy over all rows, in nats.

    Args:
        logits: (N, V) of any floating dtype; it is worked on in float32. targets: (N,). soft: (N, V) distributions.

    Returns:
        two scalars: the loss to differentiate, against `soft` or, where there is none, against `targets`; and the cost
        against `targets` alone, without gradient. The loss can be differentiated once.
    """
    loss, cost = _CrossEntropy.apply(logits, targets, soft)
    return loss, cost


class _CrossEntropy(torch.autograd.Function):
    """log Z - target . logits, for targets that sum to 1; its gradient is softmax(logits) - target."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, soft: Tensor | None) -> tuple[Tensor, Tensor]:
        wide, is_copy = logits.float(), logits.dtype != torch.float32
        # less each row's largest, or exp would overflow; float32 logits are the caller's and stay as they are
        shifted = wide if is_copy else aligned(len(logits), logits.size(1), logits)
        torch.sub(wide, wide.amax(1, keepdim=True), out=shifted)
        own = shifted.gather(1, targets.unsqueeze(1)).squeeze(1)
        mean = own if soft is None else torch.linalg.vecdot(soft, shifted)
        powers = shifted.exp_()
        total = powers.sum(1)
        log_total = total.log()
        cost, loss = (log_total - own).sum(), (log_total - mean).sum()
        ctx.save_for_backward(powers, total, targets, soft)
        ctx.mark_non_differentiable(cost)
        return loss, cost

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        powers, total, targets, soft = ctx.saved_tensors
        d_logits = powers.mul_((d_loss / total).unsqueeze(1))  # in place: (N, V) is the largest tensor of a step
        if soft is None:
            d_logits.scatter_add_(1, targets.unsqueeze(1), (-d_loss).expand(len(targets), 1))
        else:
            d_logits.addcmul_(soft, d_loss, value=-1)
        return d_logits, None, None
