"""How well a model predicts the human replies of held-out pairs: perplexity and token accuracy, by teacher forcing.

Means are over tokens, EOS counted, never over batches or time steps.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..corpus.prepared import PairDataset, in_order
from ..network.batch import collate
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError

EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split, under the keys that `--json` gives them.

    perplexity: exp of the mean loss. loss: mean negative log-likelihood of a reply token in nats. token_accuracy: share
    of the tokens, 0 to 1, where the likeliest word is the true one.
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
    return Evaluation(
        split=split,
        pairs=len(dataset),
        tokens=int(sums.tokens),
        perplexity=sums.perplexity,
        loss=sums.mean_loss,
        token_accuracy=sums.token_accuracy,
        pairs_per_second=len(dataset) / (time.perf_counter() - started),
    )


class TokenSums(NamedTuple):
    """Three sums over reply tokens, which simply add up over batches and processes.

    loss: negative log-likelihood in nats. correct: tokens where the likeliest word is the true one. tokens: how many.
    """

    loss: float = 0.0
    correct: float = 0.0
    tokens: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Negative log-likelihood per token, in nats; NaN where there were no tokens."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """Among how many equally likely words the model hesitates: exp of the mean loss."""
        return perplexity(self.mean_loss)

    @property
    def token_accuracy(self) -> float:
        """From 0 to 1; NaN where there were no tokens."""
        return self.correct / self.tokens if self.tokens else math.nan


@torch.inference_mode()
def held_out_sums(
    model: Seq2Seq, dataset: PairDataset, batches: Iterable[Sequence[int]], device: torch.device
) -> TokenSums:
    """The sums over those pairs of `dataset` whose indices the `batches` hold; the model is left in eval mode."""
    model.eval()
    sums = TokenSums()
    for indices in batches:
        batch = collate([dataset[index] for index in indices]).to(device)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        sums = TokenSums(*(one + other for one, other in zip(sums, token_sums(logits, batch.targets), strict=True)))
    return sums


def token_sums(logits: Tensor, targets: Tensor) -> TokenSums:
    """The sums of logits (N, V) and targets (N,)."""
    loss = F.cross_entropy(logits.float(), targets, reduction="sum")
    correct = (logits.argmax(dim=-1) == targets).sum()
    return TokenSums(loss.item(), float(correct.item()), float(targets.numel()))


def perplexity(mean_loss: float) -> float:
    """exp(mean_loss), infinite where that is beyond a float."""
    return math.exp(mean_loss) if mean_loss < 700 else math.inf
