"""A disk that is full, read-only, gone or in use: one line that says so, exit code 2, and what was there stays."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_run import (
    EVERY,
    HALF,
    STEPS,
    Small,
    assert_the_same,
    at_step,
    contents,
    in_child,
    make_small,
    names,
    no_pictures,
)

import chatbot.training.loop as training
from chatbot.__main__ import main
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.files import atomic_file, atomic_folder
from chatbot.system.lock import held

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
NOBODY = 65534


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    with pytest.MonkeyPatch.context() as patch:
        no_pictures(patch)
        return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def half(small: Small, tmp_path: Path) -> RunDirectory:
    """A run that stands at step HALF, to be gone on with."""
    return RunDirectory(shutil.copytree(small.half.path, tmp_path / "runs" / "run"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def complaint(said: str) -> str:
    """The last line on stderr, which is the only one that complains."""
    lines = [line for line in said.splitlines() if line.startswith("chatbot: ")]
    assert "Traceback" not in said
    assert "Exception" not in said
    assert len(lines) == 1, said
    assert said.strip().splitlines()[-1] == lines[0]
    return lines[0]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[[int], str]:
    """What was said when the exit code was 2."""

    def line(code: int) -> str:
        said = capfd.readouterr().err
        assert code == 2, said
        return complaint(said)

    return line


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk up but for so many bytes; returns the file that does it."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(free - leave))
    return filler


def states(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.glob("*.pt")}


# a full disk


@pytest.mark.parametrize("leave", [0, 8 << 10, 24 << 10, 48 << 10])
def test_a_full_disk_ends_a_training_that_goes_on_when_there_is_room(
    leave: int, small: Small, disk: Path, refused: Callable[[int], str]
) -> None:
    run = RunDirectory(shutil.copytree(small.half.path, disk / "run"))
    before = states(run)
    filler = fill(disk, leave)
    assert "No space left on device" in refused(small.train(disk, resume=True))
    after = states(run)
    assert after["last.pt"] == before["last.pt"] or run.load_last().step in range(HALF, STEPS)
    filler.unlink()
    assert small.train(disk, resume=True) == 0
    assert_the_same(run, small.whole)


def test_a_full_disk_ends_preparation_export_and_import(
    small: Small, disk: Path, tmp_path: Path, refused: Callable[[int], str]
) -> None:
    words = tmp_path / "words.tsv"
    words.write_text("".join(f"w{i} x{i} y{i}\tz{i} v{i} u{i}\n" for i in range(20_000)))
    filler = fill(disk, 200 << 10)
    there = names(disk)
    assert "No space" in refused(main(["prepare", "--corpus", str(words), "--min-count", "1", "--data-dir", str(disk)]))
    assert not names(disk / "prepared")[1:]  # the lock
    shutil.rmtree(disk / "prepared")
    filler.unlink()
    filler = fill(disk, 40 << 10)
    assert "No space" in refused(main(["export", str(small.whole.path), "--out", str(disk / "out")]))
    assert names(disk) == there
    filler.unlink()
    fill(disk, 8 << 10)
    for more in (["--onnx"], ["--quantize", "int8"]):
        pytest.importorskip("onnxruntime")
        assert "No space" in refused(main(["export", str(small.whole.path), "--out", str(disk / "out"), *more]))
        assert not names(disk / "out")


@pytest.mark.parametrize("limit", [0, 4 << 10, 16 << 10, 40 << 10])
def test_a_limit_on_the_size_of_files_is_met_like_a_full_disk(
    limit: int, small: Small, half: RunDirectory, tmp_path: Path
) -> None:
    before, said = states(half), tmp_path / "said"
    said.touch()

    def train() -> int:
        reading, writing = os.pipe()  # a pipe has no such limit
        sys.stderr = os.fdopen(writing, "w")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        code = small.train(half.path.parent, resume=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        sys.stderr.close()
        with os.fdopen(reading, "rb") as pipe:
            said.write_bytes(pipe.read())
        return code

    assert in_child(train) == 2
    assert "File too large" in complaint(said.read_text())
    assert states(half)["last.pt"] == before["last.pt"]
    Checkpoint.load(half.best)  # it is smaller, and may have been written
    assert small.train(half.path.parent, resume=True) == 0
    assert_the_same(half, small.whole)


@pytest.mark.parametrize(
    "operation",
    [1, 9, 16, 23, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 30) if n not in (9, 16, 23))],
)
def test_whichever_write_fails_the_run_goes_on_from_a_whole_state(
    operation: int, small: Small, half: RunDirectory, refused: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = operation

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def fails(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **more)

        return fails

    with monkeypatch.context() as patch:
        for place, name in ((os, "fsync"), (Path, "replace"), (Path, "touch")):
            patch.setattr(place, name, failing(getattr(place, name)))
        code = small.train(half.path.parent, resume=True)
    if left > 0:  # there are not so many writes
        assert code == 0
    else:
        assert "No space left on device" in refused(code)
        for path in half.path.glob("*.pt"):
            Checkpoint.load(path)
        assert small.train(half.path.parent, resume=True) == 0
    assert_the_same(half, small.whole)


def test_a_journal_that_cannot_be_written_ends_the_training(
    small: Small, half: RunDirectory, refused: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    runs = half.path.parent
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", full)  # in TensorBoard's own thread
        said = refused(small.train(runs, resume=True))
        assert f"cannot write {half.tensorboard}: No space left" in said
        assert "--resume" in said
    if Path("/dev/full").exists():
        make = training.Journal

        def full_journal(run: RunDirectory, step: int) -> training.Journal:
            journal = make(run, step)
            with Path("/dev/full").open("w") as nowhere:
                os.dup2(nowhere.fileno(), journal._file.fileno())
            return journal

        with monkeypatch.context() as patch:
            patch.setattr(training, "Journal", full_journal)
            assert f"cannot write {half.metrics}: No space left" in refused(small.train(runs, resume=True))
    assert small.train(runs, resume=True) == 0
    assert_the_same(half, small.whole)


# rights


def test_a_read_only_disk_is_named(small: Small, disk: Path, refused: Callable[[int], str]) -> None:
    shutil.copytree(small.half.path, disk / "run")
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert "Read-only file system" in refused(small.train(disk, resume=True))
    assert "Read-only file system" in refused(main(["export", str(disk / "run")]))
    assert "Read-only file system" in refused(
        main(["prepare", "--force", "--data-dir", str(disk), "--corpus", "sample"])
    )
    assert contents(disk) == before
    assert main(["chat", str(disk / "run"), "--prompt", "a1 b1 c"]) == 0


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="chatbot-test-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["run", "runs", "tb", "training.lock", "last.pt"])
def test_missing_rights_are_named(what: str, small: Small) -> None:
    with open_folder() as folder:
        shutil.copytree(small.folder / "data", folder / "data")
        shutil.copy(small.folder / "talk.tsv", folder)
        run = RunDirectory(folder / "runs" / "run")
        run.path.parent.mkdir()
        settings = folder / "settings.json"
        if what != "runs":
            shutil.copytree(small.half.path, run.path)
            settings = run.config
        settings.write_text(small.settings.read_text().replace(str(small.folder), str(folder)))
        for path in [folder, *folder.rglob("*")]:
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        barred = {"run": run.path, "runs": run.path.parent}.get(what, run.path / what)
        barred.chmod(0o555 if barred.is_dir() else 0)
        before = states(run) if what != "last.pt" else {}
        moved = Small(folder, small.config, small.prepared, settings, run, run)

        def train() -> int:
            if os.geteuid() == 0:  # who may do anything
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            return moved.train(run.path.parent, resume=what != "runs")

        code = in_child(train, errors=folder / "said")
        said = (folder / "said").read_text()
        if what == "last.pt":  # it has another to go on from
            assert code == 0, said
            assert "Permission denied" in said
            assert "going on from last.previous.pt" in said
        else:
            assert code == 2, said
            assert "Permission denied" in complaint(said)
            assert str(barred) in complaint(said)
            assert states(run) == before


# a run in use


def test_a_run_in_use_is_not_trained_and_its_holder_is_named(
    small: Small, half: RunDirectory, refused: Callable[[int], str]
) -> None:
    reading, writing = os.pipe()
    if (holder := os.fork()) == 0:
        with held(half.lock, "it"):
            os.write(writing, b"!")
            signal.pause()
    try:
        os.read(reading, 1)
        before = contents(half.path)
        said = refused(small.train(half.path.parent, resume=True))
        assert f"{half.path} is in use by process {holder} on {os.uname().nodename} since 2" in said
        assert contents(half.path) == before
        assert main(["chat", str(half.path), "--prompt", "a1 b1 c"]) == 0  # those that read need no lock
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(reading)
        os.close(writing)
    assert small.train(half.path.parent, resume=True) == 0  # the holder's death releases it
    assert_the_same(half, small.whole)


def test_a_lock_is_free_after_every_end(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for _ in range(2):
        with pytest.raises(KeyError), held(lock, "it"):
            raise KeyError
    with held(lock, "it"), pytest.raises(ChatbotError, match="it is in use by process"), held(lock, "it"):
        pass
    target = tmp_path / "target"
    target.write_text("mine")
    lock.unlink()
    lock.symlink_to(target)
    with pytest.raises(ChatbotError, match="cannot write"), held(lock, "it"):
        pass
    assert target.read_text() == "mine"
    lock.unlink()
    lock.write_text("\x1b[2Jnot\nours")
    with held(lock, "it"):
        lock.write_text("\x1b[2Jnot\nours")
        with pytest.raises(ChatbotError, match=r"in use by \[2Jnotours: wait"), held(lock, "it"):
            pass


# what goes away


def test_a_corpus_deleted_under_way_is_not_missed(small: Small, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(small.folder / "data", folder / "data")
    shutil.copy(small.folder / "talk.tsv", folder)
    prepared = folder / "data" / "prepared" / small.prepared.name
    run = RunDirectory(tmp_path / "runs" / "run")
    with at_step(HALF, lambda: shutil.rmtree(folder)):
        training.train(small.config, prepared, run, training.Group())
    assert not folder.exists()
    assert_the_same(run, small.whole)


def test_a_run_removed_under_way_does_not_come_back(
    small: Small, tmp_path: Path, refused: Callable[[int], str]
) -> None:
    with at_step(HALF - 1, lambda: shutil.rmtree(tmp_path / "run")):
        line = refused(small.train(tmp_path))
    assert "was removed, or moved, while it was trained" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_run_whose_name_is_no_text_is_refused(small: Small, tmp_path: Path, refused: Callable[[int], str]) -> None:
    runs = tmp_path / "caf\udce9"
    line = refused(small.train(runs))
    assert "no UTF-8" in line
    assert not runs.exists() or not (runs / "run" / "config.json").exists()


def test_prepared_data_cut_under_way_kill_the_training_which_then_resumes(small: Small, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(small.folder / "data", folder / "data")
    prepared = folder / "data" / "prepared" / small.prepared.name
    moved = Small(folder, small.config, prepared, small.settings, small.whole, small.half)
    with at_step(EVERY + 1, lambda: [os.truncate(path, 0) for path in prepared.glob("train.*")]):
        assert in_child(lambda: moved.train(tmp_path / "runs")) == -signal.SIGBUS
    run = RunDirectory(tmp_path / "runs" / "run")
    assert run.load_last().step == EVERY
    assert moved.train(tmp_path / "runs", resume=True) == 0  # prepares again
    assert_the_same(run, small.whole)


def test_prepared_data_that_are_gone_are_made_again_and_a_corpus_that_is_gone_is_named(
    small: Small, half: RunDirectory, tmp_path: Path, refused: Callable[[int], str]
) -> None:
    moved = Small(tmp_path, small.config, small.prepared, small.settings, small.whole, small.half)
    corpus = small.folder / "talk.tsv"
    before = contents(half.path)
    corpus.rename(tmp_path / "away.tsv")
    said = refused(moved.train(half.path.parent, resume=True))
    (tmp_path / "away.tsv").rename(corpus)
    assert f"no corpus '{corpus}'" in said
    assert contents(half.path) == before
    assert moved.train(half.path.parent, resume=True) == 0
    assert_the_same(half, small.whole)


# links and folders


def test_a_link_gives_way_to_the_file_and_what_it_pointed_to_stays(small: Small, half: RunDirectory) -> None:
    elsewhere = half.path.parent.parent / "elsewhere"
    elsewhere.mkdir()
    for path in list(half.path.glob("*.pt")):
        path.rename(elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    before = contents(elsewhere)
    assert small.train(half.path.parent, resume=True) == 0
    assert_the_same(half, small.whole)
    assert contents(elsewhere) == before
    assert {path.name for path in half.path.iterdir() if path.is_symlink()} <= {"last.previous.pt"}


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/full", "private", "pipe"])
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_file_that_is_read_as_a_whole_is_no_link_and_no_pipe(
    name: str, target: str, small: Small, half: RunDirectory, refused: Callable[[int], str]
) -> None:
    path = half.path / name
    private = half.path.parent / "private"
    private.write_bytes(path.read_bytes())
    path.unlink()
    if target == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(private if target == "private" else target)
    ways = [["train", "--resume", "--run", "run", "--data-dir", str(small.folder / "data")], ["pack", "run", "packed"]]
    ways[1][2] = str(half.path.parent / "packed")
    for arguments in ways:
        line = refused(main([*arguments, "--checkpoints-dir", str(half.path.parent)]))
        assert name in line
        assert "link" in line or "regular file" in line
    assert not (half.path.parent / "packed").exists()


def test_events_are_not_written_where_a_link_leads(
    small: Small, half: RunDirectory, tmp_path: Path, refused: Callable[[int], str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(half.tensorboard, ignore_errors=True)
    half.tensorboard.symlink_to(elsewhere)
    assert "tb is a link" in refused(small.train(half.path.parent, resume=True))
    assert not list(elsewhere.iterdir())


def test_a_run_directory_may_be_a_link(small: Small, half: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "run"
    link.symlink_to(half.path)
    assert small.train(link.parent, resume=True) == 0
    assert link.is_symlink()
    assert_the_same(half, small.whole)
    assert main(["export", str(link)]) == 0
    assert (half.export / "chatbot.pt").exists()


def test_a_linked_folder_gives_way_and_what_it_pointed_to_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_folder(tmp_path / "link") as part:
        (part / "new").touch()
    assert names(tmp_path / "link") == ["new"]
    assert names(tmp_path / "target") == ["mine"]
    assert names(tmp_path) == ["link", "target"]


FILES = ("config.json", "vocabulary.txt", "last.pt", "last.previous.pt", "last.next.pt", "best.pt", "metrics.jsonl")


@pytest.mark.parametrize("name", [*FILES, "training.lock", "tb", "run"])
def test_a_folder_in_the_place_of_a_file_is_named(
    name: str, small: Small, half: RunDirectory, refused: Callable[[int], str]
) -> None:
    runs, path = half.path.parent, half.path / name
    if name == "run":
        path = half.path
    kept = runs.parent / "kept"
    if path.exists():
        path.rename(kept)
    if name in ("tb", "run"):  # and the other way round
        path.touch()
    else:
        (path / "inside").mkdir(parents=True)
    before = contents(runs)
    if name == "run":
        assert str(path) in refused(small.train(runs))
    else:
        assert str(path) in refused(small.train(runs, resume=True))
    assert {name: data for name, data in (contents(runs) or {}).items() if name in (before or {})} == before
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kept.exists():
        kept.rename(path)
    assert small.train(runs, resume=True) == 0
    assert_the_same(half, small.whole)


def test_a_folder_is_not_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder" / "mine").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ChatbotError, match="Is a directory"), atomic_file(tmp_path / "folder"):
        pass
    with pytest.raises(ChatbotError, match="Not a directory"), atomic_folder(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == ["mine"]
    assert (tmp_path / "file").read_text() == "mine"


# nothing left to do


@pytest.mark.parametrize("steps", [HALF - 1, HALF])
def test_resuming_to_a_step_that_is_past_says_so(
    steps: int, small: Small, half: RunDirectory, refused: Callable[[int], str]
) -> None:
    before = contents(half.path)
    said = refused(small.train(half.path.parent, "--steps", str(steps), resume=True))
    assert f"has taken {HALF} steps already, so it cannot go on to step {steps}" in said
    assert contents(half.path) == before


def test_an_error_of_the_disk_that_no_room_expected_is_one_line(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[[int], str]
) -> None:
    import chatbot.runs.directory as run

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/some/file")

    monkeypatch.setattr(run, "find_run", failing)
    assert refused(main(["evaluate"])) == "chatbot: /some/file: Input/output error"
