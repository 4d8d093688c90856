"""However long it goes on: no memory, no file descriptor and hardly a line is added. bench/soak.py takes its time."""

import dataclasses
import functools
import gc
import itertools
import statistics
from pathlib import Path

import pytest
import torch

import chatbot.training.loop as training
from chatbot.chat.bot import Chatbot
from chatbot.config.presets import DECODINGS
from chatbot.config.settings import Config
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.journal import spaced
from chatbot.training.loop import LINES, LOG_EVERY, LOOKS

PROCESS = Path("/proc/self")
needs_proc = pytest.mark.skipif(not PROCESS.exists(), reason="what a process holds is read in /proc")


def held() -> tuple[int, int, int, int]:
    """What this process holds: tensors, file descriptors, objects that the collector knows, resident bytes."""
    for thing in gc.get_objects():  # matplotlib remembers the sizes of up to 4,096 texts that it drew
        if type(thing) is functools._lru_cache_wrapper and str(thing.__module__).startswith("matplotlib."):
            thing.cache_clear()
    gc.collect()
    objects = gc.get_objects()
    tensors = sum(type(thing) in (torch.Tensor, torch.nn.Parameter) for thing in objects)
    resident = next(line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return tensors, len(list((PROCESS / "fd").iterdir())), len(objects), 1024 * int(resident.split()[1])


def nothing_was_added(looks: list[tuple[int, int, int, int]], times: int) -> None:
    """What was held at `looks`, each `times` times after the one before: no more at the last than at the first."""
    first, last = looks[0], looks[-1]
    assert last[:2] == first[:2]  # exactly
    assert last[2] - first[2] < times * (len(looks) - 1) / 10  # not even one object each tenth time
    # The allocator takes pages now and then, some megabytes at once; what leaks adds to every stretch.
    added = [late[3] - early[3] for early, late in itertools.pairwise(looks)]
    assert statistics.median(added) < 2048 * times


@needs_proc
@pytest.mark.slow
@pytest.mark.draws
def test_a_training_holds_no_more_at_its_end_than_early(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    save = training.Trainer._save_last

    def saved(self: training.Trainer) -> None:
        save(self)
        seen[self.progress.step] = held()

    monkeypatch.setattr(training.Trainer, "_save_last", saved)
    settings = dataclasses.replace(tiny.training, steps=480, batch_size=4, validate_every=60)
    config = dataclasses.replace(tiny, training=settings, model=dataclasses.replace(tiny.model, hidden_size=8))
    training.train(config, prepared, RunDirectory(tmp_path / "run"), Group())
    nothing_was_added([seen[step] for step in range(180, 481, 60)], 60)


@needs_proc
@pytest.mark.slow
def test_a_thousand_replies_leave_nothing_behind(trained: RunDirectory) -> None:
    bot = Chatbot.load(trained.path)
    lines = ["Hello.", "How are you?", "xqzzy", "", "a" * 9000, "\U0001f600 \ud800"]
    turns = zip(range(1200), itertools.cycle(lines), itertools.cycle(DECODINGS.values()), strict=False)
    looks = []
    for number, line, decoding in turns:
        bot.reply(f"{line} {number}", decoding=dataclasses.replace(decoding, seed=number))
        if number % 200 == 199:
            looks.append(held())
    nothing_was_added(looks, 200)


@pytest.mark.parametrize(("every", "most"), [(LOG_EVERY, LINES), (200, LOOKS), (7, 2)])
def test_what_is_written_grows_with_the_number_of_digits_of_the_steps(every: int, most: int) -> None:
    first = most
    written = [step // every for step in range(every, 4_000_000, every) if spaced(step, every, most)]
    assert written[: most - 1] == list(range(1, most))  # at first each time
    while most < written[-1] // 2:
        between = [time for time in written if most <= time < 2 * most]
        assert len(between) == first // 2
        most *= 2
    assert not any(spaced(step, every, most) for step in range(1, every))
