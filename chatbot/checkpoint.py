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
    training.lock        held, while a training writes here, by its process, which it names
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import sys
import zipfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .config import Config, DecodingConfig
from .errors import ChatbotError, first_line, shown
from .files import atomic_file, tidy
from .lock import held
from .model import Seq2Seq
from .quantization import from_bytes, in_bytes
from .tokenizer import TOKENIZERS, Tokenizer
from .vocabulary import Vocabulary

CHECKPOINT_FORMAT = 1
PACKED_FORMAT = 2  # the same, with the matrices in bytes
PRETRAINED = "pretrained"  # the run that comes with the program; what was trained here is opened rather
MAX_PROMPTS = 1 << 20  # ids of them all
MAX_CODE = 64 << 20  # bytes that the compressed members of a bundle, its code, may unfold to


@dataclass
class Checkpoint:
    """A trained (or half-trained) model with all it needs to be used.

    model: the state dict, on the CPU. prompts: ids of held-out prompts, for sample replies and for proving an export.
    training: what `--resume` needs (optimiser and counters), absent from `best.pt`.
    packed: every matrix of the model is one that bytes can say (`quantization`), and is kept so in a file.
    """

    config: Config
    vocabulary: Vocabulary
    model: dict[str, Tensor]
    step: int
    perplexity: float | None
    prompts: list[list[int]]
    training: dict[str, Any] | None = field(default=None, repr=False)
    packed: bool = False

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
            reason = str(error).splitlines()[-1].strip()
            raise ChatbotError(f"the checkpoint's weights do not fit its settings: {reason}") from error
        for name, weights in model.state_dict().items():
            if weights.dtype != torch.float32:
                raise ChatbotError(f"the checkpoint's weights do not fit its settings: {name} is {weights.dtype}")
        return model.eval()

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that replies depend on: settings, vocabulary, step and weights."""
        digest = hashlib.sha256(json.dumps([self.config.to_dict(), self.vocabulary.tokens, self.step]).encode())
        for name, weights in sorted(self.model.items()):
            digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
            digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def pack(self) -> "Checkpoint":
        """The same with each matrix rounded to what bytes can say, and without what resuming needs."""
        return replace(self, model=from_bytes(in_bytes(self.model)), training=None, packed=True)

    def save(self, path: Path) -> None:
        """Write all of it to `path`, whole or not at all."""
        with atomic_file(path) as file:
            sink: Any = _Sink(file)
            torch.save(
                {
                    "format": PACKED_FORMAT if self.packed else CHECKPOINT_FORMAT,
                    "config": self.config.to_dict(),
                    "vocabulary": self.vocabulary.tokens,
                    "model": in_bytes(self.model) if self.packed else self.model,
                    "step": self.step,
                    "perplexity": self.perplexity,
                    "prompts": self.prompts,
                    "training": self.training,
                },
                sink,
            )
            if sink.error:
                raise sink.error

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
            raise ChatbotError(f"cannot read the checkpoint {path}: {first_line(error)}") from error
        if type(version) is not int or version not in (CHECKPOINT_FORMAT, PACKED_FORMAT):
            raise ChatbotError(
                f"{path} has checkpoint format {shown(version)}, this program reads {CHECKPOINT_FORMAT} and "
                f"{PACKED_FORMAT}: use the version of chatbot that wrote it, or train again"
            )
        try:
            vocabulary, step, perplexity = Vocabulary(data["vocabulary"]), data["step"], data["perplexity"]
            if type(step) is not int or not 0 <= step < 1 << 63:
                raise ValueError("its step is no number of updates")
            if perplexity is not None and type(perplexity) is not float:
                raise ValueError("its perplexity is no number")
            prompts = data["prompts"]  # a list may hold another one many times, at no cost to the file
            if sum(map(len, prompts)) > MAX_PROMPTS or not all(0 <= id < len(vocabulary) for p in prompts for id in p):
                raise ValueError("its prompts have words that its vocabulary has not, or there are too many")
            return cls(
                Config.from_dict({"decoding": {}, **data["config"]}, over=Config(decoding=DecodingConfig())),
                vocabulary,
                _weights(data["model"]),
                step,
                perplexity,
                [[int(id) for id in prompt] for prompt in prompts],
                data["training"],
                version == PACKED_FORMAT,
            )
        except Exception as error:  # plain data of any shape
            raise ChatbotError(f"the checkpoint {path} is damaged: {first_line(error)}") from error


class _Sink:
    """A file whose errors wait: torch's writer would hide them behind its own, or end the program."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, until the first error."""
        try:
            if self.error is None:
                self.file.write(data)
        except OSError as error:
            self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: whoever opened the file does it."""


def never_replied(config: Config, vocabulary: Vocabulary) -> list[int]:
    """Ids that a search passes over: every special token but `<eos>`; none with `tutorial_tokens`."""
    return [] if config.model.tutorial_tokens else vocabulary.never_replied


def _weights(model: Any) -> dict[str, Tensor]:
    """A state dict, out of bytes if it is kept so, each of whose tensors is as large in the file as it says.

    Raises:
        ValueError: it holds something else: an expanded tensor, say, is of any size without a file of that size.
    """
    if not isinstance(model, dict):
        raise ValueError(f"its model is {shown(model)} and no state dict")
    for name, weight in model.items():
        tensors = list(weight.values()) if isinstance(weight, dict) else [weight]
        if type(name) is not str or not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise ValueError("its model holds something that is no weight")
        for tensor in tensors:
            if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_contiguous():
                raise ValueError(f"its {shown(name)} is in a form that weights do not have")
    return from_bytes(model)


def check_archive(path: Path, *, code: bool = False) -> None:
    """Every byte against the archive's own checksums; nothing that unfolds to more than there is.

    code: whether it is a bundle, in which the code (and that alone) may be compressed.

    Raises:
        ChatbotError: a member is compressed that should not be, members are larger than the file, or a checksum is
            wrong. (The archive's reader raises whatever it likes.)
    """
    if path.exists() and not path.is_file():  # a device may have no end
        raise ChatbotError("it is no file")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        allowed = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} if code else {zipfile.ZIP_STORED}
        if not {member.compress_type for member in members} <= allowed:
            raise ChatbotError("it has compressed members, as no checkpoint has")
        if sum(member.file_size for member in members) > path.stat().st_size + code * MAX_CODE:
            raise ChatbotError("it would unfold to far more than its size")
        if damaged := archive.testzip():
            raise ChatbotError(f"it is damaged at {damaged!r}")


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
        self.lock = path / "training.lock"

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
        """Whether the weights are no training's, which holds `training.lock`, but were packed or imported."""
        return self.best.exists() and not self.is_resumable and not self.lock.exists()

    def begin(self, config: Config, vocabulary: Vocabulary) -> None:
        """Make the directory and what stands in it from the first step on.

        Raises:
            ChatbotError: it cannot be written, or a folder stands where a file is going to be written.
        """
        for path in (self.config, self.vocabulary, self.last, self.previous, self.next, self.best, self.metrics):
            if path.is_dir():
                raise ChatbotError(f"{path} is a folder, where a file of the run goes: move it away")
        with atomic_file(self.config, "w") as file:
            file.write(json.dumps(config.to_dict(), indent=2) + "\n")
        vocabulary.save(self.vocabulary)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write `last.pt`; the one that stood there becomes `last.previous.pt`."""
        checkpoint.save(self.next)
        self._advance()

    def _advance(self) -> None:
        try:
            if self.last.exists():
                self.last.replace(self.previous)
            self.next.replace(self.last)
        except OSError as error:
            raise ChatbotError(f"cannot write {self.last}: {error.strerror or error}") from error

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

    def alone(self) -> AbstractContextManager[None]:
        """Hold the run, as only one training at a time may.

        Raises:
            ChatbotError: on entering, if another training holds it; it is named.
        """
        return held(self.lock, str(self.path))

    def tidy(self) -> None:
        """Remove what killed writers left half-written, and finish a save that was cut short between two renames."""
        tidy(self.path)
        if self.next.exists():
            self._advance()

    def load_chosen(self) -> Checkpoint:
        """What chat, evaluate and export open: `best.pt` or `last.pt` as the settings' `keep` says, else the other.

        How replies are found is as `config.json` says, which may be edited: no weight depends on that.

        Raises:
            ChatbotError: nothing was trained here yet, or a file is damaged.
        """
        if not self.is_trained:
            raise ChatbotError(f"{self.path} holds no trained model; train one: make train RUN={self.path.name}")
        keeps_last = self.config.exists() and Config.load(self.config).training.keep == "last"
        best = self.best.exists() and not (keeps_last and self.is_resumable)
        checkpoint = Checkpoint.load(self.best) if best else self.load_last()
        if self.config.exists():
            decoding = Config.load(self.config, over=checkpoint.config).decoding
            checkpoint.config = dataclasses.replace(checkpoint.config, decoding=decoding)
        return checkpoint


def is_bundle(path: Path) -> bool:
    """Whether a file is a TorchScript archive (by its table of contents; nothing of it is run)."""
    try:
        if path.is_file():  # a device may have no end
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # whoever opens it as something else will say what is wrong
        pass
    return False


def _last_written(run: Path) -> float:
    times = [0.0]
    for file in run.glob("*.pt"):
        with contextlib.suppress(OSError):  # a training renames them meanwhile
            times.append(file.stat().st_mtime)
    return max(times)


def find_run(name: str | None, folder: Path) -> RunDirectory:
    """The run called `name` in `folder`, or at the path `name`; without a name the one trained last, or else the
    one that came with the program.

    Raises:
        ChatbotError: there is no such run, or none at all.
    """
    runs = sorted(
        # a hidden folder is one that is being written, or was left so
        (path for path in folder.glob("[!.]*") if RunDirectory(path).is_trained),
        key=_last_written,
    )
    if name is None:
        trained_here = [path for path in runs if path.name != PRETRAINED]
        if not runs:
            raise ChatbotError(f"nothing is trained in {folder} yet; try: make train CORPUS=sample (two minutes)")
        return RunDirectory((trained_here or runs)[-1])
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
