"""Runs the command line as if on Windows, as far as that can be had elsewhere: `python as_windows.py ARGUMENTS...`.

What Python lacks there is hidden: modules, functions, flags and signals. What the system refuses there is refused: to
open a folder, to flush a file that was opened for reading, and to rename one that is open.
"""

import ctypes
import errno
import fcntl
import os
import pathlib
import shutil
import signal
import sys
from typing import Any

import numpy  # noqa: F401  # what is imported before is not meant
import torch  # noqa: F401

OF_UNIX = ("fcntl", "resource", "readline", "termios", "tty", "pty", "pwd", "grp", "syslog", "crypt")
OF_OS = """
    O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY O_SYNC O_DSYNC fork forkpty register_at_fork sched_getaffinity killpg
    setsid getuid geteuid getpgid uname mkfifo chown fchmod fchown WNOHANG
""".split()  # noqa: SIM905
SIGNALS = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV", "SIG_DFL", "SIG_IGN", "signal"}
OF_SIGNALS = ("SIG", "pthread_", "sig", "setitimer", "alarm", "pause")
opened, flushed, library, moved = os.open, os.fsync, ctypes.CDLL, pathlib.Path.replace


def open_file(path: Any, flags: int, *rest: Any, **more: Any) -> int:
    if pathlib.Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return opened(path, flags, *rest, **more)


def flush(descriptor: int) -> None:
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    flushed(descriptor)


def replace(path: pathlib.Path, target: Any) -> pathlib.Path:
    mine = pathlib.Path("/proc/self/fd")
    held = {os.path.realpath(entry) for entry in mine.iterdir()} if mine.exists() else set()
    if held & {os.path.realpath(path), os.path.realpath(target)}:
        raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
    return moved(path, target)


def load(name: str | None, *rest: Any, **more: Any) -> Any:
    if name is None:
        raise TypeError("bad argument type for built-in operation")
    return library(name, *rest, **more)


def hide() -> None:
    for name in OF_UNIX:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in [name for name in vars(signal) if name.startswith(OF_SIGNALS) and name not in SIGNALS]:
        delattr(signal, name)
    os.open, os.fsync, pathlib.Path.replace = open_file, flush, replace  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # it opens folders
    ctypes.CDLL = load  # type: ignore[assignment, misc]


if __name__ == "__main__":
    hide()
    from chatbot.__main__ import main

    for line in sys.argv[1:]:  # each argument is a whole command line
        if code := main(line.split()):
            sys.exit(code)
