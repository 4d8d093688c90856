"""Pairs of ids as the tensors that the network reads: padding, and the SOS/EOS shift, done here and nowhere else."""

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
    tgt (B, T) replies behind SOS, padded with PAD; tgt_lengths (B,) on the CPU;
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
    filled = [prompt if len(prompt) else (EOS_ID,) for prompt in prompts]
    lengths = torch.tensor([len(prompt) for prompt in filled])
    src = np.full((len(filled), int(lengths.max())), PAD_ID, dtype=np.int64)
    for row, prompt in zip(src, filled, strict=True):
        row[: len(prompt)] = prompt
    return torch.from_numpy(src), lengths


def collate(pairs: Sequence[tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]]) -> Batch:
    """Pairs of ids to one padded batch, its rows sorted by prompt length (stable)."""
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
    src, src_lengths = pad_prompts([prompt for prompt, _ in pairs])
    tgt_lengths = torch.tensor([len(reply) + 1 for _, reply in pairs])
    tgt = np.full((len(pairs), int(tgt_lengths.max())), PAD_ID, dtype=np.int64)
    tgt[:, 0] = SOS_ID
    for row, (_, reply) in zip(tgt, pairs, strict=True):
        row[1 : len(reply) + 1] = reply
    targets = np.concatenate([part for _, reply in pairs for part in (reply, (EOS_ID,))]).astype(np.int64)
    return Batch(src, src_lengths, torch.from_numpy(tgt), tgt_lengths, torch.from_numpy(targets))
