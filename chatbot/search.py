"""From a prompt's ids to a reply's: search over what the decoder says. Scriptable modules with one signature.

Shapes as in `model`: B batch, S source length, T reply length, V vocabulary. The modules know the network by its two
calls only, so they run on the eager parts and on the traced ones:

    encoder(src (B, S), src_lengths (B,)) -> memory (B, S, H), mask (B, S), hidden (L, B, H)
    decoder(tokens (B, 1), hidden, memory, mask) -> logits (B, 1, V), hidden, weights (B, 1, S)
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from .vocabulary import EOS_ID, PAD_ID, SOS_ID


class SearchResult(NamedTuple):
    """What a search found for B prompts.

    tokens: (B, T) int64, each row ended by EOS (unless `max_length` cut it) and then padded with PAD.
    scores: (B, T) log-probability of each token, 0 at padding.
    attention: (B, T, S) weights over the prompt, 0 at padding; (B, T, S + 1) where the encoder reads EOS behind each.
    """

    tokens: Tensor
    scores: Tensor
    attention: Tensor


class GreedySearchDecoder(nn.Module):
    """Take the likeliest token at every step until each row has ended.

    Args:
        encoder, decoder: the network's parts, in eval mode, eager or traced.
        never_replied: ids that are passed over (PAD, SOS, `<unk>`, `<sep>`; none for a model of the lineage).
    """

    sos_id: Final[int]
    eos_id: Final[int]
    pad_id: Final[int]
    never_replied: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, never_replied: list[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.register_buffer("never_replied", torch.tensor(never_replied, dtype=torch.int64), persistent=True)
        self.sos_id, self.eos_id, self.pad_id = SOS_ID, EOS_ID, PAD_ID

    def forward(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """Answer B prompts.

        Args:
            src: (B, S) int64 padded with PAD, rows in any order; src_lengths: (B,) each from 1 to S.
            max_length: longest reply in tokens, EOS counted; at least 1.
        """
        # the packed encoder wants the longest prompt first and no column of padding only
        lengths, order = src_lengths.cpu().sort(descending=True, stable=True)
        rows = order.to(src.device)
        width = int(lengths[0])
        memory, mask, hidden = self.encoder(src.index_select(0, rows)[:, :width], lengths)

        batch = src.size(0)
        token = torch.full((batch, 1), self.sos_id, dtype=torch.int64, device=src.device)
        ended = torch.zeros(batch, dtype=torch.bool, device=src.device)
        tokens: list[Tensor] = []
        scores: list[Tensor] = []
        attention: list[Tensor] = []
        for _ in range(max_length):
            logits, hidden, weights = self.decoder(token, hidden, memory, mask)
            log_probs = torch.log_softmax(logits[:, 0].float(), dim=-1)  # (B, V)
            best = log_probs.index_fill(1, self.never_replied, float("-inf")).argmax(dim=-1, keepdim=True)  # (B, 1)
            score = log_probs.gather(1, best).squeeze(1)  # (B,)
            token = best.masked_fill(ended.unsqueeze(1), self.pad_id)
            tokens.append(token)
            scores.append(score.masked_fill(ended, 0.0))
            attention.append(weights[:, 0].masked_fill(ended.unsqueeze(1), 0.0))
            ended = ended | (token.squeeze(1) == self.eos_id)
            if bool(ended.all()):
                break

        back = rows.argsort()
        weights = nn.functional.pad(torch.stack(attention, dim=1), [0, src.size(1) - width])
        return SearchResult(
            torch.cat(tokens, dim=1).index_select(0, back),
            torch.stack(scores, dim=1).index_select(0, back),
            weights.index_select(0, back),
        )
