"""A GRU that trains faster on a CPU: the mathematics, parameters and state dict of nn.GRU, another order of the work.

nn.GRU on a CPU forms the gradients of its weights step by step, a small product and an accumulation each time. Here
the backward pass keeps what every step contributes and forms each weight's gradient in one product over all steps, and
everything element-wise that does not depend on the recurrence is done for all steps at once. A word that stands in a
batch several times is multiplied by W_i once (`table`), first states of zero are not multiplied, and products are
written where that is fast (`products`).

Notation (Cho et al. 2014, in nn.GRU's form), s a step, x its input, h the state before it:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)      n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)      h' = (1 - z) * n + z * h

Shapes: N real tokens of a packed batch of B sequences, U different ones, I input size, H hidden size.

Under `torch.autocast("cpu", torch.bfloat16)` the matrix products take bfloat16 operands (which AMX and AVX512-BF16
multiply several times faster); states, gates and sums stay in float32. oneDNN, which multiplies them, compiles a kernel
for each new shape, and keeps it: so there the products come in few shapes, their rows `rounded` up. Rows beyond the
real ones count for nothing.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from .dropout import dropout, kept
from .linear import product, weight_gradient

ROUND = 16  # the rows of a tile of AMX
# cuDNN's, about weights that do not lie side by side: those made a moment ago (`GRU.one_draw`), those of one layer
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")


def rounded(rows: int) -> int:
    """Rows of a bfloat16 product on the CPU for so many real ones: from 256 on at most a sixteenth more.

    Up to 512 a multiple of `ROUND`, up to 1,024 of twice that, and so on, so that long texts make few shapes too.
    """
    multiple = max(ROUND, (1 << rows.bit_length()) // 32)
    return -(-rows // multiple) * multiple


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

    def forward(self, input: Any, hx: Tensor | None = None, table: Tensor | None = None) -> Any:
        """As nn.GRU.forward.

        Args:
            table: (U, I) the vectors that are read, if `input`, packed, holds int64 rows of it and not the vectors.
        """
        with self.one_draw():
            return self._forward(input, hx, table)

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

    def _forward(self, input: Any, hx: Tensor | None, table: Tensor | None) -> Any:
        if not self._applies(input, table):
            if table is not None:
                input = input._replace(data=table.index_select(0, input.data))
            is_batch = isinstance(input, PackedSequence) or input.dim() == 3
            if self.training and self.dropout and self.num_layers > 1 and self.bias and is_batch:
                return self._layer_by_layer(input, hx)
            return super().forward(input, hx)
        self._update_flat_weights()
        directions = 2 if self.bidirectional else 1
        if hx is not None and input.sorted_indices is not None:
            hx = hx.index_select(1, input.sorted_indices)

        data, places = (input.data, None) if table is None else (table, input.data)
        last = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                at = 4 * (layer * directions + direction)
                weights = self._flat_weights[at : at + 4]
                first = None if hx is None else hx[layer * directions + direction]
                output, state = _Pass.apply(data, places, input.batch_sizes, first, *weights, direction == 1)
                outputs.append(output)
                last.append(state)
            data, places = outputs[0] if directions == 1 else torch.cat(outputs, dim=1), None
            if layer < self.num_layers - 1:
                data = dropout(data, self.dropout, self.training)
        return _packed_again(data, torch.stack(last), input)

    def _layer_by_layer(self, input: Any, hx: Tensor | None) -> Any:
        """nn.GRU's own pass for each layer, and between them dropout as the faster pass has it.

        Within one pass dropout is cuDNN's: after every torch.manual_seed it has the host wait for all that the GPU has
        still to do, to draw a seed for itself. The price is that cuDNN copies the weights of upper layers at each call.

        Args:
            input: packed, or a batch of sequences of one length.
        """
        self._update_flat_weights()
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        directions = 2 if self.bidirectional else 1
        if hx is None:
            batch = int(input.batch_sizes[0]) if packed else data.size(0 if self.batch_first else 1)
            hx = data.new_zeros(self.num_layers * directions, batch, self.hidden_size)
        elif packed and input.sorted_indices is not None:
            hx = hx.index_select(1, input.sorted_indices)
        self.check_forward_args(data, hx, input.batch_sizes if packed else None)
        last = []
        for layer, first in enumerate(hx.split(directions)):
            if layer:
                data = dropout(data, self.dropout, self.training)
            at = 4 * layer * directions
            weights: Any = self._flat_weights[at : at + 4 * directions]
            how = (self.bias, 1, 0.0, True, self.bidirectional)
            if packed:
                data, state = torch.gru(data, input.batch_sizes, first, weights, *how)
            else:
                data, state = torch.gru(data, first, weights, *how, self.batch_first)
            last.append(state)
        return _packed_again(data, torch.cat(last), input) if packed else (data, torch.cat(last))

    def _applies(self, input: Any, table: Tensor | None) -> bool:
        if not (self.training and torch.is_grad_enabled() and isinstance(input, PackedSequence) and self.bias):
            return False
        data = input.data if table is None else table
        return data.device.type == "cpu" and data.dtype == torch.float32


def _packed_again(data: Tensor, hidden: Tensor, like: PackedSequence) -> tuple[PackedSequence, Tensor]:
    """data (N, D H) packed as `like`, and hidden (L D, B, H), from the order of `like` to that of its batch."""
    if like.unsorted_indices is not None:
        hidden = hidden.index_select(1, like.unsorted_indices)
    return like._replace(data=data), hidden


def without_some(weight: Tensor, share: float) -> Tensor:
    """W_h (3H, H), for r, z and n, without a share of its connections between two units; the others grow to make up.

    A connection is kept or left out in all three parts.
    """
    size = weight.size(1)
    stay, growth = kept(size * size, share, weight.device)
    return (weight.view(3, size, size) * (stay.view(size, size) * growth)).view(3 * size, size)


class _Pass(torch.autograd.Function):
    """One layer in one direction over a packed batch."""

    @staticmethod
    def forward(
        ctx: Any,
        data: Tensor,  # (N, I), step after step, in each the sequences that are still going on, longest first
        places: Tensor | None,  # (N,) rows of `data`, which is (U, I) then
        batch_sizes: Tensor,  # how many those are
        first: Tensor | None,  # (B, H), or none for zeros, which are not multiplied then
        w_ih: Tensor,  # (3H, I), the parts r, z, n
        w_hh: Tensor,  # (3H, H)
        b_ih: Tensor,
        b_hh: Tensor,
        backward: bool,  # whether the sequences are read from their end
    ) -> tuple[Tensor, Tensor]:
        """Returns every state (N, H) in the order of the steps, and the last of each sequence (B, H)."""
        size, batch, real, rows_read = w_hh.size(1), int(batch_sizes[0]), int(batch_sizes.sum()), len(data)
        steps = _steps(batch_sizes, backward, zero=first is None)
        narrow = torch.is_autocast_enabled("cpu")
        if narrow:
            data = nn.functional.pad(data, (0, 0, 0, rounded(len(data)) - len(data)))
            data, w_ih, w_hh, b_ih, b_hh = (part.bfloat16() for part in (data, w_ih, w_hh, b_ih, b_hh))
            if places is not None:
                places = nn.functional.pad(places, (0, rounded(real) - real))
        # (N, 3H): W_i x + b_i, and b_hh of r and z; W_h h and b_hn are added below
        gates = product(data, w_ih.t(), b_ih + nn.functional.pad(b_hh[: 2 * size], (0, size))).float()
        b_hn = nn.functional.pad(b_hh[2 * size :], (2 * size, 0))  # (3H,)
        if places is not None:
            gates = gates.index_select(0, places)
        rz, n = gates[:, : 2 * size], gates[:, 2 * size :]
        before = _empty_but_zero_from(real, n)  # h of every step
        from_state = torch.empty_like(before)  # W_hn h + b_hn, which the backward pass needs
        states = before.new_empty(real, size)
        state = before.new_zeros(rounded(batch) if narrow else batch, size)
        if first is not None:
            state[:batch] = first
        for start, end, known in steps:
            # sequences are sorted: those that go on at a step are the first rows
            rows, middle = end - start, start + known
            h = before[start:end].copy_(state[:rows])
            if known:
                read = state[: rounded(known)].bfloat16() if narrow else h[:known]
                added = product(read, w_hh.t(), b_hn)
                rz[start:middle].add_(added[:known, : 2 * size])
                from_state[start:middle] = added[:known, 2 * size :]
            if known < rows:
                from_state[middle:end] = b_hn[2 * size :]
            rz[start:end].sigmoid_()
            # tanh(x) = 2 sigmoid(2x) - 1: torch's sigmoid takes a fraction of the time of its tanh on a CPU
            n[start:end].addcmul_(rz[start:end, :size], from_state[start:end]).mul_(2).sigmoid_().mul_(2).sub_(1)
            torch.lerp(n[start:end], h, rz[start:end, size:], out=states[start:end])
            state[:rows] = states[start:end]
        ctx.save_for_backward(data, places, w_ih, w_hh, gates, from_state, before)
        ctx.steps, ctx.rows, ctx.narrow = steps, rows_read, narrow
        return states, state[:batch]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor, d_last: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of data, first, w_ih, w_hh, b_ih, b_hh."""
        data, places, w_ih, w_hh, gates, from_state, before = ctx.saved_tensors
        real, size = len(d_states), d_last.size(1)
        r, z, n = gates[:real].view(real, 3, size).unbind(1)
        h = before[:real]
        # what a step's gates get of the gradient of its h', as far as the recurrence has no say in it
        d_n = torch.addcmul(n.new_ones(()), n, n, value=-1).mul_(1 - z)  # before tanh
        share = n.new_empty(real, 3, size)
        torch.mul(d_n, r, out=share[:, 2])
        torch.mul(share[:, 2], from_state[:real], out=share[:, 0]).mul_(1 - r)
        torch.sub(h, n, out=share[:, 1]).mul_(z).mul_(1 - z)
        d_gates = _empty_but_zero_from(real, gates, data.dtype).unflatten(1, (3, size))  # of W_h h + b_h
        d_after = torch.empty_like(d_states)  # of h'
        d_state = d_last.clone()
        for start, end, known in reversed(ctx.steps):
            rows = end - start
            d_h = torch.add(d_states[start:end], d_state[:rows], out=d_after[start:end])
            d_step = d_gates[start:end]
            torch.mul(d_h.unsqueeze(1), share[start:end], out=d_step)
            factor = d_step[:known].flatten(1)
            if ctx.narrow:
                factor = nn.functional.pad(factor, (0, 0, 0, rounded(known) - known))
            through = product(factor, w_hh)
            torch.addcmul(through[:known], d_h[:known], z[start : start + known], out=d_state[:known])
        flat = d_gates.flatten(1)  # (N, 3H)
        # steps whose h are all zero have no part in the gradient of W_h (some such rows stay, so that shapes are few)
        start, end, known = ctx.steps[0]
        some = slice(None) if known else slice(end // ROUND * ROUND, None) if start == 0 else slice(rounded(start))
        d_w_hh, d_b_hh = weight_gradient(flat[some], before[some].to(data.dtype)), flat.sum(0)
        torch.mul(d_after, d_n, out=share[:, 2])
        d_gates[:real, 2] = share[:, 2]  # now of W_i x + b_i, which r does not scale
        if places is not None:  # the sum over the places where a row was read, in float32
            flat = share.new_zeros(len(data), 3 * size).index_add_(0, places, flat.float()).to(data.dtype)
        d_data, d_w_ih, d_b_ih = product(flat, w_ih)[: ctx.rows], weight_gradient(flat, data), flat.sum(0)
        d_first = d_state if ctx.needs_input_grad[3] else None
        gradients = (d_data, None, None, d_first, d_w_ih, d_w_hh, d_b_ih, d_b_hh, None)
        return tuple(None if gradient is None else gradient.float() for gradient in gradients)


def _empty_but_zero_from(row: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the shape of `like`, contiguous, its rows from `row` on zero and those before to be written."""
    made = torch.empty(like.shape, dtype=dtype or like.dtype)
    made[row:].zero_()
    return made


def _steps(batch_sizes: Tensor, backward: bool, *, zero: bool) -> list[tuple[int, int, int]]:
    """First and past-the-last row of each step in the packed data, in the order in which the steps are taken.

    And how many of these rows, which are the first, have a state before the step that is not zero, if all begin with
    `zero`.
    """
    ends = batch_sizes.cumsum(0).tolist()
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    steps, known = [], 0
    for start, end in bounds[::-1] if backward else bounds:
        rows = end - start
        steps.append((start, end, min(known, rows) if zero else rows))
        known = rows
    return steps
