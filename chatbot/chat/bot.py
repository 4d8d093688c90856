"""Text in, text out. Nothing that is said to a `Chatbot` changes it, so any number of people may share one."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ..config.presets import DECODINGS
from ..config.settings import Config, DecodingConfig
from ..corpus.mending import Spellings
from ..corpus.tokenizer import TOKENIZERS, Tokenizer, last_words
from ..corpus.vocabulary import EOS, EOS_ID, SEP, Vocabulary
from ..decoding.fallback import fallback_ids
from ..decoding.generate import Decoding, Hypothesis, log_likelihood
from ..network.model import Seq2Seq
from ..runs.checkpoint import Checkpoint, never_replied
from ..runs.directory import RunDirectory, bundle_of
from ..system.devices import pick_device
from ..system.errors import ChatbotError
from .conversation import Conversation

Prompt = str | Sequence[int]  # a sentence, or what `prompt_ids` made of it
Parts = tuple[torch.nn.Module, torch.nn.Module, list[int], torch.device]  # encoder, decoder, never_replied, and where


@dataclass(frozen=True, eq=False)
class Chatbot:
    """Answers sentences; never fails on any text, and remembers nothing (a `Conversation` does).

    decode: finds the replies to prompts as ids. vocabulary, tokenizer: those that the network was trained with.
    max_length: longest reply in words. context: how many earlier turns the network was trained to read before the
    prompt. decoding: how replies are searched for, unless a call says otherwise. spellings: by which unknown words are
    mended; None leaves them unknown.
    """

    decode: Decoding
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    max_length: int
    context: int = 0
    decoding: DecodingConfig = DECODINGS["greedy"]
    spellings: Spellings | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "cpu",
        *,
        decoding: DecodingConfig | None = None,
        backward: str | Path | None = None,
        mend_words: bool | None = None,
    ) -> "Chatbot":
        """Open a run directory, a checkpoint (`best.pt`, `last.pt`), an export's folder, its `chatbot.pt`, or its ONNX
        file (`chatbot.onnx`, with the encoder and decoder beside it; on the CPU whatever `device` says).

        A `chatbot.pt` is TorchScript, and TorchScript is code: open only files that you trust. None is opened unless it
        or an export's folder is named: a run directory is data, and what else is in it stays closed.

        Args:
            decoding: how replies are found; None is the run's own.
            backward: a run directory or a checkpoint of a network that was trained from replies to prompts; it reranks
                the replies that `decoding` finds.
            mend_words: whether unknown words are read as known ones that they are slips of; None is the run's own.

        Raises:
            ChatbotError: nothing is there, or it is damaged or of another version; or the backward network does not go
                with it, or has nothing to choose from; or the bot does not know a word of a fallback reply.
        """
        bot = _opened(Path(path), pick_device(device), decoding)
        if mend_words is not None:
            bot = dataclasses.replace(
                bot, spellings=Spellings.of(bot.vocabulary, bot.tokenizer) if mend_words else None
            )
        return bot if backward is None else bot.reranked_with(backward)

    @classmethod
    def from_model(
        cls, model: Seq2Seq, config: Config, vocabulary: Vocabulary, decoding: DecodingConfig | None = None
    ) -> "Chatbot":
        """A bot around a network as it stands (in eval mode), on the network's device."""
        device = next(model.parameters()).device
        parts = model.encoder, model.decoder, never_replied(config, vocabulary), device
        return cls._of(parts, config, vocabulary, decoding)

    @classmethod
    def _of(cls, parts: Parts, config: Config, vocabulary: Vocabulary, decoding: DecodingConfig | None) -> "Chatbot":
        corpus = config.corpus
        tokenizer, decoding = TOKENIZERS[corpus.tokenizer], decoding or config.decoding
        ids_of = fallback_ids(vocabulary, tokenizer, corpus.max_length)
        ids_of(decoding.fallback)  # one that cannot be said is refused now, not at some reply
        decode = Decoding(*parts, vocabulary.marks, ids_of, vocabulary.sep_id)
        spellings = Spellings.of(vocabulary, tokenizer) if corpus.mend_words else None
        return cls(decode, vocabulary, tokenizer, corpus.max_length, corpus.context, decoding, spellings)

    def reranked_with(self, path: str | Path) -> "Chatbot":
        """A bot over the same network, whose replies the network of a run directory or a checkpoint reranks.

        Raises:
            ChatbotError: this bot's decoding finds one reply only, or as `reranked_by`.
        """
        if self.decoding.candidates == 1:
            raise ChatbotError(
                f"{path} has one reply to rerank: search for more (--method beam, or --method sample --samples 20)"
            )
        return self.reranked_by(open_checkpoint(Path(path)), str(path))

    def reranked_by(self, checkpoint: Checkpoint, name: str) -> "Chatbot":
        """A bot over the same network, whose replies a network of the opposite direction, replies to prompts, reranks.

        Args:
            name: what the message calls the checkpoint.

        Raises:
            ChatbotError: the checkpoint has other words than this bot, or this bot's own direction.
        """
        if checkpoint.vocabulary.tokens != self.vocabulary.tokens:
            raise ChatbotError(f"{name} cannot rerank: it has another vocabulary; train it on the same preparation")
        if checkpoint.config.model.direction != "backward":
            raise ChatbotError(f"{name} cannot rerank: train it with --direction backward")
        model = checkpoint.build_model().to(self.decode.device)
        decode = self.decode.reranked_by(lambda prompts, replies: log_likelihood(model, replies, prompts))
        return dataclasses.replace(self, decode=decode)

    def conversation(self, decoding: DecodingConfig | None = None, log: IO[str] | None = None) -> Conversation:
        """A new conversation: it remembers its turns, and this bot does not. `log` receives what is said."""
        return Conversation(self, decoding, log)

    def reply(self, text: str, earlier: Sequence[str] = (), decoding: DecodingConfig | None = None) -> str:
        """The reply to one sentence; "" where the sentence has no word.

        Args:
            earlier: the turns before it, the bot's own among them. A network that was trained with `--context N` reads
                the last N of them.
            decoding: how this reply is found; None is the bot's own.
        """
        return self.reply_batch([self.prompt_ids(text, earlier)], decoding=decoding)[0]

    def stream(
        self, prompt: Prompt, earlier: Sequence[str] = (), decoding: DecodingConfig | None = None
    ) -> Iterator[str]:
        """The same reply in pieces, word by word as they are found; joined, they are what `reply` returns."""
        ids, said = list[int](), 0
        for id in self.decode.stream(self.prompt_ids(prompt, earlier), decoding or self.decoding, self.max_length + 1):
            ids.append(id)
            text = self.text(ids)  # a tokenizer only ever adds to the end of what stands already
            if len(text) > said:
                yield text[said:]
            said = len(text)

    def reply_batch(
        self, prompts: Sequence[Prompt], batch_size: int = 0, decoding: DecodingConfig | None = None
    ) -> list[str]:
        """The replies to many prompts, in their order; each is the same as it would be alone.

        Args:
            batch_size: about how many rows are worked on side by side; 0 is the program's choice.
        """
        return [self.text(ids) for ids in self.generate(prompts, batch_size, decoding)]

    def generate(
        self, prompts: Sequence[Prompt], batch_size: int = 0, decoding: DecodingConfig | None = None
    ) -> list[list[int]]:
        """The same replies as ids, without EOS."""
        ids = [self.prompt_ids(prompt) for prompt in prompts]
        found = self.decode(ids, decoding or self.decoding, self.max_length + 1, batch_size, count=1)
        return [hypotheses[0].ids for hypotheses in found]

    def nbest(
        self, prompt: Prompt, count: int, earlier: Sequence[str] = (), decoding: DecodingConfig | None = None
    ) -> list[tuple[str, float]]:
        """Up to `count` different replies to a prompt, best first, each with log p(reply | prompt) in nats.

        A beam or samples find as many as that takes (so a beam may get wider); in place of greedy search a beam does.
        """
        decoding = decoding or self.decoding
        if decoding.method == "sample":
            decoding = dataclasses.replace(decoding, samples=max(count, decoding.samples))
        else:
            least = 1 if decoding.method == "greedy" else decoding.beam_width
            decoding = dataclasses.replace(decoding, method="beam", beam_width=max(count, least))
        found: dict[str, float] = {}
        ids, wanted = self.prompt_ids(prompt, earlier), 1 if count == 1 else 0  # of several texts some may be equal
        for hypothesis in self.decode([ids], decoding, self.max_length + 1, count=wanted)[0]:
            found.setdefault(self.text(hypothesis.ids), hypothesis.log_prob)
        return list(found.items())[:count]

    def attend(self, prompt: Prompt, decoding: DecodingConfig | None = None) -> tuple[list[str], list[str], np.ndarray]:
        """How the reply to a prompt with a word in it looks at that prompt.

        Args:
            decoding: how the reply is found, which with the same seed is the same one again; None is the bot's own.

        Returns:
            the S tokens of the prompt (and the `<eos>` that an imported network of the tutorial reads behind it), the
            T tokens of the reply (`<eos>` with them), attention weights (T, S).
        """
        ids = self.prompt_ids(prompt)
        return self.looked(ids, self.decode([ids], decoding or self.decoding, self.max_length + 1, count=1)[0][0])

    def looked(self, ids: Sequence[int], best: Hypothesis) -> tuple[list[str], list[str], np.ndarray]:
        """How a reply that was found looks at its prompt: what `attend` returns."""
        tokens = self.vocabulary.tokens
        said = [tokens[id] for id in [*best.ids, EOS_ID][: len(best.attention)]]
        read = [tokens[id] for id in ids] + [EOS] * (best.attention.shape[1] - len(ids))
        return read, said, best.attention

    def prompt_ids(self, prompt: Prompt, earlier: Sequence[str] = ()) -> list[int]:
        """What the network reads of a sentence and of the turns before it; nothing where the sentence has no word.

        A prompt that is ids already stays as it is.
        """
        if not isinstance(prompt, str):
            return list(prompt)
        return self.ids_of(self.words(prompt), earlier)

    def ids_of(self, words: Sequence[str], earlier: Sequence[str] = ()) -> list[int]:
        """The same of a sentence's `words`."""
        ids, before = self.vocabulary.encode(words), list[int]()
        for turn in earlier[len(earlier) - self.context :] if self.context and ids else ():
            # preparation puts turns before a prompt in just this form: their last words, and <sep> behind each
            if said := self.words(turn)[-self.max_length :]:
                before += self.vocabulary.encode([*said, SEP])
        return self.vocabulary.voiced(before + ids)

    def words(self, text: str) -> list[str]:
        """The words that are read of a sentence, mended: at most the last 100, of its last 10,000 characters."""
        words = last_words(self.tokenizer, text)
        return self.spellings.read(words) if self.spellings else words

    def unknown_words(self, text: str) -> list[str]:
        """Those words of a sentence that the bot never learnt, nor what they may be slips of, each once, in order."""
        return self.vocabulary.unknown(self.words(text))

    def text(self, ids: Sequence[int]) -> str:
        """Ids as a person would write them."""
        return self.tokenizer.detokenize(self.vocabulary.decode(ids), self.vocabulary.written)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a run directory's settings choose, or the one in a file."""
    return RunDirectory(path).load_chosen() if path.is_dir() else Checkpoint.load(path)


def _opened(path: Path, device: torch.device, decoding: DecodingConfig | None) -> Chatbot:
    if path.suffix == ".onnx":
        return _opened_onnx(path, decoding)
    if bundle := bundle_of(path):
        return _opened_bundle(bundle, device, decoding)
    checkpoint = open_checkpoint(path)
    return Chatbot.from_model(checkpoint.build_model().to(device), checkpoint.config, checkpoint.vocabulary, decoding)


def _opened_bundle(path: Path, device: torch.device, decoding: DecodingConfig | None) -> Chatbot:
    """Every search of this program over the traced parts of a bundle."""
    from ..deployment.torchscript import load_bundle  # here, and below: few need what opens such files

    bundle = load_bundle(path)
    bundle.module.to(device).unpack()
    search = bundle.module.search
    parts = search.encoder, search.decoder, search.never_replied.tolist(), device
    return Chatbot._of(parts, bundle.config, bundle.vocabulary, decoding)


def _opened_onnx(path: Path, decoding: DecodingConfig | None) -> Chatbot:
    """Every search of this program over the encoder and decoder that lie beside `chatbot.onnx`."""
    from ..deployment.onnx import load_onnx, onnx_paths

    greedy = load_onnx(path, "greedy")  # the file that was named is to be whole, too
    _, *parts = onnx_paths(path.parent, path.name.endswith(".int8.onnx"))
    encoder, decoder = load_onnx(parts[0], "encoder"), load_onnx(parts[1], "decoder")
    if not greedy.checkpoint == encoder.checkpoint == decoder.checkpoint:  # each is whole, but of another model
        raise ChatbotError(f"{path} and the encoder and decoder beside it are of different exports: export again")
    network = encoder, decoder, encoder.never_replied, torch.device("cpu")
    return Chatbot._of(network, encoder.config, encoder.vocabulary, decoding)
