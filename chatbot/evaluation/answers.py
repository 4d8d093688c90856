"""A model's own replies to held-out prompts, in rows: one for each decoding, and three references to read them by."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from tqdm import tqdm

from ..corpus.frequencies import Frequencies, most_frequent_reply
from ..corpus.prepared import PairDataset
from .broken import BrokenEnglish
from .likelihood import EVALUATION_BATCH
from .replies import Reply, figures
from .scoreboard import REFERENCES

SEED = 1  # of the pairs that a limit leaves, and of the random training replies
BATCHES_AT_ONCE = 8  # a decoding is handed so many, to sort by length and batch as suits it, between ticks of the bar

Replier: TypeAlias = Callable[[list[list[int]]], list[list[int]]]  # prompts' ids -> replies' ids, without `<eos>`


class Row(NamedTuple):
    """One way to answer: its replies as ids, in the order of the pairs, and their `figures`."""

    replies: list[list[int]]
    figures: dict[str, Any]


def drawn(dataset: PairDataset, limit: int) -> list[int]:
    """Indices of the pairs that are answered, rising: all, or `limit` drawn without replacement, always the same."""
    if not 0 < limit < len(dataset):
        return list(range(len(dataset)))
    return sorted(np.random.default_rng(SEED).choice(len(dataset), limit, replace=False).tolist())


def answer(
    decodings: Mapping[str, Replier],
    dataset: PairDataset,
    indices: Sequence[int],
    training: PairDataset,
    batch_size: int = EVALUATION_BATCH,
    text: Callable[[Reply], str] = str,
    english: BrokenEnglish | None = None,
) -> dict[str, Row]:
    """Answer pairs by every decoding, and give the figures of the replies beside those of three references.

    The references: `human`, the replies of the pairs themselves (what a model that says just that would get); `random`,
    for each pair a training reply drawn evenly; `frequent`, always the commonest training reply.

    Args:
        decodings: by their names, none of them a reference's.
        dataset: where the pairs are; indices: which of them, P.
        training: the training split, at least one pair; `dataset` itself where it is that which is answered.
        text: writes a reply for people.
        english: of `training`; it judges the decodings, and of people what it has not counted itself.

    Returns:
        rows of P replies: first the decodings in their order, then the references.

    Raises:
        ValueError: a decoding has a reference's name, or gave more or fewer replies than it had prompts.
    """
    if taken := REFERENCES.keys() & decodings:
        raise ValueError(f"a decoding must not be called {', '.join(sorted(taken))}")
    pairs = [dataset[index] for index in indices]
    prompts, human = [prompt.tolist() for prompt, _ in pairs], [reply.tolist() for _, reply in pairs]
    said: dict[str, list[list[int]]] = {}
    speeds: dict[str, float] = {}
    for name, decoding in decodings.items():
        said[name], seconds = generate(decoding, prompts, batch_size, name)
        speeds[name] = len(pairs) / max(seconds, 1e-9)
    said["human"] = human
    places = np.random.default_rng(SEED).integers(len(training), size=len(pairs))
    said["random"] = [training[place][1].tolist() for place in places]
    said["frequent"] = [most_frequent_reply(training)] * len(pairs)
    known = Frequencies.of(training, (reply for replies in said.values() for reply in replies))
    judged = {name: said[name] for name in decodings}
    judged["human"] = human
    if english and dataset is training:
        judged["human"] = [human[row] for row in np.flatnonzero(np.isin(indices, english.unseen))]
    broken = {name: english.among(replies) for name, replies in judged.items()} if english else {}
    return {
        name: Row(
            replies,
            figures(replies, human, known.probabilities, known.repeated, speeds.get(name), text, broken.get(name, ())),
        )
        for name, replies in said.items()
    }


def generate(
    decoding: Replier, prompts: Sequence[list[int]], batch_size: int, name: str
) -> tuple[list[list[int]], float]:
    """The replies to `prompts`, in their order, and the seconds that finding them took; a bar shows on a terminal."""
    replies: list[list[int]] = []
    started, size = time.perf_counter(), BATCHES_AT_ONCE * batch_size
    with tqdm(total=len(prompts), unit="pairs", desc=name, disable=None, leave=False) as bar:
        for first in range(0, len(prompts), size):
            some = list(prompts[first : first + size])
            found = decoding(some)
            if len(found) != len(some):
                raise ValueError(f"{name} gave {len(found)} replies to {len(some)} prompts")
            replies += found
            bar.update(len(some))
    return replies, time.perf_counter() - started
