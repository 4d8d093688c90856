"""From a request's text to a reply's, whichever door it came by: `Answers` knows the bot, the doors know HTTP."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Sequence
from typing import IO, Any, NamedTuple

from ..chat.bot import Chatbot
from ..chat.conversation import transcribe
from ..config.presets import DECODINGS, changed_decoding
from ..config.settings import DecodingConfig
from ..decoding.generate import Hypothesis
from ..system.errors import ChatbotError
from .batches import Batches, Job, Question
from .limits import Limits
from .metrics import Metrics
from .refusal import RefusalError


class Prompt(NamedTuple):
    """What is to be answered: its text, the words that are read of it, the ids of these and of the turns before (none
    where it has no word), and its place in the queue.
    """

    text: str
    words: Sequence[str]
    ids: Sequence[int]
    max_length: int
    job: Job | None


@dataclasses.dataclass(frozen=True)
class Reply:
    """A whole reply.

    cut: whether it was ended by its length, and not by itself. best: as the search found it; None without a prompt.
    """

    text: str
    cut: bool
    best: Hypothesis | None

    @property
    def words(self) -> int:
        """How many words it has, marks counted."""
        return len(self.best.ids) if self.best else 0


class Answers:
    """Takes questions for a bot, and has replies.

    Args:
        name: what the bot is called. log: where prompts and replies are written; None is nowhere.
    """

    def __init__(
        self, bot: Chatbot, name: str, batches: Batches, limits: Limits, metrics: Metrics, log: IO[str] | None
    ):
        self.bot, self.name, self.batches, self.limits, self.metrics, self.log = (
            bot,
            name,
            batches,
            limits,
            metrics,
            log,
        )

    def decoding(self, values: dict[str, Any], *, base: DecodingConfig | None = None) -> DecodingConfig:
        """The bot's own decoding with these settings; for another method, that one's plain form.

        Raises:
            RefusalError: there is no such setting, it is out of bounds, or it asks for too many candidates.
        """
        own = base or self.bot.decoding
        method = values.get("method", own.method)
        try:
            known = own if method == own.method or method not in list(DECODINGS) else DECODINGS[method]
            made = changed_decoding(known, values)
            self.bot.decode.fallback_ids(made.fallback)
        except ChatbotError as error:
            raise RefusalError(400, str(error), param="decoding", code="invalid_value") from None
        most = max(self.limits.candidates, self.bot.decoding.candidates)
        if made.candidates > most:
            raise RefusalError(400, f"decoding follows at most {most} replies side by side", param="decoding")
        return made

    async def ask(
        self,
        text: str,
        history: Sequence[str],
        decoding: DecodingConfig | None = None,
        *,
        most_words: int | None = None,
        streams: bool = False,
        count: int = 1,
    ) -> Prompt:
        """Put what is to be answered into the queue.

        Args:
            most_words: longest reply; None is the bot's own.
            count: how many replies are wanted.

        Raises:
            RefusalError: the queue is full.
        """
        self.batches.check_room()
        # in a thread: a text of unknown words, each of which is mended, takes longer than others should wait
        words, ids = await asyncio.to_thread(self._read, text, history)
        longest = self.bot.max_length + 1
        longest = longest if most_words is None else min(longest, most_words)
        question = Question(ids, decoding or self.bot.decoding, longest, count)
        return Prompt(text, words, ids, longest, self.batches.ask(question, streams=streams) if ids else None)

    def _read(self, text: str, history: Sequence[str]) -> tuple[list[str], list[int]]:
        words = self.bot.words(text)
        return words, self.bot.ids_of(words, history)

    async def replies(self, prompt: Prompt) -> list[Reply]:
        """The replies, best first; one that is empty where the prompt has no word."""
        found = [] if prompt.job is None else await self.batches.answer(prompt.job)
        return self._told(prompt, found)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | list[Reply], None]:
        """The best reply in pieces, as they are found; then the replies, best first."""
        ids, said = list[int](), 0
        if prompt.job is None:
            yield self._told(prompt, [])
            return
        async for event in self.batches.events(prompt.job):
            if isinstance(event, list):
                yield self._told(prompt, event)
                return
            ids.append(event)
            text = self.bot.text(ids)  # a tokenizer only ever adds to the end of what stands already
            if len(text) > said:
                yield text[said:]
            said = len(text)

    def leave(self, prompt: Prompt) -> None:
        """Nobody waits for this reply any more."""
        if prompt.job is not None:
            self.batches.leave(prompt.job)

    def attention(self, prompt: Prompt, reply: Reply) -> dict[str, Any] | None:
        """How a reply looked at what the bot read: `read` (S words), `said` (T words), `weights` (T x S)."""
        if reply.best is None:
            return None
        read, said, weights = self.bot.looked(prompt.ids, reply.best)
        # words that the bot never learnt are shown as they were typed; turns before stand in front of them
        end = len(prompt.ids)
        if self.bot.vocabulary.unk_id is not None:
            read[end - len(prompt.words) : end] = prompt.words
        return {"read": read, "said": said, "weights": [[round(float(w), 4) for w in row] for row in weights]}

    def about(self, prompt: Prompt, reply: Reply, *, attention: bool) -> dict[str, Any]:
        """All that POST /reply tells of a reply."""
        told: dict[str, Any] = {"reply": reply.text, "unknown": self.bot.vocabulary.unknown(prompt.words)}
        return {**told, "attention": self.attention(prompt, reply)} if attention else told

    def _told(self, prompt: Prompt, found: Sequence[Hypothesis]) -> list[Reply]:
        replies = [Reply(self.bot.text(one.ids), len(one.attention) == len(one.ids), one) for one in found]
        replies = replies or [Reply("", False, None)]
        self.metrics.words.inc(replies[0].words)
        transcribe(self.log, prompt.text, replies[0].text)
        return replies
