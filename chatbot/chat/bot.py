"""Text in, text out: a chatbot from a run directory, a checkpoint or an exported bundle."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..config.presets import DECODINGS
from ..config.settings import Config, DecodingConfig
from ..corpus.tokenizer import TOKENIZERS, Tokenizer, last_words
from ..corpus.vocabulary import EOS, EOS_ID, SEP, Vocabulary
from ..decoding.generate import Decoding
from ..decoding.likelihood import log_likelihood
from ..deployment.onnx import OnnxDecoder, OnnxEncoder, load_onnx, onnx_paths
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint, is_bundle, never_replied
from ..runs.directory import BUNDLE, RunDirectory
from ..system.devices import pick_device
from ..system.errors import ChatbotError


class Chatbot:
    """Answers sentences; remembers nothing by itself, and never fails on any text.

    Args:
        decode: finds the replies to prompts as ids.
        vocabulary, tokenizer: those the model was trained with.
        max_length: longest reply in words.
        context: how many earlier turns the model was trained to read before the prompt.
        decoding: how replies are searched for; may be changed between two replies.
    """

    def __init__(
        self,
        decode: Decoding,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        max_length: int,
        context: int = 0,
        decoding: DecodingConfig = DECODINGS["greedy"],
    ) -> None:
        self.decode = decode
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.context = context
        self.decoding = decoding

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "cpu",
        *,
        decoding: DecodingConfig | None = None,
        backward: str | Path | None = None,
    ) -> "Chatbot":
        """Open a run directory, a checkpoint (`best.pt`, `last.pt`), an export's folder, its bundle (`chatbot.pt`) or
        its ONNX file (`chatbot.onnx`, with the encoder and decoder beside it; on the CPU whatever `device` says).

        A bundle is TorchScript, and TorchScript is code: open only files that you trust.

        Args:
            decoding: how replies are found; None is the run's own.
            backward: a run directory or a checkpoint of a model that was trained from replies to prompts; the replies
                that `decoding` finds are reranked by it.

        Raises:
            ChatbotError: nothing is there, or it is damaged or of another version; or the backward model does not go
                with it, or has nothing to choose from.
        """
        path, where = Path(path), pick_device(device)
        if (path / BUNDLE).is_file():
            path = path / BUNDLE
        if path.suffix == ".onnx":
            bot = cls.from_onnx(path, decoding)
        elif path.is_dir() or not is_bundle(path):
            bot = cls.from_checkpoint(_checkpoint(path), where, decoding)
        else:
            from ..deployment.torchscript import load_bundle  # here, for the rest needs no torch.jit

            bundle = load_bundle(path)
            bundle.module.to(where).unpack()
            search, config = bundle.module.search, bundle.config
            decode = Decoding(search.encoder, search.decoder, search.never_replied.tolist(), where)
            own, context = decoding or config.decoding, config.corpus.context
            bot = cls(decode, bundle.vocabulary, bundle.tokenizer, bundle.max_length, context, own)
        if backward is not None:
            bot.rerank_with(backward)
        return bot

    @classmethod
    def from_onnx(cls, path: Path, decoding: DecodingConfig | None = None) -> "Chatbot":
        """A bot of `chatbot.onnx` or `chatbot.int8.onnx`: every search, over the encoder and decoder beside it."""
        greedy = load_onnx(path, "greedy")  # the file that was named is to be whole, too
        _, *parts = onnx_paths(path.parent, path.name.endswith(".int8.onnx"))
        encoder, decoder = load_onnx(parts[0], "encoder"), load_onnx(parts[1], "decoder")
        if (
            not greedy.checkpoint == encoder.checkpoint == decoder.checkpoint
        ):  # each is whole, of exports of different models
            raise ChatbotError(f"{path} and the encoder and decoder beside it are of different exports: export again")
        cpu, config = torch.device("cpu"), encoder.config
        decode = Decoding(OnnxEncoder(encoder), OnnxDecoder(decoder), encoder.never_replied, cpu)
        own = decoding or config.decoding
        return cls(decode, encoder.vocabulary, encoder.tokenizer, encoder.max_length, config.corpus.context, own)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, device: torch.device, decoding: DecodingConfig | None = None
    ) -> "Chatbot":
        """A bot of a checkpoint's weights."""
        return cls.from_model(checkpoint.build_model().to(device), checkpoint.config, checkpoint.vocabulary, decoding)

    @classmethod
    def from_model(
        cls, model: Seq2Seq, config: Config, vocabulary: Vocabulary, decoding: DecodingConfig | None = None
    ) -> "Chatbot":
        """A bot around a network as it stands (in eval mode), wherever it lives."""
        device = next(model.parameters()).device
        decode = Decoding(model.encoder, model.decoder, never_replied(config, vocabulary), device)
        tokenizer = TOKENIZERS[config.corpus.tokenizer]
        own = decoding or config.decoding
        return cls(decode, vocabulary, tokenizer, config.corpus.max_length, config.corpus.context, own)

    def rerank_with(self, path: str | Path) -> None:
        """As `rerank_by`, with a run directory's or a checkpoint's file's model.

        Raises:
            ChatbotError: as `rerank_by`, or it is missing or damaged, or the decoding finds one reply only.
        """
        if self.decoding.candidates == 1:
            raise ChatbotError(
                f"{path} has one reply to rerank: search for more (--method beam, or --method sample --samples 20)"
            )
        self.rerank_by(_checkpoint(Path(path)), str(path))

    def rerank_by(self, checkpoint: Checkpoint, name: str) -> None:
        """Have a model of the opposite direction, replies to prompts, choose among the replies that are found.

        Raises:
            ChatbotError: its words are others than this bot's, or its direction is this bot's own.
        """
        if checkpoint.vocabulary.tokens != self.vocabulary.tokens:
            raise ChatbotError(f"{name} cannot rerank: it has another vocabulary; train it on the same preparation")
        if checkpoint.config.model.direction != "backward":
            raise ChatbotError(f"{name} cannot rerank: train it with --direction backward")
        model = checkpoint.build_model().to(self.decode.device)
        self.decode.backward = lambda prompts, replies: log_likelihood(model, replies, prompts)

    def reply(self, text: str, earlier: Sequence[str] = ()) -> str:
        """The reply to one sentence; "" where there is no word to answer to.

        A model trained with `--context N` also reads the last N of the `earlier` turns, its own and the other's.
        """
        return self.reply_ids([self.prompt_ids(text, earlier)])[0]

    def prompt_ids(self, text: str, earlier: Sequence[str] = ()) -> list[int]:
        """What the network reads of a sentence, and of the turns before it; nothing where there is no word."""
        prompt = self.vocabulary.encode(self.words(text))
        return self._before(earlier) + prompt if prompt else prompt

    def _before(self, earlier: Sequence[str]) -> list[int]:
        """The ids of the last turns as preparation puts them in front of a prompt (`corpus.pairs_of`)."""
        ids: list[int] = []
        for turn in earlier[len(earlier) - self.context :] if self.context else ():
            if words := self.words(turn)[-self.max_length :]:
                ids += self.vocabulary.encode([*words, SEP])
        return ids

    def reply_batch(self, texts: Sequence[str], batch_size: int = 0) -> list[str]:
        """The replies to many sentences at once, in their order, each the same as alone.

        batch_size: how many are worked on side by side, the candidates of each counted; 0 is the program's choice.
        """
        return self.reply_ids([self.prompt_ids(text) for text in texts], batch_size)

    def reply_ids(self, prompts: Sequence[Sequence[int]], batch_size: int = 0) -> list[str]:
        """Replies as text to prompts as ids; an empty prompt has the reply ""."""
        found = self.decode(prompts, self.decoding, self.max_length + 1, batch_size)
        return [self.text(hypotheses[0].ids) for hypotheses in found]

    def replier(self, decoding: DecodingConfig) -> Callable[[list[list[int]]], list[list[int]]]:
        """The best replies by another decoding than the bot's own: prompts' ids -> replies' ids, without EOS."""
        return lambda prompts: [found[0].ids for found in self.decode(prompts, decoding, self.max_length + 1)]

    def nbest(self, text: str, count: int, earlier: Sequence[str] = ()) -> list[tuple[str, float]]:
        """Up to `count` different replies to a sentence, as `nbest_ids` finds them."""
        return self.nbest_ids(self.prompt_ids(text, earlier), count)

    def nbest_ids(self, prompt: Sequence[int], count: int) -> list[tuple[str, float]]:
        """Up to `count` different replies, best first, each with log p(reply | prompt) in nats.

        They are those of the bot's own decoding where that is a beam or samples, as many as it takes (so a beam may
        get wider); where it is greedy, those of a beam.
        """
        decoding = self.decoding
        if decoding.method == "sample":
            decoding = dataclasses.replace(decoding, samples=max(count, decoding.samples))
        else:
            least = 1 if decoding.method == "greedy" else decoding.beam_width
            decoding = dataclasses.replace(decoding, method="beam", beam_width=max(count, least))
        found: dict[str, float] = {}
        for hypothesis in self.decode([prompt], decoding, self.max_length + 1)[0]:
            found.setdefault(self.text(hypothesis.ids), hypothesis.log_prob)
        return list(found.items())[:count]

    def attend(
        self, prompt: Sequence[int], decoding: DecodingConfig | None = None
    ) -> tuple[list[str], list[str], np.ndarray]:
        """How a reply looks at its prompt.

        Args:
            prompt: ids, at least one.
            decoding: how the reply is found, which with the same seed is the same one again; None is the bot's own.

        Returns:
            the S tokens of the prompt (and the `<eos>` that a model of the lineage reads behind it), the T tokens of
            the reply (`<eos>` with them), attention weights (T, S).
        """
        best = self.decode([prompt], decoding or self.decoding, self.max_length + 1)[0][0]
        tokens = self.vocabulary.tokens
        said = [tokens[id] for id in [*best.ids, EOS_ID][: len(best.attention)]]
        read = [tokens[id] for id in prompt] + [EOS] * (best.attention.shape[1] - len(prompt))
        return read, said, best.attention

    def words(self, text: str) -> list[str]:
        """The words that are read of a sentence: at most the last 100, of its last 10,000 characters."""
        return last_words(self.tokenizer, text)

    def unknown_words(self, text: str) -> list[str]:
        """Those words of a sentence that the bot never learnt, each once, in order."""
        return self.vocabulary.unknown(self.words(text))

    def text(self, ids: Sequence[int]) -> str:
        """Ids as a person would write them."""
        return self.tokenizer.detokenize(self.vocabulary.decode(ids))


def _checkpoint(path: Path) -> Checkpoint:
    return RunDirectory(path).load_chosen() if path.is_dir() else Checkpoint.load(path)
