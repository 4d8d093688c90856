"""What is asked of OpenMP and of glibc for this process, and what is left as someone else asked it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import chatbot.system.process as room
from chatbot.system.process import SPINS, take_large_pages, wait_briefly

COUNTED = """
import ctypes, resource, sys
from chatbot.system.process import keep_freed

if sys.argv[1] == "kept":
    keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.memset.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for step in range(8):
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = libc.malloc(40_000_000)
    libc.memset(piece, 1, 40_000_000)
    libc.free(piece)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **more: str) -> int:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, how], capture_output=True, text=True, check=True, env={**own, **more}
    )
    return int(done.stdout)


def has_switch() -> bool:
    name, version = platform.libc_ver()
    return name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)


@pytest.mark.skipif(not has_switch(), reason="only glibc has the switch, and an old one for smaller pieces only")
def test_what_was_freed_is_used_again_unless_the_environment_says_else() -> None:
    """Page faults: 40 megabytes have 9,766 pages of 4 KiB, and they are asked for 4 times."""
    given_back = faults("given back")
    assert given_back > 30_000
    assert faults("kept") < 0.1 * given_back
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="100000") > 30_000


def test_where_there_is_no_such_switch_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.ctypes, "CDLL", lambda name: object())
    room.keep_freed()


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}])
def test_threads_spin_briefly_unless_the_environment_says_otherwise(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    wait_briefly()
    assert os.environ == (given or {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(SPINS)})


@pytest.mark.parametrize("given", [{}, {"THP_MEM_ALLOC_ENABLE": "0"}])
def test_torch_takes_large_pages_unless_the_environment_says_otherwise(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    take_large_pages()
    assert os.environ == (given or {"THP_MEM_ALLOC_ENABLE": "1"})


TEAMS = """
import os, sys, torch
from chatbot.system.process import apart

torch.set_num_threads(2)
threads = lambda: len(os.listdir("/proc/self/task"))
work = lambda: torch.ones(2000, 2000) @ torch.ones(2000, 2000)
alone = threads()
work() if sys.argv[1] == "here" else apart(work)
for _ in range(10**6):  # they end a moment later
    if sys.argv[1] == "here" or threads() == alone:
        break
print(threads() - alone)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
@pytest.mark.parametrize(("how", "left"), [("here", 1), ("apart", 0)])
def test_what_is_computed_apart_leaves_no_team_of_threads_behind(how: str, left: int) -> None:
    command = [sys.executable, "-c", TEAMS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) == left


def test_what_is_computed_apart_is_given_or_raised() -> None:
    assert room.apart(lambda: 7) == 7
    with pytest.raises(KeyError, match="gone"):
        room.apart(lambda: dict[str, int]()["gone"])
