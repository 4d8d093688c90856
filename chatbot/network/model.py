"""The network: tensors in, tensors out. A bidirectional GRU encoder, a bridge, and a GRU decoder with Luong attention.

For a prompt x_1 ... x_S and the words y_1 ... y_T of a reply, of which y_0 is SOS:

    m_s  = forward_s + backward_s             two GRUs read the prompt, one from each end (Cho et al. 2014)
    h_0  = tanh(W_b [forward_S; backward_1])  the bridge, for each layer
    h_t  = GRU(y_{t-1}, h_{t-1})              the decoder's state
    a_t  = softmax over s of score(h_t, m_s)  attention (Luong et al. 2015, equations 7 and 8; `attention`)
    c_t  = sum over s of a_ts m_s             its context
    h~_t = tanh(W_c [h_t; c_t])               the attentional state (equation 5)
    p(y_t | y_0 ... y_{t-1}, x) = softmax(W_o h~_t + b)       (equation 6)

W_o is the embedding itself where the two are tied (Press and Wolf 2017). A copy mechanism may raise some logits.

Shapes: B batch, S source length, T target length, N real target tokens in a batch, E embedding size, H hidden size,
L decoder layers, V vocabulary. Ids are int64, lengths int64 on the CPU, masks bool (True at real tokens), the rest
floats. Batch comes first everywhere but in GRU states (L, B, H). `kernels` holds faster ways to the same numbers.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..config.settings import ModelConfig
from ..corpus.vocabulary import PAD_ID
from . import tutorial
from .attention import SCORES
from .copy_mechanism import CopyMechanism
from .kernels.dropout import Dropout
from .kernels.embedding import Embedding
from .kernels.gru import GRU
from .kernels.linear import Linear
from .kernels.packing import PackedWords, RealPositions, packed_in_any_order, unpacked


class Encoder(nn.Module):
    """Prompts to a memory to attend to and the decoder's first state."""

    def __init__(self, embedding: Embedding, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = embedding
        self.prompts: nn.Module | None = None  # changes prompts before they are read; set by `tutorial.follow`
        self.dropout = Dropout(config.dropout)
        self.gru = _gru(embedding.embedding_dim, config.encoder_layers, config, bidirectional=True)
        self.bridge = BRIDGES[config.bridge](config.encoder_layers, config.decoder_layers, config.hidden_size)

    def forward(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read prompts, longest first.

        Args:
            src: (B, S), rows sorted by length, longest first, padded with PAD to the longest.
            src_lengths: (B,), each at least 1, on the CPU.

        Returns:
            memory (B, S, H): both directions' outputs of the top layer, added up; zero at padding.
            source (B, S): the words that were read, PAD at padding. (With `tutorial_tokens` S is one more than in src.)
            hidden (L, B, H): the decoder's first state.
        """
        source, prompts = self.packed(src, src_lengths)
        memory, hidden = self.read(PackedWords(prompts._replace(data=self.embedding(prompts.data))))
        return memory, source, hidden

    def packed(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, PackedSequence]:
        """The words that are read (B, S), PAD at padding, and the same packed."""
        if self.prompts is not None:
            src, src_lengths = self.prompts(src, src_lengths)
        return src, pack_padded_sequence(src, src_lengths, batch_first=True)

    def read(self, prompts: PackedWords) -> tuple[Tensor, Tensor]:
        """Embedded prompts to memory (B, S, H) and hidden (L, B, H)."""
        outputs, hidden = self.gru(self.dropout.of_words(prompts))
        # Added up, and not side by side: attention's dot product wants m_s as wide as h_t.
        forward, backward = unpacked(outputs).chunk(2, dim=-1)  # (B, S, H) each
        return forward + backward, self.bridge(hidden)


class LinearBridge(nn.Module):
    """Decoder layer d starts from tanh(W_d [forward; backward]) of an encoder layer; top layers meet top layers."""

    def __init__(self, encoder_layers: int, decoder_layers: int, hidden_size: int) -> None:
        super().__init__()
        # the encoder's layer for each of the decoder's; lower layers that find none share the encoder's first
        self.sources = [max(0, encoder_layers - decoder_layers + layer) for layer in range(decoder_layers)]
        self.projections = nn.ModuleList(nn.Linear(2 * hidden_size, hidden_size) for _ in self.sources)

    def forward(self, hidden: Tensor) -> Tensor:
        """Last states of the encoder (2 * encoder layers, B, H) -> first state of the decoder (L, B, H)."""
        pairs = [torch.cat((hidden[2 * source], hidden[2 * source + 1]), dim=-1) for source in self.sources]
        return torch.stack([torch.tanh(w(pair)) for w, pair in zip(self.projections, pairs, strict=True)])


BRIDGES: dict[str, type[nn.Module]] = {"linear": LinearBridge, "tutorial": tutorial.TutorialBridge}


class Decoder(nn.Module):
    """Words so far to logits of the next, for T >= 1 words in one call.

    No step reads the attentional state of the one before (Luong's input feeding), so no loop is needed.

    Whatever the cell, its state is one tensor `hidden` (L, B, H) with the batch in the middle: the bridge makes it, the
    searches pick rows of it, and exported files name it. An LSTM fits in if its (h, c) are stacked, (2L, B, H), by two
    bridges and by a class beside `GRU` that takes PackedWords or (B, T, E), made in `_gru`; deployment/onnx_network.py,
    which writes out the cell, has to learn it or refuse it.
    """

    def __init__(self, embedding: Embedding, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.gru = _gru(embedding.embedding_dim, config.decoder_layers, config)
        self.attention = SCORES[config.attention](config.hidden_size)
        self.mask: nn.Module | None = None  # says where attention may look; set by `tutorial.follow`
        self.concat = Linear(2 * config.hidden_size, embedding.embedding_dim)  # W_c
        self.output_dropout = Dropout(config.dropout)
        self.out = Linear(embedding.embedding_dim, embedding.num_embeddings)  # W_o
        if config.tie_embeddings:
            self.out.weight = embedding.weight
        self.copying = CopyMechanism(config.hidden_size, embedding.embedding_dim) if config.copy_mechanism else None

    def forward(self, tokens: Tensor, hidden: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Say what may follow each of `tokens`.

        Args:
            tokens: (B, T). hidden: (L, B, H). memory: (B, S, H). source: (B, S) the words that the memory is of.

        Returns:
            logits (B, T, V), hidden (L, B, H) after the last token, attention weights (B, T, S).
        """
        states, hidden = self.gru(self.dropout(self.embedding(tokens)), hidden)  # (B, T, H)
        context, weights = self.attend(states, memory, source)
        attentional = self.attentional(states, context)
        logits = self.out(attentional)  # equation 6
        if self.copying is not None:
            logits = self.copying(logits, attentional, memory, source)
        return logits, hidden, weights

    def teacher_forced(
        self, replies: PackedWords, tgt_lengths: Tensor, hidden: Tensor, memory: Tensor, source: Tensor, weight: Tensor
    ) -> Tensor:
        """Say the same of whole embedded replies at their N real positions only: logits (N, V).

        `weight` (V, E) is the embedding's, as `Embedding.look_up` gives it, for an output layer that shares it.
        """
        outputs, _ = self.gru(self.dropout.of_words(replies), hidden)
        # Attention goes through the padded batch, one product for each prompt and its reply. All after it treats each
        # position alone, and goes through the N real ones (`kernels.packing` says why).
        states = unpacked(outputs)  # (B, T, H)
        context, _ = self.attend(states, memory, source)
        real = RealPositions(tgt_lengths, states.size(1), states.device)
        attentional = self.attentional(real.pick(states), real.pick(context))  # (N, E)
        tied = self.out.weight is self.embedding.weight
        logits = self.out(attentional, weight if tied else None)  # (N, V), equation 6
        if self.copying is not None:
            logits = self.copying.at_real(real, logits, attentional, memory, source)
        return logits

    def attend(self, states: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """states (B, T, H) -> context (B, T, H), weights (B, T, S): equations 7 and 8."""
        mask = source != PAD_ID if self.mask is None else self.mask(source)
        context, weights = self.attention(states, memory, mask)
        return context, weights

    def attentional(self, states: Tensor, context: Tensor) -> Tensor:
        """states (..., H), context (..., H) -> h~ (..., E): equation 5."""
        return self.output_dropout(torch.tanh(self.concat(torch.cat((states, context), dim=-1))))


def _gru(size: int, layers: int, config: ModelConfig, *, bidirectional: bool = False) -> GRU:
    rates = {"dropout": config.dropout, "recurrent_dropout": config.recurrent_dropout}
    return GRU(size, config.hidden_size, layers, **rates, bidirectional=bidirectional, batch_first=True)


class Seq2Seq(nn.Module):
    """Encoder and decoder around one embedding."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.embedding_size or config.hidden_size
        embedding = Embedding(vocabulary_size, size, tied=config.tie_embeddings, scaled=config.scale_embeddings)
        self.encoder = Encoder(embedding, config)
        self.decoder = Decoder(embedding, config)
        tutorial.follow(config, self.encoder, self.decoder)
        # The rates of the settings, kept here, because `scale_dropout` writes over those that the modules go by.
        names = ("p", "dropout", "recurrent_dropout")
        rates = [(module, name, getattr(module, name, None)) for module in self.modules() for name in names]
        self._rates = [(module, name, rate) for module, name, rate in rates if isinstance(rate, float)]

    def scale_dropout(self, share: float) -> None:
        """Leave out this share, from 0 to 1, of what the settings say that training leaves out."""
        for module, name, rate in self._rates:
            setattr(module, name, share * rate)

    def forward(self, src: Tensor, src_lengths: Tensor, tgt: Tensor, tgt_lengths: Tensor) -> Tensor:
        """Teacher forcing: every word of the true reply is read, whatever the network would have said, all in one call.

        Args:
            src: (B, S) and src_lengths (B,) as `Encoder.forward` takes them.
            tgt: (B, T) replies behind SOS. tgt_lengths: (B,) on the CPU.

        Returns:
            logits (N, V) at the real positions of `tgt`, row by row.
        """
        source, packed_prompts = self.encoder.packed(src, src_lengths)
        packed_replies = packed_in_any_order(tgt, tgt_lengths)
        (prompts, replies), weight = self.encoder.embedding.look_up(packed_prompts, packed_replies)
        memory, hidden = self.encoder.read(prompts)
        return self.decoder.teacher_forced(replies, tgt_lengths, hidden, memory, source, weight)
