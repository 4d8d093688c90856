"""Ctrl-C and SIGTERM: the first asks a training to stop and save, the second ends it at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from types import FrameType

from ..system.start import STOPPED

ends_process = (
    False  # whether a second Ctrl-C may end the whole process, which is not that of somebody who calls `train`
)


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """The event is set when Ctrl-C or SIGTERM asks to stop after the current step; a second one ends the program.

    What this process was begun to ignore (`nohup`, or a shell's background) stays ignored.
    """
    request = Event()

    def ask(number: int, frame: FrameType | None) -> None:
        for each in before:  # both, for the second signal may be of the other kind
            signal.signal(each, end)
        request.set()  # which takes a lock, so only now that no signal can come back here
        if os.environ.get("RANK", "0") == "0":  # of the processes that train together, one speaks
            # not print, for the signal may have come in the middle of one; and the reader of a pipe may have ended
            with suppress(OSError):
                os.write(2, b"\nstopping after this step, saving; once more quits at once\n")

    def end(number: int, frame: FrameType | None) -> None:
        """At once: in the middle of an import, say, an exception would come out as another, or end in native code."""
        if number == signal.SIGINT and ends_process:
            os._exit(STOPPED)
        signal.signal(number, before[signal.Signals(number)])
        signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        if not (request.is_set() and ends_process):  # else the second may still come, while the process ends
            for number, handler in before.items():
                signal.signal(number, handler)


def leave_signals_alone(worker: int) -> None:
    """For processes that read ahead for a training: Ctrl-C reaches them too, but the training says when they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
