"""A network that learns further words: rows are added behind those that its embedding and its output layer have.

Every row and every other weight that was there is the same bit for bit.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

MATRICES = ("encoder.embedding.weight", "decoder.embedding.weight", "decoder.out.weight")  # a row a word
BIASES = "decoder.out.bias"


def grown(weights: Mapping[str, Tensor], mixtures: Tensor, biases: Tensor) -> dict[str, Tensor]:
    """The state dict of a `Seq2Seq` of V words with N more.

    Args:
        weights: of V words, float32.
        mixtures: (N, V) sparse float32: a new word's row is this mixture of the V rows, in each matrix.
        biases: (N,) float32 of the output layer.

    Returns:
        the weights of V + N words. A matrix with several names (a tied embedding) is one object under all of them.
    """
    made = dict(weights)
    done: dict[int, Tensor] = {}
    for name in MATRICES:
        old = weights[name]
        if old.data_ptr() not in done:
            done[old.data_ptr()] = torch.cat((old, torch.sparse.mm(mixtures, old)))
        made[name] = done[old.data_ptr()]
    made[BIASES] = torch.cat((weights[BIASES], biases))
    return made
