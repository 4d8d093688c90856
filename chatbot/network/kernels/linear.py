"""Matrix products in float32 on a CPU, written where that is fast.

Where the rows of a result do not begin at multiples of 32 bytes in memory, as those of hidden size 500 do not, MKL
takes up to a third longer for it on a processor with AVX2. So results have a few floats between their rows there.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ALIGNED = 8  # floats in 32 bytes, a register of AVX2
BLOCK = 1536  # rows of a weight's gradient at a time: few enough that they are copied from a cache


def aligned(rows: int, columns: int, like: Tensor) -> Tensor:
    """(rows, columns), to be written, of the dtype and device of `like`; in float32 on a CPU each row is aligned."""
    spared = -columns % ALIGNED if like.dtype == torch.float32 and like.device.type == "cpu" else 0
    return like.new_empty(rows, columns + spared)[:, :columns]


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (M, K) @ b (K, N) + bias (N,): (M, N), `aligned` and so not always contiguous; without gradient."""
    out = aligned(len(a), b.size(1), a)
    return torch.mm(a, b, out=out) if bias is None else torch.addmm(bias, a, b, out=out)


def weight_gradient(d_output: Tensor, input: Tensor) -> Tensor:
    """d_output (N, M), input (N, K) -> d_output.t() @ input: (M, K), contiguous, as optimisers want it.

    Where its rows are not aligned, some of them at a time are written where they are, and copied.
    """
    out = input.new_empty(d_output.size(1), input.size(1))
    block = aligned(min(len(out), BLOCK), out.size(1), out)
    if block.is_contiguous():
        return torch.mm(d_output.t(), input, out=out)
    for some, copied in zip(d_output.split(BLOCK, dim=1), out.split(BLOCK), strict=True):
        copied.copy_(torch.mm(some.t(), input, out=block[: len(copied)]))
    return out


class Linear(nn.Linear):
    """nn.Linear, its parameters and state dict, with the faster products where it trains on (N, I) float32 on a CPU.

    What it gives there is a view, which autograd does not let be changed in place.
    """

    def forward(self, input: Tensor, weight: Tensor | None = None) -> Tensor:
        """As nn.Linear.forward; `weight` stands in for the layer's own, as `looked_up` gives it."""
        weight = self.weight if weight is None else weight
        if self._applies(input):
            result: Tensor = _Linear.apply(input, weight, self.bias)
            return result
        return nn.functional.linear(input, weight, self.bias)

    def _applies(self, input: Tensor) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and self.bias is not None
            and input.dim() == 2
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )


def looked_up(weight: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """weight (V, E), rows (U,) -> those rows (U, E), and the whole of it, for one more use in the same pass.

    What the parameter itself is used for twice has two gradients of its size, one of them nearly all zeros, which
    autograd adds up in a third. The gradients of these two add up in place: in that of the whole, which nobody else may
    hold, as nobody does where its one use is a product.
    """
    found, whole = _LookedUp.apply(weight, rows)
    return found, whole


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        return weight.index_select(0, rows), weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_found: Tensor, d_whole: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return d_whole.index_add_(0, rows, d_found), None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return product(input, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            d_output @ weight if wanted[0] else None,
            weight_gradient(d_output, input) if wanted[1] else None,
            d_output.sum(0) if wanted[2] else None,
        )
