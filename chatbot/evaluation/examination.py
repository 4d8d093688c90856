"""`chatbot evaluate`: all figures of a run on a split, and the file in the run's folder that keeps them.

A run is measured on a split of its own corpus, or on every pair of another, in the run's words (`held_out_pairs`).
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..chat.bot import Chatbot
from ..config.presets import decoding_named
from ..config.settings import DecodingConfig
from ..corpus.pairs import TEST
from ..corpus.preparation import Preparation, prepare
from ..corpus.prepared import PairDataset, load_vocabulary
from ..corpus.tokenizer import Tokenizer
from ..corpus.vocabulary import Vocabulary
from ..runs.checkpoint import Checkpoint
from ..runs.directory import RunDirectory
from ..system.devices import pick_device
from ..system.errors import ChatbotError
from ..system.files import atomic_file
from ..system.seal import read_sealed, sealed
from .answers import SEED, answer, drawn
from .broken import BrokenEnglish
from .likelihood import EVALUATION_BATCH, evaluate
from .scoreboard import checked_evaluation

MAX_BYTES = 4 << 20  # of a file of figures
EXAMINATION_FORMAT = 2  # raise it when a figure comes to mean something else: those that were kept no longer count


@dataclass(frozen=True)
class Examination:
    """How to examine a run.

    split: `train`, `valid` or `test` of the run's own corpus; None is `test`, or `train` where nothing is held out.
    decodings: how the bot answers, each a name or `beam:beam_width=10`. data_dir, workers: for the preparation. limit:
    how many pairs are answered, 0 for all (all are scored). batch_size: pairs at once. corpus: another than the run's
    own, every pair of which counts; the references are then that corpus's too. tell: is handed the preparation of such
    a corpus, whose figures say what was left out. backward: the run that reranks what decodings with several
    candidates find.
    """

    split: str | None
    decodings: Sequence[str]
    data_dir: Path
    workers: int = 0
    device: str = "cpu"
    limit: int = 0
    batch_size: int = EVALUATION_BATCH
    corpus: str | None = None
    tell: Callable[[Preparation], None] | None = None
    backward: RunDirectory | None = None

    def examine(self, run: RunDirectory) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """All figures of the run as `--json` gives them, and texts in columns: prompts, human replies, decodings.

        Raises:
            ChatbotError: nothing is trained there, the corpus is missing or has changed, the split is empty.
        """
        checkpoint = run.load_chosen()
        ways = self._decodings(checkpoint)
        prepared, dataset = held_out_pairs(
            checkpoint, self.data_dir, corpus=self.corpus, split=self.split, workers=self.workers
        )
        if self.corpus and self.tell:
            self.tell(prepared)
        device = pick_device(self.device)
        model = checkpoint.build_model().to(device)
        split, vocabulary = split_of(checkpoint, self.corpus, self.split), checkpoint.vocabulary
        same = split in ("train", "all")  # the pairs that are measured are those that the references are of
        training = dataset if same else PairDataset(prepared.folder, "train", backward=dataset.backward)
        scores = evaluate(model, dataset, split, device, self.batch_size)
        bot = Chatbot.from_model(model, checkpoint.config, vocabulary)
        text = functools.partial(readable, vocabulary, checkpoint.tokenizer)
        indices = drawn(dataset, self.limit)
        if self.backward:
            bot = bot.reranked_by(self._reranker, str(self.backward.path))
        decodings = {name: functools.partial(bot.generate, decoding=decoding) for name, decoding in ways.items()}
        english = BrokenEnglish.of(training, len(vocabulary), vocabulary.num_special)
        rows = answer(decodings, dataset, indices, training, self.batch_size, text, english)
        figures = {
            "run": str(run.path),
            **self._of(checkpoint),
            **scores,
            "data": prepared.folder.name,
            "rows": {name: row.figures for name, row in rows.items()},
        }
        prompts = [text(dataset[index][0].tolist()) for index in indices]
        columns = {name: [text(reply) for reply in rows[name].replies] for name in ("human", *self.decodings)}
        return figures, {"prompt": prompts, **columns}

    def keep(self, run: RunDirectory, figures: Mapping[str, Any]) -> Path:
        """Write the figures into the run's folder. Returns where."""
        path = run.evaluation(figures["split"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, "w") as file:
            file.write(json.dumps(sealed(dict(figures)), indent=1, allow_nan=False) + "\n")
        return path

    def kept(self, run: RunDirectory) -> dict[str, Any] | None:
        """The figures that an examination like this one left, if the run still has the weights it had; else None.

        They are figures of the corpus as it was then, which need not be there any more.
        """
        checkpoint = run.load_chosen()
        split = split_of(checkpoint, self.corpus, self.split)
        wanted = {"split": split, **self._of(checkpoint)}
        try:
            figures = checked_evaluation(read_sealed(run.evaluation(split), MAX_BYTES))
        except (OSError, ValueError, ChatbotError):  # what is not figures is examined again
            return None
        same = all(figures.get(key) == value for key, value in wanted.items())
        return figures | {"run": str(run.path)} if same else None

    @functools.cached_property
    def _reranker(self) -> Checkpoint:
        assert self.backward is not None
        return self.backward.load_chosen()

    def _decodings(self, checkpoint: Checkpoint) -> dict[str, DecodingConfig]:
        found = {name: decoding_named(name, checkpoint.config.decoding) for name in self.decodings}
        if self.backward and all(decoding.candidates == 1 for decoding in found.values()):
            raise ChatbotError(
                f"--rerank has one reply to choose from by {', '.join(found)}: add a decoding that finds more, such as "
                "--decodings beam, or sample:samples=20"
            )
        return found

    def _of(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the figures depend on, besides the split and the content of the corpus."""
        return {
            "format": EXAMINATION_FORMAT,
            "step": checkpoint.step,
            "checkpoint": checkpoint.digest(),
            "corpus": self.corpus,
            "limit": self.limit,
            "seed": SEED,
            "decodings": {name: _plain(decoding) for name, decoding in self._decodings(checkpoint).items()},
            "backward": self._reranker.digest() if self.backward else None,
        }


def _plain(decoding: DecodingConfig) -> dict[str, Any]:
    """Settings as they come back from a file, in which a tuple is a list."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(decoding).items()}


def readable(vocabulary: Vocabulary, tokenizer: Tokenizer, ids: Sequence[Any]) -> str:
    """Text as a `Chatbot` writes it, but unknown words stay `<unk>`, and ` / ` stands between the turns of a prompt.

    The voice that a prompt begins with is left out."""
    turns: list[list[str]] = [[]]
    for id in ids:
        if id == vocabulary.sep_id:
            turns.append([])
        elif id not in vocabulary.voices.values():
            turns[-1].append(vocabulary.tokens[id])
    return " / ".join(tokenizer.detokenize(words, vocabulary.written) for words in turns)


def held_out_pairs(
    checkpoint: Checkpoint, data_dir: Path, *, corpus: str | None = None, split: str | None = None, workers: int = 0
) -> tuple[Preparation, PairDataset]:
    """Prepare what a checkpoint is measured on: the corpus, and those pairs of it that count.

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
    # what was only rehearsed is not what the run was trained for
    own, vocabulary = replace(checkpoint.config.corpus, old_corpus=""), checkpoint.vocabulary
    backward = checkpoint.config.model.direction == "backward"
    name = split_of(checkpoint, corpus, split)
    if corpus is not None:
        # the tutorial's quirks are there to count its own corpus as it did
        own, name = replace(own, corpus=corpus, format="auto", split=(1.0, 0.0, 0.0), tutorial_quirks=False), "train"
    # the vocabulary file that the settings name may have been moved since, and so may the bot that the run began from;
    # the checkpoint has the words
    is_given = corpus is not None or own.vocabulary or checkpoint.config.training.base
    given = vocabulary if is_given else None
    prepared = prepare(own, data_dir, workers=workers, vocabulary=given, trained=corpus is None)
    if load_vocabulary(prepared.folder).tokens != vocabulary.tokens:
        raise ChatbotError(
            "the corpus has changed since the run was trained (or was prepared with a setting of version 0.1 that is "
            "gone): its vocabulary differs. Bring the old corpus back, or name the one to measure it on: --corpus NAME"
        )
    return prepared, PairDataset(prepared.folder, name, backward=backward)


def split_of(checkpoint: Checkpoint, corpus: str | None, split: str | None) -> str:
    """The name of the pairs that `held_out_pairs` gives: `train`, `valid`, `test`, or `all` of another corpus."""
    if corpus is None:
        return split or ("test" if checkpoint.config.corpus.split[TEST] else "train")
    if split is not None:
        raise ChatbotError("--split names a part of the run's own corpus: with --corpus every pair counts")
    return "all"
