"""What a training begins with: the pairs, the n-grams counted in them, prompts to show, and the new network."""

import dataclasses
import sys
from collections.abc import Iterable
from multiprocessing import cpu_count
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..config.settings import Config
from ..corpus.prepared import PairDataset, load_vocabulary
from ..corpus.vocabulary import EOS_ID
from ..network.kernels.embedding import Embedding
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError, command
from .distributed import Group
from .embeddings import begin_with
from .epoch import Epoch, rehearsed
from .fixed_batch import FixedReader, Widths
from .ngrams import NgramModel, NgramTable
from .signals import leave_signals_alone
from .steps import StepData, StepReader
from .tutorial import check_whole_batches

FREQUENCY_PAIRS = 100_000  # of which word frequencies are taken
SHOWN_PROMPTS = 5
KEPT_PROMPTS = 64
MOST_READERS = 8  # processes that read ahead for each GPU, which takes a batch in the time that two need to read it


class TrainingData:
    """The prepared pairs of a training.

    settings: with `epochs` written out as steps. vocabulary; pairs and held_out: the splits `train` and `valid`;
    reader: what each step reads; ngrams: what soft targets are made of, on the device, or None; prompts: held-out
    prompts as ids, kept with every checkpoint; shown: a few of them, from short to long, without unknown words if
    there are such.
    """

    def __init__(self, config: Config, prepared: Path, group: Group) -> None:
        settings, backward = config.training, config.model.direction == "backward"
        self.vocabulary = vocabulary = load_vocabulary(prepared)
        self.pairs = PairDataset(prepared, "train", backward=backward)
        self.held_out = PairDataset(prepared, "valid", backward=backward)
        self.pairs.parts = rehearsed(self.pairs.parts, settings.rehearse)
        if not len(self.pairs):
            raise ChatbotError(f"the corpus gave no training pair; see its summary: {command('prepare', corpus='...')}")
        counted = (self.pairs, len(vocabulary), vocabulary.num_special)
        ngrams = NgramModel(*counted) if settings.ngram_smoothing else None
        self.ngrams: NgramTable | None = ngrams.table().to(group.device) if ngrams else None
        check_whole_batches(settings, group.size)
        if not settings.batch_size:
            raise ChatbotError("batch_size is 0: only the command line takes auto (`training.batch_size.picked`)")
        if settings.epochs:
            steps = max(1, round(settings.epochs * -(-len(Epoch(self.pairs)) // settings.batch_size)))
            settings = dataclasses.replace(settings, steps=steps)
        self.settings = settings
        self.reader = StepReader(self.pairs, self.settings, vocabulary, group.rank, group.size, ngrams)
        self.prompts = kept_prompts(self.held_out if len(self.held_out) else self.pairs)
        readable = [prompt for prompt in self.prompts if vocabulary.unk_id not in prompt] or self.prompts
        self.shown = readable[:: max(1, len(readable) // SHOWN_PROMPTS)][:SHOWN_PROMPTS]

    def begin_with_vectors(self, embedding: Embedding, group: Group) -> None:
        """Let an embedding on the CPU begin with the word vectors that the settings name, the same in each process."""
        path = Path(self.settings.embeddings)
        if group.is_writer:
            count = begin_with(embedding, self.vocabulary, path)
            tqdm.write(f"embeddings    {count:,} words begin with the vectors of {path}", file=sys.stderr)
        group.share(embedding.weight)

    def steps(self, first: int, end: int, device: torch.device, *, fixed: bool = False) -> Iterable[StepData]:
        """What the steps from `first` on read; for a GPU it is read ahead by other processes, into pinned memory.

        Args:
            fixed: in fixed shapes, for a `FixedStep`.
        """
        ahead, reader = device.type == "cuda", self.reader
        return DataLoader(
            FixedReader(reader, Widths.of(self.pairs, self.settings, reader.size)) if fixed else reader,
            batch_size=None,  # the reader makes whole batches
            sampler=range(first, end),
            num_workers=min(MOST_READERS, max(2, cpu_count() // reader.size - 1)) if ahead else 0,
            pin_memory=ahead,
            worker_init_fn=leave_signals_alone,
        )


def new_model(config: Config, data: TrainingData) -> Seq2Seq:
    """The network before its first step, on the CPU: the same on every machine, for the seed is all it depends on."""
    torch.manual_seed(config.training.seed)
    model = Seq2Seq(config.model, len(data.vocabulary))
    if config.training.word_frequencies:
        with torch.no_grad():
            model.decoder.out.bias.copy_(torch.from_numpy(log_frequencies(data.pairs, len(data.vocabulary))))
    return model


def log_frequencies(dataset: PairDataset, vocabulary_size: int) -> np.ndarray:
    """The logarithm of each token's share of the replies' tokens, EOS counted, of a sample of an epoch: (V,) floats.

    A token that is never said counts as said half a time.
    """
    counts, epoch = np.full(vocabulary_size, 0.5), Epoch(dataset)
    for index in epoch.pairs(np.arange(0, len(epoch), -(-len(epoch) // FREQUENCY_PAIRS)), 0):
        _, reply = dataset[index]
        np.add.at(counts, reply, 1)
        counts[EOS_ID] += 1
    return np.log(counts / counts.sum())


def kept_prompts(dataset: PairDataset) -> list[list[int]]:
    """Up to 64 prompts in which every length in `dataset` has a part (of more than 64 lengths a part of them).

    Shortest first; the same ones every time. None is of an old corpus, which come last.
    """
    lengths, _ = dataset.lengths(np.arange(sum(len(part.indices) for part in dataset.parts if not part.is_old)))
    order = np.argsort(lengths, kind="stable")
    by_length = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    by_length = by_length[:: -(-len(by_length) // KEPT_PROMPTS)]
    each = max(1, KEPT_PROMPTS // len(by_length))
    # spread over the dataset, for neighbours in a corpus are alike
    chosen = [group[:: max(1, len(group) // each)][:each] for group in by_length]
    return [dataset[index][0].tolist() for group in chosen for index in group]
