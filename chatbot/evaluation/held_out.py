"""The pairs that a run is measured on: a split of its own corpus, or every pair of another, in the run's words."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from ..corpus.pairs import TEST
from ..corpus.preparation import Preparation, prepare
from ..corpus.prepared import PairDataset, load_vocabulary
from ..runs.checkpoint import Checkpoint
from ..system.errors import ChatbotError

EVERY_PAIR = "all"  # the name of what is measured of another corpus, which is not split


class HeldOut(NamedTuple):
    """prepared: the corpus. dataset: those pairs of it that count. split: `train`, `valid`, `test` or `all`."""

    prepared: Preparation
    dataset: PairDataset
    split: str


def held_out_pairs(
    checkpoint: Checkpoint, data_dir: Path, *, corpus: str | None = None, split: str | None = None, workers: int = 0
) -> HeldOut:
    """Prepare what a checkpoint is measured on.

    Args:
        checkpoint: its settings say how text is read, cut into words and filtered by length.
        data_dir, workers: where preparations are kept, and how many processes prepare (0: as many as there are cores).
        corpus: another corpus than the run's own, by name or path. Every pair of it counts, read by its content
            whatever the format of the run's own, and numbered by the run's vocabulary. Pairs with words that the
            vocabulary lacks are dropped as the run's settings say (all of them where it has no `<unk>`).
        split: of the run's own corpus: `train`, `valid` or `test`. Without it `test`, or `train` where the settings
            hold nothing out for a test, as the tutorial's do.

    Raises:
        ChatbotError: no such corpus, no pair in it, a split of another corpus, or a corpus that has changed since.
    """
    own, vocabulary = checkpoint.config.corpus, checkpoint.vocabulary
    backward = checkpoint.config.model.direction == "backward"
    name = split_of(checkpoint, corpus, split)
    if corpus is not None:
        # the tutorial's quirks are there to count its own corpus as it did
        other = dataclasses.replace(own, corpus=corpus, format="auto", split=(1.0, 0.0, 0.0), tutorial_quirks=False)
        prepared = prepare(other, data_dir, workers=workers, vocabulary=vocabulary)
        return HeldOut(prepared, PairDataset(prepared.folder, "train", backward=backward), name)
    # a vocabulary file that the settings name may have been moved since; the checkpoint has its words
    prepared = prepare(own, data_dir, workers=workers, vocabulary=vocabulary if own.vocabulary else None)
    if load_vocabulary(prepared.folder).tokens != vocabulary.tokens:
        raise ChatbotError(
            "the corpus has changed since the run was trained: its vocabulary differs. "
            "Bring the old corpus back, or name the one to measure it on: --corpus NAME"
        )
    return HeldOut(prepared, PairDataset(prepared.folder, name, backward=backward), name)


def split_of(checkpoint: Checkpoint, corpus: str | None, split: str | None) -> str:
    """The name of the pairs that `held_out_pairs` gives for these arguments."""
    if corpus is None:
        return split or ("test" if checkpoint.config.corpus.split[TEST] else "train")
    if split is not None:
        raise ChatbotError("--split names a part of the run's own corpus: with --corpus every pair counts")
    return EVERY_PAIR
