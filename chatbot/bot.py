"""Text in, text out: a chatbot from a run directory, a checkpoint or an exported bundle."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import Checkpoint, RunDirectory, never_replied
from .config import Config
from .dataset import pad_prompts
from .distributed import pick_device
from .exchange import load_onnx
from .model import Seq2Seq
from .search import GreedySearchDecoder, SearchResult
from .tokenizer import MAX_CHARACTERS, MAX_WORDS, TOKENIZERS, Tokenizer
from .vocabulary import EOS, SEP, Vocabulary

Search = Callable[[Tensor, Tensor, int], SearchResult]


class Chatbot:
    """Answers sentences; remembers nothing by itself, and never fails on any text.

    Args:
        search: (src (B, S), src_lengths (B,), max_length) -> SearchResult.
        vocabulary, tokenizer: those the model was trained with.
        max_length: longest reply in words.
        context: how many earlier turns the model was trained to read before the prompt.
        device: where `search` wants its prompts.
    """

    def __init__(
        self,
        search: Search,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        max_length: int,
        context: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.search = search
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.context = context
        self.device = device or torch.device("cpu")

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Chatbot":
        """Open a run directory, a checkpoint (`best.pt`, `last.pt`), an ONNX file (`chatbot.onnx`, which works on the
        CPU whatever `device` says) or a bundle (`chatbot.pt`).

        A bundle is TorchScript, and TorchScript is code: open only files that you trust.

        Raises:
            ChatbotError: nothing is there, or it is damaged or of another version.
        """
        path, where = Path(path), pick_device(device)
        if path.is_dir():
            return cls.from_checkpoint(RunDirectory(path).load_chosen(), where)
        if path.suffix == ".onnx":
            file = load_onnx(path, "greedy")
            return cls(file.search, file.vocabulary, file.tokenizer, file.max_length, file.config.corpus.context)
        from .export import is_bundle, load_bundle  # here, for the rest needs no torch.jit

        if not is_bundle(path):
            return cls.from_checkpoint(Checkpoint.load(path), where)
        bundle = load_bundle(path)
        search, context = bundle.search.to(where), bundle.metadata["config"]["corpus"]["context"]
        return cls(search, bundle.vocabulary, bundle.tokenizer, bundle.max_length, context, where)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device) -> "Chatbot":
        """A bot of a checkpoint's weights."""
        return cls.from_model(checkpoint.build_model().to(device), checkpoint.config, checkpoint.vocabulary)

    @classmethod
    def from_model(cls, model: Seq2Seq, config: Config, vocabulary: Vocabulary) -> "Chatbot":
        """A bot around a network as it stands (in eval mode), wherever it lives."""
        device = next(model.parameters()).device
        barred = never_replied(config, vocabulary)
        search = GreedySearchDecoder(model.encoder, model.decoder, barred).to(device).eval()
        tokenizer = TOKENIZERS[config.corpus.tokenizer]
        return cls(search, vocabulary, tokenizer, config.corpus.max_length, config.corpus.context, device)

    def reply(self, text: str, earlier: Sequence[str] = ()) -> str:
        """The reply to one sentence; "" where there is no word to answer to.

        A model trained with `--context N` also reads the last N of the `earlier` turns, its own and the other's.
        """
        prompt = self.vocabulary.encode(self.words(text))
        return self.reply_ids([self._before(earlier) + prompt if prompt else prompt])[0]

    def _before(self, earlier: Sequence[str]) -> list[int]:
        """The ids of the last turns as preparation puts them in front of a prompt (`corpus.pairs_of`)."""
        ids: list[int] = []
        for turn in earlier[len(earlier) - self.context :] if self.context else ():
            if words := self.words(turn)[-self.max_length :]:
                ids += self.vocabulary.encode([*words, SEP])
        return ids

    def reply_batch(self, texts: Sequence[str]) -> list[str]:
        """The replies to many sentences at once, in their order, each the same as alone."""
        return self.reply_ids([self.vocabulary.encode(self.words(text)) for text in texts])

    def reply_ids(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """Replies as text to prompts as ids; an empty prompt has the reply ""."""
        replies = [""] * len(prompts)
        rows = [row for row, prompt in enumerate(prompts) if len(prompt)]
        if rows:
            src, src_lengths = pad_prompts([prompts[row] for row in rows])
            with torch.inference_mode():
                tokens = self.search(src.to(self.device), src_lengths, self.max_length + 1).tokens
            for row, ids in zip(rows, tokens.tolist(), strict=True):
                replies[row] = self.text(ids)
        return replies

    def attend(self, prompt: Sequence[int]) -> tuple[list[str], list[str], np.ndarray]:
        """How a reply looks at its prompt.

        Args:
            prompt: ids, at least one.

        Returns:
            the S tokens of the prompt (and the `<eos>` that a model of the lineage reads behind it), the T tokens of
            the reply (`<eos>` with them), attention weights (T, S).
        """
        src, src_lengths = pad_prompts([prompt])
        with torch.inference_mode():
            found = self.search(src.to(self.device), src_lengths, self.max_length + 1)
        tokens = self.vocabulary.tokens
        said = [tokens[id] for id in found.tokens[0].tolist()]
        weights = found.attention[0].float().cpu().numpy()
        read = [tokens[id] for id in prompt] + [EOS] * (weights.shape[1] - len(prompt))
        return read, said, weights

    def words(self, text: str) -> list[str]:
        """The words that are read of a sentence: at most the last 100, of its last 10,000 characters."""
        return self.tokenizer.tokenize(text[-MAX_CHARACTERS:])[-MAX_WORDS:]

    def unknown_words(self, text: str) -> list[str]:
        """Those words of a sentence that the bot never learnt, each once, in order."""
        return self.vocabulary.unknown(self.words(text))

    def text(self, ids: Sequence[int]) -> str:
        """Ids as a person would write them."""
        return self.tokenizer.detokenize(self.vocabulary.decode(ids))
