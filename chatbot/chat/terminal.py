"""Talking: a prompt in a terminal, line by line in a pipe."""

import contextlib
import sys
from typing import IO, TextIO

from ..corpus.inputs import line_ends
from ..corpus.tokenizer import LONGEST_LINE
from ..system.errors import ChatbotError, printable
from .bot import Chatbot
from .conversation import Conversation, describe, transcribe

LEAVE = {"quit", "q", "/quit"}
PROMPT = "> "


def converse(bot: Chatbot, name: str, *, quiet: bool = False, log: IO[str] | None = None) -> None:
    """Read lines and answer them until `quit`, `q` or the end of the input (Ctrl-D).

    In a terminal: line editing and history, a greeting, commands that begin with `/`, a word on unknown words (not with
    `quiet`), and the last turns as context for a model that was trained with it. Elsewhere: one reply a line on stdout
    and nothing else there, each line answered by itself.

    Args:
        log: where the conversation is written as well.
    """
    if not sys.stdin.isatty():
        answer_lines(bot, sys.stdin.buffer, sys.stdout, log)
        return
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  # importing it is what gives input() line editing and history

    conversation = Conversation(bot, log)
    print(f"Talking to {printable(name)} ({describe(bot.decoding)}).", file=sys.stderr)
    print("Leave with quit, q or Ctrl-D; /help lists what else you can do.", file=sys.stderr)
    while True:
        try:
            line = input(PROMPT)
            if line.strip().lower() in LEAVE:
                return
            if line.startswith("/"):
                print(conversation.command(line), file=sys.stderr)
            elif line.strip():
                print(conversation.reply(line) or "(no word in that; try another)")
                if not quiet and (unknown := bot.unknown_words(line)):
                    shown = ", ".join(word[:20] for word in unknown[:5])
                    print(f"(I never learnt: {shown})", file=sys.stderr)
        except ChatbotError as error:
            print(f"({error})", file=sys.stderr)
        except KeyboardInterrupt:
            print("\n(quit, q or Ctrl-D leaves)", file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return


def answer_lines(bot: Chatbot, lines: IO[bytes], out: TextIO, log: IO[str] | None = None) -> None:
    """One reply on one line for each line of the input, as soon as it came; an empty one for a line without words.

    Of a line of any length only the end is held. Bytes that are not UTF-8 are read as U+FFFD.

    Raises:
        ChatbotError: the input cannot be read on.
    """
    ends = line_ends(lines, LONGEST_LINE)
    while True:
        try:
            line = next(ends, b"").decode("utf-8", "replace")
        except OSError as error:
            raise ChatbotError(f"cannot read the input: {error.strerror or error}") from error
        if not line or line.strip().lower() in LEAVE:
            return
        line = line.rstrip("\n")  # which is no character of what is read
        reply = bot.reply(line)
        print(reply, file=out, flush=True)
        transcribe(log, line, reply)
