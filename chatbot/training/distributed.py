"""Training in several processes: what they add up together, and how they are started on one machine.

`launch` starts them, or torchrun does on many machines; either way the environment says which process one is (RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..system.errors import ChatbotError, LostProcessError
from ..system.start import STOPPED

GRACE = (
    5  # seconds that the other processes have to end when one has failed; what they are writing is whole or not there
)
LAUNCHER = "CHATBOT_LAUNCHER"  # names the descriptor of a pipe that ends with the launcher


class Group:
    """The processes that train together; a process that trains alone gets its own values back.

    rank: this process's number, from 0. size: how many there are. is_writer: whether this one writes files. device:
    where this process computes.
    """

    def __init__(self, device: torch.device | str = "cpu", rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = torch.device(device), rank, size
        self.is_writer = rank == 0

    @classmethod
    def join(cls, device: torch.device) -> "Group":
        """The group that torchrun's environment variables describe; without them, this process alone."""
        size = int(os.environ.get("WORLD_SIZE", 1))
        stop_with_launcher()
        if size > 1:
            # numbers of the host go over gloo, so that no GPU is waited for
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            # so long, for the first process may prepare a large corpus while the others wait
            dist.init_process_group(backend, timeout=timedelta(hours=12))
        return cls(device, int(os.environ["RANK"]) if size > 1 else 0, size)

    def close(self) -> None:
        """Leave the group; call it once, at the end."""
        if self.size > 1:
            dist.destroy_process_group()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sum([0.0])

    def sum(self, values: Iterable[float]) -> list[float]:
        """Element-wise sums over the processes, in double precision: counts and costs add up without rounding."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64)
        with _lost_process():
            dist.all_reduce(tensor)
        return tensor.tolist()

    def share(self, values: Tensor) -> None:
        """Give every process what the first one has in `values`, which is on the CPU, in place."""
        if self.size > 1:
            with _lost_process():
                dist.broadcast(values.detach(), 0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up each parameter's gradient over the processes; a missing one counts as zero."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with _lost_process():
            # start all of them before waiting for any: one is added up while another travels
            for work in [dist.all_reduce(parameter.grad, async_op=True) for parameter in parameters]:
                work.wait()


@contextlib.contextmanager
def _lost_process() -> Iterator[None]:
    """Turn what torch says of a process that is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        if "peer" not in str(error) and "NCCL" not in str(error):
            raise
        raise LostProcessError("another of the processes that train together has ended; see its message") from error


def launch(count: int, arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Run `python -m chatbot` with `arguments` in `count` processes on this machine, as one group; wait for them.

    Ctrl-C and SIGTERM are passed on to each, but not what this process was begun to ignore (`nohup`). When one fails,
    the others are ended. When this process is killed, they stop and save (`stop_with_launcher`).

    Args:
        tell: says a line to a person: which process was ended by which signal, as soon as that is seen.

    Returns:
        the exit code of the first process that failed, in the order of ranks, or 0.

    Raises:
        ChatbotError: this is Windows, where no process is told to stop and save.
    """
    if not hasattr(signal, "SIGHUP"):
        raise ChatbotError("--processes wants Linux or macOS: leave it out, or use WSL")
    # this process holds the store by which the others meet, so its port is free for sure
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # so that no process opens another store
    }
    # nothing is ever written into this pipe: it ends when this process does, however it ends
    ending, held_open = os.pipe()
    environment[LAUNCHER] = str(ending)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: Any) -> None:
        for process in processes:
            # closing the terminal asks to stop, too
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, pass_on)
    lost = -1  # the process that was the first to be ended by a signal
    try:
        for rank in range(count):
            command = [sys.executable, "-m", __package__.partition(".")[0], *arguments]
            own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # in a session of its own: the terminal's Ctrl-C comes to this process only, which passes it on once
            processes.append(subprocess.Popen(command, env=own, start_new_session=True, pass_fds=(ending,)))
        while any(process.poll() is None for process in processes):
            codes = [process.poll() for process in processes]
            killed = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
            if killed and lost < 0:
                lost = killed[0]
                tell(_ended_by(lost, count, -(codes[lost] or 0)))
            if any(code not in (None, 0, STOPPED) for code in codes):
                _end(processes)
            time.sleep(0.05)
    finally:
        for descriptor in (ending, held_open):
            os.close(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
    ends = [process.returncode for process in processes]
    killed = [rank for rank, code in enumerate(ends) if code < 0]
    if killed and lost < 0:  # all of them at once
        lost = killed[0]
        tell(_ended_by(lost, count, -ends[lost]))
    # a process that died of a signal has a negative code; the others then fail because of it
    ends = [ends[lost], *ends] if lost >= 0 else ends
    return next((code if code > 0 else 128 - code for code in ends if code), 0)


def _ended_by(rank: int, count: int, number: int) -> str:
    names = {each.value: each.name for each in signal.Signals}
    memory = " (perhaps for want of memory)" if number == signal.SIGKILL else ""
    return (
        f"chatbot: process {rank} of 0 to {count - 1} was ended by {names.get(number, f'signal {number}')}{memory}, so "
        "the others end too; what was saved stands: go on with --resume"
    )


def stop_with_launcher() -> None:
    """In a process that `launch` started: when the launcher is gone, ask this process to stop, as SIGTERM does."""
    if LAUNCHER not in os.environ:
        return
    ending = int(os.environ.pop(LAUNCHER))

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(ending, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let the processes end by themselves, for each notices that one is lost; kill those that do not."""
    end = time.monotonic() + GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        process.kill()
        process.wait()
