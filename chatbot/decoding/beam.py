"""Beam search: several replies are followed at once, and the N best of those that ended are the result. Scriptable.

At each step the W best continuations of all hypotheses of a prompt are kept; those that end in EOS are set aside, the
others live on. Hypotheses are ranked by the sum of their words' ranks divided by ((5 + length) / 6) ** alpha, the
length penalty of Wu et al. 2016 (equation 14, without coverage), length in tokens with EOS. One that `max_length` cuts
is no whole sentence: it comes after all that ended.

A prompt's search ends when nothing that still lives can come among the N best. After the tokens that an anti-language
model has a say in, each word's rank is a log-probability or less, so a total can only fall; and total / penalty, for a
total no higher than now, is bounded by its values at the shortest and the longest length left. Before, nothing bounds
it and the search goes on.

Everything is decided without chance: of equals the one that ended earlier comes first, then the one from the better
hypothesis, then the lower id. A beam of 1 is greedy search, whatever the limits and the penalty.
"""

import torch
from torch import Tensor

from .search import Hypotheses, Limits, SearchDecoder, precise, widened


class BeamSearchDecoder(SearchDecoder):
    """The N best replies of a beam of W; see the head of this file."""

    def forward(
        self, src: Tensor, src_lengths: Tensor, limits: Limits, width: int, count: int, length_penalty: float = 0.0
    ) -> Hypotheses:
        """Answer B prompts.

        Args:
            src: (B, S) int64 padded with PAD, rows in any order; src_lengths: (B,) each from 1 to S.
            width: W, hypotheses that are kept at a step. count: N, replies to each prompt.
            length_penalty: alpha; 0 is none, higher favours longer replies.

        Returns:
            the best first. There are N of them if N <= W and the vocabulary allows as many; what is missing is
            all PAD with a total of minus infinity.
        """
        state = self.read(src, src_lengths, limits)
        batch, device = src.size(0), src.device
        token = torch.full((batch, 1), self.sos_id, dtype=torch.int64, device=device)
        said = token[:, :0]
        prompt = torch.arange(batch, device=device).unsqueeze(1)  # (B, 1)
        places = torch.arange(width, device=device).expand(batch, width)
        totals = precise(torch.zeros(batch, 1, device=device))  # of what lives, (B, 1) and then (B, W)
        # of the best that ended: value, the step at which it did (-1: none), its place among the W of that step
        best = totals.new_full((batch, count), float("-inf"))
        last = torch.full((batch, count), -1, dtype=torch.int64, device=device)
        place = torch.zeros_like(last)
        # of each step: words, their scores, the places of what they continue, all (B, W); weights (B, living, S)
        taken: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for step in range(limits.max_length):
            live = totals.size(1)
            log_probs, ranked, weights, state = self.step(token, said, state, limits)
            vocabulary = ranked.size(1)
            totals, parent, chosen = continuations(ranked.view(batch, live, vocabulary), totals, width)
            scores = log_probs.view(batch, -1).gather(1, parent * vocabulary + chosen)
            taken.append((chosen, scores, parent, weights.view(batch, live, -1)))

            length = step + 1
            ended = chosen == self.eos_id
            values = totals / penalty(length, length_penalty)
            if length == limits.max_length:
                values = torch.where(ended, values, values - 1e5)  # nats: more than any reply's total
            else:
                values = values.masked_fill(~ended, float("-inf"))
            # stable: of equals the earlier, and never one of minus infinity, for there are N before it
            best, order = torch.cat((best, values), dim=1).sort(dim=1, descending=True, stable=True)
            best, order = best[:, :count], order[:, :count]
            last = torch.cat((last, torch.full_like(chosen, step)), dim=1).gather(1, order)
            place = torch.cat((place, places), dim=1).gather(1, order)

            totals = totals.masked_fill(ended, float("-inf"))
            hope = totals.amax(dim=1)  # (B,)
            if limits.anti_lm > 0.0 and length < limits.anti_lm_tokens:
                hope = hope.masked_fill(hope > float("-inf"), float("inf"))
            shortest = hope / penalty(length + 1, length_penalty)
            longest = hope / penalty(limits.max_length, length_penalty)
            if bool((torch.maximum(shortest, longest) <= best[:, -1]).all()):
                break
            rows = (prompt * live + parent).view(-1)  # (B * W,)
            state = self.pick(state, rows)
            token = chosen.view(-1, 1)
            said = torch.cat((said.index_select(0, rows), token), dim=1)

        # from each one's last token back to its first
        steps = max(1, int(last.max()) + 1)
        found_tokens: list[Tensor] = []
        found_scores: list[Tensor] = []
        found_attention: list[Tensor] = []
        for step in range(steps - 1, -1, -1):
            absent = last < step
            chosen, scores, parents, attention = taken[step]
            found_tokens.append(chosen.gather(1, place).masked_fill(absent, self.pad_id))
            found_scores.append(scores.gather(1, place).masked_fill(absent, 0.0))
            parent = parents.gather(1, place).masked_fill(absent, 0)
            found_attention.append(attention[prompt, parent].masked_fill(absent.unsqueeze(2), 0.0))
            place = torch.where(absent, place, parent)
        return Hypotheses(
            torch.stack(found_tokens, dim=2).flip(2),
            torch.stack(found_scores, dim=2).flip(2),
            best,
            widened(torch.stack(found_attention, dim=2).flip(2), src, src_lengths),
        )


def penalty(length: int, alpha: float) -> float:
    """Wu et al. 2016: ((5 + length) / 6) ** alpha."""
    return float(((5.0 + length) / 6.0) ** alpha)


def continuations(ranked: Tensor, totals: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best continuations of each prompt's hypotheses.

    torch.topk leaves open which of equals it takes, and reads V values several times. Here the words are cut into
    chunks, of which the `count` with the highest maxima hold all that is looked for: whatever lies outside of them has
    `count` continuations before it. So V values are read once, and little is left to sort.

    Args:
        ranked: (B, K, V) of the words behind each of K hypotheses. totals: (B, K) of those, in double precision (or
            two words whose ranks differ by a rounding error might become equal).

    Returns:
        totals of the continuations (B, count), the best first, of equals the one of the earlier hypothesis, then the
        one with the lower id; which hypothesis each continues (B, count); its word (B, count). Where there are fewer
        than `count`, totals of minus infinity.
    """
    hypotheses, vocabulary = ranked.size(1), ranked.size(2)
    size = max(1, min(vocabulary, int((hypotheses * vocabulary / count) ** 0.5)))
    whole = vocabulary // size
    maxima = ranked[:, :, : whole * size].unflatten(2, [whole, size]).amax(dim=3)  # (B, K, C)
    if whole * size < vocabulary:
        maxima = torch.cat((maxima, ranked[:, :, whole * size :].amax(dim=2, keepdim=True)), dim=2)
    chunks = maxima.size(2)
    maxima = (precise(maxima) + totals.unsqueeze(2)).flatten(1)  # (B, K * C)
    _, order = maxima.sort(dim=1, descending=True, stable=True)
    chosen, _ = order[:, :count].sort(dim=1)  # (B, at most count), back in the order of their places
    hypothesis = (chosen // chunks).unsqueeze(2)  # (B, ., 1)
    word = (chosen % chunks).unsqueeze(2) * size + torch.arange(size, device=ranked.device)  # (B, ., size)
    beyond = word >= vocabulary
    place = hypothesis * vocabulary + word.clamp(max=vocabulary - 1)
    values = precise(ranked.flatten(1).gather(1, place.flatten(1))).view_as(place)
    values = values + totals.gather(1, hypothesis.squeeze(2)).unsqueeze(2)
    values, order = values.masked_fill(beyond, float("-inf")).flatten(1).sort(dim=1, descending=True, stable=True)
    values, order = values[:, :count], order[:, :count]
    place = place.flatten(1).gather(1, order)
    missing = count - values.size(1)
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing), value=float("-inf"))
        place = torch.nn.functional.pad(place, (0, missing))
    return values, place // vocabulary, place % vocabulary
