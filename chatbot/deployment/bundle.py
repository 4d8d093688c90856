"""What is compiled into `chatbot.pt`. Its clients, in Python or C++, call the public methods of `BundleModule`."""

import torch
from torch import Tensor, nn

from ..corpus.vocabulary import EOS_ID, PAD_ID
from ..decoding.beam import BeamSearchDecoder
from ..decoding.sampling import SamplingDecoder
from ..decoding.search import GreedySearchDecoder, Limits, Sampling, SearchResult
from ..runs.checkpoint import Checkpoint
from .torchscript_tokenizer import TorchScriptTokenizer


class QuantizedWeights(nn.Module):
    """The network's matrices in 8 bits, as the file stores them, until `unpack`, which the export writes for each
    network, restores them to floats.

    Args:
        encoder, decoder: the traced parts of the network, whose matrices are empty until then.
        values, scales: (N, K) uint8 and (N, 1) float32 of each matrix; none if the file stores floats.
    """

    values: list[Tensor]
    scales: list[Tensor]

    def __init__(self, encoder: nn.Module, decoder: nn.Module, values: list[Tensor], scales: list[Tensor]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.values, self.scales = encoder, decoder, values, scales
        self.waiting = len(values) > 0

    def matrix(self, index: int, like: Tensor) -> Tensor:
        """Matrix number `index` in floats, of the dtype and on the device of `like`."""
        return self.values[index].to(like).sub_(128).mul_(self.scales[index].to(like))


class BundleModule(nn.Module):
    """Text in, text out, by greedy search, beam search or sampling.

    Args:
        encoder, decoder: the traced parts of the network.
        weights: a scripted `QuantizedWeights`, with its method `unpack`.
        checkpoint: what they were made from; its vocabulary, tokenizer and longest reply are taken from it.
        description: what `metadata()` returns.
    """

    vocabulary: list[str]
    word_ids: dict[str, int]
    written: dict[str, str]

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, weights: nn.Module, checkpoint: Checkpoint, description: str
    ) -> None:
        super().__init__()
        self.weights = weights
        self.search = GreedySearchDecoder(encoder, decoder, checkpoint.never_replied)
        self.beam = BeamSearchDecoder(encoder, decoder, checkpoint.never_replied)
        self.sampling = SamplingDecoder(encoder, decoder, checkpoint.never_replied)
        self.tokenizer = TorchScriptTokenizer(checkpoint.tokenizer.name)
        self.vocabulary, self.word_ids = checkpoint.vocabulary.tokens, checkpoint.vocabulary.ids
        self.written = checkpoint.vocabulary.written
        self.unk_id = -1 if checkpoint.vocabulary.unk_id is None else checkpoint.vocabulary.unk_id
        self.num_special = checkpoint.vocabulary.num_special
        self.pad_id, self.eos_id = PAD_ID, EOS_ID
        self.max_length = checkpoint.config.corpus.max_length
        self.description = description

    def forward(self, input_seq: Tensor, input_length: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Greedy search as the PyTorch tutorial's searcher is called, one prompt at a time.

        input_seq (S, 1) int64, time first, input_length (1,) on the CPU -> tokens (T,) int64, their log-probabilities
        (T,), where T is at most `max_length`, EOS counted."""
        self.unpack()
        found = self.search(input_seq.t(), input_length, max_length)
        return found.tokens[0], found.scores[0]

    def greedy_batch(self, src: Tensor, src_lengths: Tensor, max_length: int) -> SearchResult:
        """Greedy search: src (B, S) int64 padded with PAD, src_lengths (B,) on the CPU, rows in any order -> tokens
        (B, T) padded behind EOS, their log-probabilities (B, T), attention (B, T, S)."""
        self.unpack()
        return self.search(src, src_lengths, max_length)

    def reply(self, text: str) -> str:
        """The greedy reply to a text; "" where there is no word to answer to."""
        return self.reply_batch([text])[0]

    def reply_batch(self, texts: list[str]) -> list[str]:
        """The greedy replies to many texts at once, in their order."""
        prompts = [self.ids(self.tokenizer.last_words(text)) for text in texts]
        return [self.tokenizer.text(words, self.written) for words in self._replies(prompts)]

    def reply_words(self, words: list[str]) -> list[str]:
        """The words of the greedy reply to a prompt's words (lower case, as the tokenizer cuts them)."""
        return self._replies([self.ids(words)])[0]

    def reply_nbest(self, text: str, count: int) -> list[tuple[str, float]]:
        """The different replies among the `count` best of a beam of that width, best first, each with its
        log-probability in nats."""
        replies: list[tuple[str, float]] = []
        ids = self.ids(self.tokenizer.last_words(text))
        if len(ids) == 0:
            return replies
        src, src_lengths = self._padded([ids])
        found = self.beam(src, src_lengths, Limits(self.max_length + 1), width=count, count=count)
        tokens: list[list[int]] = found.tokens[0].tolist()
        scores: list[float] = found.scores[0].cpu().double().sum(dim=1).tolist()
        totals: list[float] = found.totals[0].tolist()
        seen: dict[str, bool] = {}
        for n in range(len(tokens)):
            reply = self.tokenizer.text(self.words(tokens[n]), self.written)
            if totals[n] > float("-inf") and reply not in seen:
                seen[reply] = True
                replies.append((reply, scores[n]))
        return replies

    def sample(self, text: str, seed: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> str:
        """A reply drawn at random; the same seed and text give the same reply on every machine."""
        ids = self.ids(self.tokenizer.last_words(text))
        if len(ids) == 0:
            return ""
        src, src_lengths = self._padded([ids])
        limits = Limits(self.max_length + 1)
        found = self.sampling(src, src_lengths, limits, 1, seed, Sampling(temperature, top_k, top_p))
        tokens: list[int] = found.tokens[0, 0].tolist()
        return self.tokenizer.text(self.words(tokens), self.written)

    def unpack(self) -> None:
        """Restore 8-bit weights to floats; the first reply does it otherwise. A program of several threads calls this
        before they start, and after `.to(device)`."""
        self.weights.unpack()  # type: ignore[operator]

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
        rows: list[list[int]] = []
        for ids in prompts:
            if len(ids) > 0:
                rows.append(ids)
        replies: list[list[str]] = []
        if len(rows) > 0:
            src, src_lengths = self._padded(rows)
            # on a line of its own: what `tolist` is called on is evaluated twice in TorchScript
            found = self.search(src, src_lengths, self.max_length + 1).tokens
            tokens: list[list[int]] = found.tolist()
            replies = [self.words(row) for row in tokens]
        replies.reverse()  # so that `pop` gives them in order
        return [replies.pop() if len(ids) > 0 else self.words([]) for ids in prompts]

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Prompts (B, S) where the search is, and their lengths (B,) on the CPU."""
        self.unpack()
        lengths = [len(row) for row in rows]
        padded = [row + [self.pad_id] * (max(lengths) - len(row)) for row in rows]
        src = torch.tensor(padded, dtype=torch.int64, device=self.search.never_replied.device)
        return src, torch.tensor(lengths, dtype=torch.int64)


# what clients may call; the compiler leaves out every method that nothing marks or calls
EXPORTED = [method for name, method in vars(BundleModule).items() if callable(method) and not name.startswith("_")]
