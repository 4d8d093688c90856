"""Files are whole or not there."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.system.errors import ChatbotError
from chatbot.system.files import atomic_file, atomic_folder, git_blob_id, sha256
from chatbot.system.lock import held, take


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_the_usual_rights(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "new" / "a.txt", "w") as file:
        file.write("één\n")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_bytes() == "één\n".encode()
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "new" / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "a").write_text("old")

    def write() -> None:
        with atomic_file(tmp_path / "a") as file:
            file.write(b"new")
            raise failure

    with pytest.raises(failure):
        write()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    with atomic_folder(tmp_path / "a") as part:
        (part / "new").write_text("new")
        assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path / "a") == ["new"]
    assert names(tmp_path) == ["a"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def write() -> None:
        with atomic_folder(tmp_path / "a") as part:
            (part / "new").write_text("new")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        write()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (atomic_file, atomic_folder):
        with pytest.raises(ChatbotError, match=r"cannot write .*inside"), write(tmp_path / "file" / "inside"):
            pass


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    code = """
import os, signal, sys
from pathlib import Path
from chatbot.system.files import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"hello\n" * 300_000)
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"hello\n")
    assert git_blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_on_a_full_disk_is_held_by_whoever_waits_and_refused_to_a_writer(
    wait: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    if wait:
        with held(tmp_path / "lock", "the folder", wait=True), (tmp_path / "lock").open() as other:
            assert take(other.fileno()) is False
    else:
        with pytest.raises(ChatbotError, match=r"cannot write .*lock: No space left"), held(tmp_path / "lock", "it"):
            pass
    monkeypatch.undo()
    with (tmp_path / "lock").open() as other:
        assert take(other.fileno())
