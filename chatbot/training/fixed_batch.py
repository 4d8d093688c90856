"""Batches in few shapes, each as one piece of memory, for a step that is recorded once and played again (`graph`).

What a recorded step reads has to stand at the same addresses in the same shape each time. So the texts of a batch are
padded to one of two widths, its real places and its soft targets to one of a few counts, and all of it lies side by
side in one tensor of 32-bit words, which goes to the device in one copy.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..config.settings import TrainingConfig
from ..corpus.prepared import PairDataset
from ..corpus.vocabulary import EOS_ID, PAD_ID
from .ngrams import ORDER, FixedTargets
from .steps import Part, StepData, StepReader

LEVELS = 8  # the real places of a batch are counted in this part of all its places
FEWEST = 4  # of them; the last batch of an epoch, which is smaller, so has a shape that others have too
FEWEST_ENTRIES = 1 << 12


class Shape(NamedTuple):
    """All that a recorded step is recorded for.

    rows B, source S and target T: the padded batch. real N: places of replies that are worked on. references R and
    entries: of its soft targets (`FixedTargets`), 0 without.
    """

    rows: int
    source: int
    target: int
    real: int
    references: int = 0
    entries: int = 0

    def sizes(self) -> list[int]:
        """How many 32-bit words each part of a batch has: ids, then soft targets, as `FixedBatch.fields` reads them."""
        ids = [self.rows * self.source, self.rows * self.target, self.real, self.real]
        soft = [self.references] * 3 + [self.real, 2 * self.real]
        return ids + (soft if self.references else [])


class FixedBatch(NamedTuple):
    """B pairs in a fixed shape: `values` is int32, (sum of shape.sizes(),); parts that are floats are read as such."""

    shape: Shape
    values: Tensor

    def fields(self) -> "Fields":
        """The batch as tensors, without waiting for their device."""
        shape = self.shape
        src, tgt, real, targets, *soft = self.values.split(shape.sizes())
        made = None
        if soft:
            rows, histories, *floats = soft
            shares, own, rest = (part.view(torch.float32) for part in floats)
            made = FixedTargets(rows.long(), histories.long(), shares, own, rest.view(-1, 2), shape.entries)
        widths = (src.view(shape.rows, -1), tgt.view(shape.rows, -1))
        ids = [ids.long() for ids in (*widths, real, targets)]
        return Fields(*ids, soft=made)  # type: ignore[misc]


class Fields(NamedTuple):
    """What the network reads, int64, and what it learns.

    src (B, S) prompts padded with PAD, a row without a pair is one EOS; tgt (B, T) replies behind SOS; real (N,) places
    in the flattened `tgt`; targets (N,) what is to be said there, PAD where a place is none of the batch's; soft: the
    soft targets, if it has any.
    """

    src: Tensor
    tgt: Tensor
    real: Tensor
    targets: Tensor
    soft: FixedTargets | None


@dataclass
class Widths:
    """The shapes of a training's batches.

    rows: of each batch. source, target: the widths, rising; the last has room for every text.
    """

    rows: int
    source: tuple[int, ...]
    target: tuple[int, ...]

    @classmethod
    def of(cls, pairs: PairDataset, settings: TrainingConfig, processes: int) -> "Widths":
        """Those that hold every batch of these pairs, shared out among processes and parts."""
        prompts, replies = pairs.lengths(np.arange(len(pairs)))
        longest, said = int(prompts.max(initial=1)), int(replies.max(initial=0))
        if settings.prompts_as_replies:
            said = max(said, longest)
        own = -(-settings.batch_size // processes)
        return cls(-(-own // settings.accumulate), _halves(longest), _halves(said + 1))  # one more, for EOS

    def batch(self, part: Part) -> FixedBatch:
        """A batch in its fixed shape."""
        source, target = _first(self.source, part.batch.src.size(1)), _first(self.target, part.batch.tgt.size(1))
        places = self.rows * target
        level = -(-places // LEVELS)
        real = min(places, level * max(FEWEST, -(-len(part.batch.targets) // level)))
        references = entries = 0
        if part.soft:
            references = (ORDER - 1) * real
            step = max(FEWEST_ENTRIES, (1 << part.soft.entries.bit_length()) // 8)  # at most a fifth is for nothing
            entries = -(-part.soft.entries // step) * step
        shape = Shape(self.rows, source, target, real, references, entries)
        made = FixedBatch(shape, torch.zeros(sum(shape.sizes()), dtype=torch.int32))  # zero is PAD
        _write(made, part)
        return made


def _write(made: FixedBatch, part: Part) -> None:
    """Put a batch into the memory of its fixed shape, which is zero."""
    batch, (rows, source, target, *_) = part.batch, made.shape
    src, tgt, real, targets, *soft = made.values.split(made.shape.sizes())
    src, tgt = src.view(rows, source), tgt.view(rows, target)
    src[:, 0] = EOS_ID  # a row without a pair has a word to attend to as well
    src[: len(batch.src), : batch.src.size(1)] = batch.src
    tgt[: len(batch.tgt), : batch.tgt.size(1)] = batch.tgt
    said = len(batch.targets)
    targets[:said] = batch.targets
    real[:said] = (tgt.flatten() != PAD_ID).nonzero().squeeze(1)
    # Places that are none of the batch's get no gradient. They differ, for adding nothing to one place takes its turn.
    real[said:] = torch.arange(len(real) - said)
    if part.soft:
        rows, histories, shares, own, rest = soft
        found, count = part.soft, len(part.soft.rows)
        rows[:count], histories[:count] = found.rows, found.histories
        shares.view(torch.float32)[:count] = found.shares
        rest.view(torch.float32).view(-1, 2)[:said] = found.rest
        # all that stands at a place besides histories is its own word
        each = found.places // found.vocabulary_size
        own.view(torch.float32).index_add_(0, each, found.weights)


class FixedReader(Dataset[StepData]):
    """What a `StepReader` reads, in fixed shapes."""

    def __init__(self, reader: StepReader, widths: Widths) -> None:
        self.reader, self.widths = reader, widths

    def __getitem__(self, step: Any) -> StepData:
        data = self.reader[step]
        return data._replace(parts=[self.widths.batch(part) for part in data.parts])


def _halves(most: int) -> tuple[int, ...]:
    return tuple(sorted({-(-most // 2), most}))


def _first(widths: tuple[int, ...], length: int) -> int:
    return next(width for width in widths if width >= length)
