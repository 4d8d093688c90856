"""Memory that is kept is not asked for again."""

import platform
import subprocess
import sys

import pytest

COUNTED = """
import resource, sys
import torch
from chatbot.memory import keep_freed

if sys.argv[1] == "kept":
    assert keep_freed()

for step in range(8):
    if step == 4:  # until then it may find its place between what else there is
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000 - 1000 * step)  # glibc before 2.38 needs a little more room than the same size had
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def has_switch() -> bool:
    name, version = platform.libc_ver()
    return name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)


@pytest.mark.skipif(not has_switch(), reason="only glibc has the switch, and an old one for smaller pieces only")
def test_what_was_freed_is_used_again() -> None:
    """Page faults: 40 megabytes have 9,766 pages of 4 KiB, and they are asked for 4 times."""
    found = {}
    for how in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", COUNTED, how], capture_output=True, text=True, check=True)
        found[how] = int(done.stdout)
    assert found["kept"] < 0.1 * found["given back"], found


def test_where_there_is_no_such_switch_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    import chatbot.memory as room

    monkeypatch.setattr(room.ctypes, "CDLL", lambda name: object())
    assert not room.keep_freed()
