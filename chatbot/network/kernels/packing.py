"""Batches without their padding: packed steps for the GRU, and the N real positions for all that comes after it.

Texts of a batch differ in length, so a padded batch (B, T) is in good part padding. What is worked out there is thrown
away, for the loss reads none of it. Two layouts leave it out. A GRU goes step by step and reads a PackedSequence, in
which each step has only the texts that still go on. The layers after attention treat every position alone, so they take
the N real positions as plain rows (N, ...), in the order of the loss's targets; `RealPositions` picks them. The output
layer is most of a training step's arithmetic, and this is where it is saved.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ...system.devices import sent


class PackedWords(NamedTuple):
    """Embedded words as a GRU reads them: packed vectors (N, E), or packed rows (N,) of a `table` (U, E).

    Words stand in a batch several times; with a table the GRU multiplies each of the U different ones once.
    """

    packed: PackedSequence
    table: Tensor | None = None

    def vectors(self) -> PackedSequence:
        """The vector of every word, (N, E), packed."""
        if self.table is None:
            return self.packed
        return self.packed._replace(data=self.table.index_select(0, self.packed.data))


class RealPositions:
    """The N positions of a padded batch (B, T) that hold a word, row by row: lengths (B,) on the CPU."""

    def __init__(self, lengths: Tensor, width: int, device: torch.device) -> None:
        self.shape = (len(lengths), width)
        indices = (torch.arange(width) < lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)
        self.indices = sent(indices, device)  # (N,), in the flattened batch
        self.texts = self.indices // width  # (N,), the row of the batch that each is in

    def pick(self, padded: Tensor) -> Tensor:
        """padded (B, T, X) -> (N, X)"""
        return padded.flatten(0, 1).index_select(0, self.indices)

    def spread(self, rows: Tensor) -> Tensor:
        """rows (N, X) -> (B, T, X), zero at padding."""
        batch, width = self.shape
        return rows.new_zeros(batch * width, rows.size(1)).index_copy(0, self.indices, rows).view(batch, width, -1)


def packed_in_any_order(padded: Tensor, lengths: Tensor) -> PackedSequence:
    """Pack rows (B, T) that are not sorted, as pack_padded_sequence does, but without waiting for their device."""
    # the lengths are sorted on the CPU, where they are; only the order is sent, and nothing comes back
    falling, order = lengths.sort(descending=True)
    rows, back = (sent(indices, padded.device) for indices in (order, order.argsort()))
    packed = pack_padded_sequence(padded.index_select(0, rows), falling, batch_first=True)
    return packed._replace(sorted_indices=rows, unsorted_indices=back)


def unpacked(packed: PackedSequence) -> Tensor:
    """(N, H) packed -> (B, T, H), zero at padding, as pad_packed_sequence does, but without waiting for the device."""
    # torch would put the lengths in order too, which are on the CPU: it would wait for the indices to come from the GPU
    rows, _ = pad_packed_sequence(packed._replace(sorted_indices=None, unsorted_indices=None), batch_first=True)
    return rows if packed.unsorted_indices is None else rows.index_select(0, packed.unsorted_indices)
