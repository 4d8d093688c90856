"""How likely a model finds given replies: log p(target | source), the backward model's say in reranking."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.batch import collate
from ..network.model import Seq2Seq

BATCH = 128


@torch.inference_mode()
def log_likelihood(model: Seq2Seq, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Tensor:
    """Score N pairs of ids by teacher forcing; the model is left in eval mode.

    Args:
        sources: what the encoder reads; an empty one is read as a single EOS. targets: without SOS and EOS.

    Returns:
        (N,) float64 on the CPU, nats: the sum of the log-probabilities of each target's words and of its EOS.
    """
    model.eval()
    device = next(model.parameters()).device
    found = torch.zeros(len(sources), dtype=torch.float64)
    # pairs of like lengths together, and longest sources first, as `collate` orders them too
    order = sorted(range(len(sources)), key=lambda row: (-len(sources[row]), -len(targets[row])))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = collate([(sources[row], targets[row]) for row in rows]).to(device)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        losses = F.cross_entropy(logits.float(), batch.targets, reduction="none").cpu().double()  # (tokens,)
        pair = torch.tensor(rows).repeat_interleave(batch.tgt_lengths)
        found.index_add_(0, pair, -losses)
    return found
