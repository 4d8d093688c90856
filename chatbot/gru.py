"""A GRU that trains faster on a CPU: the mathematics, parameters and state dict of nn.GRU, another order of the work.

nn.GRU on a CPU forms the gradients of its weights step by step, a small product and an accumulation each time. Here
the backward pass keeps what every step contributes and forms each weight's gradient in one product over all steps, and
everything element-wise that does not depend on the recurrence is done for all steps at once.

Notation (Cho et al. 2014, in nn.GRU's form), s a step, x its input, h the state before it:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)      n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)      h' = (1 - z) * n + z * h

Shapes: N real tokens of a packed batch of B sequences, I input size, H hidden size.

Under `torch.autocast("cpu", torch.bfloat16)` the matrix products take bfloat16 operands (which AMX and AVX512-BF16
multiply several times faster); states, gates and sums stay in float32. oneDNN, which multiplies them, compiles a kernel
for each new shape, and that takes longer than the product: so there the products come in few shapes, with N rounded up
to `ROUND` and all B rows at every step. Rows beyond the real ones are zero and count for nothing.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

ROUND = 64
# cuDNN's, about weights that were made a moment ago (`GRU.one_draw`) and so do not lie side by side
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")


def rounded(rows: int) -> int:
    """Rows of a bfloat16 product on the CPU for so many real ones."""
    return -(-rows // ROUND) * ROUND


class GRU(nn.GRU):
    """nn.GRU, with the faster pass where it applies: training on packed float32 sequences on a CPU.

    Args:
        recurrent_dropout: share of the recurrent connections that a call in training leaves out, in all steps alike
            (DropConnect on W_h; Merity et al. 2018). The rest are as nn.GRU's.
    """

    def __init__(self, *args: Any, recurrent_dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recurrent_dropout = recurrent_dropout
        self._is_drawn = False

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """As nn.GRU.forward."""
        with self.one_draw():
            return self._forward(input, hx)

    @contextlib.contextmanager
    def one_draw(self) -> Iterator[None]:
        """Within this all calls leave out the same connections: for a recurrence that is called step by step."""
        if self._is_drawn or not self.training or not self.recurrent_dropout:
            yield
            return
        self._update_flat_weights()  # or nn.GRU would, and so put whole weights back after they were loaded
        whole = self._flat_weights
        self._flat_weights = [
            without_some(getattr(self, name), self.recurrent_dropout) if name.startswith("weight_hh") else weight
            for name, weight in zip(self._flat_weights_names, whole, strict=True)
        ]
        self._is_drawn = True
        try:
            yield
        finally:
            self._flat_weights, self._is_drawn = whole, False

    def _forward(self, input: Any, hx: Tensor | None) -> Any:
        if not self._applies(input):
            return super().forward(input, hx)
        self._update_flat_weights()
        directions = 2 if self.bidirectional else 1
        batch = int(input.batch_sizes[0])
        if hx is None:
            hx = input.data.new_zeros(self.num_layers * directions, batch, self.hidden_size)
        elif input.sorted_indices is not None:
            hx = hx.index_select(1, input.sorted_indices)

        data, last = input.data, []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                at = 4 * (layer * directions + direction)
                weights = self._flat_weights[at : at + 4]
                output, state = _Pass.apply(
                    data, input.batch_sizes, hx[layer * directions + direction], *weights, direction == 1
                )
                outputs.append(output)
                last.append(state)
            data = outputs[0] if directions == 1 else torch.cat(outputs, dim=1)
            if layer < self.num_layers - 1:
                data = nn.functional.dropout(data, self.dropout, self.training)
        hidden = torch.stack(last)
        if input.unsorted_indices is not None:
            hidden = hidden.index_select(1, input.unsorted_indices)
        return PackedSequence(data, input.batch_sizes, input.sorted_indices, input.unsorted_indices), hidden

    def _applies(self, input: Any) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and isinstance(input, PackedSequence)
            and input.data.device.type == "cpu"
            and input.data.dtype == torch.float32
            and self.bias
        )


def without_some(weight: Tensor, share: float) -> Tensor:
    """W_h (3H, H), for r, z and n, without a share of its connections between two units; the others grow to make up.

    A connection is kept or left out in all three parts. One random byte decides on it, which is quicker than drawing
    floats, so `share` is rounded to 256ths.
    """
    size = weight.size(1)
    threshold = round(256 * share)
    words = torch.empty(-(-size * size // 8), dtype=torch.int64, device=weight.device).random_(-(1 << 63), None)
    kept = words.view(torch.uint8)[: size * size].view(size, size) >= threshold
    return (weight.view(3, size, size) * (kept * (256 / (256 - threshold)))).view(3 * size, size)


class _Pass(torch.autograd.Function):
    """One layer in one direction over a packed batch."""

    @staticmethod
    def forward(
        ctx: Any,
        data: Tensor,  # (N, I), step after step, in each the sequences that are still going on, longest first
        batch_sizes: Tensor,  # how many those are
        first: Tensor,  # (B, H)
        w_ih: Tensor,  # (3H, I), the parts r, z, n
        w_hh: Tensor,  # (3H, H)
        b_ih: Tensor,
        b_hh: Tensor,
        backward: bool,  # whether the sequences are read from their end
    ) -> tuple[Tensor, Tensor]:
        """Returns every state (N, H) in the order of `data`, and the last of each sequence (B, H)."""
        size = first.size(1)
        steps = _steps(batch_sizes, backward)
        narrow = torch.is_autocast_enabled("cpu")
        if narrow:
            data = nn.functional.pad(data, (0, 0, 0, rounded(len(data)) - len(data)))
            data, w_ih, w_hh, b_ih, b_hh = (part.bfloat16() for part in (data, w_ih, w_hh, b_ih, b_hh))
        gates = torch.addmm(b_ih, data, w_ih.t()).float()  # (N, 3H), of the input yet; the state's share is added below
        rz, n = gates[:, : 2 * size], gates[:, 2 * size :]
        real = int(batch_sizes.sum())
        before = _empty_but_zero_from(real, n)  # h of every step
        from_state = torch.empty_like(before)  # W_hn h + b_hn, which the backward pass needs
        states = before.new_empty(real, size)
        state = first.clone()
        recurrent = w_hh.t()
        for start, end in steps:
            # sequences are sorted: those that go on at a step are the first rows
            rows = end - start
            h = before[start:end].copy_(state[:rows])
            product = torch.addmm(b_hh, state.bfloat16() if narrow else h, recurrent)[:rows]  # (rows, 3H)
            rz[start:end].add_(product[:, : 2 * size]).sigmoid_()
            from_state[start:end] = product[:, 2 * size :]
            n[start:end].addcmul_(rz[start:end, :size], from_state[start:end]).tanh_()
            torch.lerp(n[start:end], h, rz[start:end, size:], out=states[start:end])
            state[:rows] = states[start:end]
        ctx.save_for_backward(data, w_ih, w_hh, gates, from_state, before)
        ctx.steps, ctx.narrow = steps, narrow
        return states, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of data, first, w_ih, w_hh, b_ih, b_hh."""
        data, w_ih, w_hh, gates, from_state, before = ctx.saved_tensors
        real, (batch, size) = len(d_states), d_last.shape
        r, z, n = gates[:real].view(real, 3, size).unbind(1)
        h = before[:real]
        # what a step's gates get of the gradient of its h', as far as the recurrence has no say in it
        d_n = torch.addcmul(n.new_ones(()), n, n, value=-1).mul_(1 - z)  # before tanh
        share = torch.empty_like(gates[:real]).view(real, 3, size)
        torch.mul(d_n, r, out=share[:, 2])
        torch.mul(share[:, 2], from_state[:real], out=share[:, 0]).mul_(1 - r)
        torch.sub(h, n, out=share[:, 1]).mul_(z).mul_(1 - z)
        d_gates = _empty_but_zero_from(real, gates, data.dtype).view(-1, 3, size)  # of W_h h + b_h
        d_after = torch.empty_like(d_states)  # of h'
        d_state = d_last.clone()
        for start, end in reversed(ctx.steps):
            rows = end - start
            d_h = torch.add(d_states[start:end], d_state[:rows], out=d_after[start:end])
            d_step = d_gates[start:end]
            if ctx.narrow:
                d_step.copy_(d_h.unsqueeze(1) * share[start:end])
                d_step = nn.functional.pad(d_step, (0, 0, 0, 0, 0, batch - rows))
            else:
                torch.mul(d_h.unsqueeze(1), share[start:end], out=d_step)
            through = (d_step.view(len(d_step), -1) @ w_hh)[:rows]
            torch.addcmul(through, d_h, z[start:end], out=d_state[:rows])
        flat = d_gates.view(len(data), -1)  # (N, 3H)
        d_w_hh, d_b_hh = flat.t() @ before.to(data.dtype), flat.sum(0)
        torch.mul(d_after, d_n, out=share[:, 2])
        d_gates[:real, 2] = share[:, 2]  # now of W_i x + b_i, which r does not scale
        gradients = ((flat @ w_ih)[:real], None, d_state, flat.t() @ data, d_w_hh, flat.sum(0), d_b_hh, None)
        return tuple(None if gradient is None else gradient.float() for gradient in gradients)


def _empty_but_zero_from(row: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the shape of `like`, contiguous, its rows from `row` on zero and those before to be written."""
    made = torch.empty(like.shape, dtype=dtype or like.dtype)
    made[row:].zero_()
    return made


def _steps(batch_sizes: Tensor, backward: bool) -> list[tuple[int, int]]:
    """First and past-the-last row of each step in the packed data, in the order in which the steps are taken."""
    ends = batch_sizes.cumsum(0).tolist()
    steps = list(zip([0, *ends[:-1]], ends, strict=True))
    return steps[::-1] if backward else steps
