"""Train on from a bot (`--from`): its weights, its words and those of the new corpus, and some of what it learnt before.

`begin` makes of a base and a corpus all that a training needs: the settings, the prepared pairs, and a checkpoint of
step 0. From there on it is a training like any other: the run holds its own words and weights, and resumes, exports and
is evaluated without the base.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config.presets import TRAINED_ON
from ..config.settings import Config, CorpusConfig
from ..corpus.mixture import at_hand
from ..corpus.preparation import Preparation, prepare
from ..corpus.prepared import PairDataset, load_vocabulary
from ..corpus.vocabulary import Vocabulary
from ..network.growth import grown
from ..runs.checkpoint import Checkpoint
from ..runs.directory import load_base
from ..system.errors import ChatbotError
from .data import log_frequencies
from .steps import Epoch, rehearsed

WINDOW = 2


class Start(NamedTuple):
    config: Config
    prepared: Preparation
    checkpoint: Checkpoint
    notice: str


def begin(name: str, checkpoints_dir: Path, data_dir: Path, settings: Callable[[Config], Config], *, workers: int = 0) -> Start:
    base_name, base = load_base(name, checkpoints_dir)
    defaults = of_base(base)
    config = settings(defaults)
    words = prepare(
        dataclasses.replace(config.corpus, old_corpus=""), data_dir, workers=workers, vocabulary=base.vocabulary, grow=True
    )
    vocabulary = load_vocabulary(words.folder)
    old = config.corpus.old_corpus
    if config.training.rehearse and not old:
        old = at_hand(base.config.corpus.corpus, data_dir, besides=config.corpus.corpus) or at_hand("sample", data_dir, besides=config.corpus.corpus)
    defaults = dataclasses.replace(defaults, corpus=dataclasses.replace(defaults.corpus, old_corpus=old))
    config = settings(defaults)
    prepared = prepare(config.corpus, data_dir, workers=workers, vocabulary=vocabulary)
    model = grown_weights(base, vocabulary, prepared.folder)
    parent = {"run": base_name, "checkpoint": base.digest(), "step": base.step}
    checkpoint = Checkpoint(config, vocabulary, model, 0, None, [], parent=parent)
    return Start(config, prepared, checkpoint, old)


def of_base(base):
    own = base.config.corpus
    corpus = CorpusConfig(min_count=2, tokenizer=own.tokenizer, context=own.context, max_length=own.max_length, unknown_prompts=own.unknown_prompts)
    return Config(corpus, base.config.model, TRAINED_ON, base.config.decoding)


def grown_weights(base: Checkpoint, vocabulary: Vocabulary, folder: Path) -> dict[str, Tensor]:
    pairs = PairDataset(folder, "train", backward=base.config.model.direction == "backward")
    biases = torch.from_numpy(log_frequencies(pairs, len(vocabulary))).float()[len(base.vocabulary):]
    return grown(base.model, mixtures(base.vocabulary, vocabulary, pairs), biases)


def mixtures(old, new, pairs):
    first, special = len(old), old.num_special
    counts: defaultdict[tuple[int, int], float] = defaultdict(float)
    own = [i for part in pairs.parts if not part.is_old for i in part.indices]
    for i in own:
        for ids in pairs[i]:
            for place in np.flatnonzero(ids >= first):
                for near in ids[max(0, place - WINDOW) : place + WINDOW + 1]:
                    if special <= near < first:
                        counts[int(ids[place]) - first, int(near)] += 1
    return sparse(counts, len(new) - first, first)


def sparse(counts, rows, columns):
    index = torch.tensor(list(counts), dtype=torch.int64).reshape(-1, 2).T
    values = torch.tensor(list(counts.values()), dtype=torch.float32)
    sums = torch.zeros(rows).index_add_(0, index[0], values)
    return torch.sparse_coo_tensor(index, values / sums[index[0]], (rows, columns)).coalesce()
