"""From prompts to replies: every search behind one call, a reply word by word, and reranking (MMI-bidi)."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.settings import DecodingConfig
from ..corpus.vocabulary import EOS_ID, SOS_ID
from ..network.batch import collate, pad_prompts
from ..network.model import Seq2Seq
from .fallback import FallbackIds, without_words
from .plan import ROWS, ROWS_ELSEWHERE, PlannedSearch, plan_of, rows_of
from .search import Hypotheses

SCORED_AT_ONCE = 128  # pairs

Backward = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], Tensor]


class Hypothesis(NamedTuple):
    """One reply to one prompt.

    ids: its words, without EOS. log_prob: log p(reply | prompt) in nats, EOS counted. total: what it was ranked by.
    attention: (T, S) float32, a row for each token, EOS counted; so T is len(ids) where `max_length` cut the reply.
    """

    ids: list[int]
    log_prob: float
    total: float
    attention: np.ndarray


class Decoding:
    """The searches over one network. Nothing that is asked of it changes it.

    Args:
        encoder, decoder: its parts, in eval mode, eager or traced, on `device`.
        never_replied: ids that no reply holds. marks: ids of punctuation marks.
        fallback_ids: gives the ids of fallback replies; without it settings with any are refused.
        sep_id: what stands behind each turn before a prompt, if anything does.
    """

    backward: Backward | None = None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        never_replied: list[int],
        device: torch.device,
        marks: Sequence[int] = (),
        fallback_ids: FallbackIds = without_words,
        sep_id: int | None = None,
    ) -> None:
        self.fallback_ids = fallback_ids
        self.search = PlannedSearch(encoder, decoder, never_replied, marks, sep_id).to(device).eval()
        self.greedy, self.beam, self.sampling = self.search.greedy, self.search.beam, self.search.sampling
        self.device = device

    def reranked_by(self, backward: Backward) -> "Decoding":
        """Another one over the same network, whose replies are reranked (MMI-bidi of Li et al. 2016).

        `backward` is (prompts, replies) -> log p(prompt | reply), (N,); replies come in the order of
        log p(reply | prompt) + `mmi_weight` * log p(prompt | reply).
        """
        other = copy.copy(self)
        other.backward = backward
        return other

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        settings: DecodingConfig,
        max_length: int,
        rows_at_once: int = 0,
        count: int = 0,
    ) -> list[list[Hypothesis]]:
        """The replies to each prompt, best first, at least one and at most `settings.candidates`.

        A prompt without ids has the empty reply. What is found does not depend on which prompts come together.

        Args:
            max_length: longest reply in tokens, EOS counted; at least 1.
            rows_at_once: about how many rows are worked on side by side; 0 is the default.
            count: how many replies are wanted of each prompt: a beam of which less is wanted ends sooner. 0 is all.
                Its threshold and its fallback are for one alone.
        """
        found = [[Hypothesis([], 0.0, 0.0, np.zeros((0, 0), np.float32))] for _ in prompts]
        rows = sorted((row for row, prompt in enumerate(prompts) if len(prompt)), key=lambda row: len(prompts[row]))
        wanted = 0 if self.backward is not None else count  # it chooses among all
        size = self.side_by_side(settings, rows_at_once, wanted)
        plan = plan_of(settings, max_length, self.fallback_ids(settings.fallback))
        with torch.inference_mode():
            for part in (rows[start : start + size] for start in range(0, len(rows), size)):
                src, src_lengths = pad_prompts([prompts[row] for row in part])
                result = self.search(src.to(self.device), src_lengths, plan, wanted)
                for row, hypotheses in zip(part, _listed(result, src_lengths.tolist()), strict=True):
                    found[row] = hypotheses
        if self.backward is not None:
            found = _reranked(self.backward, prompts, found, settings)
        # equals stay in their order
        return [sorted(hypotheses, key=lambda hypothesis: -hypothesis.total) for hypotheses in found]

    def side_by_side(self, settings: DecodingConfig, rows_at_once: int = 0, count: int = 1) -> int:
        """How many prompts are worked on at once; `rows_at_once` and `count` as of a call."""
        each = rows_of(settings.method, settings.beam_width, settings.beam_threshold, settings.samples, count)
        return max(1, (rows_at_once or ROWS.get(self.device.type, ROWS_ELSEWHERE)) // each)

    def stream(self, prompt: Sequence[int], settings: DecodingConfig, max_length: int) -> Iterator[int]:
        """The best reply to one prompt, id by id without EOS: the ids that a call finds.

        Greedy search and a single sample yield each word as soon as it is found. Of a beam, of several samples and
        where replies are reranked, the best is known only at the end, and all its ids come then.
        """
        if settings.method == "beam" or settings.candidates > 1 or self.backward is not None or not len(prompt):
            yield from self([prompt], settings, max_length, count=1)[0][0].ids
            return
        search = self.sampling if settings.method == "sample" else self.greedy
        plan = plan_of(settings, max_length)
        limits, sampling = plan.limits, plan.sampling
        # inference mode is entered for each word: held over a `yield` it would be on in whatever the caller does
        with torch.inference_mode():
            src, src_lengths = pad_prompts([prompt])
            src = src.to(self.device)
            state = search.read(src, src_lengths, limits)
            streams = self.sampling.streams(src, src_lengths, 1, settings.seed)
            token = torch.full((1, 1), SOS_ID, dtype=torch.int64, device=self.device)
            said = token[:, :0]
        for step in range(max_length):
            with torch.inference_mode():
                _, ranked, _, state = search.step(token, said, state, limits)
                token = search.choose(ranked, streams, step, sampling)
                said = torch.cat((said, token), dim=1)
            if int(token) == EOS_ID:
                return
            yield int(token)


def _reranked(
    backward: Backward, prompts: Sequence[Sequence[int]], found: list[list[Hypothesis]], settings: DecodingConfig
) -> list[list[Hypothesis]]:
    pairs = [(row, hypothesis) for row, prompt in enumerate(prompts) if len(prompt) for hypothesis in found[row]]
    scores = backward([prompts[row] for row, _ in pairs], [hypothesis.ids for _, hypothesis in pairs])
    again: list[list[Hypothesis]] = [[] if len(prompt) else found[row] for row, prompt in enumerate(prompts)]
    for (row, hypothesis), score in zip(pairs, scores.tolist(), strict=True):
        again[row].append(hypothesis._replace(total=hypothesis.log_prob + settings.mmi_weight * score))
    return again


def _listed(result: Hypotheses, src_lengths: list[int]) -> list[list[Hypothesis]]:
    """A search's tensors as lists, without the places where there is no reply."""
    # an imported network of the tutorial reads one more place, the EOS behind each prompt
    more = result.attention.size(-1) - max(src_lengths)
    tokens, totals, log_probs = result.tokens.tolist(), result.totals.tolist(), result.scores.cpu().double().sum(dim=-1)
    parts = (tokens, log_probs.tolist(), totals, result.attention.float().cpu().numpy())
    found = []
    for src_length, *of_prompt in zip(src_lengths, *parts, strict=True):
        hypotheses = []
        for ids, log_prob, total, attention in zip(*of_prompt, strict=True):
            if total != float("-inf"):
                ids = ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids
                hypotheses.append(Hypothesis(ids, log_prob, total, attention[: len(ids) + 1, : src_length + more]))
        found.append(hypotheses)
    return found


@torch.inference_mode()
def log_likelihood(model: Seq2Seq, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Tensor:
    """How likely a model finds N given replies, by teacher forcing; the model is left in eval mode.

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
    for start in range(0, len(order), SCORED_AT_ONCE):
        rows = order[start : start + SCORED_AT_ONCE]
        batch = collate([(sources[row], targets[row]) for row in rows]).to(device)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        losses = F.cross_entropy(logits.float(), batch.targets, reduction="none").cpu().double()  # (tokens,)
        pair = torch.tensor(rows).repeat_interleave(batch.tgt_lengths)
        found.index_add_(0, pair, -losses)
    return found
