"""Every search behind one call, as a run's settings ask for it. Scriptable: an exported file answers by this too."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.settings import DecodingConfig
from ..corpus.vocabulary import PAD_ID
from .beam import BeamSearchDecoder
from .fallback import Fallback
from .limits import Limits
from .sampling import SamplingDecoder
from .search import GreedySearchDecoder, Hypotheses, Sampling
from .tensors import precise

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
        encoder, decoder, never_replied, marks, sep_id: as of a `SearchDecoder`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        never_replied: list[int],
        marks: Sequence[int] = (),
        sep_id: int | None = None,
    ) -> None:
        super().__init__()
        self.greedy = GreedySearchDecoder(encoder, decoder, never_replied, marks, sep_id)
        self.beam = BeamSearchDecoder(encoder, decoder, never_replied, marks, sep_id)
        self.sampling = SamplingDecoder(encoder, decoder, never_replied, marks, sep_id)
        self.rows, self.rows_elsewhere, self.pad_id = ROWS["cpu"], ROWS_ELSEWHERE, PAD_ID

    def forward(self, src: Tensor, src_lengths: Tensor, plan: Plan, count: int = 0) -> Hypotheses:
        """The replies to B prompts, in the order in which the search ranks them (those of a sample as they are drawn).

        src (B, S) int64 padded with PAD, rows in any order; src_lengths (B,) each from 1 to S.
        count: how many replies of a beam are wanted, at most its width; the fewer, the sooner it ends. 0 is all. The
            threshold is for the best one alone: it would leave little for the others to be chosen from. And only the
            best one alone gives way to a fallback.
        """
        limits = plan.limits
        if plan.method == "beam":
            alone, penalty = count == 1, plan.length_penalty
            count = plan.width if count == 0 else min(count, plan.width)
            found = self.beam(src, src_lengths, limits, plan.width, count, penalty, plan.threshold if alone else 0.0)
            if not alone:
                return found
            rows = self.rows_at_once(src)
            return self.beam.falling_back(found, src, src_lengths, limits, penalty, plan.fallback, rows)
        if plan.method == "sample":
            return self.sampling(src, src_lengths, limits, plan.samples, plan.seed, plan.sampling)
        greedy = self.greedy.search(src, src_lengths, limits)
        scores = greedy.scores.unsqueeze(1)
        totals = precise(scores).sum(dim=2)
        return Hypotheses(greedy.tokens.unsqueeze(1), scores, totals, greedy.attention.unsqueeze(1))

    def rows_at_once(self, src: Tensor) -> int:
        """How many rows are worked on side by side on the device of `src`."""
        return self.rows if src.device.type == "cpu" else self.rows_elsewhere

    def in_pieces(self, src: Tensor, src_lengths: Tensor, plan: Plan, count: int = 0) -> Hypotheses:
        """The same, of any number of prompts: those of like length together, no more at once than is fast."""
        size = max(1, self.rows_at_once(src) // rows_of(plan.method, plan.width, plan.threshold, plan.samples, count))
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
