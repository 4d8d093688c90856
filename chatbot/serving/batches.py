"""Dynamic batching: one thread answers, and whatever waits when it is free is answered together.

A prompt that finds the thread idle is begun at once, alone. While it is worked on others gather, and those that want
the same kind of search make the next batch. Replies last a few words, so a batch is soon over, and to join one under
way would gain little: its rows would stand at other steps than the rest.

Those who were just answered may ask again at once, and are waited for a moment. Else a batch of nearly all who talk
would always be followed by one of the few who asked meanwhile, and a small batch takes longer for each reply.
"""

import asyncio
import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..chat.bot import Chatbot
from ..config.settings import DecodingConfig
from ..corpus.vocabulary import EOS_ID
from ..decoding.generate import Hypothesis
from ..decoding.together import streams_in_batches, words_together
from .metrics import Metrics
from .refusal import RefusalError, broken, busy

PAUSE = 0.005  # seconds without a new prompt after which no more are expected
SHARE = 0.1  # of the time that a batch took: the longest wait for who was answered in it

log = logging.getLogger(__name__)


class Question(NamedTuple):
    """What is to be answered: a prompt's ids (at least one), how, and by how many tokens at most, EOS counted.

    wanted: how many replies of a beam are wanted; there may be more.
    """

    ids: Sequence[int]
    decoding: DecodingConfig
    max_length: int
    wanted: int = 1


@dataclass(eq=False)
class Job:
    """A question in the queue or at work. What is found goes into `events`, on the event loop's thread."""

    question: Question
    kind: tuple[DecodingConfig, int]  # what questions must have in common to be answered together
    streams: bool  # whether the asker wants each word as it is found
    events: "asyncio.Queue[int | list[Hypothesis] | RefusalError]" = field(default_factory=asyncio.Queue)
    left: bool = False  # whether the asker has gone


class Batches:
    """Answers questions for one event loop, in one thread of its own.

    Args:
        waiting: how many questions may wait. batch: how many are answered side by side at most; 1 is no batching.
    """

    def __init__(self, bot: Chatbot, metrics: Metrics, *, waiting: int, batch: int) -> None:
        self.bot, self.metrics, self.bound, self.batch = bot, metrics, waiting, batch
        self._waiting: dict[Job, None] = {}  # the oldest first
        self._changed = threading.Condition()
        self._closed = False
        self._most = batch  # how many were answered side by side at most in the last batch
        self._expected = 0  # how many may wait soon: who waits, and who was just answered
        self._gathered_by = 0.0  # until when the latter are waited for
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        metrics.waiting.set_function(lambda: len(self._waiting))

    def open(self) -> None:
        """Begin to answer, for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """End the thread after the batch under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether a question that came now would be taken."""
        return self.is_alive and not self._closed and len(self._waiting) < self.bound

    def check_room(self) -> None:
        """Refuse what would find no place.

        Raises:
            RefusalError: the queue is full.
        """
        if len(self._waiting) >= self.bound:
            raise busy("too many requests are waiting: try again in a second")

    def ask(self, question: Question, *, streams: bool = False) -> Job:
        """Put a question into the queue.

        Raises:
            RefusalError: the queue is full.
        """
        job = Job(question, self._kind(question), streams)
        with self._changed:
            self.check_room()
            self._waiting[job] = None
            self._changed.notify()
        return job

    async def answer(self, job: Job) -> list[Hypothesis]:
        """The replies that were found, best first.

        Raises:
            RefusalError: the search failed.
        """
        async for event in self.events(job):
            if isinstance(event, list):
                return event
        raise broken()

    async def events(self, job: Job) -> AsyncIterator[int | list[Hypothesis]]:
        """The ids of the best reply as they are found, if the job streams; then the replies, best first.

        An asker who leaves, which ends the iteration, frees his place in the queue.
        """
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, RefusalError):
                    raise event
                yield event
                if isinstance(event, list):
                    return
        finally:
            self.leave(job)

    def leave(self, job: Job) -> None:
        """Nobody waits for this one any more."""
        job.left = True
        with self._changed:
            self._waiting.pop(job, None)

    def _work(self) -> None:
        while jobs := self._next():
            began = time.monotonic()
            self.metrics.batch.observe(len(jobs))
            try:
                if streams_in_batches(self.bot.decode, jobs[0].question.decoding):
                    self._word_by_word(jobs)
                else:
                    self._whole(jobs)
            except Exception:
                log.exception("a batch of %d failed", len(jobs))  # the traceback holds no text of a prompt
                self._tell([(job, broken()) for job in jobs])
            ended = time.monotonic()
            self._gathered_by = ended + SHARE * (ended - began)

    def _next(self) -> list[Job]:
        """The oldest question and those that can be answered with it; none when all is over."""
        with self._changed:
            self._gather()
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            kind = next(iter(self._waiting)).kind
            self._most = min(self.batch, self.bot.decode.side_by_side(kind[0]))
            jobs = list(itertools.islice((job for job in self._waiting if job.kind == kind), self._most))
            for job in jobs:
                del self._waiting[job]
            return jobs

    def _gather(self) -> None:
        """Let those who were answered last ask again: until all have, or none did for a moment, or their time is up."""
        found = len(self._waiting)
        while found < min(self._expected, self._most) and not self._closed:
            left = self._gathered_by - time.monotonic()
            if left <= 0 or not self._changed.wait(min(left, PAUSE) if found else left):
                return
            found = len(self._waiting)

    def _kind(self, question: Question) -> tuple[DecodingConfig, int]:
        decoding = question.decoding
        if streams_in_batches(self.bot.decode, decoding):  # there each has a seed of its own
            decoding = dataclasses.replace(decoding, seed=0)
        if decoding.method == "beam" and question.wanted > 1:  # for which there is no threshold, and no fallback
            decoding = dataclasses.replace(decoding, beam_threshold=0.0, min_confidence=0.0)
        return decoding, question.max_length

    def _whole(self, jobs: list[Job]) -> None:
        first = jobs[0].question
        count = max(job.question.wanted for job in jobs)  # the first are the same, however many more are found
        found = self.bot.decode([job.question.ids for job in jobs], first.decoding, first.max_length, count=count)
        told: list[tuple[Job, int | list[Hypothesis] | RefusalError]] = []
        for job, hypotheses in zip(jobs, found, strict=True):
            if job.streams:
                told += [(job, id) for id in hypotheses[0].ids]
            told.append((job, hypotheses))
        self._tell(told)

    def _word_by_word(self, jobs: list[Job]) -> None:
        first = jobs[0].question
        ids: list[list[int]] = [[] for _ in jobs]
        attention: list[list[np.ndarray]] = [[] for _ in jobs]
        prompts, seeds = zip(*((job.question.ids, job.question.decoding.seed) for job in jobs), strict=True)
        for step in words_together(self.bot.decode, prompts, first.decoding, first.max_length, seeds):
            told: list[tuple[Job, int | list[Hypothesis] | RefusalError]] = []
            for row, id, looked in step:
                attention[row].append(looked)
                if id != EOS_ID:
                    ids[row].append(id)
                    if jobs[row].streams:
                        told.append((jobs[row], id))
                if id == EOS_ID or len(attention[row]) == first.max_length:
                    told.append((jobs[row], [Hypothesis(ids[row], 0.0, 0.0, np.stack(attention[row]))]))
            self._tell(told)
            if all(job.left for job in jobs):
                return

    def _tell(self, told: Sequence[tuple[Job, int | list[Hypothesis] | RefusalError]]) -> None:
        """Hand over what was found, in one visit of the event loop."""

        def hand_over() -> None:
            for job, event in told:
                job.events.put_nowait(event)

        # before they hear of it: afterwards some may have asked again already
        self._expected = len(self._waiting) + sum(not (isinstance(event, int) or job.left) for job, event in told)
        if told and self._loop is not None:
            _unless_closed(self._loop.call_soon_threadsafe, hand_over)


def _unless_closed(call: Callable[..., object], *arguments: object) -> None:
    try:
        call(*arguments)
    except RuntimeError:  # the loop is closed: the server ended while this was worked on, and nobody waits
        log.debug("the event loop is closed")
