"""What a reply must keep to, and so which words must not come next. Scriptable; shapes as in `search`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..corpus.vocabulary import EOS_ID


class Limits(NamedTuple):
    """What a reply must keep to, whichever search finds it; the defaults ask for nothing but an end.

    max_length: longest reply in tokens, EOS counted; at least 1. A reply that is cut there has no EOS.
    min_length: so many words come before EOS may, unless no word is allowed any more.
    no_repeat_ngram: no sequence of so many words comes twice in a reply; 0 allows every repetition.
    tidy_marks: no reply begins with a punctuation mark, and none follows another.
    repetition_penalty: a word said before has its logit divided by this if it is positive, and multiplied by it if it
        is negative; 1 changes nothing. (Keskar et al. 2019, section 4.1, divide; dividing a negative logit would make
        the word likelier.)
    anti_lm, anti_lm_tokens: lambda and gamma of Li et al. 2016, MMI-antiLM: the search maximises
        log p(T | S) - lambda * sum over the first gamma tokens t_k of T, EOS counted, of log p(t_k | t_1 ... t_{k-1}).
        That language model is the same network behind an empty prompt (a single EOS). 0 in either asks for none.
    anti_lm_bound: in nats, if it is above 0: a word that the prompt makes likelier by more counts as if by so much, for
        log p(t_k | t_1 ... t_{k-1}) is taken to be at least log p(t_k | S, t_1 ... t_{k-1}) less the bound. (A rare
        word that a copy mechanism takes from the prompt is next to impossible behind an empty one. Without a bound that
        difference would put it before all others.)
    no_repeat_context_ngram: no sequence of so many words of the turn before the prompt, which the bot said, comes again
        (Roller et al. 2021, "subsequence blocking"); 0 allows it.
    """

    max_length: int
    min_length: int = 0
    no_repeat_ngram: int = 0
    tidy_marks: bool = False
    repetition_penalty: float = 1.0
    anti_lm: float = 0.0
    anti_lm_tokens: int = 0
    anti_lm_bound: float = 0.0
    no_repeat_context_ngram: int = 0


class LimitedDecoder(nn.Module):
    """Which words a search may choose next.

    Args:
        never_replied: ids that are passed over (PAD, SOS, `<unk>`, `<sep>`; none with `tutorial_tokens`), but not EOS.
        marks: ids of punctuation marks. sep_id: what stands behind each turn before a prompt, if anything does.
    """

    never_replied: Tensor
    marks: Tensor

    def __init__(self, never_replied: list[int], marks: Sequence[int], sep_id: int | None) -> None:
        super().__init__()
        self.register_buffer("marks", torch.tensor(marks, dtype=torch.int64), persistent=True)
        self.register_buffer("never_replied", torch.tensor(never_replied, dtype=torch.int64), persistent=True)
        self.eos_id, self.sep_id = EOS_ID, -1 if sep_id is None else sep_id

    def turns_before(self, src: Tensor) -> Tensor:
        """(B, S): of prompts src (B, S) the ids of the turn before the last `sep_id`, and -1 in all other places."""
        seps_from_here = (src == self.sep_id).flip(1).cumsum(dim=1).flip(1)
        return torch.where((seps_from_here == 1) & (src != self.sep_id), src, -1)

    def forbid(self, ranked: Tensor, said: Tensor, turns: Tensor, limits: Limits) -> None:
        """Put minus infinity into `ranked` (R, V) where a word must not follow `said` (R, t) behind `turns` (R, .)."""
        ranked.index_fill_(1, self.never_replied, float("-inf"))
        length = said.size(1)
        if limits.tidy_marks:
            if length == 0:
                ranked.index_fill_(1, self.marks, float("-inf"))
            else:
                behind = (said[:, length - 1 :] == self.marks).any(dim=1, keepdim=True)  # (R, 1)
                ranked[:, self.marks] = ranked[:, self.marks].masked_fill(behind, float("-inf"))
        bar_repeats(ranked, said, said, limits.no_repeat_ngram)
        bar_repeats(ranked, said, turns, limits.no_repeat_context_ngram)
        if length < limits.min_length:
            end = ranked[:, self.eos_id].clone()
            ranked[:, self.eos_id] = float("-inf")
            # where no word is left, the reply must end all the same
            stuck = ranked.amax(dim=1) == float("-inf")
            ranked[:, self.eos_id] = end.masked_fill(~stuck, float("-inf"))


def bar_repeats(ranked: Tensor, said: Tensor, among: Tensor, n: int) -> None:
    """Put minus infinity into `ranked` (R, V) where a word behind `said` (R, t) would end n words of `among` (R, T).

    A negative id in `among` is no word, and no sequence goes over it. n = 0 bars nothing.
    """
    length = said.size(1)
    if n > 0 and n - 1 <= length and n <= among.size(1):
        grams = among.unfold(1, n, 1)  # (R, T - n + 1, n)
        again = (grams[:, :, : n - 1] == said[:, length - n + 1 :].unsqueeze(1)).all(dim=2) & (grams[:, :, n - 1] >= 0)
        bar = torch.where(again, float("-inf"), float("inf")).to(ranked.dtype)
        ranked.scatter_reduce_(1, grams[:, :, n - 1].clamp_min(0), bar, "amin")
