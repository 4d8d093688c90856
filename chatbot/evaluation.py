"""How well a model does on held-out pairs."""

import time
from dataclasses import asdict, dataclass

import torch

from .dataset import collate, in_order
from .distributed import Group
from .errors import ChatbotError
from .metrics import TokenSums, token_sums
from .model import Seq2Seq
from .prepared import PairDataset

EVALUATION_BATCH = 128


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

    def to_dict(self) -> dict[str, float | int | str]:
        """Field names and values."""
        return asdict(self)


def evaluate(model: Seq2Seq, dataset: PairDataset, split: str, device: torch.device) -> Evaluation:
    """Score every pair of a split once.

    Raises:
        ChatbotError: the split holds no pair.
    """
    if not len(dataset):
        raise ChatbotError(f"the split {split!r} holds no pair; it was prepared with shares that leave nothing for it")
    started = time.perf_counter()
    sums = held_out_sums(model, dataset, Group(), device)
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
def held_out_sums(model: Seq2Seq, dataset: PairDataset, group: Group, device: torch.device) -> TokenSums:
    """The sums over all pairs of `dataset`, each process taking its share; the model is left in eval mode."""
    model.eval()
    sums = TokenSums(0.0, 0.0, 0.0)
    for indices in group.share(list(in_order(dataset, EVALUATION_BATCH))):
        batch = collate([dataset[index] for index in indices]).to(device)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        sums += token_sums(logits, batch.targets)
    return group.sum_tokens(sums)
