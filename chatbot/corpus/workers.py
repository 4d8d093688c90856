"""Pairs made by several processes, in the order of one."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError
from .formats.dialogue import Dialogue
from .pairs import Pairs, batches, pairs_of


def pairs_from(found: Iterable[Dialogue], config: CorpusConfig, workers: int) -> Iterator[Pairs]:
    """Yield `pairs_of` batches of `found`, in order, from so many processes; only a few batches wait at a time."""
    if workers == 1:
        yield from (pairs_of(batch, config) for batch in batches(found))
        return
    waiting: deque[Future[Pairs]] = deque()
    # fork is not safe beside threads (torch's, tqdm's), nor on macOS
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            for batch in batches(found):
                # a worker begins with Ctrl-C blocked, which it would answer with a traceback until it is set up
                with ctrl_c_blocked():
                    waiting.append(pool.submit(pairs_of, batch, config))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ChatbotError("a worker process was killed, perhaps for want of memory: try --workers 1") from error
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Ctrl-C waits until this ends, and processes that begin here begin with it blocked. Windows has no such thing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _end_with_parent() -> None:
    """In a worker: exit when the parent is gone, even if it was killed, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
