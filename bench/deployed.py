"""Every deployed form of a model as a process of its own: from its start to its first reply, and its memory then.

What each process does is what a deployment does, and no more: import what it needs, open the file, answer one prompt.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import results

CLIENT = results.ROOT / "cpp" / "build" / "chatbot"
# of Python: after the file, argv has the prompt as text, its ids with commas between, and the longest reply's tokens
FIRST_REPLY = {
    "tutorial": """
import torch
torch.set_num_threads(1)
search = torch.jit.load(file)
with torch.inference_mode():
    search(torch.tensor(ids).view(-1, 1), torch.tensor([len(ids)]), longest)
""",
    "eager": """
import torch
torch.set_num_threads(1)
from chatbot import Chatbot
from chatbot.config.settings import DecodingConfig
Chatbot.load(file, decoding=DecodingConfig()).reply_batch([ids])
""",
    "torchscript": """
import torch
torch.set_num_threads(1)
torch.jit.load(file).reply(text)
""",
    "onnx": """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
src, src_lengths = numpy.array([ids]), numpy.array([len(ids)])
session.run(None, {"src": src, "src_lengths": src_lengths, "max_length": numpy.array(longest)})
""",
}
FIRST_REPLY["int8"] = FIRST_REPLY["onnx"]
PYTHON = """
import sys
file, text, ids, longest = sys.argv[1:]
ids, longest = [int(id) for id in ids.split(",")], int(longest)
{work}
print("replied", flush=True)
input()
"""


def first_replies(
    files: Mapping[str, Path], text: str, ids: list[int], longest: int, rounds: int
) -> dict[str, tuple[float, float | None]]:
    """Of each form the seconds from process start to first reply (medians), and the peak memory in MB (None unknown).

    Args:
        files: form -> its file: the keys of `FIRST_REPLY`, and `C++`.
        text, ids: the same prompt. longest: tokens of a reply at most.
    """
    found: dict[str, list[tuple[float, float | None]]] = {form: [] for form in files}
    for _ in range(rounds):
        for form, file in files.items():
            if form == "C++":
                command = [str(CLIENT), str(file)]
            else:
                script = PYTHON.format(work=FIRST_REPLY[form])
                command = [sys.executable, "-c", script, str(file), text, ",".join(map(str, ids)), str(longest)]
            found[form].append(_first_reply(command, text))
    return {
        form: (statistics.median(seconds for seconds, _ in runs), max((peak for _, peak in runs if peak), default=None))
        for form, runs in found.items()
    }


def _first_reply(command: list[str], text: str) -> tuple[float, float | None]:
    began = time.perf_counter()
    process = _started(command)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(text + "\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise SystemExit(f"{command[0]} {command[3:] or command[1:]} gave no reply")
        seconds = time.perf_counter() - began
        peak = _peak(process.pid)
        process.stdin.write("quit\n")
    return seconds, peak


def _started(command: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(results.ROOT)}
    pipe, hidden = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=hidden, text=True, env=environment)


def _peak(pid: int) -> float | None:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


class Client:
    """The C++ client at work: a line in, a line out."""

    def __init__(self, file: Path, threads: int) -> None:
        self.process = _started([str(CLIENT), str(file), "--threads", str(threads)])

    def reply(self, text: str) -> str:
        """The answer to one line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def build_client() -> str:
    """Build the C++ client as `make cpp` does; "" when it is there, else one line that says why it is not."""
    if shutil.which("make") is None or not (shutil.which(os.environ.get("CXX", "c++")) or shutil.which("cmake")):
        return "no C++ compiler or no make here"
    command = ["make", "-s", "-C", str(CLIENT.parent.parent), f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else "the C++ client does not build here: make cpp says why"
