"""Matrix products on a CPU: in float32 written where that is fast, in bfloat16 in few shapes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ALIGNED = 8  # floats in 32 bytes, a register of AVX2
BLOCK = 1536  # rows of a weight's gradient at a time: few enough that they are copied from a cache
ROUND = 16  # the rows of a tile of AMX


def rounded(rows: int) -> int:
    """Rows of a bfloat16 product on the CPU for so many real ones: from 256 on at most a sixteenth more.

    Up to 512 it is a multiple of `ROUND`, up to 1,024 of twice that, and so on: long texts make few shapes too.
    """
    # oneDNN compiles a kernel for each new shape of a product and keeps it, and batches differ in size at every step
    multiple = max(ROUND, (1 << rows.bit_length()) // 32)
    return -(-rows // multiple) * multiple


def aligned(rows: int, columns: int, like: Tensor) -> Tensor:
    """(rows, columns), to be written, of the dtype and device of `like`; in float32 on a CPU each row is aligned."""
    # Where the rows of a result do not begin at multiples of 32 bytes in memory, as those of hidden size 500 do not,
    # MKL takes up to a third longer for it on a processor with AVX2. So a few floats lie between them.
    spared = -columns % ALIGNED if like.dtype == torch.float32 and like.device.type == "cpu" else 0
    return like.new_empty(rows, columns + spared)[:, :columns]


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a (M, K) @ b (K, N) + bias (N,): (M, N), `aligned` and so not always contiguous; without gradient."""
    out = aligned(len(a), b.size(1), a)
    return torch.mm(a, b, out=out) if bias is None else torch.addmm(bias, a, b, out=out)


def weight_gradient(d_output: Tensor, input: Tensor) -> Tensor:
    """d_output (N, M), input (N, K) -> d_output.t() @ input: (M, K), contiguous, as optimisers want it."""
    out = input.new_empty(d_output.size(1), input.size(1))
    block = aligned(min(len(out), BLOCK), out.size(1), out)
    if block.is_contiguous():
        return torch.mm(d_output.t(), input, out=out)
    # aligned rows and contiguous ones at once cannot be: some at a time are written where they are aligned, and copied
    for some, copied in zip(d_output.split(BLOCK, dim=1), out.split(BLOCK), strict=True):
        copied.copy_(torch.mm(some.t(), input, out=block[: len(copied)]))
    return out


def by_columns(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights, each matrix (N, K) laid out column after column: the same values, and the same shape.

    A layer multiplies a few rows, as a reply or a beam has them, by the transpose of its matrix. MKL copies a transpose
    into an order of its own first, and one that lies in memory it reads as it multiplies (bench/layout.py). Matrices
    that share memory still do. One that is only looked up, row by row, stays as it is.
    """
    places = {name: (weight.data_ptr(), weight.shape) for name, weight in weights.items()}
    multiplied = {place for name, place in places.items() if not name.endswith("embedding.weight")}
    laid: dict[tuple[int, torch.Size], Tensor] = {}
    for name, weight in weights.items():
        if weight.dim() == 2 and places[name] in multiplied and places[name] not in laid:
            laid[places[name]] = weight.t().contiguous().t()
    return {name: laid.get(places[name], weight) for name, weight in weights.items()}


class Linear(nn.Linear):
    """nn.Linear, its parameters and state dict, with the faster products where it trains on (N, I) on a CPU.

    There it gives a view, which autograd does not let be changed in place.
    """

    def forward(self, input: Tensor, weight: Tensor | None = None) -> Tensor:
        """(..., I) -> (..., O); a `weight` (O, I) stands in for the layer's own, as `Embedding.look_up` gives it."""
        weight = self.weight if weight is None else weight
        are_rows, narrow = input.dim() == 2 and input.device.type == "cpu", torch.is_autocast_enabled("cpu")
        trains = self.training and torch.is_grad_enabled() and self.bias is not None
        if are_rows and trains and not narrow and input.dtype == torch.float32:
            result: Tensor = _Linear.apply(input, weight, self.bias)
            return result
        # not sliced for nothing: the gradient of a slice is written twice, as zeros and as what it is
        if more := rounded(len(input)) - len(input) if are_rows and narrow else 0:
            return nn.functional.linear(nn.functional.pad(input, (0, 0, 0, more)), weight, self.bias)[:-more]
        if input.device.type == "cpu" and not (narrow or torch.is_grad_enabled() or self.bias is None):
            # a product that begins with a bias is one that copies it into every row first, and then reads it again;
            # a traced network keeps this wherever it goes
            return nn.functional.linear(input, weight).add_(self.bias)
        return nn.functional.linear(input, weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return product(input, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor, ...]:
        input, weight = ctx.saved_tensors
        return d_output @ weight, weight_gradient(d_output, input), d_output.sum(0)
