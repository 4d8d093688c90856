"""Pairs of ids as the tensors that the network reads: the one place that pads, and shifts replies behind SOS."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from ..system.devices import sent


class Batch(NamedTuple):
    """B pairs, rows ordered by prompt length, longest first (as the packed encoder wants them). All int64.

    src (B, S) prompts padded with PAD; src_lengths (B,) on the CPU, each at least 1, the first being S;
    tgt (B, T) what the decoder reads: replies behind SOS, padded with PAD; tgt_lengths (B,) on the CPU;
    targets (N,) what the decoder should say at each of the N real positions of `tgt`, row by row: the replies and
    their EOS. N = tgt_lengths.sum().
    """

    src: Tensor
    src_lengths: Tensor
    tgt: Tensor
    tgt_lengths: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move what the network reads; lengths stay on the CPU, where packing needs them."""
        src, tgt, targets = (sent(part, device) for part in (self.src, self.tgt, self.targets))
        return self._replace(src=src, tgt=tgt, targets=targets)


def pad_prompts(prompts: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Pad prompts to (B, S) with PAD; an empty prompt becomes a single EOS. Returns them and their lengths (B,)."""
    return _padded([prompt if len(prompt) else (EOS_ID,) for prompt in prompts])


def collate(pairs: Sequence[tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]]) -> Batch:
    """Pairs of ids to one padded batch, its rows sorted by prompt length (stable)."""
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
    replies = [np.array([SOS_ID, *reply, EOS_ID], dtype=np.int64) for _, reply in pairs]
    # the shift: a reply is read up to its last word, and what is to be said at each place is the next
    read, said = [reply[:-1] for reply in replies], [reply[1:] for reply in replies]
    return Batch(*pad_prompts([prompt for prompt, _ in pairs]), *_padded(read), torch.from_numpy(np.concatenate(said)))


def _padded(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    padded = np.full((len(rows), int(lengths.max())), PAD_ID, dtype=np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(padded), lengths
