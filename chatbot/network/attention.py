"""Global attention: how much each place of the memory counts for a state of the decoder (Luong et al. 2015, eq. 8).

Shapes: B batch, T target length, S source length, H hidden size.
"""

import torch
from torch import Tensor, nn


class DotAttention(nn.Module):
    """score(query, memory) = query . memory"""

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """query (B, T, H), memory (B, S, H), mask (B, S) -> weights (B, T, S), each row summing to 1 over real S."""
        return _masked_softmax(query @ memory.transpose(1, 2), mask)


class GeneralAttention(nn.Module):
    """score(query, memory) = query . (W memory)"""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, hidden_size)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """As `DotAttention.forward`."""
        return _masked_softmax(query @ self.projection(memory).transpose(1, 2), mask)


class ConcatAttention(nn.Module):
    """score(query, memory) = v . tanh(W [query; memory])"""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * hidden_size, hidden_size)
        self.v = nn.Parameter(torch.empty(hidden_size).uniform_(-(hidden_size**-0.5), hidden_size**-0.5))

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """As `DotAttention.forward`. W is applied to each half once, and not to every one of the T * S pairs."""
        for_query, for_memory = self.projection.weight.chunk(2, dim=1)
        queries = query @ for_query.t() + self.projection.bias  # (B, T, H)
        memories = memory @ for_memory.t()  # (B, S, H)
        energy = torch.tanh(queries.unsqueeze(2) + memories.unsqueeze(1))  # (B, T, S, H)
        return _masked_softmax(energy @ self.v, mask)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    return torch.softmax(scores.masked_fill(~mask.unsqueeze(1), float("-inf")), dim=-1)  # (B, T, S)


def attention(score: str, hidden_size: int) -> nn.Module:
    """The module of a score's name, `dot`, `general` or `concat`."""
    match score:
        case "dot":
            return DotAttention()
        case "general":
            return GeneralAttention(hidden_size)
        case "concat":
            return ConcatAttention(hidden_size)
    raise ValueError(score)
