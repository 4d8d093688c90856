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

from .limits import Limits
from .search import Hypotheses, Sampling, SearchDecoder
from .tensors import precise


class SamplingDecoder(SearchDecoder):
    """N replies to each prompt, each drawn by itself; see the head of this file."""

    def forward(
        self, src: Tensor, src_lengths: Tensor, limits: Limits, count: int, seed: int, sampling: Sampling
    ) -> Hypotheses:
        """Answer B prompts: src (B, S) int64 padded with PAD, rows in any order, src_lengths (B,) each from 1 to S.

        `count` is N; the first replies stay the same whatever it is. `seed` is any int64 that is not negative. The
        replies come in the order of the draws; their totals are sums of the words' ranks.
        """
        return self.follow(src, src_lengths, limits, self.streams(src, src_lengths, count, seed), sampling)

    def choose(self, ranked: Tensor, streams: Tensor, step: int, sampling: Sampling) -> Tensor:
        """Draw a word (R, 1) from ranked (R, V) for each row of `streams` (R,)."""
        return draw(ranked, uniform(streams + step), sampling)

    def streams(self, src: Tensor, src_lengths: Tensor, count: int, seed: int) -> Tensor:
        """Where the random numbers of each reply begin: (B * N,) int64, the N replies of a prompt together."""
        key = keys(src, src_lengths.to(src.device), seed).repeat_interleave(count)
        return mixed(key + torch.arange(count, device=src.device).repeat(src.size(0)))


def draw(ranked: Tensor, u: Tensor, sampling: Sampling) -> Tensor:
    """Words (R, 1) from ranked (R, V), by numbers u (R, 1) between 0 and 1."""
    vocabulary, temperature, top_k, top_p = ranked.size(1), sampling.temperature, sampling.top_k, sampling.top_p
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
