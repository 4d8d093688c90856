"""Training: exact to resume from every kind of stop, the same on two processes as on one, honest when it fails."""

import dataclasses
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import chatbot.training.journal as journal
import chatbot.training.loop as training
from chatbot.config.settings import Config
from chatbot.corpus.prepared import PairDataset
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.lock import held
from chatbot.training.data import kept_prompts
from chatbot.training.distributed import Group
from chatbot.training.journal import Journal
from chatbot.training.loop import train
from chatbot.training.steps import StepData

TIMES = ("seconds", "pairs_per_second", "peak_memory_mb")


def losses(run: RunDirectory) -> list[dict]:
    """The run's measurements without those that depend on the clock."""
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def same_weights(one: Path, other: Path) -> bool:
    first, second = Checkpoint.load(one).model, Checkpoint.load(other).model
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def with_training(config: Config, **changes: object) -> Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


def test_it_learns_and_leaves_all_its_files(trained: RunDirectory, tiny: Config) -> None:
    rows = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    held_out = [row["perplexity"] for row in rows if row["part"] == "valid"]
    assert len(held_out) == 4
    assert held_out[-1] < 0.9 * held_out[0] < 0.3 * len(Checkpoint.load(trained.best).vocabulary)
    assert Checkpoint.load(trained.best).perplexity == pytest.approx(min(held_out), rel=1e-4)
    assert Config.load(trained.config) == tiny
    assert Checkpoint.load(trained.last).step == tiny.training.steps
    assert any(trained.tensorboard.iterdir())


def test_tensorboard_has_the_curves_and_sample_replies(trained: RunDirectory) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.tensorboard))
    events.Reload()
    tags = events.Tags()
    wanted = {"loss/train", "perplexity/train", "learning_rate/train", "gradient_norm/train", "pairs_per_second/train"}
    assert wanted | {"loss/valid", "perplexity/valid"} <= set(tags["scalars"])
    assert "replies/text_summary" in tags["tensors"]
    assert {"attention/0", "attention/1"} <= set(tags["images"])
    assert [event.step for event in events.Scalars("perplexity/valid")] == [10, 20, 30, 40]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    trained: RunDirectory, tiny: Config, prepared: Path, tmp_path: Path
) -> None:
    again, other = RunDirectory(tmp_path / "again"), RunDirectory(tmp_path / "other")
    train(tiny, prepared, again, Group())
    train(with_training(tiny, seed=2), prepared, other, Group())
    assert losses(again) == losses(trained)
    assert same_weights(again.last, trained.last)
    assert losses(other) != losses(trained)


def interrupt(monkeypatch: pytest.MonkeyPatch, stop_at: int, number: signal.Signals) -> None:
    """Let the signal come in the middle of a step."""
    step = training.Trainer._step

    def interrupted(self: training.Trainer, data: StepData) -> None:
        if self.progress.step == stop_at - 1:
            signal.raise_signal(number)
        step(self, data)

    monkeypatch.setattr(training.Trainer, "_step", interrupted)


@pytest.mark.parametrize("stop_at", [1, 10, 27, 39])
def test_stopped_by_a_signal_and_resumed_it_equals_the_run_that_was_not(
    stop_at: int, trained: RunDirectory, tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    interrupt(monkeypatch, stop_at, signal.SIGTERM if stop_at == 10 else signal.SIGINT)
    outcome = train(tiny, prepared, run, Group())
    assert (outcome.reason, outcome.step) == ("interrupted", stop_at)
    assert run.is_trained
    monkeypatch.undo()
    train(tiny, prepared, run, Group(), resume=True)
    assert losses(run) == losses(trained)
    assert same_weights(run.last, trained.last)
    assert same_weights(run.best, trained.best)


def test_soft_targets_mixed_lengths_and_forcing_resume_exactly(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_training(tiny, steps=30, ngram_smoothing=0.6, bucket_batches=1)
    whole, stopped = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "stopped")
    train(config, prepared, whole, Group())
    interrupt(monkeypatch, 13, signal.SIGINT)
    assert train(config, prepared, stopped, Group()).step == 13
    monkeypatch.undo()
    train(config, prepared, stopped, Group(), resume=True)
    assert losses(stopped) == losses(whole)
    assert same_weights(stopped.last, whole.last)
    assert same_weights(stopped.best, whole.best)


@pytest.mark.slow  # test_kills.py has the same within its own process
def test_killed_and_resumed_it_equals_the_run_that_was_not(
    trained: RunDirectory, data_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "chatbot", "train", "--data-dir", data_dir, "--checkpoints-dir", tmp_path]
    command += ["--run", "killed", "--device", "cpu", "--threads", "1"]
    run = RunDirectory(tmp_path / "killed")
    process = subprocess.Popen([*command, "--config", trained.config], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "step 20: held-out" in line:
            process.kill()
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert not (run.last.exists() and Checkpoint.load(run.last).step == 40)
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert losses(run) == losses(trained)
    assert same_weights(run.last, trained.last)


def kill_at(operation: int) -> None:
    """Make this process kill itself at so many operations on files from now: in the middle of a write, before the
    flush to the disk, or before a rename."""
    left = operation

    def counted(call: Callable[..., object], *, halfway: bool = False) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                if halfway:
                    whole = io.BytesIO()
                    call(arguments[0], whole)
                    arguments[1].write(whole.getvalue()[: len(whole.getvalue()) // 2])  # type: ignore[attr-defined]
                    arguments[1].flush()  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return counting

    torch.save = counted(torch.save, halfway=True)
    os.fsync = counted(os.fsync)  # type: ignore[assignment]
    Path.replace = counted(Path.replace)  # type: ignore[assignment,method-assign]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child trains and dies
# settings, vocabulary and metrics take nine operations, each validation about ten
@pytest.mark.parametrize("operation", [1, *range(7, 20, 2)])
def test_killed_at_any_write_it_resumes_and_equals_the_run_that_was_not(
    operation: int, trained: RunDirectory, tiny: Config, prepared: Path, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    if (child := os.fork()) == 0:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        kill_at(operation)
        train(tiny, prepared, run, Group())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    train(tiny, prepared, run, Group(), resume=run.is_resumable)
    assert losses(run) == losses(trained)
    assert same_weights(run.last, trained.last)
    assert same_weights(run.best, trained.best)
    assert not list(run.path.glob(".*.part"))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny: Config, prepared: Path, data_dir: Path, tmp_path: Path) -> None:
    # without dropout: each process draws its own
    model = dataclasses.replace(tiny.model, dropout=0.0, recurrent_dropout=0.0)
    settings = with_training(tiny, steps=50, validate_every=25, word_dropout=0.0, ngram_smoothing=0.6, bucket_batches=1)
    config = dataclasses.replace(settings, model=model)
    alone = RunDirectory(tmp_path / "alone")
    train(config, prepared, alone, Group())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += ["-m", "--", "chatbot", "train", "--config", alone.config, "--run", "both", "--device", "cpu"]
    command += ["--data-dir", data_dir, "--checkpoints-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    both = RunDirectory(tmp_path / "both")
    for one, two in zip(losses(alone), losses(both), strict=True):
        assert (one["step"], one["part"]) == (two["step"], two["part"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    expected, got = Checkpoint.load(alone.last).model, Checkpoint.load(both.last).model
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(tiny: Config, prepared: Path, data_dir: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(tiny.model, dropout=0.0, recurrent_dropout=0.0)
    settings = with_training(tiny, steps=40, validate_every=20, word_dropout=0.0, schedule="constant")
    config = dataclasses.replace(settings, model=model)
    alone = RunDirectory(tmp_path / "alone")
    train(config, prepared, alone, Group())
    command = [sys.executable, "-m", "chatbot", "train", "--device", "cpu", "--run", "changing"]
    command += ["--data-dir", data_dir, "--checkpoints-dir", tmp_path]
    for more in (["--processes=2", "--config", alone.config, "--steps=20"], ["--resume", "--steps=40"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for one, two in zip(losses(alone), losses(RunDirectory(tmp_path / "changing")), strict=True):
        assert (one["step"], one["part"]) == (two["step"], two["part"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)


@pytest.mark.slow
def test_a_mistake_of_many_processes_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chatbot", "train", "--processes=2", "--device=cpu", "--corpus=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("chatbot: no corpus 'nowhere'")


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_and_saves(trained: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chatbot", "train", "--processes=2", "--device=cpu", "--steps=100000"]
    command += ["--config", trained.config, "--run=both", "--data-dir", data_dir, "--checkpoints-dir", tmp_path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "step 20: held-out" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130, rest
    assert "Traceback" not in rest
    assert RunDirectory(tmp_path / "both").load_last().step >= 20


@pytest.mark.slow
def test_the_minutes_end_all_processes(trained: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chatbot", "train", "--processes=2", "--device=cpu", "--steps=1000000"]
    command += ["--config", trained.config, "--run=both", "--data-dir", data_dir, "--checkpoints-dir", tmp_path]
    done = subprocess.run([*command, "--max-minutes=0.05", "--patience=0"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no more steps fit into 0.05 minutes" in done.stdout + done.stderr
    last = RunDirectory(tmp_path / "both").load_last().step
    assert 0 < last < 1_000_000


def two(trained: RunDirectory, data_dir: Path, folder: Path, *before: str) -> subprocess.Popen[str]:
    """A long training in two processes that has validated and saved."""
    command = [sys.executable, "-m", "chatbot", "train", "--processes=2", "--device=cpu", "--steps=100000"]
    command += ["--config", str(trained.config), "--run=both", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        [*before, *command, "--checkpoints-dir", str(folder)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 20: held-out" in line:
            break
    return process


def ranks(launcher: int) -> list[int]:
    """The processes that a launcher started, in the order in which it did."""
    return sorted(map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_is_named(rank: int, trained: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    process = two(trained, data_dir, tmp_path)
    os.kill(ranks(process.pid)[rank], signal.SIGKILL)
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGKILL
    assert f"process {rank} of 0 to 1 was ended by SIGKILL" in said
    assert "Traceback" not in said
    assert RunDirectory(tmp_path / "both").load_last().step >= 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_processes_whose_launcher_is_killed_save_and_end(trained: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    process = two(trained, data_dir, tmp_path)
    process.kill()
    assert process.stderr is not None
    said = process.stderr.read()  # until both have ended, for they have it too
    process.stderr.close()
    process.wait()
    assert "stopping after this step, saving" in said
    assert "Traceback" not in said
    run = RunDirectory(tmp_path / "both")
    assert run.load_last().step > 20
    with held(run.lock, "the run"):  # nobody trains there any more
        pass


@pytest.mark.slow
def test_what_a_launcher_was_begun_to_ignore_stays_ignored(
    trained: RunDirectory, data_dir: Path, tmp_path: Path
) -> None:
    ignoring = [sys.executable, "-c", "import os, signal, sys; "]
    ignoring[2] += "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGHUP, signal.SIGINT)]; "
    ignoring[2] += "os.execv(sys.argv[1], sys.argv[1:])"
    process = two(trained, data_dir, tmp_path, *ignoring)
    assert process.stderr is not None
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT):
        os.killpg(process.pid, number)
        next(line for line in process.stderr if "held-out perplexity" in line)  # it goes on to the next validation
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130, rest


def test_dropout_grows_with_the_step_of_the_run_and_not_of_the_sitting(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    scale = Seq2Seq.scale_dropout
    monkeypatch.setattr(Seq2Seq, "scale_dropout", lambda model, share: shares.append(share) or scale(model, share))
    run = RunDirectory(tmp_path / "run")
    config = with_training(tiny, dropout_warmup_epochs=0.5, steps=20)
    train(config, prepared, run, Group())
    train(with_training(config, steps=30), prepared, run, Group(), resume=True)
    epoch = -(-len(PairDataset(prepared, "train")) // config.training.batch_size)
    assert 0 < shares[1] < shares[2] < 1
    assert shares == [min(1.0, step / epoch / 0.5) for step in range(30)]


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    # without what is drawn at random for each part
    model = dataclasses.replace(tiny.model, dropout=0.0, recurrent_dropout=0.0)
    config = dataclasses.replace(with_training(tiny, word_dropout=0.0, clip_norm=1e9), model=model)
    gradients = []
    for parts in (1, 5):
        run = RunDirectory(tmp_path / str(parts))
        trainer = training.Trainer(with_training(config, accumulate=parts), prepared, run, Group(), resume=False)
        # replies of very different lengths: a mean of the parts' means would be another gradient
        _, lengths = trainer.data.pairs.lengths(np.arange(len(trainer.data.pairs)))
        order = np.argsort(lengths)
        trainer.data.reader.sampler = [np.concatenate((order[:8], order[-8:]))]
        trainer._step(trainer.data.reader[0])
        gradients.append([parameter.grad for parameter in trainer.parameters])
        trainer.close()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_bfloat16_learns_about_as_well(tiny: Config, trained: RunDirectory, prepared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    train(with_training(tiny, precision="bf16"), prepared, run, Group())
    for one, other in zip(losses(trained), losses(run), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.03)


def test_epochs_count_passes_over_the_pairs(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    outcome = train(with_training(tiny, epochs=0.25, batch_size=32), prepared, RunDirectory(tmp_path / "run"), Group())
    assert outcome.step == round(0.25 * -(-len(PairDataset(prepared, "train")) // 32))


def test_the_kept_weights_are_the_average_over_the_steps(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    train(with_training(tiny, steps=16, validate_every=8), prepared, run, Group())
    before, after = Checkpoint.load(run.previous), Checkpoint.load(run.last)
    assert (before.step, after.step) == (8, 16)
    assert after.training is not None
    kept = min(0.9, 17 / 26) ** 8
    for name, now in after.training["weights"].items():
        torch.testing.assert_close(after.model[name], before.model[name] * kept + now * (1 - kept))


def test_a_run_stopped_after_a_step_or_two_keeps_what_it_learnt(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    train(with_training(tiny, steps=2), prepared, run, Group())
    checkpoint = Checkpoint.load(run.last)
    assert checkpoint.training is not None
    for name, now in checkpoint.training["weights"].items():
        torch.testing.assert_close(checkpoint.model[name], now, rtol=0, atol=1e-4)


def test_a_kill_between_the_two_renames_loses_nothing(
    tiny: Config, prepared: Path, trained: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    train(with_training(tiny, steps=20), prepared, run, Group())
    run.last.rename(run.next)  # as it stands when the kill comes there
    (run.path / ".last.next.pt.abc.part").write_bytes(b"half a checkpoint")
    train(tiny, prepared, run, Group(), resume=True)
    assert Checkpoint.load(run.last).step == 40
    assert not list(run.path.glob(".*.part"))
    assert not run.next.exists()


def test_divergence_names_step_and_cause_and_keeps_the_last_good_checkpoint(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    step = training.Trainer._step

    def poisoned(self: training.Trainer, data: StepData) -> None:
        if self.progress.step == 13:
            self.parameters[0].data.fill_(float("nan"))
        step(self, data)

    monkeypatch.setattr(training.Trainer, "_step", poisoned)
    with pytest.raises(ChatbotError, match=r"step 14.*--learning-rate"):
        train(tiny, prepared, run, Group())
    assert Checkpoint.load(run.last).step == 10


def test_the_tutorials_loss_is_of_whole_batches(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="--accumulate 1"):
        train(with_training(tiny, loss="steps", accumulate=2), prepared, RunDirectory(tmp_path / "run"), Group())


def test_patience_ends_a_training_that_gets_no_better(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    config = with_training(tiny, learning_rate=0.0, patience=2, steps=1000)
    outcome = train(config, prepared, RunDirectory(tmp_path / "run"), Group())
    assert (outcome.reason, outcome.step) == ("patience", 30)


def test_minutes_end_a_training_with_everything_saved(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    outcome = train(with_training(tiny, max_minutes=1e-9), prepared, run, Group())
    assert (outcome.reason, outcome.step) == ("minutes", 1)
    assert run.load_chosen().step == 1


def test_the_rate_has_fallen_when_the_minutes_end(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = RunDirectory(tmp_path / "run"), itertools.count()
    # each step asks for the time twice for itself and once for the minutes: three seconds
    monkeypatch.setattr("chatbot.training.loop.time.perf_counter", lambda: float(next(clock)))
    config = with_training(tiny, steps=10_000, validate_every=50, max_minutes=10.0, warmup_steps=0)
    outcome = train(config, prepared, run, Group())
    assert outcome.reason == "minutes"
    assert 150 < outcome.step < 200  # ten minutes, of which 97% may be filled
    lines = list(map(json.loads, run.metrics.read_text().splitlines()))
    rates = [line["learning_rate"] for line in lines if line["part"] == "train"]
    assert rates[0] > 0.99 * config.training.learning_rate
    assert rates[-1] < 0.1 * config.training.learning_rate
    assert max(line["step"] for line in lines if line["part"] == "valid") == outcome.step  # judged at its end
    assert Checkpoint.load(run.last).step == outcome.step
    # the minutes begin anew: the rate rises, but only to where so many steps more have it (by this clock a step is a
    # third of what it costs until it is looked at), and falls again
    more = train(config, prepared, run, Group(), resume=True)
    assert more.reason == "minutes"
    assert 1.8 * outcome.step < more.step < 2.2 * outcome.step
    lines = list(map(json.loads, run.metrics.read_text().splitlines()))
    rates = [line["learning_rate"] for line in lines if line["part"] == "train" and line["step"] > outcome.step]
    assert 0.4 < rates[0] / config.training.learning_rate < 0.85
    assert rates[-1] < 0.05 * config.training.learning_rate


def test_patience_begins_anew_where_the_minutes_had_ended_a_training(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = RunDirectory(tmp_path / "run"), itertools.count()
    monkeypatch.setattr("chatbot.training.loop.time.perf_counter", lambda: float(next(clock)))
    config = with_training(tiny, learning_rate=0.0, steps=10_000, validate_every=50, patience=3, max_minutes=10.0)
    ended = train(config, prepared, run, Group())
    assert ended.reason == "minutes"
    assert 150 < ended.step < 200  # nothing was learnt in any validation after the first
    more = train(config, prepared, run, Group(), resume=True)
    assert (more.reason, more.step) == ("patience", 300)


def test_an_exploding_loss_stops(tiny: Config, prepared: Path, tmp_path: Path) -> None:
    config = with_training(tiny, learning_rate=10.0, clip_norm=1e9, weight_averaging=0.0, steps=100)
    with pytest.raises(ChatbotError, match=r"diverged at step (25|50|75|100) .*the loss is"):
        train(config, prepared, RunDirectory(tmp_path / "run"), Group())


def test_a_changed_corpus_is_not_resumed(tiny: Config, trained: RunDirectory, tmp_path: Path, data_dir: Path) -> None:
    from chatbot.corpus.preparation import prepare

    other = prepare(dataclasses.replace(tiny.corpus, min_count=5), data_dir).folder
    with pytest.raises(ChatbotError, match="vocabulary"):
        train(tiny, other, trained, Group(), resume=True)


def test_kept_prompts_have_every_length(prepared: Path) -> None:
    dataset = PairDataset(prepared, "valid")
    kept = kept_prompts(dataset)
    assert {len(prompt) for prompt in kept} == {len(dataset[i][0]) for i in range(len(dataset))}
    assert len(kept) <= 64


def test_the_journal_forgets_what_a_crash_cut_short(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.metrics.write_text('{"step": 1, "part": "train"}\n{"step": 2, "part": "train"}\n{"step": 2, "pa')
    journal = Journal(run, 1)
    journal.close()
    assert run.metrics.read_text() == '{"step": 1, "part": "train"}\n'


def test_config_json_alone_repeats_the_run_in_another_process(trained: RunDirectory, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "chatbot",
        "train",
        "--config",
        trained.config,
        "--run",
        "again",
        "--device",
        "cpu",
    ]
    command += ["--data-dir", tmp_path / "data", "--checkpoints-dir", tmp_path, "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "123"})
    again = RunDirectory(tmp_path / "again")
    assert again.config.read_bytes() == trained.config.read_bytes()
    assert again.vocabulary.read_bytes() == trained.vocabulary.read_bytes()
    assert losses(again) == losses(trained)
    assert same_weights(again.best, trained.best)
    assert same_weights(again.last, trained.last)


def test_deterministic_kernels_are_asked_for_in_steps_and_validations_only(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    places = {"batch_loss": training, "held_out_sums": training, "attention_picture": journal}
    asked: dict[str, set[bool]] = {name: set() for name in places}

    def watched(name: str) -> Callable[..., object]:
        call = getattr(places[name], name)

        def noted(*arguments: object, **keywords: object) -> object:
            asked[name].add(torch.are_deterministic_algorithms_enabled())
            return call(*arguments, **keywords)

        return noted

    for name in asked:
        monkeypatch.setattr(places[name], name, watched(name))
    runs = [RunDirectory(tmp_path / name) for name in ("one", "other")]
    train(with_training(tiny, steps=4, validate_every=4, deterministic=True), prepared, runs[0], Group())
    assert asked == {"batch_loss": {True}, "held_out_sums": {True}, "attention_picture": {False}}
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    train(with_training(tiny, steps=4, validate_every=4), prepared, runs[1], Group())
    assert same_weights(runs[0].last, runs[1].last)
