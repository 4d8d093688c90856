"""A conversation with a bot. It remembers its turns and how it searches for replies; the bot is never changed by it."""

import dataclasses
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import numpy as np

from ..config.settings import DecodingConfig
from ..corpus.tokenizer import MAX_CHARACTERS
from ..system.errors import printable

if TYPE_CHECKING:  # a bot makes its conversations, and so imports this file
    from .bot import Chatbot


class Conversation:
    """What is said in turn to a bot, and what it answers: `bot.conversation().say("hi")`.

    A bot that was trained with `--context N` reads the last N turns. With sampling each turn has a seed of its own, so
    that the same sentence may get another answer; the same conversation with the same seed is the same again.

    Args:
        decoding: how replies are found; None is the bot's own. It may be changed between two turns.
        log: where each sentence and its reply are written as they come; None is nowhere.
    """

    def __init__(self, bot: "Chatbot", decoding: DecodingConfig | None = None, log: IO[str] | None = None) -> None:
        self.bot, self.log = bot, log
        self.decoding = self.first_decoding = decoding or bot.decoding
        self.reset()

    def reset(self) -> None:
        """Forget what was said so far."""
        self.turns: list[str] = []  # as many as the bot reads, the newest last
        self.count = 0  # sentences so far, which seeds depend on
        self.prompt: list[int] = []  # the newest sentence as the network read it, and how it was answered
        self.answered_by = self.decoding

    def say(self, text: str) -> str:
        """The answer to the next sentence; "" where it has no word (then nothing is remembered)."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """The same answer in pieces, as they are found. The turn is remembered when the last piece is taken."""
        text = text[-MAX_CHARACTERS:]  # no more is read of it
        # the seed goes on from the conversation's first one, also where a command has changed the decoding since
        seed = (self.first_decoding.seed + self.count) % (1 << 63)
        decoding = dataclasses.replace(self.decoding, seed=seed)
        prompt, reply = self.bot.prompt_ids(text, self.turns), ""
        self.count += 1
        for piece in self.bot.stream(prompt, decoding=decoding):
            reply += piece
            yield piece
        if prompt:
            self.prompt, self.answered_by = prompt, decoding
            self.turns = [*self.turns, text, reply][-max(1, self.bot.context) :]
        transcribe(self.log, text, reply)

    def nbest(self, count: int) -> list[tuple[str, float]]:
        """Up to `count` answers to the newest sentence, best first, each with log p(reply | prompt) in nats."""
        return self.bot.nbest(self.prompt, count, decoding=self.decoding) if self.prompt else []

    def attention(self) -> tuple[list[str], list[str], np.ndarray]:
        """How the newest answer looked at its sentence: words read (S), words said (T), weights (T, S)."""
        return self.bot.attend(self.prompt, self.answered_by)


def transcribe(log: IO[str] | None, text: str, reply: str) -> None:
    """Write a sentence and its reply to a log, if there is one."""
    if log:
        log.write(f"> {printable(' '.join(text.split()))}\n{reply}\n")
        log.flush()
