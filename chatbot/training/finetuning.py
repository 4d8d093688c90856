"""Train on from a bot (`--from`): its weights, its words and those of the new corpus, and some of what it learnt.

`begin` makes of a base and a corpus all that a training needs: the settings, the prepared pairs, and a checkpoint of
step 0. From there on it is a training like any other, whose run holds its own words and weights: it is resumed,
exported and evaluated without the base.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config.presets import TRAINED_ON
from ..config.settings import Config
from ..corpus.mixture import at_hand
from ..corpus.preparation import Preparation, prepare
from ..corpus.prepared import PairDataset, load_vocabulary
from ..corpus.vocabulary import Vocabulary
from ..network.growth import grown
from ..runs.checkpoint import Checkpoint, Parent
from ..runs.directory import load_base
from ..system.errors import ChatbotError
from .data import log_frequencies
from .epoch import Epoch, rehearsed

EPOCHS = 4  # over the new corpus; the cosine ends with them, and early stopping may come before
FEWEST_STEPS = 50
NEAR = 2  # words before and behind a new one that tell what it is like
KEPT = ("tokenizer", "mend_words", "context", "max_length", "unknown_prompts")  # of how a bot reads
FREE = {"dropout", "recurrent_dropout", "dropout_places"}  # of the network: training alone goes by them


class Start(NamedTuple):
    """Where a training on from a bot begins.

    own: the new corpus, without what is rehearsed. folder: the pairs of both, prepared. checkpoint: of step 0, in the
    words of these pairs; its `parent` says whose weights they are. notice: a line for the user about all of it.
    """

    config: Config
    own: Preparation
    folder: Path
    checkpoint: Checkpoint
    notice: str


def begin(
    name: str, checkpoints_dir: Path, data_dir: Path, settings: Callable[[Config], Config], *, workers: int = 0
) -> Start:
    """Prepare to train on from a bot.

    Args:
        name: of the bot: a run, or a checkpoint's file (`load_base`).
        checkpoints_dir, data_dir, workers: where runs and corpora are, and how many processes prepare.
        settings: makes of the settings that go without saying those that the user asked for.

    Raises:
        ChatbotError: there is no such bot or corpus, or a setting contradicts the bot's.
    """
    called, base = load_base(name, checkpoints_dir)
    default = _default(base.config)
    config = settings(default)
    _refuse_contradictions(config, base.config, name)

    # the words of the new corpus go behind the bot's, before the old corpora join, which give none
    corpus = dataclasses.replace(config.corpus, old_corpus="")
    own = prepare(corpus, data_dir, workers=workers, vocabulary=base.vocabulary, grow=True)
    vocabulary = load_vocabulary(own.folder)
    share = config.training.rehearse
    old = config.corpus.old_corpus or _old_corpus(base.config, config, data_dir) if share else ""
    share = share if old else 0.0
    corpus = dataclasses.replace(corpus, old_corpus=old)
    folder = prepare(corpus, data_dir, workers=workers, vocabulary=vocabulary).folder

    pairs = PairDataset(folder, "train", backward=config.model.direction == "backward")
    pairs.parts = rehearsed(pairs.parts, share)
    sizes = _sized(len(Epoch(pairs)), config.training.batch_size)
    sized = dataclasses.replace(default, training=dataclasses.replace(default.training, **sizes))
    training = dataclasses.replace(settings(sized).training, base=name, rehearse=share)
    config = dataclasses.replace(config, corpus=corpus, training=training)
    model = grown(base.model, likenesses(base.vocabulary, pairs, len(vocabulary)), _biases(base, pairs, vocabulary))
    parent: Parent = {"run": called, "checkpoint": base.digest(), "step": base.step}
    checkpoint = Checkpoint(config, vocabulary, model, 0, None, [], parent=parent)
    new = len(vocabulary) - len(base.vocabulary)
    rehearses = f"{share:.0%} of an epoch is {old}, which it rehearses" if old else "nothing old is rehearsed"
    notice = f"trains on from {called} (step {base.step:,}): its {len(base.vocabulary):,} words and {new:,} new ones"
    return Start(config, own, folder, checkpoint, f"{notice}; {rehearses}")


def _default(base: Config) -> Config:
    """The settings that go without saying: the base's, as far as its weights and words, and how it reads, need them."""
    own = {name: getattr(base.corpus, name) for name in KEPT}
    reading = {name: getattr(base.training, name) for name in ("word_dropout", "mark_dropout")}
    corpus = dataclasses.replace(TRAINED_ON.corpus, **own)
    model = dataclasses.replace(base.model, direction="forward")  # who trains another kind of bot says so
    # without its fallback: how likely a good reply is differs from corpus to corpus
    return Config(corpus, model, dataclasses.replace(TRAINED_ON.training, **reading), base.decoding.found)


def _refuse_contradictions(wanted: Config, base: Config, name: str) -> None:
    """Raise a ChatbotError if settings ask for another network than the base's, or for other words."""
    if not wanted.training.batch_size:
        raise ChatbotError(
            "--batch-size auto does not go with --from, whose recipe is for small corpora: give a number"
        )
    if wanted.corpus.vocabulary:
        raise ChatbotError(f"--vocabulary does not go with --from: {name} keeps its words and learns further ones")
    if (here := wanted.model.direction) != (there := base.model.direction):
        raise ChatbotError(
            f"{name} was trained with --direction {there}: to train that on give --direction {there} too, or begin "
            f"from a bot of --direction {here}"
        )
    network = [field.name for field in dataclasses.fields(base.model) if field.name not in FREE]
    for section, names in (("model", network), ("corpus", ("tokenizer", "context"))):
        for setting in names:
            asked, own = (getattr(getattr(config, section), setting) for config in (wanted, base))
            if asked != own:
                flag = "--" + setting.replace("_", "-")
                raise ChatbotError(
                    f"--from keeps the bot's network and the way it reads, and {name} has {flag} {own}, not {asked}"
                )


def _old_corpus(base: Config, config: Config, data_dir: Path) -> str:
    """What to rehearse: the base's own corpora that are at hand, or else the sample, but nothing of the new corpus."""
    learnt = "+".join(filter(None, (base.corpus.corpus, base.corpus.old_corpus)))
    new = config.corpus.corpus
    return at_hand(learnt, data_dir, besides=new) or at_hand("sample", data_dir, besides=new)


def _sized(places: int, batch_size: int) -> dict[str, Any]:
    """The settings that are counted in steps, for so many places in an epoch."""
    epoch = -(-places // batch_size)
    steps = max(FEWEST_STEPS, EPOCHS * epoch)
    return {"steps": steps, "validate_every": max(10, epoch // 2), "warmup_steps": min(100, steps // 10)}


def likenesses(known: Vocabulary, pairs: PairDataset, size: int) -> Tensor:
    """Of which known words' rows each new word's row is made, and by how much: (size - V, V) sparse float32.

    Half of it is `<unk>`, what any new word is to the bot, and half the mean of the known words that stand near it in
    the new corpus: so it begins among those that come up with it.
    """
    first, special = len(known), known.num_special
    near: Counter[tuple[int, int]] = Counter()
    for index in (index for part in pairs.parts if not part.is_old for index in part.indices):
        for ids in pairs[index]:
            for place in np.flatnonzero(ids >= first).tolist():
                around = ids[max(0, place - NEAR) : place + NEAR + 1].tolist()
                near.update((int(ids[place]) - first, id) for id in around if special <= id < first)
    counts = torch.tensor(list(near.values()), dtype=torch.float32)
    places = torch.tensor(list(near), dtype=torch.int64).view(-1, 2).T
    totals = torch.zeros(size - first).index_add_(0, places[0], counts)
    shares = 0.5 * counts / totals[places[0]]
    if known.unk_id is not None:
        new = torch.arange(size - first)
        places = torch.cat((places, torch.stack((new, torch.full_like(new, known.unk_id)))), dim=1)
        shares = torch.cat((shares, torch.full((len(new),), 0.5)))
    return torch.sparse_coo_tensor(places, shares, (size - first, first), check_invariants=True)


def _biases(base: Checkpoint, pairs: PairDataset, vocabulary: Vocabulary) -> Tensor:
    """The new words' output biases: the logarithm of how often each is said."""
    return torch.from_numpy(log_frequencies(pairs, len(vocabulary)))[len(base.vocabulary) :].float()
