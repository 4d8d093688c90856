"""Beam search: several replies are followed at once, and the N best of those that ended are the result. Scriptable.

At each step the W best continuations of all hypotheses of a prompt are kept; those that end in EOS are set aside, the
others live on. Hypotheses are ranked by the sum of their words' ranks divided by ((5 + length) / 6) ** alpha, the
length penalty of Wu et al. 2016 (equation 14, without coverage), length in tokens with EOS. One that `max_length` cuts
is no whole sentence: it comes after all that ended.

With a threshold, a hypothesis that lives and whose total is more than so many nats below that of the best that lives is
dropped (relative threshold pruning, Freitag and Al-Onaizan 2017). This is another search, as one of another width is:
it may find other replies, for less work.

Nothing else is worked on that cannot change the N best. A total t of n words can become no more than

    hope(t, n) = the maximum, over the lengths l > n that a reply may have, of (t + gain(n, l)) / penalty(l)

where gain(n, l) is the most that the words n + 1 to l may add. A word's rank is a log-probability or less, so it adds
nothing; but for the words in which an anti-language model has a say. For those the rank is
log p - lambda * max(log q, log p - bound) <= (1 - lambda) * log p + lambda * bound <= lambda * bound, if lambda <= 1,
log p being that of the network behind the prompt and log q behind the empty one. (Without such a bound, with a lambda
above 1, or with a repetition penalty, whose log p is another, nothing is known and the gain is infinite.)

A hypothesis whose hope is not above the value of the N-th best that ended is dropped, and the search ends when none is
left. That changes no result. (1) No reply that continues it comes among the N best, for of equals the earlier one comes
first, and hope never rises: hope(t', n + 1) <= hope(t, n) for every t' that continues t. (2) What takes its place in
the beam does not either. Dropped ones make room for a continuation t'' only if one of theirs, t' >= t'', would have
stood before it; hope rises with t, so hope(t'') <= hope(t'), and an end at t'' is worth no more than hope of what t'
continues. So what has hope is the same, in the same order, as in a beam that drops nothing. (3) The
threshold drops the same: if the best that lives has hope, it is by (2) the best in both beams; if it has none, nothing
that lives has, for hope rises with the total.

Everything is decided without chance: of equals the one that ended earlier comes first, then the one from the better
hypothesis, then the lower id. A beam of 1 is greedy search, whatever the limits and the penalty.
"""

import torch
from torch import Tensor

from .fallback import FallbackDecoder
from .limits import Limits
from .search import Hypotheses
from .tensors import largest, precise, widened


class BeamSearchDecoder(FallbackDecoder):
    """The N best replies of a beam of W; see the head of this file."""

    def forward(
        self,
        src: Tensor,
        src_lengths: Tensor,
        limits: Limits,
        width: int,
        count: int,
        length_penalty: float = 0.0,
        threshold: float = 0.0,
    ) -> Hypotheses:
        """Answer B prompts.

        Args:
            src: (B, S) int64 padded with PAD, rows in any order; src_lengths: (B,) each from 1 to S.
            width: W, hypotheses that are kept at a step. count: N, replies to each prompt; the fewer, the less work.
            length_penalty: alpha; 0 is none, higher favours longer replies.
            threshold: in nats; 0 is none.

        Returns:
            the best first. There are N of them if N <= W and the vocabulary allows as many; what is missing is
            all PAD with a total of minus infinity.
        """
        state = self.read(src, src_lengths, limits)
        batch, device = src.size(0), src.device
        token = torch.full((batch, 1), self.sos_id, dtype=torch.int64, device=device)
        said = token[:, :0]
        # of what lives, (B, 1) and then (B, W): its total, minus infinity where nothing lives, and its row of the R
        totals = precise(torch.zeros(batch, 1, device=device))
        row = torch.arange(batch, device=device).unsqueeze(1)
        gained, divisors = self.ahead(totals, limits, length_penalty)
        rising = limits.anti_lm_tokens if limits.anti_lm > 0.0 else 0  # words that may add to a total
        places = torch.arange(width, device=device).expand(batch, width)
        # of the best that ended: value, the step at which it did (-1: none), its place among the W of that step
        best = totals.new_full((batch, count), float("-inf"))
        last = torch.full((batch, count), -1, dtype=torch.int64, device=device)
        place = torch.zeros_like(last)
        # of each step: words, their scores, places and rows of what they continue, all (B, W); weights (R, S)
        taken: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
        for step in range(limits.max_length):
            log_probs, ranked, weights, state = self.step(token, said, state, limits)
            totals, parent, chosen = continuations(ranked, row, totals, width)
            rows = row.gather(1, parent)
            taken.append((chosen, log_probs[rows, chosen], parent, rows, weights))

            length = step + 1
            ended = chosen == self.eos_id
            values = totals / divisors[length]
            if length == limits.max_length:
                values = torch.where(ended, values, values - 1e5)  # nats: more than any reply's total
            else:
                values = values.masked_fill(~ended, float("-inf"))
            # stable: of equals the earlier, and never one of minus infinity, for there are N before it
            best, order = torch.cat((best, values), dim=1).sort(dim=1, descending=True, stable=True)
            best, order = best[:, :count], order[:, :count]
            last = torch.cat((last, torch.full_like(chosen, step)), dim=1).gather(1, order)
            place = torch.cat((place, places), dim=1).gather(1, order)
            if length == limits.max_length:
                break

            # the lengths at which a total may be worth most: those while it may rise, the next and the longest one
            until = max(length + 1, min(rising, limits.max_length))
            more = gained - gained[length]
            hope = torch.maximum(
                ((totals.unsqueeze(2) + more[length + 1 : until + 1]) / divisors[length + 1 : until + 1]).amax(dim=2),
                (totals + more[limits.max_length]) / divisors[limits.max_length],
            )
            on = (hope > best[:, count - 1 :]) & ~ended  # (B, W)
            if threshold > 0.0:
                leading = totals.masked_fill(ended, float("-inf")).amax(dim=1, keepdim=True)
                on = on & (totals >= leading - threshold)
            totals = totals.masked_fill(~on, float("-inf"))
            rows = rows[on]  # (R,)
            if rows.size(0) == 0:
                break
            state = self.pick(state, rows)
            token = chosen[on].unsqueeze(1)
            said = torch.cat((said.index_select(0, rows), token), dim=1)
            row = (on.flatten().cumsum(0) - 1).clamp_min(0).view_as(on)

        # from each one's last token back to its first
        steps = max(1, int(last.max()) + 1)
        found_tokens: list[Tensor] = []
        found_scores: list[Tensor] = []
        found_attention: list[Tensor] = []
        for step in range(steps - 1, -1, -1):
            absent = last < step
            chosen, scores, parents, rows, weights = taken[step]
            found_tokens.append(chosen.gather(1, place).masked_fill(absent, self.pad_id))
            found_scores.append(scores.gather(1, place).masked_fill(absent, 0.0))
            found_attention.append(weights[rows.gather(1, place)].masked_fill(absent.unsqueeze(2), 0.0))
            place = torch.where(absent, place, parents.gather(1, place))
        return Hypotheses(
            torch.stack(found_tokens, dim=2).flip(2),
            torch.stack(found_scores, dim=2).flip(2),
            best,
            widened(torch.stack(found_attention, dim=2).flip(2), src, src_lengths),
        )

    def ahead(self, like: Tensor, limits: Limits, length_penalty: float) -> tuple[Tensor, Tensor]:
        """What `length` words may add to a total at most, and what it is divided by then: (max_length + 1,) each."""
        lengths = torch.arange(limits.max_length + 1, device=like.device).to(like)
        most = 0.0
        if limits.anti_lm > 0.0:
            known = limits.anti_lm_bound > 0.0 and limits.anti_lm <= 1.0 and limits.repetition_penalty == 1.0
            # a rank, a difference of floats, may be a little above what it would be exactly; a gain that is not known
            # is not infinite here, for it is subtracted
            most = limits.anti_lm * limits.anti_lm_bound + 1e-4 if known else 1e30
        return lengths.clamp(max=max(0, limits.anti_lm_tokens)) * most, ((5.0 + lengths) / 6.0) ** length_penalty


def continuations(ranked: Tensor, row: Tensor, totals: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best continuations of each prompt's hypotheses.

    torch.topk leaves open which of equals it takes, and reads V values several times. Here the words are cut into
    chunks, of which the `count` with the highest maxima hold all that is looked for: whatever lies outside of them has
    `count` continuations before it. So V values are read once, and little is left to sort.

    Args:
        ranked: (R, V) of the words behind each row. row: (B, K) int64, the row that each of K hypotheses is.
        totals: (B, K) of those, minus infinity where there is none; in double precision (or two words whose ranks
            differ by a rounding error might become equal).

    Returns:
        totals of the continuations (B, count), the best first, of equals the one of the earlier hypothesis, then the
        one with the lower id; which hypothesis each continues (B, count); its word (B, count). Where there are fewer
        than `count`, totals of minus infinity.
    """
    hypotheses, vocabulary = totals.size(1), ranked.size(1)
    size = max(1, min(vocabulary, int((hypotheses * vocabulary / count) ** 0.5)))
    whole = vocabulary // size
    maxima = ranked[:, : whole * size].unflatten(1, [whole, size]).amax(dim=2)  # (R, C)
    if whole * size < vocabulary:
        maxima = torch.cat((maxima, ranked[:, whole * size :].amax(dim=1, keepdim=True)), dim=1)
    chunks = maxima.size(1)
    maxima = (precise(maxima)[row] + totals.unsqueeze(2)).flatten(1)  # (B, K * C)
    _, order = largest(maxima, count)
    chosen, _ = order.sort(dim=1)  # (B, at most count), back in the order of their places
    hypothesis = chosen // chunks
    words = (chosen % chunks).unsqueeze(2) * size + torch.arange(size, device=ranked.device)  # (B, ., size)
    within = words.clamp(max=vocabulary - 1)
    values = precise(ranked[row.gather(1, hypothesis).unsqueeze(2), within])
    values = values + totals.gather(1, hypothesis).unsqueeze(2)
    values = values.masked_fill(words >= vocabulary, float("-inf")).flatten(1)
    values, order = largest(values, count)
    parent, chosen = hypothesis.gather(1, order // size), within.flatten(1).gather(1, order)
    missing = count - values.size(1)
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing), value=float("-inf"))
        parent, chosen = torch.nn.functional.pad(parent, (0, missing)), torch.nn.functional.pad(chosen, (0, missing))
    return values, parent, chosen
