"""Matrix products in float32 on a CPU, made in blocks where that is faster.

Where the rows of a result do not begin at multiples of 32 bytes, as those of hidden size 500 do not, MKL takes 10 to
30% longer for a large product on a processor with AVX2, but not for a small one. So a large result is made in blocks.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ALIGNED = 8  # floats in 32 bytes, a register of AVX2
BLOCK = 256  # rows or columns of a result at a time


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (M, K) @ b (K, N) + bias (N,): (M, N), without gradient; in float32 on a CPU in blocks of its longer side."""
    rows, columns = len(a), b.size(1)
    if max(rows, columns) <= 2 * BLOCK or columns % ALIGNED == 0 or a.dtype != torch.float32 or a.device.type != "cpu":
        return a @ b if bias is None else torch.addmm(bias, a, b)
    out = a.new_empty(rows, columns)
    side = 0 if rows > columns else 1
    for start in range(0, max(rows, columns), BLOCK):
        some = slice(start, start + BLOCK)
        if side == 0:
            multiply(a[some], b, bias, out[some])
        else:
            multiply(a, b[:, some], None if bias is None else bias[some], out[:, some])
    return out


def multiply(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write a @ b + bias into `out`."""
    if bias is None:
        torch.mm(a, b, out=out)
    else:
        torch.addmm(bias, a, b, out=out)


class Linear(nn.Linear):
    """nn.Linear, its parameters and state dict, with the faster products where it trains on (N, I) float32 on a CPU."""

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
            product(d_output, weight) if wanted[0] else None,
            product(d_output.t(), input) if wanted[1] else None,
            d_output.sum(0) if wanted[2] else None,
        )
