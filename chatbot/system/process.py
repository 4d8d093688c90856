"""This process: how its threads wait for each other, what memory it keeps, and how much it took."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
SPINS = 10_000  # turns of a waiting thread before it sleeps
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MOST, MOST_OF_OLD = 1 << 30, 1 << 25  # bytes; glibc before 2.35 takes no more than the second as MMAP_THRESHOLD


def wait_briefly() -> None:
    """Have OpenMP's threads spin for a moment when they wait, and then sleep, unless the environment says otherwise.

    It must be called before torch is loaded. The next product often comes sooner than a sleeping thread wakes up; but
    threads that spin for as long as OpenMP's default is take the cores from whatever else runs there, and then wait
    for each other.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        # GNU's OpenMP, which torch has on Linux, goes by the count; others know the policy, and just sleep
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT=str(SPINS))


def take_large_pages() -> None:
    """Have torch ask Linux for pages of 2 MB for its large tensors, unless the environment says otherwise.

    It must be called before torch is loaded. A step of a batch asks for tens of megabytes, and the system finds and
    clears each page when it is first written: of 4 kB, 500 times as many.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def apart(work: Callable[[], T]) -> T:
    """What `work` gives or raises. A thread of its own does it, which then ends.

    Each thread that computes with torch has a team of OpenMP's threads. As soon as all teams together have more threads
    than there are cores, GNU's OpenMP no longer has them spin, and a reply takes up to twice as long. So where one
    thread loads a bot and another answers, the first must not be one that stays.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # raised again where it is waited for
            done.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)  # Ctrl-C does not wait for it
    thread.start()
    result = done.result()
    thread.join()
    return result


def keep_freed() -> None:
    """Have memory that is freed kept for what asks next, in this process from now on, unless the environment says else.

    A step of a training, or of replies to many, frees tensors of many megabytes and asks for as much a moment later.
    glibc gives such memory back to the system, which then has to find it again and to clear it. Only glibc has this
    switch; elsewhere, and for pieces of `MOST` bytes and more (before glibc 2.35 of `MOST_OF_OLD`), all is as it was.
    """
    try:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    except TypeError:  # Windows
        return
    if mallopt and not any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        mallopt(MMAP_THRESHOLD, MOST) or mallopt(MMAP_THRESHOLD, MOST_OF_OLD)
        mallopt(TRIM_THRESHOLD, MOST)


def peak_memory(device: "torch.device") -> int:
    """The most memory in bytes that was in use at once: on a GPU what torch held there, else what the process held.

    It is 0 where the system does not tell, as on Windows.
    """
    if device.type == "cuda":
        import torch  # here, for `wait_briefly` is of use only before torch is loaded

        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the parent held before it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
