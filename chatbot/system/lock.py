"""A file that one process at a time holds and that says which; the process's end releases it, however it ended."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import ChatbotError, failing_as

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCKS = fcntl is not None  # whether files can be locked here


def take(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file or folder; closing it, or the process's death, unlocks it.

    Args:
        wait: until whoever else holds it lets go.

    Returns:
        True; False if another process (or another opening of it here) holds it, and this one does not wait; None where
        there are no such locks, as on Windows and some network disks.
    """
    if not LOCKS:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None


@contextlib.contextmanager
def held(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`, which then names this process; it stays there afterwards, and means nothing.

    Args:
        what: what the lock protects, for the message.
        wait: until another process lets go of it.

    Raises:
        ChatbotError: another process holds it and this one does not wait (the message names that process), or the
            file cannot be written.
    """
    with failing_as(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # a link is refused, for what it points to would be overwritten
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if take(descriptor, wait=wait) is False:
            holder = "".join(filter(str.isprintable, os.read(descriptor, 200).decode("utf-8", "replace")))
            raise ChatbotError(f"{what} is in use by {holder or 'another process'}: wait for it to end, or stop it")
        name = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        # unbuffered: what a full disk refuses is refused here, and not once more when the file is closed. Whoever waits
        # for the lock need not be told by whom it is held
        with contextlib.suppress(OSError) if wait else failing_as(f"cannot write {path}"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, name.encode())
        holding = [True]
        # a process that is forked meanwhile (one that reads ahead) would hold it too, and longer
        if hasattr(os, "register_at_fork"):  # Windows does not fork
            os.register_at_fork(after_in_child=lambda: _let_go(descriptor) if holding else None)
        try:
            yield
        finally:
            holding.clear()
    finally:
        os.close(descriptor)


def _let_go(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)
