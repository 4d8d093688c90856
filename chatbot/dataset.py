"""Numbered pairs on disk to batches of tensors: memory-mapped reading, length buckets, padding, the SOS/EOS shift."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import ChatbotError
from .vocabulary import EOS_ID, PAD_ID, SOS_ID, Vocabulary

PREPARED_FORMAT = 1
SPLITS = ("train", "valid", "test")
MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.txt"


def ids_file(split: str) -> str:
    """Name of the flat array of ids (the manifest's dtype): prompt 0, reply 0, prompt 1, reply 1, and so on."""
    return f"{split}.ids"


def offsets_file(split: str) -> str:
    """Name of the flat array of 2 * pairs + 1 offsets into the ids (little-endian int64), the first being 0."""
    return f"{split}.offsets"


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a preparation.

    Raises:
        ChatbotError: it is missing, damaged, or of another format version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ChatbotError(f"{folder} holds no prepared corpus ({error}); run: chatbot prepare") from error
    if version != PREPARED_FORMAT:
        raise ChatbotError(
            f"{path} has format {version!r}, this program reads {PREPARED_FORMAT}: prepare the corpus again"
        )
    return manifest


class PairDataset(Sequence[tuple[np.ndarray, np.ndarray]]):
    """The (prompt, reply) pairs of one split as ids, read from disk as they are asked for and shared by processes.

    Args:
        folder: what `prepare` wrote.
        split: `train`, `valid` or `test`.

    Raises:
        ChatbotError: a file is missing, or its size is not what the manifest says.
    """

    def __init__(self, folder: Path, split: str) -> None:
        manifest = load_manifest(folder)
        try:
            pairs, tokens = (int(manifest["splits"][split][key]) for key in ("pairs", "tokens"))
            dtype = {"uint16": "<u2", "int32": "<i4"}[manifest["dtype"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ChatbotError(f"{folder / MANIFEST} is damaged ({error!r}): prepare the corpus again") from error
        self.num_tokens = tokens
        self._ids = _mapped(folder / ids_file(split), dtype, tokens)
        self._offsets = _mapped(folder / offsets_file(split), "<i8", 2 * pairs + 1)
        self._pairs = pairs

    def __len__(self) -> int:
        return self._pairs

    def __getitem__(self, index: Any) -> Any:
        first, second, third = self._offsets[2 * index : 2 * index + 3]
        return self._ids[first:second], self._ids[second:third]

    def lengths(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lengths in ids of the prompts and of the replies at `indices`, both int64 of the same shape."""
        start, middle, end = (self._offsets[2 * indices + shift] for shift in range(3))
        return middle - start, end - middle


def _mapped(path: Path, dtype: str, count: int) -> np.ndarray:
    expected = count * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ChatbotError(f"cannot read {path}: {error.strerror}; prepare the corpus again") from error
    if size != expected:
        raise ChatbotError(f"{path} has {size} bytes and should have {expected}: prepare the corpus again")
    if count == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype, "r", shape=(count,))


class Batch(NamedTuple):
    """B pairs, rows ordered by prompt length, longest first (as the packed encoder wants them). All int64.

    src (B, S) prompts padded with PAD; src_lengths (B,) on the CPU, each at least 1;
    tgt_input (B, T) replies behind SOS; tgt_output (B, T) replies before EOS; tgt_lengths (B,) on the CPU.
    """

    src: Tensor
    src_lengths: Tensor
    tgt_input: Tensor
    tgt_output: Tensor
    tgt_lengths: Tensor

    @property
    def num_tokens(self) -> int:
        """Reply tokens to be predicted, EOS included."""
        return int(self.tgt_lengths.sum())

    def to(self, device: torch.device) -> "Batch":
        """Move what the network reads; lengths stay on the CPU, where packing needs them."""
        move = device.type != "cpu"
        return self._replace(
            **{name: getattr(self, name).to(device) for name in ("src", "tgt_input", "tgt_output") if move}
        )


def pad_prompts(prompts: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Pad prompts to (B, S) with PAD; an empty prompt becomes a single EOS. Returns them and their lengths (B,)."""
    filled = [prompt if len(prompt) else (EOS_ID,) for prompt in prompts]
    lengths = torch.tensor([len(prompt) for prompt in filled])
    src = np.full((len(filled), int(lengths.max())), PAD_ID, dtype=np.int64)
    for row, prompt in zip(src, filled, strict=True):
        row[: len(prompt)] = prompt
    return torch.from_numpy(src), lengths


def collate(pairs: Sequence[tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]]) -> Batch:
    """Pairs of ids to one padded batch, its rows sorted by prompt length (stable)."""
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
    src, src_lengths = pad_prompts([prompt for prompt, _ in pairs])
    tgt_lengths = torch.tensor([len(reply) + 1 for _, reply in pairs])
    shape = (len(pairs), int(tgt_lengths.max()))
    tgt_input = np.full(shape, PAD_ID, dtype=np.int64)
    tgt_output = np.full(shape, PAD_ID, dtype=np.int64)
    tgt_input[:, 0] = SOS_ID
    for i, (_, reply) in enumerate(pairs):
        tgt_input[i, 1 : len(reply) + 1] = reply
        tgt_output[i, : len(reply)] = reply
        tgt_output[i, len(reply)] = EOS_ID
    return Batch(src, src_lengths, torch.from_numpy(tgt_input), torch.from_numpy(tgt_output), tgt_lengths)


@dataclass(frozen=True)
class BatchSampler:
    """Which pairs make which batch: a pure function of (seed, epoch), so a position is all that resuming needs.

    Each epoch shuffles all pairs, sorts windows of `BUCKET` batches by length (little padding, and the
    order stays random at a larger scale), cuts batches, and shuffles those. Every pair comes once an epoch.
    """

    dataset: PairDataset
    batch_size: int
    seed: int

    BUCKET = 64

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch as arrays of indices into the dataset."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.dataset))
        for start in range(0, len(order), self.BUCKET * self.batch_size):
            window = order[start : start + self.BUCKET * self.batch_size]
            prompts, replies = self.dataset.lengths(window)
            order[start : start + len(window)] = window[np.lexsort((prompts, replies))]
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        rng.shuffle(batches)
        return batches

    def batches(self, step: int) -> Iterator[np.ndarray]:
        """Batches without end, from the one that comes after `step` updates."""
        epoch, position = divmod(step, len(self))
        while True:
            yield from self.epoch(epoch)[position:]
            epoch, position = epoch + 1, 0


def in_order(dataset: PairDataset, batch_size: int) -> Iterator[list[int]]:
    """Every index once, shortest pairs together, the same every time: for validation and evaluation."""
    prompts, replies = dataset.lengths(np.arange(len(dataset)))
    order = np.lexsort((prompts, replies))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size].tolist()


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a preparation."""
    return Vocabulary.load(folder / VOCABULARY)
