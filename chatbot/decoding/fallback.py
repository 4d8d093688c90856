"""What is said where no reply that a beam found is likely enough: the likeliest of some that fit almost any prompt.

The confidence of a reply is the geometric mean of its words' probabilities, EOS counted:
exp(log p(reply | prompt) / tokens), from 0 to 1. Of replies that readers marked as odd, most have little of it
(bench/confidence.py).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..corpus.tokenizer import Tokenizer, last_words
from ..corpus.vocabulary import EOS_ID, Vocabulary
from ..system.errors import ChatbotError, shown
from .limits import Limits
from .search import Hypotheses, SearchDecoder
from .tensors import precise, widened

FallbackIds = Callable[[tuple[str, ...]], list[list[int]]]  # of texts, EOS at each end


class Fallback(NamedTuple):
    """What a search falls back to. Scriptable.

    min_confidence: the least that the best reply of a beam needs; 0 takes every reply.
    replies: ids of what is said otherwise, EOS at each end.
    """

    min_confidence: float
    replies: list[list[int]]


class FallbackDecoder(SearchDecoder):
    """A search whose replies give way to others where they are too unlikely."""

    def falling_back(
        self,
        found: Hypotheses,
        src: Tensor,
        src_lengths: Tensor,
        limits: Limits,
        length_penalty: float,
        fallback: Fallback,
        rows_at_once: int,
    ) -> Hypotheses:
        """`found`, a reply to each of B prompts, with the likeliest fallback in place of each that is too unlikely.

        Fallbacks are ranked by their words' ranks as in a beam, with its anti-LM and its length penalty, but without
        what else `limits` asks of a reply; one that is longer than `limits` allows is not said. The totals stay as they
        are.
        """
        replies: list[list[int]] = []
        for reply in fallback.replies:
            if len(reply) <= limits.max_length:
                replies.append(reply)
        if fallback.min_confidence <= 0.0 or len(replies) == 0:
            return found
        tokens, scores, attention = found.tokens[:, 0], found.scores[:, 0], found.attention[:, 0]
        ends = (tokens == self.eos_id).long()
        lengths = (ends.cumsum(dim=1) - ends == 0).sum(dim=1)  # up to EOS, which a reply that is cut has not
        confidence = (precise(scores).sum(dim=1) / lengths).exp()
        unsure = (confidence < fallback.min_confidence).nonzero().squeeze(1)
        if unsure.size(0) == 0:
            return found
        longest = max([len(reply) for reply in replies])
        more = max(0, longest - tokens.size(1))
        tokens = F.pad(tokens, [0, more], value=float(self.pad_id))
        scores, attention = F.pad(scores, [0, more]), F.pad(attention, [0, 0, 0, more])
        for rows in unsure.split(max(1, rows_at_once // len(replies))):
            behind = src_lengths.index_select(0, rows.to(src_lengths.device))
            best = self.likeliest(src.index_select(0, rows), behind, limits, length_penalty, replies)
            rest = tokens.size(1) - longest
            tokens[rows] = F.pad(best.tokens[:, 0], [0, rest], value=float(self.pad_id))
            scores[rows] = F.pad(best.scores[:, 0], [0, rest])
            attention[rows] = F.pad(best.attention[:, 0], [0, 0, 0, rest]).to(attention.dtype)
        return Hypotheses(tokens.unsqueeze(1), scores.unsqueeze(1), found.totals, attention.unsqueeze(1))

    def likeliest(
        self, src: Tensor, src_lengths: Tensor, limits: Limits, length_penalty: float, replies: list[list[int]]
    ) -> Hypotheses:
        """Of N given replies, EOS at each end, the one with the highest total for each of B prompts: (B, 1, ...).

        One that stands in the prompt, as what the bot said a turn before does, comes after all others.
        """
        batch, count, steps = src.size(0), len(replies), max([len(reply) for reply in replies])
        padded = [reply + [self.pad_id] * (steps - len(reply)) for reply in replies]
        given = torch.tensor(padded, dtype=torch.int64, device=src.device).repeat(batch, 1)  # (B * N, T)
        only = Limits(steps, 0, 0, False, 1.0, limits.anti_lm, limits.anti_lm_tokens, limits.anti_lm_bound)
        state = self.read(src, src_lengths, only)
        state = self.pick(state, torch.arange(batch, device=src.device).repeat_interleave(count))
        token = torch.full_like(given[:, :1], self.sos_id)
        scores: list[Tensor] = []
        ranks: list[Tensor] = []
        attention: list[Tensor] = []
        for step in range(steps):
            log_probs, ranked, weights, state = self.step(token, given[:, :step], state, only)
            token = given[:, step : step + 1]
            beyond = token == self.pad_id
            scores.append(log_probs.gather(1, token).masked_fill(beyond, 0.0))
            ranks.append(ranked.gather(1, token).masked_fill(beyond, 0.0))
            attention.append(weights.masked_fill(beyond, 0.0))
        lengths = precise((given != self.pad_id).sum(dim=1))
        totals = precise(torch.cat(ranks, dim=1)).sum(dim=1) / ((5.0 + lengths) / 6.0) ** length_penalty
        repeats = torch.stack([stands_in(src, reply[:-1]) for reply in replies], dim=1)  # (B, N)
        totals = totals.view(batch, count) - 1e5 * repeats  # nats: more than any reply's total
        total, place = totals.max(dim=1, keepdim=True)
        best = place.squeeze(1) + torch.arange(batch, device=src.device) * count
        return Hypotheses(
            given[best].unsqueeze(1),
            torch.cat(scores, dim=1)[best].unsqueeze(1),
            total,
            widened(torch.stack(attention, dim=1)[best], src, src_lengths).unsqueeze(1),
        )


def stands_in(src: Tensor, words: list[int]) -> Tensor:
    """(B,) bool: whether `words`, at least one, stand side by side in each row of src (B, S)."""
    if len(words) > src.size(1):
        return torch.zeros_like(src[:, 0], dtype=torch.bool)
    wanted = torch.tensor(words, dtype=torch.int64, device=src.device)
    return (src.unfold(1, len(words), 1) == wanted).all(dim=2).any(dim=1)


def fallback_ids(vocabulary: Vocabulary, tokenizer: Tokenizer, max_length: int) -> FallbackIds:
    """Gives the ids of replies, EOS at each end, in a bot whose replies have at most `max_length` words.

    Raises:
        ChatbotError: when called with a reply that this bot cannot say.
    """

    @functools.lru_cache(maxsize=8)  # a server is asked for the same ones again and again, but by strangers for any
    def ids_of(replies: tuple[str, ...]) -> list[list[int]]:
        found = []
        for reply in replies:
            words = last_words(tokenizer, reply)
            if unknown := vocabulary.unknown(words):
                words_said = shown(", ".join(unknown))
                raise ChatbotError(f"the bot cannot fall back to {shown(reply)}: it does not know {words_said}")
            if not 0 < len(words) <= max_length:
                raise ChatbotError(f"the bot cannot fall back to {shown(reply)}: replies have 1 to {max_length} words")
            found.append([*vocabulary.encode(words), EOS_ID])
        return found

    return ids_of


def without_words(replies: tuple[str, ...]) -> list[list[int]]:
    """The same where there is no vocabulary, and so no reply."""
    if replies:
        raise ChatbotError("this bot has no words to fall back to")
    return []


def sayable(replies: tuple[str, ...], ids_of: FallbackIds) -> tuple[str, ...]:
    """Those of `replies` that a bot can say."""

    def can(reply: str) -> bool:
        try:
            return bool(ids_of((reply,)))
        except ChatbotError:
            return False

    return tuple(filter(can, replies))
