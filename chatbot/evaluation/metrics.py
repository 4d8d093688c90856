"""How good: sums over tokens, and what is made of them. Means are over tokens, never over batches or time steps."""

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class TokenSums(NamedTuple):
    """What a batch adds to an evaluation: three sums that simply add up over batches and processes.

    loss: negative log-likelihood in nats. correct: tokens where the likeliest word is the true one. tokens: how many.
    """

    loss: float
    correct: float
    tokens: float

    def __add__(self, other: object) -> "TokenSums":
        if not isinstance(other, TokenSums):
            return NotImplemented
        return TokenSums(self.loss + other.loss, self.correct + other.correct, self.tokens + other.tokens)

    @property
    def mean_loss(self) -> float:
        """Negative log-likelihood per token, in nats; NaN where there were no tokens."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp of the mean loss: among how many equally likely words the model hesitates, EOS counted as a word."""
        return perplexity(self.mean_loss)

    @property
    def token_accuracy(self) -> float:
        """Share of the tokens, from 0 to 1, where the likeliest word is the true one (teacher forcing)."""
        return self.correct / self.tokens if self.tokens else math.nan


def token_sums(logits: Tensor, targets: Tensor) -> TokenSums:
    """logits (N, V), targets (N,) -> the batch's sums."""
    loss = F.cross_entropy(logits.float(), targets, reduction="sum")
    correct = (logits.argmax(dim=-1) == targets).sum()
    return TokenSums(loss.item(), float(correct.item()), float(targets.numel()))


def perplexity(mean_loss: float) -> float:
    """exp(mean_loss), infinite where that is beyond a float."""
    return math.exp(mean_loss) if mean_loss < 700 else math.inf
