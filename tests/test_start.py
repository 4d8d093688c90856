"""The first moments of a command, and its last: Ctrl-C at any import, and each stream closed, full, or left by its
reader. All from outside: a process that has imported nothing yet forks one child for each moment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.runs.directory import RunDirectory

ROOT = Path(__file__).parent.parent
# a child for every so many imports, which is sent SIGINT at that one; prints how each ended and what it said
FORKS = """
import os, runpy, signal, sys
every, arguments = int(sys.argv[1]), sys.argv[2:]
def forked(last):
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        said = b""
        while some := os.read(reading, 65536):
            said += some
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said
    os.dup2(writing, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    seen = 0
    def hook(event, of):
        nonlocal seen
        if event == "import" and (seen or signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
            seen += 1
            if seen == last + 1:
                signal.raise_signal(signal.SIGINT)
    sys.addaudithook(hook)
    sys.argv[1:] = arguments
    try:
        runpy.run_module("chatbot", run_name="__main__", alter_sys=True)
    except SystemExit as left:
        sys.stderr.flush()
        os._exit(left.code or 0)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(99)
number = 0
while number < 2000:
    code, said = forked(number)
    if code == 0:
        break
    if code != 130 or said.strip():
        print(number, code, said.decode(errors="replace"))
    number += every
print("ended after", number)
"""


def run(*arguments: str, **how: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "chatbot", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **how)  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(sys.platform != "linux", reason="a fork of a process that is beginning")
@pytest.mark.parametrize(
    ("every", "arguments"),
    [
        (30, ["prepare", "--help"]),
        pytest.param(1, ["prepare", "--help"], marks=pytest.mark.slow),
        pytest.param(40, ["chat", "RUN", "--prompt", "hello"], marks=pytest.mark.slow),
    ],
    ids=["a few moments", "each moment", "with torch"],
)
def test_ctrl_c_at_any_import_is_quiet(every: int, arguments: list[str], trained: RunDirectory) -> None:
    given = [str(trained.path) if word == "RUN" else word for word in arguments]
    command = [sys.executable, "-c", FORKS, str(every), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ended after"), done.stdout
    assert int(done.stdout.split()[-1]) >= every


CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}


def shell(line: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`chatbot` with these arguments as `"$@"` of a line for the shell."""
    command = ["sh", "-c", line.replace("CHATBOT", f'{sys.executable} -m chatbot "$@"'), "sh", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "closed", ["stderr", "all", *(pytest.param(one, marks=pytest.mark.slow) for one in ("stdin", "stdout"))]
)
def test_a_reply_with_a_stream_closed(closed: str, trained: RunDirectory) -> None:
    done = shell(f"CHATBOT {CLOSED[closed]}", "chat", str(trained.path), "--prompt", "hello")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout.strip()) == (closed in ("stdin", "stderr"))


@pytest.mark.slow
@pytest.mark.parametrize("closed", list(CLOSED))
def test_a_training_with_a_stream_closed(closed: str, excerpt: Path, trained: RunDirectory, tmp_path: Path) -> None:
    """Two processes prepare, so that theirs are closed as well; what is opened must not get the number of a stream."""
    places = ["--data-dir", str(tmp_path / "data"), "--checkpoints-dir", str(tmp_path)]
    settings = ["--config", str(trained.config), "--steps", "2", "--device", "cpu"]
    shell(f"CHATBOT {CLOSED[closed]}", "prepare", "--corpus", str(excerpt), *places[:2], "--workers", "2")
    done = shell(f"CHATBOT {CLOSED[closed]}", "train", *settings, "--run", "made", *places)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert RunDirectory(tmp_path / "made").load_chosen().step == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_streams_of_a_full_disk(trained: RunDirectory) -> None:
    """What is asked for must not be lost in silence; what is only told may be."""
    out = shell("CHATBOT > /dev/full", "chat", str(trained.path), "--prompt", "hello")
    assert (out.returncode, out.stderr) == (2, "chatbot: No space left on device\n")
    told = shell("CHATBOT 2> /dev/full", "prepare", "--corpus", str(trained.path / "none"))
    assert (told.returncode, told.stderr) == (2, "")
    both = shell("CHATBOT > /dev/full 2>&1", "chat", str(trained.path), "--prompt", "hello")
    assert both.returncode == 2


def test_a_full_pipe_is_waited_for(trained: RunDirectory) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    try:
        while True:
            filled += os.write(writing, b"-" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    command = [sys.executable, "-m", "chatbot", "chat", str(trained.path), "--prompt", "hello"]
    with subprocess.Popen(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert process.stderr
        with os.fdopen(reading, "rb") as pipe:
            whole = pipe.read()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert whole[:filled] == b"-" * filled
    assert whole[filled:].strip()


def test_a_reader_who_has_left_ends_it_quietly(trained: RunDirectory, tmp_path: Path) -> None:
    """With stderr in a file, and its exit code behind that: what a shell's pipe does not tell."""
    told = tmp_path / "told"
    shell(f"{{ CHATBOT 2>{told}; echo $? >>{told}; }} | true", "chat", str(trained.path), "--prompt", "hello")
    assert told.read_text() == "0\n"
