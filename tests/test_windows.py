"""Without what Windows does not have (tests/as_windows.py): prepare, train, chat, evaluate, export, open the export."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.corpus import workers

HERE = Path(__file__).resolve().parent
PAIRS = "".join(f"how are you {word} ?\ti am {word} .\n" for word in ("one", "two", "three", "four", "five"))
SMALL = "--preset sample --min-count 1 --split 1 0 0 --steps 4 --hidden-size 8 --validate-every 2 --threads 1"


def as_on_windows(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / "as_windows.py"), *lines]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_everything_on_one_machine_works_and_names_files_that_windows_takes(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    done = as_on_windows(
        tmp_path,
        "prepare --corpus pairs.tsv --min-count 1 --split 1 0 0",
        f"train --corpus pairs.tsv --run small {SMALL}",
        "train --from small --corpus pairs.tsv --run next --split 1 0 0 --steps 2 --threads 1",
        "chat small --prompt hello",
        "export small",
        "export small",  # over the one that is there
        "chat checkpoints/small/export/chatbot.pt --prompt hello",
        "evaluate small --limit 4",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert {"last.pt", "chatbot.pt", "manifest.json", "evaluation-train.json"} <= {p.name for p in written}
    assert [path for path in written if set('<>:"|?*\\') & set(str(path)) or path.name.endswith((".part", " "))] == []


def test_workers_begin_where_ctrl_c_cannot_be_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself: without these functions Python's own processes do not begin here, as they do on Windows."""
    monkeypatch.delattr(signal, "pthread_sigmask")
    with workers.ctrl_c_blocked():
        pass


def test_several_processes_are_refused_in_a_line(tmp_path: Path) -> None:
    done = as_on_windows(tmp_path, "train --corpus sample --processes 2")
    assert done.returncode == 2
    assert done.stderr == "chatbot: --processes wants Linux or macOS: leave it out, or use WSL\n"
