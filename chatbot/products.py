"""Matrix products in float32 on a CPU, written to where they are written fastest.

Where the rows of a result do not begin at multiples of 32 bytes, as those of hidden size 500 do not, MKL takes 10 to
30% longer for a large product on a processor with AVX2. So the rows of a result get room for the few floats that are
missing; what is returned is a view without them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ALIGNED = 8  # floats in 32 bytes, a register of AVX2


def aligned(rows: int, columns: int, like: Tensor) -> Tensor:
    """(rows, columns) to be written, every row of which begins where 32 bytes do; of the dtype and device of `like`."""
    return like.new_empty(rows, -(-columns // ALIGNED) * ALIGNED)[:, :columns]


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (M, K) @ b (K, N) + bias (N,): (M, N), its rows as `aligned` makes them in float32 on a CPU. No gradient."""
    if a.dtype != torch.float32 or a.device.type != "cpu":
        return a @ b if bias is None else torch.addmm(bias, a, b)
    out = aligned(len(a), b.size(1), a)
    return torch.mm(a, b, out=out) if bias is None else torch.addmm(bias, a, b, out=out)


class Linear(nn.Linear):
    """nn.Linear, its parameters and state dict, with the faster products where it trains on (N, I) float32 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Linear.forward."""
        if self._applies(input):
            result: Tensor = _Linear.apply(input, self.weight, self.bias)
            return result
        return super().forward(input)

    def _applies(self, input: Tensor) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and input.dim() == 2
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return product(input, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        input, weight = ctx.saved_tensors
        return product(d_output, weight), product(d_output.t(), input), d_output.sum(0)
