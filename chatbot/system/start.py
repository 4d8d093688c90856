"""What a command does first of all, before it imports more than this: Ctrl-C is quiet, and all three streams are there.

Python begins with a Ctrl-C that prints where it struck, and with None for each stream that was closed (`2>&-`, as cron
and some containers have it). What is opened next would then get the closed one's number, and be written to by whoever
writes to number 2.
"""

import io
import os
import signal
import sys
from typing import Any

STOPPED = 130  # exit code of a process that Ctrl-C ended


def begin() -> None:
    """Prepare this process, which is all the program's own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the least number that is free, and that is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    stderr = os.fdopen(2, "wb", closefd=False)
    sys.stderr = Told(stderr, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)


def end(number: int, frame: Any) -> None:
    """At once and without a word, wherever this process is: in an import, or when its work is done."""
    os._exit(STOPPED)


class Told(io.TextIOWrapper):
    """What people are told. If it cannot be written (a full disk) the work goes on; a reader who has left ends it."""

    def write(self, text: str) -> int:
        """Write as far as that can be done."""
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError:
            return len(text)

    def flush(self) -> None:
        """The same."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError:
            pass
