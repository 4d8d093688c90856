"""What is compiled into `chatbot.pt`. Its clients, in Python or C++, call the public methods of `BundleModule`."""

import torch
from torch import Tensor, nn

from ..config.settings import DecodingConfig
from ..corpus.vocabulary import EOS_ID, PAD_ID
from ..decoding.limits import Limits
from ..decoding.plan import Plan, PlannedSearch, plan_of
from ..decoding.search import Sampling, SearchResult
from ..runs.checkpoint import Checkpoint
from .torchscript_mending import TorchScriptMending
from .torchscript_tokenizer import torchscript_tokenizer


class QuantizedWeights(nn.Module):
    """The network's matrices in 8 bits, as the file stores them, until `unpack`, which the export writes for each
    network, restores them to floats. `lay_side_by_side`, written in the same way, is for a GPU.

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
        self.laid = 0  # weights of GRUs that lie side by side, so that a GPU need not gather them at each call

    def matrix(self, index: int, like: Tensor) -> Tensor:
        """Matrix number `index` in floats, of the dtype and on the device of `like`."""
        return self.values[index].to(like).sub_(128).mul_(self.scales[index].to(like))


class BundleModule(nn.Module):
    """Text in, text out: by the run's own decoding, or as a call asks.

    Args:
        encoder, decoder: the traced parts of the network.
        weights: a scripted `QuantizedWeights`, with its method `unpack`.
        checkpoint: what they were made from; its vocabulary, tokenizer and longest reply are taken from it.
        description: what `metadata()` returns.
    """

    vocabulary: list[str]
    word_ids: dict[str, int]
    plan: Plan
    greedy_plan: Plan
    written: dict[str, str]

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, weights: nn.Module, checkpoint: Checkpoint, description: str
    ) -> None:
        super().__init__()
        self.weights = weights
        words = checkpoint.vocabulary
        self.planned = PlannedSearch(encoder, decoder, checkpoint.never_replied, words.marks, words.sep_id)
        self.search, self.beam, self.sampling = self.planned.greedy, self.planned.beam, self.planned.sampling
        self.tokenizer = torchscript_tokenizer(checkpoint.tokenizer.name)
        self.vocabulary, self.word_ids = words.tokens, words.ids
        self.written = words.written
        self.mending = TorchScriptMending(words, checkpoint.tokenizer, self.tokenizer.capitals())
        self.mend_words = checkpoint.config.corpus.mend_words
        self.unk_id = -1 if words.unk_id is None else words.unk_id
        self.sep_id = -1 if words.sep_id is None else words.sep_id
        self.voice_id = -1 if words.voice_id is None else words.voice_id
        self.num_special = words.num_special
        self.pad_id, self.eos_id = PAD_ID, EOS_ID
        self.max_length, self.context = checkpoint.config.corpus.max_length, checkpoint.config.corpus.context
        own = checkpoint.config.decoding
        self.plan = plan_of(own, self.max_length + 1, checkpoint.fallback_ids(own.fallback))
        self.greedy_plan = plan_of(DecodingConfig(), self.max_length + 1)
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
        plan = Plan("greedy", Limits(max_length), 1, 0.0, 0.0, 1, 0, Sampling(), self.greedy_plan.fallback)
        found = self.planned.in_pieces(src, src_lengths, plan)
        return SearchResult(found.tokens[:, 0], found.scores[:, 0], found.attention[:, 0])

    def reply(self, text: str) -> str:
        """The reply to a text; "" where there is no word to answer to."""
        return self.reply_batch([text])[0]

    def reply_to(self, text: str, earlier: list[str], turn: int = 0) -> str:
        """The reply to a text behind `earlier` turns, the bot's own among them; a model that was trained with
        `--context N` reads the last N of them. With sampling each `turn` of a conversation has a seed of its own."""
        plan = self.plan
        seed = plan.seed + turn
        if seed < 0:  # an int64 that ran over: on from 0, as in Python
            seed = seed + 9223372036854775807 + 1
        plan = self._changed(plan, plan.method, plan.width, plan.samples, seed)
        return self.tokenizer.text(self._replies([self.prompt_ids(text, earlier)], plan)[0], self.written)

    def reply_batch(self, texts: list[str]) -> list[str]:
        """The replies to many texts at once, in their order."""
        return self._answers(texts, self.plan)

    def reply_greedy(self, text: str) -> str:
        """The reply by greedy search, whatever the run's own decoding is."""
        return self.reply_greedy_batch([text])[0]

    def reply_greedy_batch(self, texts: list[str]) -> list[str]:
        """The replies by greedy search to many texts at once, in their order."""
        return self._answers(texts, self.greedy_plan)

    def reply_words(self, words: list[str]) -> list[str]:
        """The words of the reply to a prompt's words (lower case, as the tokenizer cuts them)."""
        return self._replies([self._voiced(self.ids(words))], self.plan)[0]

    def reply_nbest(self, text: str, count: int) -> list[tuple[str, float]]:
        """Up to `count` different replies, best first, each with its log-probability in nats. A beam, or samples, find
        as many as that takes (so a beam may get wider); in place of greedy search a beam does."""
        replies: list[tuple[str, float]] = []
        ids = self.prompt_ids(text, [])
        if len(ids) == 0:
            return replies
        src, src_lengths = self._padded([ids])
        found = self.planned(src, src_lengths, self._widened(count), 1 if count == 1 else 0)
        order: list[int] = found.totals[0].sort(descending=True, stable=True)[1].tolist()
        tokens: list[list[int]] = found.tokens[0].tolist()
        scores: list[float] = found.scores[0].cpu().double().sum(dim=1).tolist()
        totals: list[float] = found.totals[0].tolist()
        seen: dict[str, bool] = {}
        for n in order:
            reply = self.tokenizer.text(self.words(tokens[n]), self.written)
            if totals[n] > float("-inf") and reply not in seen and len(replies) < count:
                seen[reply] = True
                replies.append((reply, scores[n]))
        return replies

    def sample(self, text: str, seed: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> str:
        """A reply drawn at random; the same seed and text give the same reply on every machine."""
        greedy = self.greedy_plan
        sampling = Sampling(temperature, top_k, top_p)
        plan = Plan("sample", greedy.limits, 1, 0.0, 0.0, 1, seed, sampling, greedy.fallback)
        return self._answers([text], plan)[0]

    def unpack(self) -> None:
        """Restore 8-bit weights to floats, and lay those of a GRU side by side on a GPU; the first reply does it
        otherwise. A program of several threads calls this before they start, and after `.to(device)`."""
        self.weights.unpack()  # type: ignore[operator]
        self.weights.lay_side_by_side()  # type: ignore[operator]

    def metadata(self) -> str:
        """What is known of the model, as JSON."""
        return self.description

    def prompt_ids(self, text: str, earlier: list[str]) -> list[int]:
        """Ids of what is read of a text and of the turns before it; none where the text has no word."""
        found: list[int] = []
        said = self.ids(self.read(text))
        if len(said) > 0:
            for turn in earlier[max(0, len(earlier) - self.context) :]:
                words = self.read(turn)
                if len(words) > 0:
                    found += self.ids(words[max(0, len(words) - self.max_length) :])
                    found.append(self.sep_id)
        return self._voiced(found + said)

    def read(self, text: str) -> list[str]:
        """The words that are read of a text, unknown ones mended if `mend_words` is true, which a program may set."""
        words = self.tokenizer.last_words(text)
        return self.mending(words, self.word_ids) if self.mend_words else words

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

    def _voiced(self, ids: list[int]) -> list[int]:
        """A prompt with words, with the voice to answer in before it, if the network learnt several."""
        voice = [self.voice_id] if self.voice_id >= 0 and len(ids) > 0 else ids[:0]
        return voice + ids

    def _answers(self, texts: list[str], plan: Plan) -> list[str]:
        alone: list[str] = []
        prompts = [self.prompt_ids(text, alone) for text in texts]
        return [self.tokenizer.text(words, self.written) for words in self._replies(prompts, plan)]

    def _replies(self, prompts: list[list[int]], plan: Plan) -> list[list[str]]:
        """The words of the best replies to prompts as ids, from one search; none to a prompt without ids."""
        rows: list[list[int]] = []
        for ids in prompts:
            if len(ids) > 0:
                rows.append(ids)
        replies: list[list[str]] = []
        if len(rows) > 0:
            src, src_lengths = self._padded(rows)
            found = self.planned.in_pieces(src, src_lengths, plan, 1)
            best = found.totals.sort(dim=1, descending=True, stable=True)[1][:, :1]  # of equals the first
            # on a line of its own: what `tolist` is called on is evaluated twice in TorchScript
            chosen = found.tokens.gather(1, best.unsqueeze(2).expand(-1, -1, found.tokens.size(2))).squeeze(1)
            tokens: list[list[int]] = chosen.tolist()
            replies = [self.words(row) for row in tokens]
        replies.reverse()  # so that `pop` gives them in order
        return [replies.pop() if len(ids) > 0 else self.words([]) for ids in prompts]

    def _widened(self, count: int) -> Plan:
        """The run's plan, such that it finds at least `count` replies."""
        plan = self.plan
        method, width = plan.method, count
        if method == "greedy":
            method = "beam"
        elif method == "beam":
            width = max(count, plan.width)
        return self._changed(plan, method, width, max(count, plan.samples), plan.seed)

    def _changed(self, plan: Plan, method: str, width: int, samples: int, seed: int) -> Plan:
        """A plan with other numbers (TorchScript has no `_replace`)."""
        limits, threshold, penalty = plan.limits, plan.threshold, plan.length_penalty
        return Plan(method, limits, width, threshold, penalty, samples, seed, plan.sampling, plan.fallback)

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Prompts (B, S) where the search is, and their lengths (B,) on the CPU."""
        self.unpack()
        lengths = [len(row) for row in rows]
        padded = [row + [self.pad_id] * (max(lengths) - len(row)) for row in rows]
        src = torch.tensor(padded, dtype=torch.int64, device=self.search.never_replied.device)
        return src, torch.tensor(lengths, dtype=torch.int64)


# what clients may call; the compiler leaves out every method that nothing marks or calls
EXPORTED = [method for name, method in vars(BundleModule).items() if callable(method) and not name.startswith("_")]
