"""How well a model predicts the human replies of held-out pairs: perplexity and token accuracy, by teacher forcing.

Means are over tokens, EOS counted, never over batches or time steps.
"""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..corpus.prepared import PairDataset, in_order
from ..network.batch import collate
from ..network.model import Seq2Seq
from ..system.errors import ChatbotError

EVALUATION_BATCH = 128


def evaluate(
    model: Seq2Seq, dataset: PairDataset, split: str, device: torch.device, batch_size: int = EVALUATION_BATCH
) -> dict[str, Any]:
    """Score every pair of a split once: the figures under the keys of `--json`, None for one that is not finite.

    `sources` has those of each corpus that the split is of.

    Raises:
        ChatbotError: the split holds no pair.
    """
    if not len(dataset):
        raise ChatbotError(f"the split {split!r} holds no pair; it was prepared with shares that leave nothing for it")
    started = time.perf_counter()
    parts = [part for part in dataset.parts if len(part.indices)]
    sums = [held_out_sums(model, dataset, in_order(dataset, batch_size, part.indices), device) for part in parts]
    speed = len(dataset) / (time.perf_counter() - started)
    each = {part.name: _figures(len(part.indices), of_part) for part, of_part in zip(parts, sums, strict=True)}
    whole = _figures(len(dataset), TokenSums.total(sums))
    return {"split": split, **whole, "pairs_per_second": speed, "sources": each}


def _figures(pairs: int, sums: "TokenSums") -> dict[str, Any]:
    means = {name: value if math.isfinite(value) else None for name, value in sums.figures().items()}
    return {"pairs": pairs, "tokens": int(sums.tokens), **means}


class TokenSums(NamedTuple):
    """Three sums over reply tokens, which simply add up over batches and processes.

    loss: negative log-likelihood in nats. correct: tokens where the likeliest word is the true one. tokens: how many.
    """

    loss: float = 0.0
    correct: float = 0.0
    tokens: float = 0.0

    @classmethod
    def total(cls, sums: Iterable["TokenSums"]) -> "TokenSums":
        """All of them added up."""
        return cls(*map(sum, zip(*sums, strict=True)))

    def figures(self) -> dict[str, float]:
        """Means over the tokens, NaN where there were none.

        loss: negative log-likelihood of a token in nats. perplexity: exp of it, among how many equally likely words the
        model hesitates. token_accuracy: share of the tokens, 0 to 1, where the likeliest word is the true one.
        """
        loss, accuracy = (part / self.tokens if self.tokens else math.nan for part in (self.loss, self.correct))
        return {"loss": loss, "perplexity": perplexity(loss), "token_accuracy": accuracy}


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
        sums = TokenSums.total((sums, token_sums(logits, batch.targets)))
    return sums


def token_sums(logits: Tensor, targets: Tensor) -> TokenSums:
    """The sums of logits (N, V) and targets (N,)."""
    loss = F.cross_entropy(logits.float(), targets, reduction="sum")
    correct = (logits.argmax(dim=-1) == targets).sum()
    return TokenSums(loss.item(), float(correct.item()), float(targets.numel()))


def perplexity(mean_loss: float) -> float:
    """exp(mean_loss), infinite where that is beyond a float."""
    return math.exp(mean_loss) if mean_loss < 700 else math.inf
