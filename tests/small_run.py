"""For the tests of faults: a corpus and a model so small that a training takes a moment; kills; runs compared."""

import dataclasses
import faulthandler
import json
import os
import select
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tqdm import tqdm

import chatbot.training.journal as journal
import chatbot.training.loop as training
from chatbot.__main__ import main
from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.preparation import prepare
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.steps import StepData

STEPS, EVERY, HALF = 24, 6, 15  # validations after 6, 12, 18 and 24 steps; what is stopped half-way stands at 15
CHANGES = {f"os.{name}" for name in ("rename", "remove", "rmdir", "mkdir", "chmod")} | {
    "fcntl.flock",
    "subprocess.Popen",
}
TIMES = ("seconds", "seconds_logged", "pairs_per_second", "peak_memory_mb")


@dataclasses.dataclass
class Small:
    """A folder with the corpus `talk.tsv`, prepared under `data`, and the settings of a run of it."""

    folder: Path
    config: Config
    prepared: Path
    settings: Path
    whole: RunDirectory  # trained without a fault
    half: RunDirectory  # stopped at step HALF

    def train(self, runs: Path, *more: str, resume: bool = False) -> int:
        """`chatbot train --run run`, in this process: its exit code."""
        how = ["--resume"] if resume else ["--config", str(self.settings)]
        places = ["--data-dir", str(self.folder / "data"), "--checkpoints-dir", str(runs), "--run", "run"]
        return main(["train", *how, *places, "--device", "cpu", *more])


def make_small(folder: Path) -> Small:
    """All of it, made in `folder`."""
    corpus = folder / "talk.tsv"
    corpus.write_text("".join(f"a{i % 7} b{i % 5} c\tc b{i % 5} a{i % 3}\n" for i in range(60)))
    settings = {
        "corpus": {"corpus": str(corpus), "tokenizer": "english", "min_count": 1, "split": [0.8, 0.1, 0.1]},
        "model": {"hidden_size": 8, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.1, "recurrent_dropout": 0.1},
        "training": {
            **{"steps": STEPS, "validate_every": EVERY, "batch_size": 4, "warmup_steps": 5, "learning_rate": 5e-3},
            **{"precision": "fp32", "prompt_dropout": 0.0, "weight_averaging": 0.9, "patience": 0, "max_minutes": 0},
            "dropout_warmup_epochs": 0.5,
        },
    }
    config = Config.from_dict(settings, over=dataclasses.replace(PRESETS["default"], decoding=DecodingConfig()))
    (folder / "settings.json").write_text(json.dumps(config.to_dict()))
    prepared = prepare(config.corpus, folder / "data").folder
    whole, half = (RunDirectory(folder / name / "run") for name in ("whole", "half"))
    training.train(config, prepared, whole, Group())
    with at_step(HALF - 1, lambda: signal.raise_signal(signal.SIGTERM)):
        training.train(config, prepared, half, Group())
    return Small(folder, config, prepared, folder / "settings.json", whole, half)


def at_step(step: int, action: Callable[[], object]) -> Any:
    """A context in which a training does `action` before the step after `step`."""
    patch = pytest.MonkeyPatch()
    take_step = training.Trainer._step

    def acting(self: training.Trainer, data: StepData) -> None:
        if self.progress.step == step:
            action()
        take_step(self, data)

    patch.setattr(training.Trainer, "_step", acting)

    class Undone:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None:
            patch.undo()

    return Undone()


def no_pictures(patch: pytest.MonkeyPatch) -> None:
    """Attention is drawn in no time, for drawing it, and looking through all of this process's objects for what is left
    of figures, would be most of what so small a training does."""
    patch.setattr(journal, "attention_picture", lambda *_: np.zeros((2, 2, 3), np.uint8))
    patch.setattr(journal, "gc", types.SimpleNamespace(collect=lambda: 0))


def assert_the_same(one: RunDirectory, other: RunDirectory) -> None:
    """Every tensor, counter and measurement of two runs is equal, but for what depends on the clock."""
    for first, second in ((one.last, other.last), (one.best, other.best)):
        assert_equal(Checkpoint.load(first).__dict__, Checkpoint.load(second).__dict__)
    assert_equal(*([json.loads(line) for line in run.metrics.read_text().splitlines()] for run in (one, other)))
    assert one.config.read_bytes() == other.config.read_bytes()
    assert names(one.path) == names(other.path)


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - set(TIMES):
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif hasattr(one, "tokens"):
        assert (one.tokens, one.written) == (other.tokens, other.written)
    else:
        assert one == other


def names(folder: Path) -> list[str]:
    """All but a run's lock and the second state that it keeps, which a run has if it was saved twice."""
    return sorted({path.name for path in folder.iterdir()} - {"training.lock", "last.previous.pt"})


def contents(folder: Path) -> dict[str, bytes] | None:
    """Every file under a folder but a run's lock, or None where there is no folder."""
    if not folder.exists():
        return None
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "training.lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def in_child(action: Callable[[], object], *, seconds: float | None = None, errors: Path | None = None) -> int:
    """Do `action` in a fork of this process, and SIGKILL it after so many seconds if it still lives.

    Returns:
        its exit code (an int that `action` returned, else 0; 99 for an exception), or a signal's number below zero.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) == 0:
        code = 99
        try:
            os.close(reading)
            faulthandler.disable()
            tqdm.set_lock(threading.RLock())  # its own is shared by forks: who is killed with it stops the others
            with (errors or Path(os.devnull)).open("w") as stream:
                sys.stderr = stream
                os.dup2(stream.fileno(), 2)
                try:
                    done = action()
                    code = done if isinstance(done, int) else 0
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    select.select([reading], [], [], seconds)  # readable when the child is gone
    if seconds is not None:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_each_operation(action: Callable[[], object], step: int = 1) -> Iterator[int]:
    """Do `action` in children, each killed before one more operation on files than the one before, until one lives.

    Operations are those that Python tells its audit hooks of and that change something, and flushes to the disk.
    """
    for number in range(0, 10_000, step):

        def counted(number: int = number) -> None:
            left = number

            def hook(event: str, arguments: tuple) -> None:
                nonlocal left
                if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                    left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            fsync = os.fsync
            os.fsync = lambda descriptor: (hook("os.rename", ()), fsync(descriptor))[1]
            sys.addaudithook(hook)
            action()

        code = in_child(counted)
        if code != -signal.SIGKILL:
            assert code == 0
            assert number
            return
        yield number
