"""The baseline: the deployed search of the tutorial, re-stated for its cost.

A traced encoder and a traced decoder inside a scripted loop that always takes `max_length` steps: one sentence at a
time, time first, attention without a mask, a softmax over the vocabulary at each step, no end at EOS. Nothing here is
how one should do it.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from tutorial_training import StepDecoder

from chatbot.corpus.vocabulary import SOS_ID
from chatbot.network.model import Seq2Seq

LAYERS = 2  # of the decoder


class PackedEncoder(nn.Module):
    """Prompts, time first and packed, to a memory and every last state."""

    def __init__(self, embedding: nn.Embedding, gru: nn.GRU) -> None:
        super().__init__()
        self.embedding = embedding
        self.gru = gru
        self.hidden_size = gru.hidden_size

    def forward(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """src (S, B), longest first -> memory (S, B, H), hidden (2 * layers, B, H)."""
        outputs, hidden = self.gru(pack_padded_sequence(self.embedding(src), src_lengths))
        outputs, _ = pad_packed_sequence(outputs)
        return outputs[:, :, : self.hidden_size] + outputs[:, :, self.hidden_size :], hidden


class TutorialSearch(nn.Module):
    """Greedy search over a fixed number of steps, one sentence at a time."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.first = SOS_ID
        self.layers = LAYERS

    def forward(self, src: Tensor, src_lengths: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """src (S, 1), src_lengths (1,) -> tokens (max_length,), their probabilities (max_length,)."""
        memory, hidden = self.encoder(src, src_lengths)
        hidden = hidden[: self.layers]
        word = torch.full((1, 1), self.first, dtype=torch.int64)
        tokens = torch.zeros(0, dtype=torch.int64)
        scores = torch.zeros(0)
        for _ in range(max_length):
            probabilities, hidden = self.decoder(word, hidden, memory)
            score, best = probabilities.max(dim=1)
            tokens, scores = torch.cat((tokens, best)), torch.cat((scores, score))
            word = best.unsqueeze(0)
        return tokens, scores


def tutorial_search(model: Seq2Seq) -> torch.jit.ScriptModule:
    """The tutorial's deployed search around the weights of `model`: its decoder without what the tutorial's has not
    (a bridge, a copy mechanism), and any encoder."""
    embedding, trained = model.encoder.embedding, model.encoder.gru
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        gru = nn.GRU(embedding.embedding_dim, trained.hidden_size, trained.num_layers, bidirectional=True)
        gru.load_state_dict(trained.state_dict())
        decoder = StepDecoder(embedding)
        weights = model.decoder.state_dict()
        decoder.load_state_dict({name: weight for name, weight in weights.items() if not name.startswith("copying.")})
        encoder = PackedEncoder(embedding, gru).eval()
        src, src_lengths = torch.full((4, 1), 3), torch.tensor([4])
        memory, hidden = encoder(src, src_lengths)
        traced = (
            torch.jit.trace(encoder, (src, src_lengths)),
            torch.jit.trace(decoder.eval(), (src[:1], hidden[:LAYERS], memory)),
        )
        return torch.jit.script(TutorialSearch(*traced).eval())
