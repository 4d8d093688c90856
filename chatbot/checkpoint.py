"""The run directory, and checkpoints that rebuild model, vocabulary and settings from one file of plain data.

checkpoints/RUN/
    config.json          every setting; `chatbot train --config` repeats the run with it
    vocabulary.txt       one token per line
    last.pt              newest state, with everything that resuming needs
    last.previous.pt     the one before, should `last.pt` be damaged
    best.pt              weights with the lowest held-out perplexity
    metrics.jsonl        one JSON object per measurement
    tb/                  TensorBoard events
    evaluation-test.json figures that `chatbot evaluate` found, for each split it was asked for
    export/              what `chatbot export` wrote
"""

import dataclasses
import hashlib
import itertools
import json
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import Config, DecodingConfig
from .errors import ChatbotError
from .files import atomic_file
from .model import Seq2Seq
from .tokenizer import TOKENIZERS, Tokenizer
from .vocabulary import Vocabulary

CHECKPOINT_FORMAT = 1


@dataclass
class Checkpoint:
    """A trained (or half-trained) model with all it needs to be used.

    model: the state dict, on the CPU. prompts: ids of held-out prompts, for sample replies and for proving an export.
    training: what `--resume` needs (optimiser and counters), absent from `best.pt`.
    """

    config: Config
    vocabulary: Vocabulary
    model: dict[str, Tensor]
    step: int
    perplexity: float | None
    prompts: list[list[int]]
    training: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the vocabulary was made with."""
        return TOKENIZERS[self.config.corpus.tokenizer]

    @property
    def never_replied(self) -> list[int]:
        """As the function `never_replied`."""
        return never_replied(self.config, self.vocabulary)

    def build_model(self) -> Seq2Seq:
        """The network with these weights, on the CPU, in eval mode.

        Raises:
            ChatbotError: the weights are not those of the model that the settings describe.
        """
        with torch.device("meta"):  # shapes only: nothing is allocated because a number in a file says so
            model = Seq2Seq(self.config.model, len(self.vocabulary))
        try:
            model.load_state_dict(self.model, assign=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ChatbotError(f"the checkpoint's weights do not fit its settings: {reason}") from error
        return model.eval()

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that replies depend on: settings, vocabulary, step and weights."""
        digest = hashlib.sha256(json.dumps([self.config.to_dict(), self.vocabulary.tokens, self.step]).encode())
        for name, weights in sorted(self.model.items()):
            digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
            digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write all of it to `path`, whole or not at all."""
        with atomic_file(path) as file:
            torch.save(
                {
                    "format": CHECKPOINT_FORMAT,
                    "config": self.config.to_dict(),
                    "vocabulary": self.vocabulary.tokens,
                    "model": self.model,
                    "step": self.step,
                    "perplexity": self.perplexity,
                    "prompts": self.prompts,
                    "training": self.training,
                },
                file,
            )

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what `save` wrote: plain data only, nothing in the file is run.

        Raises:
            ChatbotError: the file is missing, damaged, of another format, or no checkpoint at all.
        """
        try:
            check_archive(path)
            data = torch.load(path, map_location="cpu", weights_only=True)
            version = data["format"]
        except FileNotFoundError as error:
            raise ChatbotError(f"there is no checkpoint {path}") from error
        except Exception as error:  # a damaged file makes the reader fail in every way there is
            raise ChatbotError(f"cannot read the checkpoint {path}: {_first_line(error)}") from error
        if version != CHECKPOINT_FORMAT:
            raise ChatbotError(
                f"{path} has checkpoint format {version!r}, this program reads {CHECKPOINT_FORMAT}: "
                "use the version of chatbot that wrote it, or train again"
            )
        try:
            return cls(
                Config.from_dict({"decoding": {}, **data["config"]}, over=Config(decoding=DecodingConfig())),
                Vocabulary(data["vocabulary"]),
                data["model"],
                int(data["step"]),
                data["perplexity"],
                [[int(id) for id in prompt] for prompt in data["prompts"]],
                data["training"],
            )
        except (ChatbotError, KeyError, TypeError, ValueError) as error:
            raise ChatbotError(f"the checkpoint {path} is damaged: {_first_line(error)}") from error


def never_replied(config: Config, vocabulary: Vocabulary) -> list[int]:
    """Ids that a search passes over: every special token but `<eos>`; none with `tutorial_tokens`."""
    return [] if config.model.tutorial_tokens else vocabulary.never_replied


def check_archive(path: Path) -> None:
    """Every byte against the archive's own checksums, and no compressed member that could unfold without bound.

    Raises:
        ChatbotError: there are such members, or a checksum is wrong. (The archive's reader raises whatever it likes.)
    """
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ChatbotError("it has compressed members, as no checkpoint has")
        if damaged := archive.testzip():
            raise ChatbotError(f"it is damaged at {damaged!r}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


BUNDLE = "chatbot.pt"  # of an export


class RunDirectory:
    """Names and order of the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.vocabulary = path / "vocabulary.txt"
        self.last = path / "last.pt"
        self.previous = path / "last.previous.pt"
        self.next = path / "last.next.pt"
        self.best = path / "best.pt"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tb"
        self.export = path / "export"

    def evaluation(self, split: str) -> Path:
        """Where the figures of a split are kept."""
        return self.path / f"evaluation-{split}.json"

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint of any kind."""
        return self.is_resumable or self.best.exists()

    @property
    def is_resumable(self) -> bool:
        """Whether a training can go on from here: not if it was killed before it first wrote `last.pt`."""
        return any(path.exists() for path in (self.last, self.previous, self.next))

    @property
    def is_imported(self) -> bool:
        """Whether the weights are no training's: that would have opened `metrics.jsonl` before it wrote any."""
        return self.best.exists() and not self.is_resumable and not self.metrics.exists()

    def begin(self, config: Config, vocabulary: Vocabulary) -> None:
        """Make the directory and what stands in it from the first step on."""
        with atomic_file(self.config, "w") as file:
            file.write(json.dumps(config.to_dict(), indent=2) + "\n")
        vocabulary.save(self.vocabulary)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write `last.pt`; the one that stood there becomes `last.previous.pt`."""
        checkpoint.save(self.next)
        if self.last.exists():
            self.last.replace(self.previous)
        self.next.replace(self.last)

    def load_last(self) -> Checkpoint:
        """The newest whole checkpoint to resume from; says on stderr if a newer one is damaged.

        Raises:
            ChatbotError: there is none.
        """
        # `next` is there only if a kill came between the two renames of `save_last`; then it is whole and the newest
        there = [path for path in (self.next, self.last, self.previous) if path.exists()] or [self.last]
        for path, before in itertools.pairwise(there):
            try:
                return Checkpoint.load(path)
            except ChatbotError as error:
                print(f"{error}; going on from {before.name}", file=sys.stderr)
        return Checkpoint.load(there[-1])

    def tidy(self) -> None:
        """Remove what a killed training left half-written."""
        for path in self.path.glob(".*.part"):
            path.unlink(missing_ok=True)

    def load_chosen(self) -> Checkpoint:
        """What chat, evaluate and export open: `best.pt` or `last.pt` as the settings' `keep` says, else the other.

        How replies are found is as `config.json` says, which may be edited: no weight depends on that.

        Raises:
            ChatbotError: nothing was trained here yet, or a file is damaged.
        """
        if not self.is_trained:
            raise ChatbotError(f"{self.path} holds no trained model; train one: make train RUN={self.path.name}")
        keeps_last = self.config.exists() and Config.load(self.config).training.keep == "last"
        checkpoint = Checkpoint.load(self.best) if self.best.exists() and not keeps_last else self.load_last()
        if self.config.exists():
            decoding = Config.load(self.config, over=checkpoint.config).decoding
            checkpoint.config = dataclasses.replace(checkpoint.config, decoding=decoding)
        return checkpoint


def is_bundle(path: Path) -> bool:
    """Whether a file is a TorchScript archive (by its table of contents; nothing of it is run)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def find_run(name: str | None, folder: Path) -> RunDirectory:
    """The run called `name` in `folder`, or at the path `name`; without a name the one trained last.

    Raises:
        ChatbotError: there is no such run, or none at all.
    """
    runs = sorted(
        # a hidden folder is one that is being written, or was left so
        (path for path in folder.glob("[!.]*") if RunDirectory(path).is_trained),
        key=lambda path: max(file.stat().st_mtime for file in path.glob("*.pt")),
    )
    if name is None:
        if not runs:
            raise ChatbotError(f"nothing is trained in {folder} yet; try: make train CORPUS=sample (two minutes)")
        return RunDirectory(runs[-1])
    for path in (folder / name, Path(name)):  # a corpus's folder here may have the run's name
        if RunDirectory(path).is_trained:
            return RunDirectory(path)
    known = f"; there are {', '.join(sorted(path.name for path in runs))}" if runs else "; train one: make train"
    raise ChatbotError(f"there is no trained run {name!r} in {folder}{known}")


def find_model(name: str | None, folder: Path) -> Path:
    """What to talk to: the run that `find_run` finds, an export's folder, or a file: checkpoint, bundle, ONNX."""
    if name is not None and Path(name).suffix in (".pt", ".onnx"):
        if not Path(name).is_file():
            raise ChatbotError(f"there is no file {name}")
        return Path(name)
    if name is not None and (Path(name) / BUNDLE).is_file():
        return Path(name) / BUNDLE
    return find_run(name, folder).path
