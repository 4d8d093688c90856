"""A GRU that trains faster on a CPU: the mathematics, parameters and state dict of nn.GRU, another order of the work.

nn.GRU on a CPU forms the gradients of its weights step by step, a small product and an accumulation each time. Here
the backward pass keeps what every step contributes and forms each weight's gradient in one product over all steps, and
everything element-wise that does not depend on the recurrence is done for all steps at once. A word that stands in a
batch several times is multiplied by W_i once (`PackedWords`), and first states of zero are not multiplied.

Notation (Cho et al. 2014, in nn.GRU's form), s a step, x its input, h the state before it:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)      n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)      h' = (1 - z) * n + z * h

Shapes: N real tokens of a packed batch of B sequences, U different ones, I input size, H hidden size, D directions.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .dropout import dropout, kept
from .linear import ROUND, product, rounded, weight_gradient
from .packing import PackedWords

# cuDNN's, about weights that do not lie side by side: those that recurrent dropout has just made, those of one layer
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")


class GRU(nn.GRU):
    """nn.GRU, with the faster pass where it applies: training on packed float32 sequences on a CPU.

    Args:
        dropout: share of the values between two layers that training leaves out.
        recurrent_dropout: share of the recurrent connections that a call in training leaves out, in all steps alike
            (DropConnect on W_h; Merity et al. 2018). An input without a batch has neither.
    """

    def __init__(self, *sizes: int, dropout: float = 0.0, recurrent_dropout: float = 0.0, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self.dropout = dropout if self.num_layers > 1 else 0.0
        self.recurrent_dropout = recurrent_dropout
        self.by_words = by_words

    def flatten_parameters(self) -> None:
        """Lay the weights side by side on a GPU, as nn.GRU does, whose cuDNN reads matrices row by row only."""
        for weight in self._flat_weights:
            if isinstance(weight, Tensor) and weight.is_cuda and not weight.is_contiguous():
                weight.data = weight.data.contiguous()  # it lay by columns (`linear.by_columns`)
        super().flatten_parameters()

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """Read PackedWords, or what nn.GRU reads, from states hx or zeros; returns what nn.GRU returns."""
        drops = self.training and (self.dropout or self.recurrent_dropout)
        if isinstance(input, Tensor):
            if hx is not None and not drops and self._goes_by_words(input):
                return self.by_words(input, hx, self._weights())
            if not drops or input.dim() < 3:
                return super().forward(input, hx)
            batch, width = input.shape[:2] if self.batch_first else (input.size(1), input.size(0))
            outputs, hidden = self(pack_padded_sequence(input, torch.full((batch,), width), self.batch_first), hx)
            return pad_packed_sequence(outputs, self.batch_first)[0], hidden
        words = input if isinstance(input, PackedWords) else PackedWords(input)
        if self._applies(words):
            return self._by_layers(words, hx, fast=True)
        words = PackedWords(words.vectors())
        if hx is None:  # nn.GRU's own zeros are made on a device that a trace then holds as a constant
            size: Any = words.packed.batch_sizes[0]  # a tensor, which a trace follows
            hx = words.packed.data.new_zeros(self.num_layers * (1 + self.bidirectional), size, self.hidden_size)
        return self._by_layers(words, hx, fast=False) if drops else super().forward(words.packed, hx)

    def _goes_by_words(self, input: Tensor) -> bool:
        """Whether this is a search's step, one word (B, 1, I)."""
        batched = self.batch_first and not self.bidirectional and self.bias and input.dim() == 3
        # while tracing, a size is a tensor, and a list's length is a number
        return batched and not torch.is_grad_enabled() and len(input.unbind(1)) == 1

    def _applies(self, words: PackedWords) -> bool:
        data = words.packed.data if words.table is None else words.table
        trains = self.training and torch.is_grad_enabled() and self.bias
        return trains and data.device.type == "cpu" and data.dtype == torch.float32

    def _by_layers(self, words: PackedWords, hx: Tensor | None, *, fast: bool) -> tuple[PackedSequence, Tensor]:
        """Call a pass for each layer, the faster one or torch's own, with the dropout between them drawn here."""
        # Within one pass over all layers dropout is cuDNN's, which after every torch.manual_seed has the host wait for
        # all that the GPU has still to do, to draw a seed. The price is that cuDNN copies the weights of upper layers.
        packed, table = words
        data, places = (packed.data, None) if table is None else (table, packed.data)
        if hx is not None:
            hx = hx if packed.sorted_indices is None else hx.index_select(1, packed.sorted_indices)
            self.check_forward_args(data, hx, packed.batch_sizes)
        weights, last = self._weights(), list[Tensor]()
        each = len(weights) // self.num_layers
        for layer in range(self.num_layers):
            if layer:
                data, places = dropout(data, self.dropout, self.training), None
            first: Any = [None, None] if hx is None else hx.chunk(self.num_layers)[layer]  # (D, B, H)
            some = weights[layer * each :][:each]  # w_ih, w_hh, b_ih, b_hh of each direction
            if fast:
                ways = [
                    _Pass.apply(data, places, packed.batch_sizes, first[way], *some[4 * way :][:4], way == 1)
                    for way in range(1 + self.bidirectional)
                ]
                data = ways[0][0] if len(ways) == 1 else torch.cat([states for states, _ in ways], dim=1)  # (N, D H)
                last.extend(state for _, state in ways)
            else:
                how = (self.bias, 1, 0.0, True, self.bidirectional)
                data, after = torch.gru(data, packed.batch_sizes, first, some, *how)
                last.extend(after)
        hidden = torch.stack(last)
        back = packed.unsorted_indices
        return packed._replace(data=data), hidden if back is None else hidden.index_select(1, back)

    def _weights(self) -> list[Any]:
        """All weights, layer by layer and direction by direction; in training without some connections of each W_h."""
        # nn.GRU's list of its own parameters. load_state_dict(assign=True) replaces those but not the list, which
        # nn.GRU puts right in its forward, so here it is asked to.
        self._update_flat_weights()
        named: Any = zip(self._flat_weights_names, self._flat_weights, strict=True)
        share = self.recurrent_dropout if self.training else 0.0
        return [without_some(w, share) if share and name.startswith("weight_hh") else w for name, w in named]


def by_words(input: Tensor, hidden: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """What nn.GRU returns for input (B, T, I) and hidden (L, B, H), on a CPU without the set-up of a loop over layers.

    An export compiles it (`deployment/torchscript.py`): then a file that was written on a CPU uses cuDNN on a GPU.
    """
    if input.is_cuda:
        return torch.gru(input, hidden, weights, True, len(weights) // 4, 0.0, False, False, True)
    states = list(hidden.unbind(0))
    if 4 * len(states) != len(weights):
        raise RuntimeError("Expected hidden size (L, B, H), of the L layers whose weights are given")
    outputs: list[Tensor] = []
    for word in input.unbind(1):
        state = word
        for layer in range(len(states)):
            w = weights[4 * layer : 4 * layer + 4]
            state = torch.gru_cell(state, states[layer], w[0], w[1], w[2], w[3])
            states[layer] = state
        outputs.append(state)
    return torch.stack(outputs, 1), torch.stack(states)


def without_some(weight: Tensor, share: float | Tensor) -> Tensor:
    """W_h (3H, H), for r, z and n, without a share of its connections between two units; the others grow to make up."""
    # one draw for all three parts: a connection is kept or left out in all of them
    size = weight.size(1)
    stay, growth = kept(size * size, share, weight.device)
    return (weight.view(3, size, size) * (stay.view(size, size) * growth)).view(3 * size, size)


class _Pass(torch.autograd.Function):
    """One layer in one direction over a packed batch."""

    @staticmethod
    def forward(
        ctx: Any,
        data: Tensor,  # (N, I), step after step, in each the sequences that still go on, longest first
        places: Tensor | None,  # (N,) rows of `data`, which is (U, I) then
        batch_sizes: Tensor,  # how many sequences go on at each step
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
            # products take bfloat16, which AMX and AVX512-BF16 multiply several times faster; states, gates and sums
            # stay float32. Rows beyond the real ones make shapes few (`rounded`) and get no gradient.
            data = nn.functional.pad(data, (0, 0, 0, rounded(len(data)) - len(data)))
            data, w_ih, w_hh, b_ih, b_hh = (part.bfloat16() for part in (data, w_ih, w_hh, b_ih, b_hh))
            if places is not None:
                places = nn.functional.pad(places, (0, rounded(real) - real))
        # (N, 3H), for all steps in one product: W_i x + b_i, and b_hh of r and z. b_hn stands inside r * (...), so it
        # is added to W_hn h, step by step
        gates = product(data, w_ih.t(), b_ih + nn.functional.pad(b_hh[: 2 * size], (0, size))).float()
        b_hn = nn.functional.pad(b_hh[2 * size :], (2 * size, 0))  # (3H,)
        if places is not None:
            gates = gates.index_select(0, places)
        # the three gates are worked out in place, so that `gates` holds r, z and n for the backward pass
        rz, n = gates[:, : 2 * size], gates[:, 2 * size :]
        before = n.new_empty(n.shape)  # h of every step
        before[real:] = 0
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
            torch.lerp(n[start:end], h, rz[start:end, size:], out=states[start:end])  # h' = n + z * (h - n)
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
        # What a step's gates get of the gradient of its h', as factors that need no recurrence. Where n, z and r are
        # still sums: (1 - z)(1 - n^2) for n, (h - n) z (1 - z) for z, and n's times (W_hn h + b_hn) r (1 - r) for r.
        d_n = torch.addcmul(n.new_ones(()), n, n, value=-1).mul_(1 - z)
        share = n.new_empty(real, 3, size)
        torch.mul(d_n, r, out=share[:, 2])  # of W_hn h + b_hn
        torch.mul(share[:, 2], from_state[:real], out=share[:, 0]).mul_(1 - r)
        torch.sub(h, n, out=share[:, 1]).mul_(z).mul_(1 - z)
        d_gates = gates.new_empty(len(gates), 3, size, dtype=data.dtype)  # of W_h h + b_h
        d_gates[real:] = 0
        d_after = torch.empty_like(d_states)  # of h'
        d_state = d_last.clone()  # of the state that the steps seen so far began with
        for start, end, known in reversed(ctx.steps):
            rows = end - start
            d_h = torch.add(d_states[start:end], d_state[:rows], out=d_after[start:end])
            d_step = d_gates[start:end]
            torch.mul(d_h.unsqueeze(1), share[start:end], out=d_step)
            factor = d_step[:known].flatten(1)
            if ctx.narrow:
                factor = nn.functional.pad(factor, (0, 0, 0, rounded(known) - known))
            # to the state before: through W_h, and straight through z; rows that began at zero have none before
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


def _steps(batch_sizes: Tensor, backward: bool, *, zero: bool) -> list[tuple[int, int, int]]:
    """First and past-the-last row of each step in the packed data, in the order in which the steps are taken.

    Third, how many of its rows, the first ones, have a state that may not be zero: all, or, if sequences begin at
    `zero`, those that went through the step before. (Read from the end, the shorter ones begin at later steps.)
    """
    ends = batch_sizes.cumsum(0).tolist()
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    steps, known = [], 0
    for start, end in bounds[::-1] if backward else bounds:
        rows = end - start
        steps.append((start, end, min(known, rows) if zero else rows))
        known = rows
    return steps
