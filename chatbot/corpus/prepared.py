"""A prepared corpus on disk: the names and layout of its files, and memory-mapped reading. No torch here.

SPLIT.ids is a flat array of ids, of the dtype that the figures name: prompt 0, reply 0, prompt 1, reply 1, and so on.
SPLIT.offsets holds 2 * pairs + 1 offsets into it: where each prompt and reply begins, and the end. The pairs of the
corpora of a mixture follow each other in the mixture's order.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config.settings import CorpusConfig, replaced
from ..system.errors import ChatbotError, failing_as
from ..system.files import regular
from .figures import FIGURES, VOCABULARY, SourceFigures, load_figures
from .vocabulary import Vocabulary

DTYPES = {"uint16": "<u2", "int32": "<i4"}
OFFSETS_DTYPE = "<i8"
CHUNK_IDS = 1 << 20


def settled(corpus: CorpusConfig, folder: Path) -> CorpusConfig:
    """These settings with what `auto` came to mean when the corpus was prepared."""
    if corpus.tokenizer != "auto" and corpus.max_length:
        return corpus
    settings = replaced(CorpusConfig(), load_figures(folder).get("settings"))
    return dataclasses.replace(corpus, tokenizer=settings.tokenizer, max_length=settings.max_length)


def load_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a preparation."""
    return Vocabulary.load(folder / VOCABULARY)


class PartOfSplit(NamedTuple):
    """The pairs of a split that one corpus of a mixture gave: its name, its weight, and their indices.

    is_old: it is only rehearsed (`mixture.Part`).
    """

    name: str
    weight: float
    indices: range
    is_old: bool = False


class PairDataset(Sequence[tuple[np.ndarray, np.ndarray]]):
    """The (prompt, reply) pairs of one split as ids, memory-mapped, so that processes share them.

    Args:
        folder: a folder that `preparation.prepare` wrote.
        split: `train`, `valid` or `test`.
        backward: give (reply, prompt) instead, for a model that predicts the prompt.

    Attributes:
        parts: the corpora of a mixture, or the only one, in order.

    Raises:
        ChatbotError: a file is missing, its size is not what the figures say, or an id is no word's; later, whenever
            pairs are read, that their offsets do not ascend.
    """

    def __init__(self, folder: Path, split: str, *, backward: bool = False) -> None:
        self.backward = backward
        figures = load_figures(folder)
        sizes = figures["splits"].get(split)
        if sizes is None:
            raise ChatbotError(f"{folder / FIGURES} is damaged (it has no {split}): prepare the corpus again")
        pairs, tokens, dtype = sizes["pairs"], sizes["tokens"], DTYPES[figures["dtype"]]
        try:
            self.parts = _parts(figures["sources"], sizes["by_part"], pairs)
        except ValueError as error:
            raise ChatbotError(f"{folder / FIGURES} is damaged ({error}): prepare the corpus again") from error
        self.folder, self.num_tokens, self._pairs = folder, tokens, pairs
        self._ids = _mapped(folder / f"{split}.ids", dtype, tokens)
        self._offsets = _mapped(folder / f"{split}.offsets", OFFSETS_DTYPE, 2 * pairs + 1)
        self._check_ids()

    def _check_ids(self) -> None:
        """Every id is that of a word: kernels take them for places in a matrix."""
        path = self.folder / VOCABULARY
        with failing_as(f"cannot read {path}", advice="; prepare the corpus again"), regular(path) as file:
            words = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK_IDS), b""))
        for start in range(0, self.num_tokens, CHUNK_IDS):
            ids = self._ids[start : start + CHUNK_IDS]
            if ids.min() < 0 or ids.max() >= words:
                raise ChatbotError(f"the ids of {self.folder} are damaged: prepare the corpus again")

    def __len__(self) -> int:
        return self._pairs

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._pairs:
            raise IndexError(f"pair {index} of {self._pairs}")
        first, second, third = self._offsets[2 * index : 2 * index + 3].tolist()
        if not 0 <= first <= second <= third <= self.num_tokens:
            raise self._damaged()
        prompt, reply = self._ids[first:second], self._ids[second:third]
        return (reply, prompt) if self.backward else (prompt, reply)

    def lengths(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lengths in ids of the prompts and of the replies at `indices`, both int64 and of the shape of `indices`."""
        start, middle, end = (self._offsets[2 * indices + shift] for shift in range(3))
        if not ((start >= 0) & (start <= middle) & (middle <= end) & (end <= self.num_tokens)).all():
            raise self._damaged()
        prompts, replies = middle - start, end - middle
        return (replies, prompts) if self.backward else (prompts, replies)

    def replies(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all replies in order, in chunks of ids (N,) and bounds (R+1,), both int64.

        Reply r of a chunk is ids[bounds[r] : bounds[r + 1]]; a chunk comes from about CHUNK_IDS ids on disk.
        """
        step = max(1, CHUNK_IDS * self._pairs // max(self.num_tokens, 1))
        for first in range(0, self._pairs, step):
            offsets = np.asarray(self._offsets[2 * first : 2 * min(first + step, self._pairs) + 1])
            lengths = np.diff(offsets)
            if offsets[0] < 0 or offsets[-1] > self.num_tokens or (offsets[1:] < offsets[:-1]).any():
                raise self._damaged()
            side = 0 if self.backward else 1
            is_reply = np.repeat(np.arange(len(lengths)) % 2 == side, lengths)
            ids = self._ids[offsets[0] : offsets[-1]][is_reply].astype(np.int64)
            yield ids, np.concatenate(([0], np.cumsum(lengths[side::2])))

    def _damaged(self) -> ChatbotError:
        return ChatbotError(f"the offsets of {self.folder} are damaged: prepare the corpus again")


def _parts(sources: list[SourceFigures], sizes: list[int], pairs: int) -> list[PartOfSplit]:
    ends = list(itertools.accumulate(sizes))
    names = {source["name"] for source in sources}
    if not sources or len(names) < len(sources) or len(sizes) != len(sources) or ends[-1] != pairs:
        raise ValueError("the parts of a split are not its whole")
    return [
        PartOfSplit(source["name"], source["weight"], range(start, end), source["is_old"])
        for source, start, end in zip(sources, [0, *ends[:-1]], ends, strict=True)
    ]


def _mapped(path: Path, dtype: str, count: int) -> np.ndarray:
    expected = count * np.dtype(dtype).itemsize
    try:
        with failing_as(f"cannot read {path}", advice="; prepare the corpus again"), regular(path) as file:
            size = os.fstat(file.fileno()).st_size
    except ValueError as error:
        raise ChatbotError(f"cannot read {path}: {error}; prepare the corpus again") from error
    if size != expected:
        raise ChatbotError(f"{path} has {size} bytes and should have {expected}: prepare the corpus again")
    if count == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype, "r", shape=(count,))


def in_order(dataset: PairDataset, batch_size: int, indices: range) -> Iterator[list[int]]:
    """Yield these indices in batches of pairs of similar length, always the same: to validate and evaluate."""
    chosen = np.arange(indices.start, indices.stop)
    prompts, replies = dataset.lengths(chosen)
    order = chosen[np.lexsort((prompts, replies))]
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size].tolist()
