"""What the program says to a person: the one exception that a user's mistake ends in, commands as they can be typed
here, and a stranger's text as a terminal may show it."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"  # a checkout has it, a wheel has not
LONGEST = 1000  # characters of a message
# what would steer a terminal or turn its text round instead of standing in it, each as Python writes it in a string:
# C0, DEL, C1, separators of lines and paragraphs, marks and overrides of direction, halves of surrogate pairs
STEERING = {
    code: chr(code).encode("unicode_escape").decode()
    for codes in (
        range(0x20),
        range(0x7F, 0xA0),
        (0x61C, 0x200E, 0x200F),
        range(0x2028, 0x202F),
        range(0x2066, 0x206A),
        range(0xD800, 0xE000),
    )
    for code in codes
}


class ChatbotError(Exception):
    """Something the user can mend: a path, a setting, a damaged file, a corpus with nothing in it.

    The message is one line of at most LONGEST characters, whatever is quoted in it: what is wrong, where, and
    what to do next. The command line prints it on stderr and leaves with exit code 2; a traceback is for defects of
    this program only.
    """

    def __init__(self, message: str) -> None:
        if len(message) > 2 * LONGEST:
            message = message[:LONGEST] + message[-LONGEST:]
        message = printable(message)
        if len(message) > LONGEST:
            message = f"{message[: LONGEST * 3 // 4]} ... {message[5 - LONGEST // 4 :]}"
        super().__init__(message)


class LostProcessError(ChatbotError):
    """Another of the processes that train together has ended; what it said itself is the message to read."""


@contextlib.contextmanager
def failing_as(what: str, advice: str = "") -> Iterator[None]:
    """Turn an OSError of the block into one line: `with failing_as(f"cannot write {path}"): ...`.

    Raises:
        ChatbotError: `what`, the system's own words for the error, and `advice`.
    """
    try:
        yield
    except OSError as error:
        raise ChatbotError(f"{what}: {error.strerror or error}{advice}") from error


def command(verb: str, run: "str | Path | None" = None, *, corpus: str = "", flags: str = "") -> str:
    """A command as it can be typed here: by make in a checkout, without make where the package was installed.

    `command("train", "mine", flags="--resume")` is `make train RUN=mine ARGS=--resume`, or
    `chatbot train --run mine --resume`.
    """
    named = shlex.quote(str(run)) if run is not None else ""
    if _in_a_checkout():
        values = {"CORPUS": corpus, "RUN": named, "ARGS": f"'{flags}'" if " " in flags else flags}
        parts = ["make", verb, *(f"{variable}={value}" for variable, value in values.items() if value)]
    else:
        # `train` and `prepare` make something new, so what they make is named by a flag
        name = f"--run {named}" if verb == "train" else named
        parts = ["chatbot", verb, f"--corpus {corpus}" * bool(corpus), name * bool(named), flags]
    return " ".join(filter(None, parts))


def _in_a_checkout() -> bool:
    try:
        return MAKEFILE.is_file()
    except OSError:  # the folder above may not be read
        return False


def first_line(error: Exception) -> str:
    """What another's exception says, as far as a message has room for it."""
    return (str(error) or type(error).__name__).splitlines()[0]


def printable(text: str) -> str:
    """Text as one line without control characters: a line break is `\\n`, an escape sequence stands as `\\x1b[2J`."""
    return text.translate(STEERING)


def shown(value: object) -> str:
    """A value out of a stranger's file in a few characters: what is nested is named by its type, not walked through."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    if value is None or isinstance(value, int | float):
        return repr(value)
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"
