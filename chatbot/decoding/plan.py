"""Every search behind one call, as a run's settings ask for it. Scriptable: an exported file answers by this too."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.settings import DecodingConfig
from ..corpus.vocabulary import PAD_ID, SOS_ID
from .beam import BeamSearchDecoder
from .fallback import Fallback
from .sampling import SamplingDecoder
from .search import GreedySearchDecoder, Hypotheses, Limits, Sampling
from .tensors import precise, widened

# rows that are worked on side by side: a CPU gains nothing by more, and loses by what no cache holds
ROWS = {"cpu": 256}
ROWS_ELSEWHERE = 2048


class Plan(NamedTuple):
    """A `DecodingConfig` as TorchScript takes it: the method, and what each of them reads."""

    method: str
    limits: Limits
    width: int
    threshold: float
    length_penalty: float
    samples: int
    seed: int
    sampling: Sampling
    fallback: Fallback


def plan_of(settings: DecodingConfig, max_length: int, fallback: list[list[int]] | None = None) -> Plan:
    """The plan of some settings.

    Args:
        max_length: that of a reply in tokens, EOS counted, at least 1. fallback: ids of the settings' fallback replies.
    """
    return Plan(
        settings.method,
        Limits(max_length, *(getattr(settings, name) for name in Limits._fields[1:])),
        settings.beam_width,
        settings.beam_threshold,
        settings.length_penalty,
        settings.samples,
        settings.seed,
        Sampling(*(getattr(settings, name) for name in Sampling._fields)),
        Fallback(settings.min_confidence, fallback or []),
    )


def rows_of(method: str, width: int, threshold: float, samples: int, count: int) -> int:
    """About how many rows a prompt takes at a step, if `count` replies are wanted (0 is all).

    Of a beam with a threshold, which is for one reply alone, about a third live.
    """
    if method == "beam":
        return (width + 2) // 3 if threshold > 0.0 and count == 1 else width
    return samples if method == "sample" else 1


class PlannedSearch(nn.Module):
    """Greedy search, beam search and sampling over one network.

    Args:
        encoder, decoder, never_replied, marks: as of a `SearchDecoder`.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, never_replied: list[int], marks: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.greedy = GreedySearchDecoder(encoder, decoder, never_replied, marks)
        self.beam = BeamSearchDecoder(encoder, decoder, never_replied, marks)
        self.sampling = SamplingDecoder(encoder, decoder, never_replied, marks)
        self.rows, self.rows_elsewhere = ROWS["cpu"], ROWS_ELSEWHERE
        self.pad_id, self.sos_id = PAD_ID, SOS_ID

    def forward(self, src: Tensor, src_lengths: Tensor, plan: Plan, count: int = 0) -> Hypotheses:
        """The replies to B prompts, in the order in which the search ranks them (those of a sample as they are drawn).

        src (B, S) int64 padded with PAD, rows in any order; src_lengths (B,) each from 1 to S.
        count: how many replies of a beam are wanted, at most its width; the fewer, the sooner it ends. 0 is all. The
            threshold is for the best one alone: it would leave little for the others to be chosen from. And only the
            best one alone gives way to a fallback.
        """
        limits = plan.limits
        if plan.method == "beam":
            count = plan.width if count == 0 else min(count, plan.width)
            threshold = plan.threshold if count == 1 else 0.0
            found = self.beam(src, src_lengths, limits, plan.width, count, plan.length_penalty, threshold)
            return self.falling_back(found, src, src_lengths, plan) if count == 1 else found
        if plan.method == "sample":
            return self.sampling(src, src_lengths, limits, plan.samples, plan.seed, plan.sampling)
        greedy = self.greedy.search(src, src_lengths, limits)
        scores = greedy.scores.unsqueeze(1)
        totals = precise(scores).sum(dim=2)
        return Hypotheses(greedy.tokens.unsqueeze(1), scores, totals, greedy.attention.unsqueeze(1))

    def falling_back(self, found: Hypotheses, src: Tensor, src_lengths: Tensor, plan: Plan) -> Hypotheses:
        """`found`, a reply to each of B prompts, with the likeliest fallback in place of each that is too unlikely.

        The fallbacks are ranked as the beam ranks replies. The totals stay as they are.
        """
        rows: list[list[int]] = []
        for reply in plan.fallback.replies:
            if len(reply) <= plan.limits.max_length:
                rows.append(reply)
        if plan.fallback.min_confidence <= 0.0 or len(rows) == 0:
            return found
        said = (found.tokens[:, 0] != self.pad_id).sum(dim=1)
        confidence = (found.scores[:, 0].sum(dim=1) / said).exp()
        unsure = (confidence < plan.fallback.min_confidence).nonzero().squeeze(1)  # (U,)
        if unsure.size(0) == 0:
            return found

        steps = max([len(reply) for reply in rows])
        padded = [reply + [self.pad_id] * (steps - len(reply)) for reply in rows]
        replies = torch.tensor(padded, dtype=torch.int64, device=src.device).repeat(unsure.size(0), 1)  # (U * N, T)
        of = plan.limits
        limits = Limits(steps, 0, 0, False, 1.0, of.anti_lm, of.anti_lm_tokens, of.anti_lm_bound)
        lengths = src_lengths.index_select(0, unsure.to(src_lengths.device))
        state = self.beam.read(src.index_select(0, unsure), lengths, limits)
        state = self.beam.pick(state, torch.arange(unsure.size(0), device=src.device).repeat_interleave(len(rows)))
        token = torch.full_like(replies[:, :1], self.sos_id)
        scores: list[Tensor] = []
        ranks: list[Tensor] = []
        attention: list[Tensor] = []
        for step in range(steps):
            log_probs, ranked, weights, state = self.beam.step(token, replies[:, :step], state, limits)
            token = replies[:, step : step + 1]
            beyond = token == self.pad_id
            scores.append(log_probs.gather(1, token).masked_fill(beyond, 0.0))
            ranks.append(ranked.gather(1, token).masked_fill(beyond, 0.0))
            attention.append(weights.masked_fill(beyond, 0.0))
        divisors = ((5.0 + (replies != self.pad_id).sum(dim=1)) / 6.0) ** plan.length_penalty
        totals = (precise(torch.cat(ranks, dim=1)).sum(dim=1) / divisors).view(-1, len(rows))
        best = totals.max(dim=1)[1] + torch.arange(unsure.size(0), device=src.device) * len(rows)

        longest = max(steps, found.tokens.size(2))
        more, behind = [0, longest - found.tokens.size(2)], [0, longest - steps]
        tokens = F.pad(found.tokens, more, value=float(self.pad_id))
        tokens[unsure, 0] = F.pad(replies[best], behind, value=float(self.pad_id))
        figures = F.pad(found.scores, more)
        figures[unsure, 0] = F.pad(torch.cat(scores, dim=1)[best], behind)
        looked = F.pad(found.attention, [0, 0, 0, more[1]])
        weights = widened(torch.stack(attention, dim=1)[best], src, lengths)
        looked[unsure, 0] = F.pad(weights, [0, 0, 0, behind[1]]).to(looked.dtype)
        return Hypotheses(tokens, figures, found.totals, looked)

    def in_pieces(self, src: Tensor, src_lengths: Tensor, plan: Plan, count: int = 0) -> Hypotheses:
        """The same, of any number of prompts: those of like length together, no more at once than is fast."""
        rows = self.rows if src.device.type == "cpu" else self.rows_elsewhere
        size = max(1, rows // rows_of(plan.method, plan.width, plan.threshold, plan.samples, count))
        if src.size(0) <= size:
            return self(src, src_lengths, plan, count)
        order = src_lengths.cpu().argsort(stable=True)
        pieces: list[Hypotheses] = []
        for piece in order.split(size):
            pieces.append(self(src[piece.to(src.device)], src_lengths[piece.to(src_lengths.device)], plan, count))
        steps = max([piece.tokens.size(2) for piece in pieces])
        tokens: list[Tensor] = []
        scores: list[Tensor] = []
        attention: list[Tensor] = []
        for piece in pieces:
            more = steps - piece.tokens.size(2)
            tokens.append(F.pad(piece.tokens, [0, more], value=float(self.pad_id)))
            scores.append(F.pad(piece.scores, [0, more]))
            attention.append(F.pad(piece.attention, [0, 0, 0, more]))
        back = order.argsort().to(src.device)
        return Hypotheses(
            torch.cat(tokens)[back],
            torch.cat(scores)[back],
            torch.cat([piece.totals for piece in pieces])[back],
            torch.cat(attention)[back],
        )
