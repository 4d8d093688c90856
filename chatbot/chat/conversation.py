"""A conversation with a bot: its turns, how replies are searched for, and the commands that change that."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..config.presets import DECODINGS
from ..config.settings import DecodingConfig
from ..corpus.tokenizer import MAX_CHARACTERS
from ..system.errors import ChatbotError, printable
from .bot import Chatbot
from .pictures import attention_picture, save_picture

SHOWN_WIDTH = 9  # characters of a word in a printed alignment


class Conversation:
    """What is said in turn to a bot, and what it answers.

    A bot that was trained with `--context N` reads the last N turns. With sampling each turn has a seed of its own, so
    that the same sentence may get another answer; the same conversation with the same seed is the same again.

    Args:
        bot: its `decoding` is changed by commands.
        log: where each sentence and its reply are written as they come; None is nowhere.
    """

    def __init__(self, bot: Chatbot, log: IO[str] | None = None) -> None:
        self.bot, self.log = bot, log
        self.turns: list[str] = []
        self.prompt: list[int] = []  # the newest one, as the network read it
        self.answered_by = self.own = bot.decoding  # how it was answered, and how the conversation began
        self.count = 0

    def reply(self, text: str) -> str:
        """The answer to the next sentence; "" where there is no word to answer to (then nothing is remembered)."""
        text = text[-MAX_CHARACTERS:]  # no more is read of it
        self.count += 1
        seed = (self.own.seed + self.count - 1) % (1 << 63)
        self.bot.decoding = dataclasses.replace(self.bot.decoding, seed=seed)
        prompt = self.bot.prompt_ids(text, self.turns)
        reply = self.bot.reply_ids([prompt])[0]
        if prompt:
            self.prompt, self.answered_by = prompt, self.bot.decoding
            self.turns = [*self.turns, text, reply][-max(1, self.bot.context) :]
        transcribe(self.log, text, reply)
        return reply

    def command(self, line: str) -> str:
        """Do what a line that begins with `/` asks for; returns what to show.

        Raises:
            ChatbotError: there is no such command, or its argument is none.
        """
        name, *arguments = line[1:].split() or [""]
        method = COMMANDS.get(name)
        if method is None:
            raise ChatbotError(f"there is no command /{name[:20]}; /help lists them")
        try:
            inspect.signature(method).bind(self, *arguments)
            return method(self, *arguments)
        except (TypeError, ValueError) as error:
            raise ChatbotError(f"/{name} is used so: {_usage(method)}") from error

    def help(self) -> str:
        """/help: this list"""
        return "\n".join(_usage(method) for method in COMMANDS.values())

    def reset(self) -> str:
        """/reset: forget what was said so far"""
        self.turns, self.prompt, self.count = [], [], 0
        return "forgotten"

    def greedy(self) -> str:
        """/greedy: always the likeliest next word"""
        return self._search_by("greedy")

    def beam(self, width: str = "5") -> str:
        """/beam 5: the best of so many replies that are built side by side"""
        return self._search_by("beam", beam_width=int(width))

    def sample(self, temperature: str = "1.0") -> str:
        """/sample 0.8: words drawn by their likelihood; below 1 the likely ones come oftener"""
        return self._search_by("sample", temperature=float(temperature))

    def nbest(self, count: str = "5") -> str:
        """/nbest 5: so many answers to your last sentence, each with its log-probability in nats"""
        if not self.prompt:
            return "(say something first)"
        if int(count) < 1:
            raise ValueError
        found = self.bot.nbest_ids(self.prompt, int(count))
        return "\n".join(f"{log_prob:8.2f}  {reply}" for reply, log_prob in found)

    def attention(self, file: str = "") -> str:
        """/attention FILE.png: how the last reply looked at your sentence, as a picture, or printed without FILE"""
        if not self.prompt:
            return "(say something first)"
        words, said, weights = self.bot.attend(self.prompt, self.answered_by)
        if not file:
            return alignment(words, said, weights)
        save_picture(Path(file), attention_picture(weights, words, said))
        return f"wrote {printable(file)}"

    def default(self) -> str:
        """/default: as when the conversation began"""
        self.bot.decoding = self.own
        return describe(self.own)

    def _search_by(self, method: str, **changes: object) -> str:
        self.bot.decoding = dataclasses.replace(DECODINGS[method], **changes)  # type: ignore[arg-type]
        return describe(self.bot.decoding)


COMMANDS: dict[str, Callable[..., str]] = {
    method.__name__: method
    for method in (
        Conversation.help,
        Conversation.reset,
        Conversation.default,
        Conversation.greedy,
        Conversation.beam,
        Conversation.sample,
        Conversation.nbest,
        Conversation.attention,
    )
}


def describe(decoding: DecodingConfig) -> str:
    """A decoding in a few words: what differs from the defaults and belongs to its method."""
    defaults, said = DecodingConfig(), [decoding.method]
    for field in dataclasses.fields(DecodingConfig):
        value = getattr(decoding, field.name)
        if field.name in ("method", "seed") or field.metadata["method"] not in (None, decoding.method):
            continue
        if value != getattr(defaults, field.name) or (decoding.method, field.name) in SHOWN:
            said.append(f"{field.name.replace('_', ' ')} {value:g}")
    return ", ".join(said)


SHOWN = {("beam", "beam_width"), ("sample", "temperature")}  # whatever their values are


def alignment(words: Sequence[str], said: Sequence[str], weights: np.ndarray) -> str:
    """Attention weights (T, S) as a table in per cent: a column for each word of the prompt, a row for each said."""
    head = " " * SHOWN_WIDTH + "".join(f"{word[: SHOWN_WIDTH - 1]:>{SHOWN_WIDTH}}" for word in words)
    rows = [
        f"{word[: SHOWN_WIDTH - 1]:<{SHOWN_WIDTH}}" + "".join(f"{100 * weight:{SHOWN_WIDTH}.0f}" for weight in row)
        for word, row in zip(said, weights, strict=True)
    ]
    return "\n".join([head, *rows])


def transcribe(log: IO[str] | None, text: str, reply: str) -> None:
    """Write a sentence and its reply to a log, if there is one."""
    if log:
        log.write(f"> {printable(' '.join(text.split()))}\n{reply}\n")
        log.flush()


def _usage(method: Callable[..., str]) -> str:
    how, _, what = (method.__doc__ or "").partition(": ")
    return f"{how:<20} {what}"
