"""The network in an order of work whose shapes are fixed: the same mathematics as `Seq2Seq.forward`, for a GPU.

Each step of a training on a GPU is some hundred small products, which take less time than Python takes to ask for them.
A GPU can be told all of them at once (a CUDA graph), if the same kernels work on the same memory every time. So here no
shape and no decision depends on a value: texts are padded to widths that are given, nothing is packed, and what differs
from batch to batch (lengths, shares of dropout) is read on the device.

Padding never reaches a real state. A GRU that reads from the left meets the padding behind the words. The one that
reads from the right gets each prompt turned round within its own length, so it meets padding last too. Attention and
copying look at words only, and of all places of the replies only the real ones go through the output layer.

Shapes: B batch, S source width, T target width, N places of replies that are worked on, E, H and V as in `model`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..config.settings import ModelConfig
from ..corpus.vocabulary import PAD_ID
from .copy_mechanism import raised
from .kernels.dropout import dropout_by
from .kernels.gru import GRU, without_some
from .model import Seq2Seq


class FixedOrder:
    """A network that trains, read in this order; its weights stay where they are.

    Args:
        model: the network.
        config: its settings, none of the tutorial's ways among them (`follows_the_tutorial`).
    """

    def __init__(self, model: Seq2Seq, config: ModelConfig) -> None:
        self.encoder, self.decoder = model.encoder, model.decoder
        self.dropout, self.recurrent_dropout = config.dropout, config.recurrent_dropout

    def __call__(self, src: Tensor, tgt: Tensor, real: Tensor, share: Tensor) -> Tensor:
        """Teacher forcing.

        Args:
            src: (B, S) prompts, each of at least one word, padded with PAD. tgt: (B, T) replies behind SOS, padded.
            real: (N,) places in the flattened `tgt`, text after text.
            share: a float scalar, how much of its dropout the network has, from 0 to 1. All on one device.

        Returns:
            logits (N, V) at the places `real`.
        """
        share = share.clamp(0, 1)
        words = self.encoder.embedding(torch.cat((src, tgt), dim=1))  # (B, S + T, E), one look-up: one gradient
        prompts, replies = self._dropped(words, share).split((src.size(1), tgt.size(1)), dim=1)
        memory, hidden = self._encoded(src, prompts, share)
        decoder = self.decoder
        states = self._by_layers(decoder.gru, replies, hidden, share)  # (B, T, H)
        context, _ = decoder.attend(states, memory, src)
        attentional = torch.tanh(decoder.concat(torch.cat((states, context), dim=-1)))
        attentional = self._dropped(attentional, share)  # (B, T, E)
        logits = decoder.out(attentional.flatten(0, 1).index_select(0, real))
        if decoder.copying is not None:
            copied = decoder.copying.scores(attentional, memory, src)  # (B, T, S)
            texts = real // tgt.size(1)
            logits = raised(logits, copied.flatten(0, 1).index_select(0, real), src.index_select(0, texts))
        return logits

    def _encoded(self, src: Tensor, words: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """src (B, S) and its vectors (B, S, E) -> memory (B, S, H), zero at padding, and the first state (L, B, H)."""
        gru, (batch, width) = self.encoder.gru, src.shape
        mask = src != PAD_ID
        lengths = mask.sum(dim=1, keepdim=True)
        places = torch.arange(width, device=src.device)
        rows = torch.arange(batch, device=src.device).unsqueeze(1) * width
        # the words of each row in the opposite order, padding where it is; in the flattened batch
        turned = (rows + torch.where(places < lengths, lengths - 1 - places, places)).flatten()
        ends = (rows + lengths - 1).flatten()
        last, read = list[Tensor](), words
        for layer in range(gru.num_layers):
            if layer:
                read = self._dropped(read, share)
            from_left = self._layer(gru, 2 * layer, read, None, share)
            from_right = self._layer(gru, 2 * layer + 1, _Turned.apply(read, turned), None, share)
            last.extend(states.flatten(0, 1).index_select(0, ends) for states in (from_left, from_right))
            from_right = _Turned.apply(from_right, turned)
            read = torch.cat((from_left, from_right), dim=-1)
        memory = (from_left + from_right) * mask.unsqueeze(2)
        return memory, self.encoder.bridge(torch.stack(last))

    def _by_layers(self, gru: GRU, words: Tensor, hidden: Tensor, share: Tensor) -> Tensor:
        """words (B, T, E), hidden (L, B, H) -> states of the top layer (B, T, H)."""
        for layer in range(gru.num_layers):
            words = self._dropped(words, share) if layer else words
            words = self._layer(gru, layer, words, hidden[layer : layer + 1], share)
        return words

    def _layer(self, gru: GRU, number: int, words: Tensor, first: Tensor | None, share: Tensor) -> Tensor:
        """One layer in one direction, from the left: words (B, T, I), first (1, B, H) or zeros -> states (B, T, H)."""
        weights: list[Tensor] = [*gru.all_weights[number]]  # w_ih, w_hh, b_ih, b_hh
        if self.recurrent_dropout:
            weights[1] = without_some(weights[1], share * self.recurrent_dropout)
        if first is None:
            first = words.new_zeros(1, len(words), gru.hidden_size)
        # batch first, no dropout of cuDNN's, which would wait for the device to draw a seed
        states, _ = torch.gru(words, first.contiguous(), weights, gru.bias, 1, 0.0, True, False, True)
        return states

    def _dropped(self, values: Tensor, share: Tensor) -> Tensor:
        return dropout_by(values, share * self.dropout) if self.dropout else values


class _Turned(torch.autograd.Function):
    """values (B, S, X), places (B * S,) of an order that is its own opposite -> the values in that order."""

    # torch's index_select would add the gradients up at their places, which no two share here
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return values.flatten(0, 1).index_select(0, places).view(values.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_values: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return d_values.flatten(0, 1).index_select(0, places).view(d_values.shape), None


def follows_the_tutorial(config: ModelConfig) -> bool:
    """Whether the network has a way of the tutorial's, for which there is no fixed order."""
    return config.tutorial_tokens or not config.attention_mask or config.dropout_places == "tutorial"
