"""Which pairs make the batch of a step, and what a process reads at that step; the step's number decides it all."""

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..config.settings import TrainingConfig
from ..corpus.hashing import mix64
from ..corpus.prepared import PairDataset
from ..corpus.vocabulary import Vocabulary
from ..network.batch import Batch, collate
from .epoch import Epoch
from .ngrams import NgramModel, SoftTargets
from .tutorial import ReplacementSampler


class Part(NamedTuple):
    """A batch that goes through the network at once, and the soft targets that it learns besides its own, if any."""

    batch: Batch
    soft: SoftTargets | None = None

    def to(self, device: torch.device) -> "Part":
        """Move what is computed with."""
        return Part(self.batch.to(device), self.soft and self.soft.to(device))


class StepData(NamedTuple):
    """What one process reads at one step.

    parts: its batches, worked on in turn (`accumulate`; fewer where there are fewer pairs). pairs and said: how many
    pairs those are, and how many reply tokens. tokens: those of the whole batch over all processes, EOS counted.
    """

    parts: list[Any]  # Part, or FixedBatch from a `FixedReader`
    pairs: int
    said: int
    tokens: int


class BatchSampler:
    """The indices of the pairs of each step's batch: a pure function of (seed, step), so resuming needs the step alone.

    Each epoch takes its pairs (each once, or as often as `Epoch` says) in a random order of its own, sorts
    `bucket_batches` batches of them at a time by length (which saves padding), cuts the batches, and shuffles those of
    a bucket. The order is computed bucket by bucket and never held whole. In buckets of one batch, pairs of all lengths
    are together.
    """

    def __init__(self, dataset: PairDataset, batch_size: int, seed: int, bucket_batches: int = 1) -> None:
        self.dataset, self.batch_size, self.seed, self.bucket_batches = dataset, batch_size, seed, bucket_batches
        self._epoch = Epoch(dataset)
        self._newest, self._batches = (-1, -1), list[np.ndarray]()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._epoch) // self.batch_size)

    def __getitem__(self, step: int) -> np.ndarray:
        """The batch of the update that comes after `step` updates."""
        epoch, batch = divmod(step, len(self))
        bucket, position = divmod(batch, self.bucket_batches)
        if (epoch, bucket) != self._newest:
            self._newest, self._batches = (epoch, bucket), self._bucket(epoch, bucket)
        return self._batches[position]

    def _bucket(self, epoch: int, bucket: int) -> list[np.ndarray]:
        size = self.bucket_batches * self.batch_size
        places = np.arange(bucket * size, min((bucket + 1) * size, len(self._epoch)))
        places = permuted(places, len(self._epoch), np.random.default_rng([self.seed, epoch]))
        order = self._epoch.pairs(places, epoch)
        prompts, replies = self.dataset.lengths(order)
        order = order[np.lexsort((prompts, replies))]
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        np.random.default_rng([self.seed, epoch, bucket]).shuffle(batches)
        return batches


def permuted(places: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The numbers at some places of a random order of 0 .. count-1, without making the rest of that order.

    A Feistel network over the smallest even number of bits that holds `count` (Black and Rogaway 2002, *Ciphers with
    arbitrary finite domains*): a bijection, good for shuffling and not for secrets.

    Args:
        places: int64, each from 0 to count - 1.
        rng: fresh from its seed, for its first draws are the keys that make the order.
    """
    half = np.uint64(max(1, (int(count - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = rng.integers(1 << 64, size=6, dtype=np.uint64)
    found = places.astype(np.uint64)
    beyond: np.ndarray = np.ones(len(found), bool)
    # the network permutes a power of four, so it may lead past `count`: walk on from there until it leads back
    while beyond.any():
        left, right = found[beyond] >> half, found[beyond] & mask
        for key in keys:
            left, right = right, left ^ (mix64(right ^ key) & mask)
        found[beyond] = left << half | right
        beyond = found >= np.uint64(count)
    return found.astype(np.int64)


@dataclass
class StepReader(Dataset[StepData]):
    """Reads the batch of each step for one of the processes that train together: a pure function of the step.

    Args:
        pairs: the training pairs.
        vocabulary: its `<unk>` is what word dropout puts in a word's place; without one there is no word dropout.
        rank, size: which of how many processes; it takes every size-th pair of a batch, from rank on.
        ngrams: what `ngram_smoothing` mixes into the targets; None is no smoothing.
    """

    pairs: PairDataset
    settings: TrainingConfig
    vocabulary: Vocabulary
    rank: int = 0
    size: int = 1
    ngrams: NgramModel | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        self.steps = settings.steps  # how many the training takes; a schedule may shorten it
        self.sampler: BatchSampler | ReplacementSampler
        if settings.draws == "replacement":
            self.sampler = ReplacementSampler(Epoch(self.pairs), settings.batch_size, settings.seed)
        else:
            self.sampler = BatchSampler(self.pairs, settings.batch_size, settings.seed, settings.bucket_batches)

    def __getitem__(self, step: Any) -> StepData:
        indices = self.sampler[step]
        alone = self._shown_alone(indices, step)
        prompts, replies = self.pairs.lengths(indices)
        # counted over the whole batch before it is shared out: each process divides its loss by the same number
        tokens = int(np.where(alone, prompts - bool(self.vocabulary.voices), replies).sum()) + len(indices)
        own = np.stack((indices, alone), axis=1)[self.rank :: self.size]
        share = self.settings.dropout_share(step / len(self.sampler))
        rng = np.random.default_rng(step_seed(self.settings.seed, step, self.rank, "words"))
        parts = [
            Part(collate([self._as_shown(self.pairs[index], bool(alone), rng, share) for index, alone in part]))
            for part in np.array_split(own, self.settings.accumulate)
            if len(part)
        ]
        if self.ngrams:
            # n-grams know nothing of the prompt, so in the end they would make it count for less: their share fades
            smoothing = self.settings.ngram_smoothing * self.ngrams.share * max(0.0, 1 - step / self.steps)
            parts = [smoothed(part.batch, self.ngrams, smoothing) for part in parts]
        return StepData(parts, len(own), sum(len(part.batch.targets) for part in parts), tokens)

    def _shown_alone(self, indices: np.ndarray, step: int) -> np.ndarray:
        """Of which pairs of a batch the prompt is shown as a reply to nothing, (B,) bool, the same in every process.

        A prompt that is empty, or has a word that no reply should hold, never is.
        """
        if not self.settings.prompts_as_replies:
            return np.zeros(len(indices), bool)
        drawn = np.random.default_rng(step_seed(self.settings.seed, step, 0, "alone")).random(len(indices))
        alone = drawn < self.settings.prompts_as_replies
        for place in np.flatnonzero(alone):
            spoken = self._spoken(self.pairs[indices[place]][0])
            alone[place] = len(spoken) > 0 and (spoken >= self.vocabulary.num_special).all()
        return alone

    def _as_shown(
        self, pair: tuple[np.ndarray, np.ndarray], alone: bool, rng: np.random.Generator, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pair as training sees it: whole, or its prompt `alone` as a reply to nothing, for that is dialogue too.

        A whole pair now and then has an empty prompt (as in classifier-free guidance; Ho and Salimans 2022), a prompt
        without punctuation marks (as many people type), and `<unk>` for some words of its prompt (word dropout; Iyyer
        et al. 2015; its rate is multiplied by `share`).
        """
        prompt, reply = pair
        unk_id = self.vocabulary.unk_id
        if alone:
            return prompt[:0], self._spoken(prompt)
        if self.settings.prompt_dropout and rng.random() < self.settings.prompt_dropout:
            return prompt[:0], reply
        if self.settings.mark_dropout and rng.random() < self.settings.mark_dropout:
            spoken = np.flatnonzero(prompt == self.vocabulary.sep_id)[-1:].max(initial=-1) + 1  # behind the context
            bare = prompt[spoken:][~np.isin(prompt[spoken:], self.vocabulary.marks)]
            prompt = np.concatenate((prompt[:spoken], bare)) if len(bare) else prompt
        if self.settings.word_dropout and unk_id is not None:
            forgotten = rng.random(len(prompt)) < share * self.settings.word_dropout
            prompt = np.where(forgotten & (prompt >= self.vocabulary.num_special), unk_id, prompt)
        return prompt, reply

    def _spoken(self, prompt: np.ndarray) -> np.ndarray:
        """A prompt without its voice."""
        return prompt[1:] if self.vocabulary.voices else prompt


def smoothed(batch: Batch, ngrams: NgramModel, share: float) -> Part:
    """The batch with soft targets: a `share` of each position goes to what the n-grams expect, the rest to its word."""
    starts = batch.tgt_lengths.cumsum(0) - batch.tgt_lengths
    return Part(batch, ngrams.targets(batch.targets.numpy(), starts.numpy(), share))


def step_seed(seed: int, step: int, rank: int, purpose: str) -> int:
    """The seed of what a process draws at a step for one purpose, from 0 to 2**63 - 1."""
    return random.Random(f"{seed} {step} {rank} {purpose}").getrandbits(63)
