"""The network: tensors in, tensors out. A bidirectional GRU encoder, a bridge, and a GRU decoder with Luong attention.

Shapes: B batch, S source length, T target length, N real target tokens in a batch, E embedding size, H hidden size,
L decoder layers, V vocabulary. Ids are int64, lengths int64 on the CPU, masks bool (True at real tokens), the rest
floats. Batch comes first everywhere but in GRU states (L, B, H).

Sources: Cho et al. 2014 (GRU, encoder-decoder), Luong et al. 2015 (global attention, equations 5-8), Press and Wolf
2017 (tied output embedding).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..config.settings import ModelConfig
from ..corpus.vocabulary import EOS_ID, PAD_ID
from ..system.devices import sent
from .attention import attention
from .copy_mechanism import CopyMechanism, with_copies
from .kernels.dropout import Dropout
from .kernels.gru import GRU, rounded
from .kernels.linear import Linear, looked_up


class LinearBridge(nn.Module):
    """Decoder layer d starts from tanh(W_d [forward; backward]) of an encoder layer; top layers meet top layers."""

    def __init__(self, encoder_layers: int, decoder_layers: int, hidden_size: int) -> None:
        super().__init__()
        self.sources = [max(0, encoder_layers - decoder_layers + layer) for layer in range(decoder_layers)]
        self.projections = nn.ModuleList(nn.Linear(2 * hidden_size, hidden_size) for _ in self.sources)

    def forward(self, hidden: Tensor) -> Tensor:
        """Last states of a bidirectional GRU (2 * encoder layers, B, H) -> first state of the decoder (L, B, H)."""
        states = [
            torch.tanh(projection(torch.cat((hidden[2 * source], hidden[2 * source + 1]), dim=-1)))
            for source, projection in zip(self.sources, self.projections, strict=True)
        ]
        return torch.stack(states)


class TutorialBridge(nn.Module):
    """The lineage's `encoder_hidden[:n_layers]`: with two layers that is layer 0 forward and backward.

    A published checkpoint of the lineage answers as it did with this bridge only.
    """

    def __init__(self, decoder_layers: int) -> None:
        super().__init__()
        self.decoder_layers = decoder_layers

    def forward(self, hidden: Tensor) -> Tensor:
        """As `LinearBridge.forward`."""
        return hidden[: self.decoder_layers]


class Embedding(nn.Embedding):
    """A vector for each word, whose weights the output layer may share."""

    def read(self, rows: Tensor) -> Tensor:
        """Rows of the weights (..., E) -> what the network reads of these words."""
        return rows

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., E)"""
        return self.read(super().forward(tokens))

    def table(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """words (U,) -> (U, E) as `forward` has it, and the weights (V, E) for an output layer that shares them."""
        rows, weight = looked_up(self.weight, words)
        return self.read(rows), weight


class ScaledEmbedding(Embedding):
    """Rows times the square root of their size.

    An output layer that shares the weights needs them small; what the network reads is of ordinary size again. On
    Cornell that halves the steps to a given perplexity (Vaswani et al. 2017, section 3.4, do the same).
    """

    def read(self, rows: Tensor) -> Tensor:
        """As `Embedding.read`."""
        return rows * self.embedding_dim**0.5


class Encoder(nn.Module):
    """Prompts to a memory to attend to and the decoder's first state."""

    def __init__(self, embedding: Embedding, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = Dropout(config.dropout if config.dropout_places == "all" else 0.0)
        self.reads_eos = config.tutorial_tokens
        self.gru = GRU(
            embedding.embedding_dim,
            config.hidden_size,
            config.encoder_layers,
            dropout=config.dropout if config.encoder_layers > 1 else 0.0,
            recurrent_dropout=config.recurrent_dropout,
            bidirectional=True,
            batch_first=True,
        )
        self.bridge = (
            LinearBridge(config.encoder_layers, config.decoder_layers, config.hidden_size)
            if config.bridge == "linear"
            else TutorialBridge(config.decoder_layers)
        )

    def forward(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read prompts, longest first.

        Args:
            src: (B, S), rows sorted by length, longest first, padded with PAD to the longest.
            src_lengths: (B,), each at least 1, on the CPU.

        Returns:
            memory (B, S, H): both directions' outputs of the top layer, added up; zero at padding.
            source (B, S): the words that were read, PAD at padding.
            hidden (L, B, H): the decoder's first state.

        With `tutorial_tokens` the EOS behind each prompt is one more place to attend to: S + 1 in memory and source.
        """
        src, src_lengths = self.ended(src, src_lengths)
        packed = pack_padded_sequence(src, src_lengths, batch_first=True)
        memory, hidden = self.read(packed._replace(data=self.embedding(packed.data)), src.size(0))
        return memory, src, hidden

    def ended(self, src: Tensor, src_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts as they are read: with `tutorial_tokens`, EOS stands behind each, (B, S + 1), else as they are."""
        if not self.reads_eos:
            return src, src_lengths
        src = nn.functional.pad(src, (0, 1), value=PAD_ID)
        # by counting, for the lengths are on the CPU, and a move to the prompts' device would fix that in a trace
        return src.scatter(1, (src != PAD_ID).sum(dim=1, keepdim=True), EOS_ID), src_lengths + 1

    def read(self, prompts: PackedSequence, batch: int, table: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Memory and hidden from `batch` prompts: embedded (real tokens, E), or rows of `table` (`some_left_out`)."""
        prompts, table = some_left_out(prompts, table, self.dropout)
        # zeros are given, for the default would be made on a device that a trace then holds as a constant; training
        # has none, for it need not multiply them
        zeros = None if self.training else prompts.data.new_zeros(2 * self.gru.num_layers, batch, self.gru.hidden_size)
        outputs, hidden = self.gru(prompts, zeros, table)
        forward, backward = unpacked(outputs).chunk(2, dim=-1)  # (B, S, H) each
        return forward + backward, self.bridge(hidden)


class Decoder(nn.Module):
    """Words so far to logits of the next, for T >= 1 words in one call: without input feeding nothing needs a loop."""

    def __init__(self, embedding: Embedding, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = embedding
        self.masks_padding = config.attention_mask
        self.dropout = Dropout(config.dropout)
        self.drops_words = config.dropout_places == "all"
        self.output_dropout = Dropout(config.dropout if config.dropout_places == "all" else 0.0)
        self.gru = GRU(
            embedding.embedding_dim,
            config.hidden_size,
            config.decoder_layers,
            dropout=config.dropout if config.decoder_layers > 1 else 0.0,
            recurrent_dropout=config.recurrent_dropout,
            batch_first=True,
        )
        self.attention = attention(config.attention, config.hidden_size)
        self.concat = Linear(2 * config.hidden_size, embedding.embedding_dim)
        self.out = Linear(embedding.embedding_dim, embedding.num_embeddings)
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
        context, weights = self._attend(states, memory, source)
        attentional = self._attentional(states, context)
        logits = self.out(attentional)
        if self.copying is not None:
            copied = self.copying(attentional, memory, source)
            logits = with_copies(logits, copied, source.unsqueeze(1).expand_as(copied))
        return logits, hidden, weights

    def teacher_forced(
        self,
        replies: PackedSequence,
        tgt_lengths: Tensor,
        hidden: Tensor,
        memory: Tensor,
        source: Tensor,
        table: Tensor | None = None,
        shared: Tensor | None = None,
    ) -> Tensor:
        """From replies, each behind SOS, to logits (N, V) at their real positions, row by row.

        The same as `forward` says of the padded replies, and nothing padded is worked on.

        Args:
            replies: embedded words (N, E), or rows of `table` (`some_left_out`).
            shared: the weights that `Embedding.table` gave, if they are the output layer's too.
        """
        replies, table = some_left_out(replies, table, self.dropout, by_word=self.drops_words)
        packed, _ = self.gru(replies, hidden, table)
        states = unpacked(packed)  # (B, T, H)
        context, _ = self._attend(states, memory, source)
        real = sent(real_positions(tgt_lengths, states.size(1)), states.device)
        count = len(real)
        if torch.is_autocast_enabled("cpu"):  # few shapes of products: see `gru`
            real = nn.functional.pad(real, (0, rounded(count) - count))
        rows, context = (part.flatten(0, 1).index_select(0, real) for part in (states, context))
        attentional = self._attentional(rows, context)
        logits = self.out(attentional, shared)
        if len(logits) > count:  # or the slice would cost its gradient two passes
            logits = logits[:count]
        if self.copying is not None:
            real, batch, width = real[:count], states.size(0), states.size(1)
            padded = attentional.new_zeros(batch * width, attentional.size(1)).index_copy(0, real, attentional[:count])
            copied = self.copying(padded.view(batch, width, -1), memory, source)  # (B, T, S)
            copied = copied.flatten(0, 1).index_select(0, real)
            logits = with_copies(logits, copied, source.index_select(0, real // width))
        return logits

    def _attend(self, states: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """states (B, T, H), memory (B, S, H) -> context (B, T, H), weights (B, T, S), always in float32."""
        if torch.is_autocast_enabled(states.device.type):
            with torch.autocast(states.device.type, enabled=False):
                return self._attend(states.float(), memory.float(), source)
        mask = source != PAD_ID
        if self.training and not self.masks_padding:
            mask = torch.ones_like(mask)
        weights = self.attention(states, memory, mask)
        return weights @ memory, weights

    def _attentional(self, states: Tensor, context: Tensor) -> Tensor:
        """states (..., H), context (..., H) -> Luong's attentional state h~ (..., E), equation 5."""
        return self.output_dropout(torch.tanh(self.concat(torch.cat((states, context), dim=-1))))


def some_left_out(
    words: PackedSequence, table: Tensor | None, dropout: Dropout, *, by_word: bool = True
) -> tuple[PackedSequence, Tensor | None]:
    """What a GRU reads of embedded words, (real tokens, E), or of rows (real tokens,) of `table` (U, E).

    Of a table dropout leaves out the same of a word wherever it stands, so that it need be multiplied only once; other
    values at each place without `by_word`, which is the tutorial's way.
    """
    if table is None:
        return words._replace(data=dropout(words.data)), None
    if by_word:
        return words, dropout(table)
    return words._replace(data=dropout(table.index_select(0, words.data))), None


def packed_in_any_order(padded: Tensor, lengths: Tensor) -> PackedSequence:
    """As `pack_padded_sequence` packs rows (B, T) that are not sorted, but without waiting for their device."""
    falling, order = lengths.sort(descending=True)
    rows, back = (sent(indices, padded.device) for indices in (order, order.argsort()))
    packed = pack_padded_sequence(padded.index_select(0, rows), falling, batch_first=True)
    return packed._replace(sorted_indices=rows, unsorted_indices=back)


def unpacked(packed: PackedSequence) -> Tensor:
    """(N, H) packed to (B, T, H), zero at padding: as `pad_packed_sequence`, but without waiting for the device."""
    rows, _ = pad_packed_sequence(packed._replace(sorted_indices=None, unsorted_indices=None), batch_first=True)
    return rows if packed.unsorted_indices is None else rows.index_select(0, packed.unsorted_indices)


def real_positions(lengths: Tensor, width: int) -> Tensor:
    """Indices (N,) of the real tokens in a flattened (B, width) batch, row by row, from lengths (B,)."""
    return (torch.arange(width) < lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)


class Seq2Seq(nn.Module):
    """Encoder and decoder around one embedding."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.embedding_size or config.hidden_size
        kind = ScaledEmbedding if config.scale_embeddings else Embedding
        embedding = kind.from_pretrained(torch.empty(vocabulary_size, size), freeze=False)
        if not embedding.weight.is_meta:  # a meta tensor has nothing to draw, and would import torch's compiler for it
            # with tied embeddings unit variance, as nn.Embedding draws it, would give logits of variance `size`
            nn.init.normal_(embedding.weight, std=size**-0.5 if config.tie_embeddings else 1.0)
        self.encoder = Encoder(embedding, config)
        self.decoder = Decoder(embedding, config)
        places: list[tuple[nn.Module, str]] = [
            *((part, "p") for part in (self.encoder.dropout, self.decoder.dropout, self.decoder.output_dropout)),
            *((part.gru, name) for part in (self.encoder, self.decoder) for name in ("dropout", "recurrent_dropout")),
        ]
        self._rates = [(module, name, float(getattr(module, name))) for module, name in places]

    def scale_dropout(self, share: float) -> None:
        """Leave out this share, from 0 to 1, of what the settings say that training leaves out."""
        for module, name, rate in self._rates:
            setattr(module, name, share * rate)

    def forward(self, src: Tensor, src_lengths: Tensor, tgt: Tensor, tgt_lengths: Tensor) -> Tensor:
        """Teacher forcing: every word of the true reply at once.

        Args:
            src: (B, S) and src_lengths (B,) as `Encoder.forward` takes them.
            tgt: (B, T) replies behind SOS. tgt_lengths: (B,) on the CPU.

        Returns:
            logits (N, V) at the real positions of `tgt`, row by row.
        """
        src, src_lengths = self.encoder.ended(src, src_lengths)
        prompts = pack_padded_sequence(src, src_lengths, batch_first=True)
        replies = packed_in_any_order(tgt, tgt_lengths)
        embedding = self.encoder.embedding
        shared: Tensor | None = None
        tables: tuple[Tensor | None, ...] = (None, None)
        # one look-up for both: each would fill a gradient of the whole embedding's size
        if self.training and src.device.type == "cpu":
            # each word is looked up, and multiplied by the first W_i, once; a GPU would wait to know how many there are
            (asked, places), (said, spots) = (part.data.unique(return_inverse=True) for part in (prompts, replies))
            words, weight = embedding.table(torch.cat((asked, said)))
            tables = words.split((len(asked), len(said)))
            shared = weight if self.decoder.out.weight is embedding.weight else None
        else:
            words = embedding(torch.cat((prompts.data, replies.data)))
            places, spots = words.split((len(prompts.data), len(replies.data)))
        prompts, replies = prompts._replace(data=places), replies._replace(data=spots)
        memory, hidden = self.encoder.read(prompts, src.size(0), tables[0])
        return self.decoder.teacher_forced(replies, tgt_lengths, hidden, memory, src, tables[1], shared)
