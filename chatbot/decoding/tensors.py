"""Operations on tensors that several searches need. Scriptable."""

import torch
from torch import Tensor, nn


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of values (B, N), or all if N is less, and their places: largest first, of equals the first.

    The order of places with minus infinity is not fixed.
    """
    if values.device.type == "cpu":  # a GPU would be waited for
        # a whole sort takes several times as long, and is needed only where equals are among the largest
        found, places = values.topk(min(count + 1, values.size(1)), dim=1)
        equal = (found[:, 1:] == found[:, :-1]) & (found[:, 1:] > float("-inf"))
        if not bool(equal.any()):
            return found[:, :count], places[:, :count]
    found, places = values.sort(dim=1, descending=True, stable=True)
    return found[:, :count], places[:, :count]


def distinct(parents: Tensor, token: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of R `rows`, 0 to R - 1, with the states `parents` (R,) and the words `token` (R, 1) one each that are alike.

    Returns:
        the states (E,) and the words (E, 1) of those that differ, and which of them each of the R is (R,). All R where
        hardly any are alike: to share is to copy.
    """
    different, which = torch.unique((parents << 32) + token.squeeze(1), return_inverse=True)
    if 10 * different.size(0) < 9 * rows.size(0):
        return different >> 32, (different & 0xFFFFFFFF).unsqueeze(1), which
    return parents, token, rows


def widened(attention: Tensor, src: Tensor, src_lengths: Tensor) -> Tensor:
    """attention (..., S) with zeros for the columns of `src` that are padding in every row."""
    return nn.functional.pad(attention, [0, src.size(1) - int(src_lengths.max())])


def precise(values: Tensor) -> Tensor:
    """`values` in double precision, where the device has it (Apple's GPU has not)."""
    return values.float() if values.device.type == "mps" else values.double()
