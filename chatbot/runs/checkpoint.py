"""Checkpoints: model, vocabulary and settings rebuilt from one file of plain data; nothing in it is run."""

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..config.settings import Config
from ..corpus.tokenizer import TOKENIZERS, Tokenizer
from ..corpus.vocabulary import Vocabulary
from ..network.kernels.linear import by_columns
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError, first_line, shown
from ..system.files import atomic_file
from .quantization import from_bytes, in_bytes

CHECKPOINT_FORMAT = 1
QUANTIZED_FORMAT = 2  # the same, with the matrices in bytes
MAX_PROMPTS = 1 << 20  # ids of them all
MAX_NAME = 1 << 12  # characters that name a parent
MAX_CODE = 64 << 20  # bytes that the compressed members of a bundle, its code, may unfold to


@dataclass
class Checkpoint:
    """A trained (or half-trained) model with all it needs to be used.

    model: the state dict, on the CPU. prompts: ids of held-out prompts, for sample replies and for proving an export.
    training: what `--resume` needs (optimiser and counters), absent from `best.pt`.
    parent: where the training began that was trained on from a bot: its `run`, its `checkpoint`'s digest, its `step`.
    is_quantized: every matrix of the model is one that bytes can say (`quantization`), and is kept so in a file.
    """

    config: Config
    vocabulary: Vocabulary
    model: dict[str, Tensor]
    step: int
    perplexity: float | None
    prompts: list[list[int]]
    training: dict[str, Any] | None = field(default=None, repr=False)
    parent: dict[str, Any] | None = None
    is_quantized: bool = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the vocabulary was made with."""
        return TOKENIZERS[self.config.corpus.tokenizer]

    @property
    def never_replied(self) -> list[int]:
        """Ids that a search passes over."""
        return never_replied(self.config, self.vocabulary)

    def build_model(self) -> Seq2Seq:
        """The network with these weights, on the CPU, in eval mode, laid out for replies.

        Raises:
            ChatbotError: the weights are not those of the model that the settings describe.
        """
        with torch.device("meta"):  # shapes only: nothing is allocated because a number in a file says so
            model = Seq2Seq(self.config.model, len(self.vocabulary))
        try:
            model.load_state_dict(by_columns(self.model), assign=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ChatbotError(f"the checkpoint's weights do not fit its settings: {reason}") from error
        for name, weights in model.state_dict().items():
            if weights.dtype != torch.float32:
                raise ChatbotError(f"the checkpoint's weights do not fit its settings: {name} is {weights.dtype}")
        return model.eval()

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that replies depend on: settings, vocabulary, step and weights."""
        settings = self.config.unlike_defaults()
        facts: list[Any] = [settings, self.vocabulary.tokens, self.step]
        facts += [self.vocabulary.written] if self.vocabulary.written else []  # version 0.1 had none
        digest = hashlib.sha256(json.dumps(facts).encode())
        for name, weights in sorted(self.model.items()):
            digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
            digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def quantized(self) -> "Checkpoint":
        """The same with each matrix rounded to what bytes can say, and without what resuming needs."""
        return replace(self, model=from_bytes(in_bytes(self.model)), training=None, is_quantized=True)

    def save(self, path: Path) -> None:
        """Write all of it to `path`, whole or not at all."""
        with atomic_file(path) as file:
            sink: Any = _Sink(file)
            torch.save(
                {
                    "format": QUANTIZED_FORMAT if self.is_quantized else CHECKPOINT_FORMAT,
                    "config": self.config.to_dict(),
                    "vocabulary": self.vocabulary.tokens,
                    "written": self.vocabulary.written,
                    "model": in_bytes(self.model) if self.is_quantized else self.model,
                    "step": self.step,
                    "perplexity": self.perplexity,
                    "prompts": self.prompts,
                    "training": self.training,
                    "parent": self.parent,
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
        if type(version) is not int or version not in (CHECKPOINT_FORMAT, QUANTIZED_FORMAT):
            raise ChatbotError(
                f"{path} has checkpoint format {shown(version)}, this program reads {CHECKPOINT_FORMAT} and "
                f"{QUANTIZED_FORMAT}: use the version of chatbot that wrote it, or train again"
            )
        try:
            vocabulary = Vocabulary(data["vocabulary"], data.get("written"))
            step, perplexity = data["step"], data["perplexity"]
            if type(step) is not int or not 0 <= step < 1 << 63:
                raise ValueError("its step is no number of updates")
            if perplexity is not None and type(perplexity) is not float:
                raise ValueError("its perplexity is no number")
            prompts = data["prompts"]  # a list may hold another one many times, at no cost to the file
            if sum(map(len, prompts)) > MAX_PROMPTS or not all(0 <= id < len(vocabulary) for p in prompts for id in p):
                raise ValueError("its prompts have words that its vocabulary has not, or there are too many")
            check_weights(data["model"], "model")
            config = Config.from_dict(data["config"])
            if config.corpus.tokenizer not in TOKENIZERS:
                raise ValueError("its tokenizer was never chosen")
            return cls(
                config,
                vocabulary,
                from_bytes(data["model"]),
                step,
                perplexity,
                [[int(id) for id in prompt] for prompt in prompts],
                data["training"],
                _parent(data.get("parent")),  # which files of version 0.1 have not
                version == QUANTIZED_FORMAT,
            )
        except ChatbotError as error:  # of its settings, its words or its weights
            raise ChatbotError(
                f"the checkpoint {path} is damaged, or of a newer version of chatbot: {error}"
            ) from error
        except Exception as error:  # plain data of any shape
            raise ChatbotError(f"the checkpoint {path} is damaged: {first_line(error)}") from error


def _parent(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    run, digest, step = (value[key] for key in ("run", "checkpoint", "step"))
    if (type(run), type(digest), type(step)) != (str, str, int) or len(run) + len(digest) > MAX_NAME:
        raise ValueError("its parent is no run")
    return {"run": run, "checkpoint": digest, "step": step}


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


def check_weights(state: Any, name: str) -> None:
    """Whether something loaded is a state dict, of which each tensor is as large in the file as it says.

    Raises:
        ChatbotError: it is something else, or holds it: an expanded tensor, say, is of any size without a file of that
            size. The message calls it `name`.
    """
    if not isinstance(state, dict):
        raise ChatbotError(f"its {name} is {shown(state)} and no state dict")
    for key, weight in state.items():
        tensors = list(weight.values()) if isinstance(weight, dict) else [weight]  # a matrix in bytes is a dict
        if type(key) is not str or not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise ChatbotError(f"its {name} holds something that is no weight")
        for tensor in tensors:
            if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_contiguous():
                raise ChatbotError(f"its {name} has {shown(key)} in a form that weights do not have")


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


def is_bundle(path: Path) -> bool:
    """Whether a file is a TorchScript archive (by its table of contents; nothing of it is run)."""
    try:
        if path.is_file():  # a device may have no end
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # whoever opens it as something else will say what is wrong
        pass
    return False
