"""How well a model does on held-out pairs: the likelihood of the human replies, and figures of its own replies."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from tqdm import tqdm

from ..corpus.frequencies import Frequencies, most_frequent_reply
from ..corpus.prepared import PairDataset, in_order
from ..network.batch import collate
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError
from .metrics import TokenSums, token_sums
from .replies import Figures, figures

EVALUATION_BATCH = 128
SEED = 1  # of the pairs that a limit leaves, and of the random training replies
HUMAN, RANDOM, FREQUENT = "human", "random", "frequent"
REFERENCES = (HUMAN, RANDOM, FREQUENT)

Replier: TypeAlias = Callable[[list[list[int]]], list[list[int]]]  # prompts' ids -> replies' ids, without `<eos>`


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split, under the keys that `--json` gives them.

    perplexity: exp of the mean loss. loss: mean negative log-likelihood in nats. token_accuracy: 0 to 1.
    All three are per reply token, EOS counted, under teacher forcing.
    """

    split: str
    pairs: int
    tokens: int
    perplexity: float
    loss: float
    token_accuracy: float
    pairs_per_second: float

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Field names and values; None for one that is not finite, which JSON cannot say."""
        values = asdict(self)
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}


def evaluate(
    model: Seq2Seq, dataset: PairDataset, split: str, device: torch.device, batch_size: int = EVALUATION_BATCH
) -> Evaluation:
    """Score every pair of a split once.

    Raises:
        ChatbotError: the split holds no pair.
    """
    if not len(dataset):
        raise ChatbotError(f"the split {split!r} holds no pair; it was prepared with shares that leave nothing for it")
    started = time.perf_counter()
    sums = held_out_sums(model, dataset, in_order(dataset, batch_size), device)
    seconds = time.perf_counter() - started
    return Evaluation(
        split=split,
        pairs=len(dataset),
        tokens=int(sums.tokens),
        perplexity=sums.perplexity,
        loss=sums.mean_loss,
        token_accuracy=sums.token_accuracy,
        pairs_per_second=len(dataset) / seconds,
    )


@torch.inference_mode()
def held_out_sums(
    model: Seq2Seq, dataset: PairDataset, batches: Iterable[Sequence[int]], device: torch.device
) -> TokenSums:
    """The sums over those pairs of `dataset` whose indices the `batches` hold; the model is left in eval mode."""
    model.eval()
    sums = TokenSums(0.0, 0.0, 0.0)
    for indices in batches:
        batch = collate([dataset[index] for index in indices]).to(device)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        sums += token_sums(logits, batch.targets)
    return sums


class Row(NamedTuple):
    """One way to answer: its replies as ids, in the order of the pairs, and their figures."""

    replies: list[list[int]]
    figures: Figures


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
) -> dict[str, Row]:
    """Answer pairs by every decoding, and give the figures of the replies beside those of three references.

    The references: `human`, the replies of the pairs themselves (what a model that says just that would get); `random`,
    for each pair a training reply drawn evenly (seeded); `frequent`, always the commonest training reply.

    Args:
        decodings: by their names, none of them a reference's.
        dataset: where the pairs are; indices: which of them, P.
        training: the training split, at least one pair.

    Returns:
        rows of P replies: first the decodings in their order, then the references.

    Raises:
        ValueError: a decoding has a reference's name, or gave more or fewer replies than it had prompts.
    """
    if taken := set(decodings) & set(REFERENCES):
        raise ValueError(f"a decoding must not be called {', '.join(sorted(taken))}")
    pairs = [dataset[index] for index in indices]
    human = [reply.tolist() for _, reply in pairs]
    said: dict[str, list[list[int]]] = {}
    speeds: dict[str, float] = {}
    for name, decoding in decodings.items():
        said[name], seconds = generate(decoding, [prompt.tolist() for prompt, _ in pairs], batch_size, name)
        speeds[name] = len(pairs) / max(seconds, 1e-9)
    said[HUMAN] = human
    places = np.random.default_rng(SEED).integers(len(training), size=len(pairs))
    said[RANDOM] = [training[place][1].tolist() for place in places]
    said[FREQUENT] = [most_frequent_reply(training)] * len(pairs)
    known = Frequencies.of(training, (reply for replies in said.values() for reply in replies))
    return {
        name: Row(replies, figures(replies, human, known.probabilities, known.repeated, speeds.get(name)))
        for name, replies in said.items()
    }


def generate(
    decoding: Replier, prompts: Sequence[list[int]], batch_size: int, name: str
) -> tuple[list[list[int]], float]:
    """The replies to `prompts`, in their order, and the seconds that finding them took; a bar on a terminal's stderr.

    Prompts of about one length go together, the longest first.
    """
    replies: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    seconds = 0.0
    with tqdm(total=len(prompts), unit="pairs", desc=name, disable=None, leave=False) as bar:
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            started = time.perf_counter()
            found = decoding([prompts[place] for place in places])
            seconds += time.perf_counter() - started
            for place, reply in zip(places, found, strict=True):
                replies[place] = reply
            bar.update(len(places))
    return replies, seconds
