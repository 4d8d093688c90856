"""What the PyTorch chatbot tutorial does otherwise, so that its published checkpoints answer, and train, as they did.

Four settings of ModelConfig each ask for one of its ways, and files combine them freely: `bridge`, `attention_mask`,
`dropout_places` and `tutorial_tokens`. `model` describes the network without them and calls `follow` at its end.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..config.settings import ModelConfig
from ..corpus.vocabulary import EOS_ID, PAD_ID
from .kernels.dropout import Dropout
from .kernels.packing import PackedWords


def follow(config: ModelConfig, encoder: Any, decoder: Any) -> None:
    """Put its ways into `model.Encoder` and `model.Decoder` where the settings ask; the bridge is there already."""
    if config.tutorial_tokens:
        encoder.prompts = EosBehindPrompts()
    if not config.attention_mask:
        decoder.mask = MaskOutOfTraining()
    if config.dropout_places == "tutorial":  # on the decoder's words and between layers only
        encoder.dropout.p = decoder.output_dropout.p = 0.0
        decoder.dropout = DropoutByPlace(config.dropout)


class TutorialBridge(nn.Module):
    """Its `encoder_hidden[:n_layers]`: with two layers that is layer 0 forward and backward."""

    def __init__(self, encoder_layers: int, decoder_layers: int, hidden_size: int) -> None:
        super().__init__()
        self.decoder_layers = decoder_layers

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden[: self.decoder_layers]


class EosBehindPrompts(nn.Module):
    """Prompts (B, S), lengths (B,) -> (B, S + 1), lengths: an EOS is read behind each, one more place to attend to."""

    def forward(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor]:
        src = nn.functional.pad(src, (0, 1), value=PAD_ID)
        # its place is counted, for the lengths are on the CPU, and a trace would fix the device they are moved to
        return src.scatter(1, (src != PAD_ID).sum(dim=1, keepdim=True), EOS_ID), src_lengths + 1


class MaskOutOfTraining(nn.Module):
    """source (B, S) -> mask (B, S) bool: in training attention looks at padding too."""

    def forward(self, source: Tensor) -> Tensor:
        return torch.ones_like(source, dtype=torch.bool) if self.training else source != PAD_ID


class DropoutByPlace(Dropout):
    """A word loses other values at each place where it stands."""

    def of_words(self, words: PackedWords) -> PackedWords:
        return super().of_words(PackedWords(words.vectors()))
