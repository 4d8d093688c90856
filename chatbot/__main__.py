"""The front door: `chatbot VERB`, or `python -m chatbot VERB`. The only reader of argv; a user's mistake ends here.

Exit codes: 0 done, 2 a mistake of the user's (one line on stderr), 130 stopped by Ctrl-C (state saved). What is for
people goes to stderr; `--json` puts one JSON object on stdout.
"""

from .system.start import STOPPED, begin, end

if __name__ == "__main__":
    begin()  # before all the imports below

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .config.arguments import parser
from .system.errors import ChatbotError, LostProcessError
from .system.process import take_large_pages, wait_briefly
from .training import signals
from .verbs.evaluate import evaluate
from .verbs.export import export, pack
from .verbs.import_checkpoint import import_checkpoint
from .verbs.prepare import prepare
from .verbs.talk import chat, serve
from .verbs.train import train


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code. Without arguments they are the command line's, and this process ours."""
    if arguments is not None or signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, end):
        return _main(arguments)
    pressed = []

    def interrupt(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def unraisable(failure: Any) -> None:
        if failure.exc_type is KeyboardInterrupt:  # it came where Python lets no exception out: in a callback, say
            os._exit(STOPPED)
        sys.__unraisablehook__(failure)

    sys.unraisablehook = unraisable
    signal.signal(signal.SIGINT, interrupt)
    signals.ends_process = True
    try:
        return _main(None)
    except KeyboardInterrupt:  # once more, while the first was answered
        return STOPPED
    except Exception:
        if pressed:  # in the middle of an import, say, which then fails with anything
            return STOPPED
        raise
    finally:
        signal.signal(signal.SIGINT, end)


def _main(arguments: list[str] | None) -> int:
    wait_briefly()
    take_large_pages()
    try:
        try:
            code = _verb(arguments)
        except SystemExit:  # of --help, which has printed
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # here, where a disk that is full still gets its line
        return code
    except LostProcessError as error:
        if os.environ.get("RANK") == "0":  # the others know no more than that
            print(f"chatbot: {error}", file=sys.stderr)
        return 2
    except ChatbotError as error:
        _forget_output()
        print(f"chatbot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _forget_output()
        print(file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # `chatbot ... | head`: nobody reads on
        _forget_output()
        return 0
    except OSError as error:  # a disk that is full or gone, or rights that are missing, where no file has a better word
        _forget_output()
        where = f"{error.filename}: " if error.filename else ""
        with contextlib.suppress(OSError):  # stderr may be a file on that disk
            print(f"chatbot: {where}{error.strerror or error}", file=sys.stderr)
        return 2


def _verb(arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parsed = parser(VERBS).parse_args(given, argparse.Namespace(given=given))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # bytes that are no text must not end a conversation
            stream.reconfigure(errors="replace")
    if threads := getattr(parsed, "threads", 0):  # 0 is torch's own choice
        import torch

        torch.set_num_threads(threads)
    return parsed.verb(parsed) or 0


def _forget_output() -> None:
    """Have what stdout could not take go nowhere, for Python tries it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


VERBS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "pack": pack,
    "import-checkpoint": import_checkpoint,
    "chat": chat,
    "serve": serve,
}


if __name__ == "__main__":
    code = main()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # a thread of torch's process group may outlive the interpreter, which then aborts: all is saved, so do not wait
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
