"""Sampling: each word is drawn from what the decoder says, by numbers that depend on the prompt and a seed. Scriptable.

A word is drawn from softmax(rank / temperature), cut to the `top_k` likeliest words (Fan et al. 2018) and then to the
fewest that together have the probability `top_p` (nucleus, Holtzman et al. 2020), by the inverse of its cumulative
distribution at a number u between 0 and 1.

There is no generator whose state a batch would share: u is a hash of the seed, the prompt's ids, the number of the
sample and the step. So the same prompt and seed give the same reply, alone or in any batch, eager or scripted, on
every device. The hash is made of x -> (x + c) ** 5 modulo the prime p = 2**31 - 1, which is a permutation (5 does not
divide p - 1), in rounds as those of MiMC (Albrecht et al. 2016); no product leaves int64.
"""

import torch
from torch import Tensor

from .search import Hypotheses, Limits, SearchDecoder, precise, widened


class SamplingDecoder(SearchDecoder):
    """N replies to each prompt, each drawn by itself; see the head of this file."""

    def forward(
        self,
        src: Tensor,
        src_lengths: Tensor,
        limits: Limits,
        count: int,
        seed: int,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Hypotheses:
        """Answer B prompts.

        Args:
            src: (B, S) int64 padded with PAD, rows in any order; src_lengths: (B,) each from 1 to S.
            count: N, replies to each prompt; the first ones stay the same whatever N is.
            seed: any int64 that is not negative.
            temperature: above 0; below 1 likely words get likelier, near 0 the reply becomes the greedy one.
            top_k: 0 keeps all words. top_p: above 0; 1 keeps all words.

        Returns:
            in the order of the draws; totals are sums of the words' ranks.
        """
        batch, longest = src.size(0), limits.max_length
        row = torch.arange(batch, device=src.device).repeat_interleave(count)  # (R,), R = B * N
        state = self.pick(self.read(src, src_lengths, limits), row)
        streams = self.streams(src, src_lengths, count, seed)
        tokens = torch.full((batch * count, longest), self.pad_id, dtype=torch.int64, device=src.device)
        scores = torch.zeros(batch * count, longest, device=src.device)
        attention = torch.zeros(
            batch * count, longest, state.memory.size(1), dtype=state.memory.dtype, device=src.device
        )
        totals = precise(torch.zeros(batch * count, device=src.device))
        rows = torch.arange(batch * count, device=src.device)  # those that have not ended: only they are worked on
        token = torch.full((batch * count, 1), self.sos_id, dtype=torch.int64, device=src.device)
        said = token[:, :0]
        steps = 0
        while steps < longest and rows.size(0) > 0:
            log_probs, ranked, weights, state = self.step(token, said, state, limits)
            token = draw(ranked, uniform(streams + steps), temperature, top_k, top_p)  # (R, 1)
            tokens[rows, steps] = token.squeeze(1)
            scores[rows, steps] = log_probs.gather(1, token).squeeze(1)
            attention[rows, steps] = weights.to(attention.dtype)
            totals[rows] = totals[rows] + ranked.gather(1, token).squeeze(1)
            said = torch.cat((said, token), dim=1)
            steps += 1
            on = (token.squeeze(1) != self.eos_id).nonzero().squeeze(1)
            if on.size(0) < rows.size(0):
                rows, token, said, state = rows[on], token[on], said[on], self.pick(state, on)
                streams = streams[on]
        return Hypotheses(
            tokens[:, :steps].view(batch, count, steps),
            scores[:, :steps].view(batch, count, steps),
            totals.view(batch, count),
            widened(attention[:, :steps], src, src_lengths).view(batch, count, steps, -1),
        )

    def streams(self, src: Tensor, src_lengths: Tensor, count: int, seed: int) -> Tensor:
        """Where the random numbers of each reply begin: (B * N,) int64, the N replies of a prompt together."""
        key = keys(src, src_lengths.to(src.device), seed).repeat_interleave(count)
        return mixed(key + torch.arange(count, device=src.device).repeat(src.size(0)))


def draw(ranked: Tensor, u: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Words (R, 1) from ranked (R, V), by numbers u (R, 1) between 0 and 1."""
    vocabulary = ranked.size(1)
    weights = torch.exp((ranked - ranked.amax(dim=1, keepdim=True)) / temperature)  # (R, V), the largest is 1
    if top_k <= 0 and top_p >= 1.0:
        cumulative = precise(weights).cumsum(dim=1)
        return inverse(cumulative, u * cumulative[:, -1:])
    mass = precise(weights.sum(dim=1, keepdim=True))
    kept = vocabulary if top_k <= 0 else min(top_k, vocabulary)
    if top_k <= 0 and weights.device.type == "cpu":
        # Words below this have together less than 1 - top_p: none is of the nucleus, and they need not be sorted. To
        # ask how many are left costs nothing on a CPU; a GPU would have to wait, and sorts all of them sooner.
        least = mass * ((1.0 - top_p) / vocabulary * 0.999)
        kept = max(1, int((weights >= least).sum(dim=1).max()))
    weights, ids = likeliest(weights, kept)
    cumulative = precise(weights).cumsum(dim=1)
    if top_k > 0:
        mass = cumulative[:, -1:]
    inside = mass
    if top_p < 1.0:  # a word is of the nucleus if those before it do not make it up alone
        before = cumulative - precise(weights)
        inside = cumulative.masked_fill(before >= top_p * mass, 0.0).amax(dim=1, keepdim=True)
    return ids.gather(1, inverse(cumulative, u * inside))


def likeliest(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of weights (R, V) and their ids, largest first, of equals the lower id first."""
    vocabulary = weights.size(1)
    weights, ids = weights.topk(count, dim=1)  # leaves open the order of equals
    larger = torch.nn.functional.pad((weights[:, 1:] != weights[:, :-1]).cumsum(dim=1), (1, 0))
    ordered, _ = (larger * vocabulary + ids).sort(dim=1)
    return weights, ordered % vocabulary


def inverse(cumulative: Tensor, value: Tensor) -> Tensor:
    """Where (R, 1) the rising sums `cumulative` (R, M) first are above `value` (R, 1); so never at a weight of 0."""
    return torch.searchsorted(cumulative, value, right=True).clamp(max=cumulative.size(1) - 1)


def keys(src: Tensor, src_lengths: Tensor, seed: int) -> Tensor:
    """A number (B,) from 0 to p - 1 for each prompt of src (B, S) padded, src_lengths (B,), and the seed.

    It is a hash of the sum of hashes of (place, id), so that padding adds nothing and no loop over S is needed.
    """
    prime = 2147483647
    places = torch.arange(1, src.size(1) + 1, device=src.device)
    words = mixed(mixed(places) + src % prime)  # (B, S)
    real = places <= src_lengths.unsqueeze(1)
    key = mixed((words * real).sum(dim=1) % prime)
    for _ in range(3):  # 31 bits of the seed at a time
        key = mixed(key + seed % prime)
        seed = seed // prime
    return key


def mixed(x: Tensor) -> Tensor:
    """A permutation of 0 .. p - 1 that looks like chance; x int64, not negative, below 2**62."""
    prime = 2147483647
    constant = 1
    for _ in range(4):
        constant = constant * 16807 % prime
        x = (x + constant) % prime
        square = x * x % prime
        x = square * square % prime * x % prime
    return x


def uniform(x: Tensor) -> Tensor:
    """x (R,) int64, not negative -> numbers (R, 1) between 0 and 1, neither included, in double precision."""
    prime = 2147483647
    return (precise(mixed(x)) + 0.5).div(float(prime)).unsqueeze(1)
