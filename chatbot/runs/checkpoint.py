"""Checkpoints: model, vocabulary and settings rebuilt from one file of plain data; nothing in it is run."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Annotated, Any, TypedDict

import torch
from torch import Tensor

from ..config.settings import Config
from ..corpus.tokenizer import TOKENIZERS, Tokenizer
from ..corpus.vocabulary import Vocabulary
from ..decoding.fallback import FallbackIds, fallback_ids
from ..network.kernels.linear import by_columns
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError, first_line, shown
from ..system.files import atomic_file
from ..system.schema import Bounds, Positive, checked
from .archive import plain_data
from .quantization import from_bytes, in_bytes
from .weights import check_network, check_state

CHECKPOINT_FORMAT = 1
QUANTIZED_FORMAT = 2  # the same, with the matrices in bytes
MAX_PROMPTS = 1 << 20  # ids of them all, and one for each prompt
Step = Annotated[int, Bounds(0, (1 << 63) - 1)]
Name = Annotated[str, Bounds(0, 1 << 12)]


class Parent(TypedDict):
    """Whose weights a training began with: the run's name, its checkpoint's digest, its step."""

    run: Name
    checkpoint: Name
    step: Step


@dataclass
class Checkpoint:
    """A trained (or half-trained) model with all it needs to be used.

    model: the state dict, on the CPU. prompts: ids of held-out prompts, for sample replies and for proving an export.
    training: what `--resume` needs (optimiser and counters), absent from `best.pt`.
    parent: where the training began that was trained on from a bot.
    is_quantized: every matrix of the model is one that bytes can say (`quantization`), and is kept so in a file.
    """

    config: Config
    vocabulary: Vocabulary
    model: dict[str, Tensor]
    step: int
    perplexity: float | None
    prompts: list[list[int]]
    training: dict[str, Any] | None = field(default=None, repr=False)
    parent: Parent | None = None
    is_quantized: bool = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the vocabulary was made with."""
        return TOKENIZERS[self.config.corpus.tokenizer]

    @property
    def never_replied(self) -> list[int]:
        """Ids that a search passes over."""
        return never_replied(self.config, self.vocabulary)

    @property
    def fallback_ids(self) -> FallbackIds:
        """Gives the ids of fallback replies."""
        return fallback_ids(self.vocabulary, self.tokenizer, self.config.corpus.max_length)

    def build_model(self) -> Seq2Seq:
        """The network with these weights, on the CPU, in eval mode, laid out for replies.

        Raises:
            ChatbotError: the weights are not those of the model that the settings describe.
        """
        check_network(self.model, self.config.model, len(self.vocabulary), "the checkpoint's weights")
        with torch.device("meta"):
            model = Seq2Seq(self.config.model, len(self.vocabulary))
        model.load_state_dict(by_columns(self.model), assign=True)
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
            data = plain_data(path)
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
            vocabulary = Vocabulary(
                checked(list[str], data["vocabulary"], "its vocabulary"),
                checked(dict[str, str] | None, data.get("written"), "its forms of words"),  # version 0.1 had none
            )
            config = Config.from_dict(data["config"])
            if config.corpus.tokenizer not in TOKENIZERS:
                raise ValueError("its tokenizer was never chosen")
            check_state(data["model"], "model")
            weights = from_bytes(data["model"])
            check_network(weights, config.model, len(vocabulary), "its weights")
            return cls(
                config,
                vocabulary,
                weights,
                checked(Step, data["step"], "its step"),
                checked(Positive | None, data["perplexity"], "its perplexity"),
                _prompts(data["prompts"], len(vocabulary)),
                data["training"],
                checked(Parent | None, data.get("parent"), "its parent"),
                version == QUANTIZED_FORMAT,
            )
        except ChatbotError as error:  # of its settings, its words or its weights
            raise ChatbotError(
                f"the checkpoint {path} is damaged, or of a newer version of chatbot: {error}"
            ) from error
        except Exception as error:  # plain data of any shape
            raise ChatbotError(f"the checkpoint {path} is damaged: {first_line(error)}") from error


def _prompts(value: Any, words: int) -> list[list[int]]:
    # a list may hold another one many times, at no cost to the file
    if type(value) is not list or not all(type(prompt) is list for prompt in value):
        raise ValueError("its prompts are no lists of words")
    if not value or sum(map(len, value)) + len(value) > MAX_PROMPTS:
        raise ValueError(f"it has {len(value):,} prompts: there should be one at least, and not too many")
    if not all(type(id) is int and 0 <= id < words for prompt in value for id in prompt):
        raise ValueError("its prompts have words that its vocabulary has not")
    return [list(prompt) for prompt in value]


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
