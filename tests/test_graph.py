"""Steps in fixed shapes: on a CPU as they are, and with a recording that is watched or fails."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import STEPS, Small, assert_the_same, at_step, make_small, no_pictures

import chatbot.training.loop as training
from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.graph import Work, takes_fixed_shapes

CPU, CUDA = map(torch.device, ("cpu", "cuda"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    no_pictures(monkeypatch)


def changed(config: Config, model: dict[str, Any] | None = None, **values: Any) -> Config:
    trained = dataclasses.replace(config.training, **{"fixed_shapes": "on", **values})
    return dataclasses.replace(config, training=trained, model=dataclasses.replace(config.model, **(model or {})))


@pytest.fixture(scope="module")
def whole(small: Small) -> RunDirectory:
    """A run in fixed shapes, with dropout that grows, soft targets and averaged weights."""
    run = RunDirectory(small.folder / "fixed" / "run")
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        training.train(changed(small.config), small.prepared, run, Group())
    return run


def losses(run: RunDirectory) -> list[float]:
    return [json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()]


STILL = {"dropout": 0.0, "recurrent_dropout": 0.0}  # each order draws in its own shapes


@pytest.mark.parametrize("more", [{}, {"accumulate": 3}], ids=str)
def test_they_learn_what_the_other_order_learns(more: dict[str, Any], small: Small, tmp_path: Path) -> None:
    runs = {}
    for way in ("off", "on"):
        runs[way] = RunDirectory(tmp_path / way)
        config = changed(small.config, STILL, fixed_shapes=way, **more)
        training.train(config, small.prepared, runs[way], Group())
    assert losses(runs["on"]) == pytest.approx(losses(runs["off"]), rel=1e-4)
    one, other = (Checkpoint.load(runs[way].last).model for way in ("on", "off"))
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=1e-2, atol=1e-3)


def test_another_share_of_dropout_and_another_seed_make_another_run(
    whole: RunDirectory, small: Small, tmp_path: Path
) -> None:
    for number, changes in enumerate(({"seed": 2}, {"dropout_warmup_epochs": 0.0})):
        run = RunDirectory(tmp_path / str(number))
        training.train(changed(small.config, **changes), small.prepared, run, Group())
        assert losses(run) != losses(whole)


@pytest.mark.parametrize("stop_at", [3, 15])
def test_stopped_and_resumed_it_is_the_run_that_was_not(
    stop_at: int, whole: RunDirectory, small: Small, tmp_path: Path
) -> None:
    config, run = changed(small.config), RunDirectory(tmp_path / "run")
    with at_step(stop_at - 1, stop):
        assert training.train(config, small.prepared, run, Group()).step == stop_at
    training.train(config, small.prepared, run, Group(), resume=True)
    assert_the_same(run, whole)


def stop() -> None:
    import signal

    signal.raise_signal(signal.SIGTERM)


class Recording:
    """As a GPU does it: the work is called to warm up, and then once more each time that it is played."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, work: Work) -> Work:
        self.recorded += 1
        for _ in range(2):
            work()
        return work


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_warms_up_leaves_no_trace(
    accumulate: int, whole: RunDirectory, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, moments, counts of updates, and the draws of the step that is then played."""
    config, expected = changed(small.config, accumulate=accumulate), whole
    if accumulate > 1:
        expected = RunDirectory(tmp_path / "expected")
        training.train(config, small.prepared, expected, Group())
    recording, run = Recording(), RunDirectory(tmp_path / "run")
    monkeypatch.setattr(training, "recording", lambda device: recording)
    with at_step(STEPS // 2, stop):  # the second half records again, with moments that are not zero
        training.train(config, small.prepared, run, Group())
    first = recording.recorded
    training.train(config, small.prepared, run, Group(), resume=True)
    assert 0 < first < recording.recorded < STEPS
    assert_the_same(run, expected)


def failing(message: str) -> Callable[[Work], Work]:
    def record(work: Work) -> Work:
        work()
        raise RuntimeError(f"{message}\nand more")

    return record


def test_where_nothing_can_be_recorded_it_says_so_once_and_goes_on(
    whole: RunDirectory, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(training, "recording", lambda device: failing("operation not permitted"))
    run = RunDirectory(tmp_path / "run")
    training.train(changed(small.config), small.prepared, run, Group())
    assert_the_same(run, whole)
    said = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(said) == 1
    assert "(operation not permitted)" in said[0]


def test_memory_that_ends_while_a_step_is_recorded_is_one_line(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "recording", lambda device: failing("CUDA out of memory"))
    with pytest.raises(ChatbotError, match="--accumulate"):
        training.train(changed(small.config), small.prepared, RunDirectory(tmp_path / "run"), Group())


def test_its_state_is_as_another_order_keeps_it(whole: RunDirectory, small: Small) -> None:
    states = [Checkpoint.load(run.last).training["optimizer"] for run in (whole, small.whole)]  # type: ignore[index]
    one, other = ([group for state in kept for group in state["param_groups"]] for kept in states)
    assert all(isinstance(group["lr"], float) for group in one)
    for group, like in zip(one, other, strict=True):
        assert group.pop("lr") == pytest.approx(like.pop("lr"))
    assert one == other


def test_a_gpu_takes_them_and_a_cpu_when_it_is_asked_to() -> None:
    default, tutorial = PRESETS["default"], PRESETS["tutorial"]
    assert takes_fixed_shapes(default, CUDA)
    assert not takes_fixed_shapes(default, CPU)
    assert takes_fixed_shapes(changed(default), CPU)
    assert not takes_fixed_shapes(changed(default, fixed_shapes="off"), CUDA)
    assert not takes_fixed_shapes(tutorial, CUDA)
    assert not takes_fixed_shapes(changed(default, {"dropout_places": "tutorial"}, fixed_shapes="auto"), CUDA)
    with pytest.raises(ChatbotError, match="tutorial"):
        takes_fixed_shapes(changed(tutorial), CUDA)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gpu_records_what_it_does_unrecorded(
    accumulate: int, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And a run that is stopped goes on to the same bits with `--deterministic`."""
    found, group = {}, Group(torch.device("cuda:0"))
    config = changed(small.config, accumulate=accumulate, deterministic=True)
    for way in ("graph", "stopped", "unrecorded"):
        found[way] = RunDirectory(tmp_path / way)
        if way == "unrecorded":
            monkeypatch.setattr(training, "recording", lambda device: None)
        if way == "stopped":
            with at_step(STEPS // 2, stop):
                training.train(config, small.prepared, found[way], group)
        training.train(config, small.prepared, found[way], group, resume=way == "stopped")
    assert "CUDA graph" not in capsys.readouterr().err
    assert_the_same(found["stopped"], found["graph"])
    assert losses(found["graph"]) == pytest.approx(losses(found["unrecorded"]), rel=1e-3)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(small: Small, tmp_path: Path) -> None:
    config = changed(small.config, STILL)
    alone, both = RunDirectory(tmp_path / "alone"), RunDirectory(tmp_path / "both")
    training.train(config, small.prepared, alone, Group())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += ["-m", "--", "chatbot", "train", "--config", str(alone.config), "--run", "both", "--device", "cpu"]
    command += ["--data-dir", str(small.folder / "data"), "--checkpoints-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert losses(both) == pytest.approx(losses(alone), rel=1e-3)
