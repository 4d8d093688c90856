"""Dropout (Srivastava et al. 2014) that draws quickly on a CPU."""

import torch
from torch import Tensor, nn

from .packing import PackedWords

LEVELS = 1 << 16


def kept(count: int, share: float | Tensor, device: torch.device) -> tuple[Tensor, float | Tensor]:
    """Draw which of `count` values stay where a share under 1 is left out, (count,) bool, and what they grow by.

    A share that is a tensor, a scalar on the device, stays there, and so does what they grow by.
    """
    # torch draws a float for each value, which takes as long as a product. Sixteen bits are enough to decide on it: the
    # share is rounded to 65,536ths, and what is kept grows by what the rounded share leaves out. One draw of 64 bits
    # decides on four values, each by 16 bits read as a number from -32,768 to 32,767.
    threshold: float | Tensor
    if isinstance(share, Tensor):
        threshold = (LEVELS * share).round().clamp(max=LEVELS - 1)
    else:
        threshold = min(round(LEVELS * share), LEVELS - 1)
    words = torch.empty(-(-count // 4), dtype=torch.int64, device=device).random_(-(1 << 63), None)
    return words.view(torch.int16)[:count] >= threshold - LEVELS // 2, LEVELS / (LEVELS - threshold)


class Dropout(nn.Dropout):
    """nn.Dropout, faster on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)

    def of_words(self, words: PackedWords) -> PackedWords:
        """Leave out values of embedded words; where they have a table, the same of a word wherever it stands."""
        if words.table is None:
            return PackedWords(words.packed._replace(data=self(words.packed.data)))
        # other draws at each place would undo the table: a word would be multiplied once for every place again
        return words._replace(table=self(words.table))


def dropout_by(input: Tensor, share: Tensor) -> Tensor:
    """Leave out a share that only the device knows, a scalar there: so it can change in a step that is recorded."""
    stay, growth = kept(input.numel(), share, input.device)
    return input * (stay.view(input.shape).to(input.dtype) * growth)


def dropout(input: Tensor, share: float, training: bool) -> Tensor:
    """nn.functional.dropout, faster on a CPU."""
    if not training or not share or input.device.type != "cpu" or share == 1.0:
        return nn.functional.dropout(input, share, training)
    stay, growth = kept(input.numel(), share, input.device)
    return input * stay.view(input.shape).to(input.dtype).mul_(growth)
