"""Words of the prompt in the reply: the copy mode of CopyNet (Gu et al. 2016, arXiv:1603.06393, equations 4 to 8).

A reply to a question about Mr. Robinson names him, but so rare a word has hardly a chance in a softmax over all words.
So a word of the prompt has two ways into the reply. It can be generated, with the score logit_w of the output layer,
and copied from each place s where it stands in the prompt, with a score psi_s. All of them share one softmax:

    p(w) = (exp(logit_w) + sum over the s with x_s = w of exp(psi_s)) / Z

That is the usual softmax of logits in which those of the prompt's words are larger: log(exp(logit_w) + sum of
exp(psi_s)). So nothing that reads logits (losses, searches, exported files) needs to know of copying.

Shapes: B batch, T target length, S source length, N real positions, E embedding size, H hidden size, V vocabulary.
"""

import torch
from torch import Tensor, nn

from ..corpus.vocabulary import EOS_ID
from .kernels.packing import RealPositions

FIRST_SCORE = -5.0  # of a copy, before anything is learnt: about that of a word said every 150 words
TINY = 1e-30


class CopyMechanism(nn.Module):
    """psi_s = m_s . (W h~ + b) / sqrt(H) + c, for the memory's m_s and the decoder's attentional state h~."""

    def __init__(self, hidden_size: int, embedding_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding_size, hidden_size)
        self.bias = nn.Parameter(torch.tensor([FIRST_SCORE]))
        self.scale = hidden_size**-0.5

    def forward(self, logits: Tensor, states: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """logits (B, T, V), raised by what speaks for copying; states (B, T, E), memory (B, S, H), source (B, S).

        Without gradients the logits are written over.
        """
        if torch.is_grad_enabled() or torch.is_autocast_enabled(states.device.type):
            copied = self.scores(states, memory, source)
            return raised(logits, copied, source.unsqueeze(1).expand_as(copied))
        # A search asks for this word by word, where an operator costs more than its arithmetic. So what speaks for a
        # word is summed in its logit's place, and no place of the prompt is compared with another.
        copied = self.places(states, memory)
        places = source.unsqueeze(1).expand_as(copied)
        copied = copied.masked_fill(places <= EOS_ID, float("-inf"))
        generated = logits.gather(-1, places)
        larger = torch.maximum(copied, generated)
        largest = larger.amax(dim=2, keepdim=True)
        logits.scatter_(-1, places, (generated - largest).exp_()).scatter_add_(-1, places, (copied - largest).exp_())
        # of a word so far below the largest that its sum is 0, the larger one counts
        summed = torch.maximum(logits.gather(-1, places).log_().add_(largest), larger)
        return logits.scatter_(-1, places, summed)

    def at_real(self, real: RealPositions, logits: Tensor, states: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """Do the same at the N real positions of a padded batch: logits (N, V), states (N, E) as `real.pick` gave."""
        # scores want a prompt's states side by side, so those are padded again; logits, V wide, are not
        copied = real.pick(self.scores(real.spread(states), memory, source))  # (N, S)
        return raised(logits, copied, source.index_select(0, real.texts))

    def scores(self, states: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """How much speaks for copying: states (B, T, E), memory (B, S, H), source (B, S) -> (B, T, S), float32.

        It is the logarithm of the sum of exp(psi) over all places of a word, at the first of them. Minus infinity
        at the others, and of PAD, SOS and EOS. (`<unk>` and `<sep>` have scores, and searches pass over them as ever.)
        """
        if torch.is_autocast_enabled(states.device.type):  # small products: in float32, as those of attention
            with torch.autocast(states.device.type, enabled=False):
                return self.scores(states.float(), memory.float(), source)
        scores = self.places(states, memory)
        same = source.unsqueeze(1) == source.unsqueeze(2)  # (B, S, S)
        # log of a sum of exp, less the largest so that none overflows; a word far below it sums to 0, hence TINY
        largest = scores.detach().amax(dim=2, keepdim=True)
        summed = (scores - largest).exp() @ same.to(scores.dtype)
        copied = summed.clamp_min(TINY).log() + largest
        once = (source > EOS_ID) & ~same.tril(-1).any(dim=2)  # a word's first place
        return copied.masked_fill(~once.unsqueeze(1), float("-inf"))

    def places(self, states: Tensor, memory: Tensor) -> Tensor:
        """psi for each place: states (B, T, E), memory (B, S, H) -> (B, T, S)."""
        # Gu et al. have tanh(W' m_s) . h~. Without the root, as without it in Vaswani et al. 2017, section 3.2.1, the
        # scores are so large, and move so fast, that learning is slower than without copying.
        query = self.projection(states) * self.scale  # (B, T, H)
        return torch.bmm(query, memory.transpose(1, 2)) + self.bias


def raised(logits: Tensor, copied: Tensor, source: Tensor) -> Tensor:
    """logits (..., V), raised for the words `source` (..., S) by their copying scores `copied` (..., S)."""
    # log((e^logit + e^copied) / e^logit) is what one word gains; 0 where copied is minus infinity
    gain = nn.functional.softplus(copied - logits.gather(-1, source)).to(logits.dtype)
    if torch.is_grad_enabled():
        return logits.scatter_add(-1, source, gain)
    return logits.scatter_add_(-1, source, gain)  # V wide: a copy would take longer than all before
