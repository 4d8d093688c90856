"""Numbered pairs to batches of tensors: length buckets, padding, the SOS/EOS shift."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .prepared import PairDataset
from .vocabulary import EOS_ID, PAD_ID, SOS_ID


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
        if device.type == "cpu":
            return self
        return self._replace(src=self.src.to(device), tgt=self.tgt.to(device), targets=self.targets.to(device))


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


@dataclass(frozen=True)
class BatchSampler:
    """Which pairs make which batch: a pure function of (seed, epoch), so a position is all that resuming needs.

    Each epoch shuffles all pairs, sorts windows of `BUCKET` batches by length (little padding, and the
    order stays random at a larger scale), cuts batches, and shuffles those. Every pair comes once an epoch.
    """

    dataset: PairDataset
    batch_size: int
    seed: int

    BUCKET = 64

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch as arrays of indices into the dataset."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.dataset))
        for start in range(0, len(order), self.BUCKET * self.batch_size):
            window = order[start : start + self.BUCKET * self.batch_size]
            prompts, replies = self.dataset.lengths(window)
            order[start : start + len(window)] = window[np.lexsort((prompts, replies))]
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        rng.shuffle(batches)
        return batches

    def batches(self, step: int) -> Iterator[np.ndarray]:
        """Batches without end, from the one that comes after `step` updates."""
        epoch, position = divmod(step, len(self))
        while True:
            yield from self.epoch(epoch)[position:]
            epoch, position = epoch + 1, 0


def in_order(dataset: PairDataset, batch_size: int) -> Iterator[list[int]]:
    """Every index once, shortest pairs together, the same every time: for validation and evaluation."""
    prompts, replies = dataset.lengths(np.arange(len(dataset)))
    order = np.lexsort((prompts, replies))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size].tolist()
