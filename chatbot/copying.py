"""Words of the prompt in the reply: the copy mode of CopyNet (Gu et al. 2016, arXiv:1603.06393, equations 4 to 8).

Who is asked about Mr. Robinson answers about Mr. Robinson, but so rare a word has hardly a chance in a softmax over the
vocabulary, whoever has just been named. So a word of the prompt has two ways into the reply. It can be generated, with
the score that the output layer gives it, logit_w, and copied from each place s where it stands in the prompt, with a
score of its own, psi_s. All of them share one softmax:

    p(w) = (exp(logit_w) + sum over the s with x_s = w of exp(psi_s)) / Z

which is the usual softmax of logits in which those of the prompt's words are larger: log(exp(logit_w) + sum of
exp(psi_s)). So whatever reads logits (losses, searches, other programs) need not know of it.

Shapes as in `model`: B batch, T target length, S source length, E embedding size, H hidden size, V vocabulary.
"""

import torch
from torch import Tensor, nn

from .vocabulary import EOS_ID

FIRST_SCORE = -5.0  # of a copy, before anything is learnt: that of a word said every 150 words


class CopyMechanism(nn.Module):
    """psi_s = m_s . (W h~ + b) / sqrt(H) + c, for the memory's m_s and the decoder's attentional state h~.

    (Gu et al. have tanh(W' m_s) . h~. Without the root, as without it in Vaswani et al. 2017, section 3.2.1, the scores
    are so large, and move so fast, that learning is slower than without copying.)
    """

    def __init__(self, hidden_size: int, embedding_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding_size, hidden_size)
        self.bias = nn.Parameter(torch.tensor([FIRST_SCORE]))

    def forward(self, logits: Tensor, states: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """Give the words of the prompts what they gain by being there.

        Args:
            logits: (B, T, V).
            states: (B, T, E), what the output layer made them from.
            memory: (B, S, H). source: (B, S), the words that it is of; PAD, SOS and EOS are not copied.

        Returns:
            logits (B, T, V)
        """
        if torch.is_autocast_enabled(logits.device.type):  # small products: float32, as attention's
            with torch.autocast(logits.device.type, enabled=False):
                return self.forward(logits, states.float(), memory.float(), source)
        query = self.projection(states) * memory.size(2) ** -0.5  # (B, T, H)
        scores = query @ memory.transpose(1, 2) + self.bias  # (B, T, S)
        same = source.unsqueeze(1) == source.unsqueeze(2)  # (B, S, S)
        copied = scores.unsqueeze(2).masked_fill(~same.unsqueeze(1), float("-inf")).logsumexp(dim=3)  # (B, T, S)
        at = source.unsqueeze(1).expand_as(copied)
        gain = nn.functional.softplus(copied - logits.gather(2, at))  # log((e^logit + e^copied) / e^logit)
        # a word that stands there n times is found at n places: a gain is made of n parts
        parts = gain * ((source > EOS_ID) / same.sum(dim=2)).unsqueeze(1)
        return logits.scatter_add(2, at, parts.to(logits.dtype))
