"""What is scripted into `chatbot.pt`: the searches, and what text needs. Plain Python; `export` compiles it.

Clients call it from Python with torch alone, and from C++; `EXPORTED` are the methods that they have besides `forward`.
"""

import torch
from torch import Tensor, nn

from ..corpus.vocabulary import EOS_ID, PAD_ID, Vocabulary
from ..decoding.beam import BeamSearchDecoder
from ..decoding.sampling import SamplingDecoder
from ..decoding.search import GreedySearchDecoder, Limits, SearchResult
from .torchscript_tokenizer import Spelling


class Packing(nn.Module):
    """The network's matrices as bytes and scales (`quantization`), until `unpack`, which `export` writes, puts them
    where they are read. Without any, there is nothing to unpack.

    Args:
        encoder, decoder: the traced parts of the network, whose matrices hold nothing if they are packed here.
        values, scales: (N, K) uint8 and (N, 1) float32 of each matrix.
    """

    values: list[Tensor]
    scales: list[Tensor]
    waiting: bool

    def __init__(self, encoder: nn.Module, decoder: nn.Module, values: list[Tensor], scales: list[Tensor]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.values, self.scales = values, scales
        self.waiting = len(values) > 0

    def matrix(self, index: int, like: Tensor) -> Tensor:
        """A matrix in floats, of the kind and on the device of `like`."""
        return self.values[index].to(like).sub_(128).mul_(self.scales[index].to(like))


class BundleModule(nn.Module):
    """Text in, text out, by greedy search, beam search or sampling.

    Args:
        encoder, decoder: the traced parts of the network.
        packing: what has their matrices, if they are packed; scripted, with a method `unpack`.
        never_replied: ids that no reply holds.
        vocabulary: in order of the ids; `word_ids` is the same turned round.
        max_length: longest reply in words.
        description: what `metadata()` returns.
    """

    vocabulary: list[str]
    word_ids: dict[str, int]
    description: str
    unk_id: int
    pad_id: int
    eos_id: int
    num_special: int
    max_length: int

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        packing: nn.Module,
        never_replied: list[int],
        vocabulary: Vocabulary,
        spelling: Spelling,
        max_length: int,
        description: str,
    ) -> None:
        super().__init__()
        self.packing = packing
        self.search = GreedySearchDecoder(encoder, decoder, never_replied)
        self.beam = BeamSearchDecoder(encoder, decoder, never_replied)
        self.sampling = SamplingDecoder(encoder, decoder, never_replied)
        self.spelling = spelling
        self.vocabulary = vocabulary.tokens
        self.word_ids = vocabulary.ids
        self.description = description
        self.unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
        self.pad_id, self.eos_id = PAD_ID, EOS_ID
        self.num_special = vocabulary.num_special
        self.max_length = max_length

    def forward(self, input_seq: Tensor, input_length: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Greedy search as the tutorial's searcher is called, one prompt at a time.

        Args:
            input_seq: (S, 1) int64, time first. input_length: (1,) on the CPU.
            max_length: longest reply in tokens, EOS counted.

        Returns:
            tokens (T,) int64 and their log-probabilities (T,); T is at most `max_length`, for the search ends at EOS.
        """
        self.unpack()
        found = self.search(input_seq.t(), input_length, max_length)
        return found.tokens[0], found.scores[0]

    def greedy_batch(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """As `GreedySearchDecoder.forward`: tokens (B, T), scores (B, T), attention (B, T, S) for src (B, S)."""
        self.unpack()
        return self.search(src, src_lengths, max_length)

    def reply(self, text: str) -> str:
        """The greedy reply to a text; "" where there is no word to answer to."""
        return self.reply_batch([text])[0]

    def reply_batch(self, texts: list[str]) -> list[str]:
        """The greedy replies to many texts at once, in their order."""
        prompts = [self.ids(self.spelling.last_words(text)) for text in texts]
        return [self.spelling.text(words) for words in self._replies(prompts)]

    def reply_words(self, words: list[str]) -> list[str]:
        """The words of the greedy reply to a prompt's words (lower case, as the tokenizer cuts them)."""
        return self._replies([self.ids(words)])[0]

    def reply_nbest(self, text: str, count: int) -> list[tuple[str, float]]:
        """The different replies among the `count` best of a beam of that width, best first, each with its
        log-probability in nats."""
        replies: list[tuple[str, float]] = []
        ids = self.ids(self.spelling.last_words(text))
        if len(ids) == 0:
            return replies
        src, src_lengths = self._padded([ids])
        found = self.beam(src, src_lengths, Limits(self.max_length + 1), count, count, 0.0)
        tokens: list[list[int]] = found.tokens[0].tolist()
        scores: list[float] = found.scores[0].cpu().double().sum(dim=1).tolist()
        totals: list[float] = found.totals[0].tolist()
        seen: dict[str, bool] = {}
        for n in range(len(tokens)):
            reply = self.spelling.text(self.words(tokens[n]))
            if totals[n] > float("-inf") and reply not in seen:
                seen[reply] = True
                replies.append((reply, scores[n]))
        return replies

    def sample(self, text: str, seed: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> str:
        """A reply that is drawn; the same seed and text give the same one everywhere."""
        ids = self.ids(self.spelling.last_words(text))
        if len(ids) == 0:
            return ""
        src, src_lengths = self._padded([ids])
        found = self.sampling(src, src_lengths, Limits(self.max_length + 1), 1, seed, temperature, top_k, top_p)
        tokens: list[int] = found.tokens[0, 0].tolist()
        return self.spelling.text(self.words(tokens))

    def unpack(self) -> None:
        """Make a packed network ready: the first reply does it otherwise. In a program of several threads, call it
        before they begin, and behind `.to(device)`."""
        self.packing.unpack()  # type: ignore[operator]

    def metadata(self) -> str:
        """What is known of the model, as JSON."""
        return self.description

    def ids(self, words: list[str]) -> list[int]:
        """Ids of words; an unknown word is `<unk>`, or left out where none was learnt."""
        found: list[int] = []
        for word in words:
            id = self.word_ids.get(word, self.unk_id)
            if id >= 0:
                found.append(id)
        return found

    def words(self, ids: list[int]) -> list[str]:
        """Words of ids up to the first EOS; special tokens are left out."""
        found: list[str] = []
        for id in ids:
            if id == self.eos_id:
                break
            if id >= self.num_special:
                found.append(self.vocabulary[id])
        return found

    def _replies(self, prompts: list[list[int]]) -> list[list[str]]:
        """The words of the replies to prompts as ids, from one search; none to a prompt without ids."""
        replies: list[list[str]] = []
        rows: list[list[int]] = []
        for ids in prompts:
            nothing: list[str] = []
            replies.append(nothing)
            if len(ids) > 0:
                rows.append(ids)
        if len(rows) > 0:
            src, src_lengths = self._padded(rows)
            # on a line of its own: what `tolist` is called on is evaluated twice in TorchScript
            found = self.search(src, src_lengths, self.max_length + 1).tokens
            tokens: list[list[int]] = found.tolist()
            row = 0
            for place, ids in enumerate(prompts):
                if len(ids) > 0:
                    replies[place] = self.words(tokens[row])
                    row += 1
        return replies

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Prompts (B, S) where the search is, and their lengths (B,) on the CPU."""
        self.unpack()
        lengths = [len(row) for row in rows]
        padded = [row + [self.pad_id] * (max(lengths) - len(row)) for row in rows]
        src = torch.tensor(padded, dtype=torch.int64, device=self.search.never_replied.device)
        return src, torch.tensor(lengths, dtype=torch.int64)


EXPORTED = (
    BundleModule.greedy_batch,
    BundleModule.reply,
    BundleModule.reply_batch,
    BundleModule.reply_words,
    BundleModule.reply_nbest,
    BundleModule.sample,
    BundleModule.unpack,
    BundleModule.metadata,
    BundleModule.ids,
    BundleModule.words,
)
