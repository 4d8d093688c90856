"""The baseline: one training step as the tutorial takes it, re-stated for its cost and its loss curve.

A Python loop over the decoder's steps, attention without a mask, softmax and then a logarithm, a loss that is the sum
over steps of each step's mean, two Adams that both hold the shared embedding. Nothing here is how one should do it.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from chatbot.network.batch import pad_prompts

HIDDEN, LAYERS, DROPOUT, CLIP, RATE, DECODER_RATIO = 500, 2, 0.1, 50.0, 1e-4, 5.0

Pair = tuple[Sequence[int], Sequence[int]]
TimeFirst = tuple[Tensor, Tensor, Tensor, Tensor]  # as `time_first` gives it


class StepDecoder(nn.Module):
    """One word of each row at a time, time first."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self.embedding = embedding
        self.dropout = nn.Dropout(DROPOUT)
        self.gru = nn.GRU(size, size, LAYERS, dropout=DROPOUT)
        self.concat = nn.Linear(2 * size, size)
        self.out = nn.Linear(size, embedding.num_embeddings)

    def forward(self, word: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """word (1, B), hidden (layers, B, H), memory (S, B, H) -> probabilities (B, V), hidden."""
        output, hidden = self.gru(self.dropout(self.embedding(word)), hidden)
        weights = (output * memory).sum(dim=2).t().softmax(dim=1).unsqueeze(1)  # (B, 1, S), padding included
        context = weights.bmm(memory.transpose(0, 1)).squeeze(1)
        attended = torch.tanh(self.concat(torch.cat((output.squeeze(0), context), dim=1)))
        return self.out(attended).softmax(dim=1), hidden


class TutorialTraining:
    """The tutorial's model and its step.

    Args:
        vocabulary_size: V.
        device: where it computes.
    """

    def __init__(self, vocabulary_size: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.embedding = nn.Embedding(vocabulary_size, HIDDEN)
        self.gru = nn.GRU(HIDDEN, HIDDEN, LAYERS, dropout=DROPOUT, bidirectional=True)
        self.encoder = nn.ModuleList([self.embedding, self.gru]).to(self.device)
        self.decoder = StepDecoder(self.embedding).to(self.device)
        self.encoder_adam = torch.optim.Adam(self.encoder.parameters(), lr=RATE)
        self.decoder_adam = torch.optim.Adam(self.decoder.parameters(), lr=RATE * DECODER_RATIO)

    def encode(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """src (S, B), longest first; lengths on the CPU -> memory (S, B, H), the decoder's first state."""
        outputs, hidden = self.gru(pack_padded_sequence(self.embedding(src), src_lengths))
        outputs, _ = pad_packed_sequence(outputs)
        return outputs[:, :, :HIDDEN] + outputs[:, :, HIDDEN:], hidden[:LAYERS]

    def moved(self, batch: TimeFirst) -> TimeFirst:
        """A batch on the device, but for the lengths, which packing wants on the CPU."""
        src, src_lengths, tgt, mask = batch
        return src.to(self.device), src_lengths, tgt.to(self.device), mask.to(self.device)

    def read(self, pairs: Sequence[Pair]) -> TimeFirst:
        """What an update takes, on the host."""
        return time_first(pairs)

    def step(self, pairs: Sequence[Pair]) -> float:
        """One update; returns the printed loss, the mean over the batch's real tokens."""
        return self.update(self.read(pairs))

    def update(self, batch: TimeFirst) -> float:
        """As `step`, with what was read before."""
        src, src_lengths, tgt, mask = self.moved(batch)
        self.encoder.train()
        self.decoder.train()
        self.encoder_adam.zero_grad()
        self.decoder_adam.zero_grad()
        memory, hidden = self.encode(src, src_lengths)
        word = torch.full((1, src.size(1)), SOS_ID, device=self.device)
        loss: Tensor | float = 0.0
        printed, tokens = 0.0, 0
        for t in range(len(tgt)):
            probabilities, hidden = self.decoder(word, hidden, memory)
            word = tgt[t].view(1, -1)
            losses = -probabilities.gather(1, tgt[t].view(-1, 1)).squeeze(1).log()
            step_loss = losses.masked_select(mask[t]).mean()
            loss = loss + step_loss
            count = int(mask[t].sum())
            printed, tokens = printed + step_loss.item() * count, tokens + count
        assert isinstance(loss, Tensor)
        loss.backward()
        nn.utils.clip_grad_norm_(self.encoder.parameters(), CLIP)
        nn.utils.clip_grad_norm_(self.decoder.parameters(), CLIP)
        self.encoder_adam.step()
        self.decoder_adam.step()
        return printed / tokens

    @torch.no_grad()
    def held_out_loss(self, pairs: Sequence[Pair]) -> tuple[float, int]:
        """Summed negative log-likelihood of the replies in nats, and how many tokens that is (EOS counted)."""
        src, src_lengths, tgt, mask = self.moved(time_first(pairs))
        self.encoder.eval()
        self.decoder.eval()
        memory, hidden = self.encode(src, src_lengths)
        word = torch.full((1, len(pairs)), SOS_ID, device=self.device)
        total = 0.0
        for t in range(len(tgt)):
            probabilities, hidden = self.decoder(word, hidden, memory)
            word = tgt[t].view(1, -1)
            losses = -probabilities.gather(1, word.t()).squeeze(1).log()
            total += losses[mask[t]].sum().item()
        return total, int(mask.sum())


def time_first(pairs: Sequence[Pair]) -> TimeFirst:
    """Pairs to src (S, B) and tgt (T, B), both ended by EOS, longest prompt first; src_lengths (B,); mask (T, B)."""
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
    src, src_lengths = pad_prompts([[*prompt, EOS_ID] for prompt, _ in pairs])
    tgt, _ = pad_prompts([[*reply, EOS_ID] for _, reply in pairs])
    return src.t().contiguous(), src_lengths, tgt.t().contiguous(), (tgt != PAD_ID).t().contiguous()


def drawn(pairs: Sequence[Pair], size: int, rng: random.Random) -> list[Pair]:
    """A batch as the tutorial draws it: with replacement."""
    return [pairs[rng.randrange(len(pairs))] for _ in range(size)]
