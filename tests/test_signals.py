"""Ctrl-C twice: a training ends at once, and its last save is whole; every verb ends quietly, with exit code 130."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import chatbot.training.loop as training
from chatbot.config.settings import Config
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.steps import StepData

INT, TERM = signal.SIGINT, signal.SIGTERM
SAVED = 10  # the step of the last save before the signals come, at step 14
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def interrupted_training(config: Config, prepared: Path, run: RunDirectory, signals: list[int], saving: bool) -> int:
    """Train in a child that sends itself the first signal at a step, and the second there too or half-way through the
    save that the first one asks for; returns how the child ended."""
    if (child := os.fork()) == 0:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        step, save = training.Trainer._step, torch.save

        def interrupted(self: training.Trainer, data: StepData) -> None:
            if self.progress.step == 13:
                signal.raise_signal(signals[0])
                if saving:
                    torch.save = half  # type: ignore[assignment]
                else:
                    for number in signals[1:]:
                        signal.raise_signal(number)
            step(self, data)

        def half(data: object, file: io.BufferedWriter) -> None:
            whole = io.BytesIO()
            save(data, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            signal.raise_signal(signals[1])
            file.write(whole.getvalue()[len(whole.getvalue()) // 2 :])

        training.Trainer._step = interrupted  # type: ignore[method-assign]
        try:
            training.train(config, prepared, run, Group())
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("saving", [False, True], ids=["at a step", "while saving"])
@pytest.mark.parametrize(("signals", "code"), [([INT, INT], 130), ([TERM, TERM], -TERM), ([TERM, INT], 130)])
def test_the_second_signal_quits_at_once_and_the_last_save_is_whole(
    signals: list[int], code: int, saving: bool, tiny: Config, prepared: Path, trained: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    assert interrupted_training(tiny, prepared, run, signals, saving) == code
    assert Checkpoint.load(run.last).step == SAVED
    if saving and signals[0] == INT:  # and it can be gone on from
        assert not list(run.path.glob(".*.part"))
        training.train(tiny, prepared, run, Group(), resume=True)
        found, wanted = run.load_last().model, trained.load_last().model
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_one_signal_saves_first(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert interrupted_training(tiny, prepared, run, [INT], saving=False) == 0
    assert Checkpoint.load(run.last).step == 14


# runs a verb, and presses Ctrl-C at the imports with these numbers, counted from when the verb begins, or at the exit
PRESSES = """
import atexit, runpy, signal, sys
moments = [int(moment) for moment in sys.argv.pop(1).split(",")]
count = 0
def hook(event, arguments):
    global count
    if event == "import" and callable(signal.getsignal(signal.SIGINT)):
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            count += 1
            if count in moments:
                signal.raise_signal(signal.SIGINT)
if 0 in moments:
    atexit.register(signal.raise_signal, signal.SIGINT)
sys.addaudithook(hook)
runpy.run_module("chatbot", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("moments", ["1,2", "40,41", "150,152,153", "2,0", "300,0"])
@pytest.mark.parametrize("verb", ["chat", "evaluate"])
def test_ctrl_c_twice_in_the_middle_of_imports_ends_quietly(
    verb: str, moments: str, trained: RunDirectory, tmp_path: Path
) -> None:
    arguments = [verb, str(trained.path), *(["--prompt", "hello"] if verb == "chat" else ["--data-dir", str(tmp_path)])]
    command = [sys.executable, "-c", PRESSES, moments, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == ""
