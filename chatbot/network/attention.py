"""Global attention (Luong et al. 2015): how much each place of the memory counts for a state of the decoder.

To add a score, write a subclass with its `score` and name it in `SCORES`, in the choices of `ModelConfig.attention`
(config/settings.py), and, for the export, in deployment/onnx_network.py.

Shapes: B batch, T target length, S source length, H hidden size.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Weights are a softmax of scores (equation 7), the context is the memory's mean by these weights."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()

    def score(self, query: Tensor, memory: Tensor) -> Tensor:
        """query (B, T, H), memory (B, S, H) -> scores (B, T, S), equation 8."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """query (B, T, H), memory (B, S, H), mask (B, S) bool -> context (B, T, H), weights (B, T, S), in float32.

        Each row of weights sums to 1 and is 0 where the mask is False.
        """
        if torch.is_autocast_enabled(query.device.type):  # small products, whose rounding a softmax would enlarge
            with torch.autocast(query.device.type, enabled=False):
                return self.forward(query.float(), memory.float(), mask)
        scores = self.score(query, memory).masked_fill(~mask.unsqueeze(1), float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        return torch.bmm(weights, memory), weights  # as @, which puts six operators around it


class DotAttention(Attention):
    """score(query, memory) = query . memory"""

    def score(self, query: Tensor, memory: Tensor) -> Tensor:
        return torch.bmm(query, memory.transpose(1, 2))


class GeneralAttention(Attention):
    """score(query, memory) = query . (W memory + b)"""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.projection = nn.Linear(hidden_size, hidden_size)

    def score(self, query: Tensor, memory: Tensor) -> Tensor:
        return torch.bmm(query, self.projection(memory).transpose(1, 2))


class ConcatAttention(Attention):
    """score(query, memory) = v . tanh(W [query; memory] + b)"""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.projection = nn.Linear(2 * hidden_size, hidden_size)
        self.v = nn.Parameter(torch.empty(hidden_size).uniform_(-(hidden_size**-0.5), hidden_size**-0.5))

    def score(self, query: Tensor, memory: Tensor) -> Tensor:
        # W [query; memory] = W_q query + W_m memory: each half once, and not each of the T * S pairs
        for_query, for_memory = self.projection.weight.chunk(2, dim=1)
        queries = query @ for_query.t() + self.projection.bias  # (B, T, H)
        memories = memory @ for_memory.t()  # (B, S, H)
        energy = torch.tanh(queries.unsqueeze(2) + memories.unsqueeze(1))  # (B, T, S, H)
        return energy @ self.v


SCORES: dict[str, type[Attention]] = {"dot": DotAttention, "general": GeneralAttention, "concat": ConcatAttention}
