"""Words to vectors: nn.Embedding that looks up each different word of a batch once, and shares its weights cheaply."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from .packing import PackedWords


class Embedding(nn.Embedding):
    """A vector (E,) for each of V words; `tied`: an output layer shares them; `scaled`: they are read larger."""

    def __init__(self, vocabulary_size: int, size: int, *, tied: bool, scaled: bool) -> None:
        super().__init__(vocabulary_size, size, _weight=torch.empty(vocabulary_size, size))
        # Weights that are small for an output layer are read at ordinary size again (Vaswani et al. 2017, section 3.4).
        # On Cornell that halves the steps to a given perplexity.
        self.scale = size**0.5 if scaled else None
        # an output layer that shares rows of unit variance, as nn.Embedding draws them, gives logits of variance E
        self.std = size**-0.5 if tied else 1.0  # of the numbers of a newly drawn row
        if not self.weight.is_meta:  # which has nothing to draw, and torch would import its compiler for it
            nn.init.normal_(self.weight, std=self.std)

    def forward(self, tokens: Tensor) -> Tensor:
        return self._read(super().forward(tokens))  # (...) -> (..., E)

    def look_up(self, *texts: PackedSequence) -> tuple[list[PackedWords], Tensor]:
        """Embed packed ids of some texts; returns their words, and the weights (V, E) for an output layer to share."""
        # one look-up for all of them: each would fill a gradient of the weights' size
        if not self.training or self.weight.device.type != "cpu":
            # a GPU would wait to know how many different words there are
            parts: Any = self(torch.cat([text.data for text in texts])).split([len(text.data) for text in texts])
            tables, weight = (None,) * len(texts), self.weight
        else:
            different, parts = zip(*(text.data.unique(return_inverse=True) for text in texts), strict=True)
            rows, weight = LookUp.apply(self.weight, torch.cat(different))
            tables = self._read(rows).split([len(words) for words in different])
        found = zip(texts, parts, tables, strict=True)
        return [PackedWords(text._replace(data=part), table) for text, part, table in found], weight

    def _read(self, rows: Tensor) -> Tensor:
        return rows if self.scale is None else rows * self.scale


class LookUp(torch.autograd.Function):
    """weight (V, E), rows (U,) -> those rows (U, E), and the whole weight again, for one more use in the same pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        return weight.index_select(0, rows), weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_rows: Tensor, d_whole: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        # A parameter used twice, as embedding and as output layer, would get two gradients of its size, one of them
        # nearly all zeros, which autograd adds up in a third. Here one is added into the other, in place: that is safe
        # while the whole has one use, a product, for nobody else holds its gradient then.
        return d_whole.index_add_(0, rows, d_rows), None
