"""Talking in a terminal: a prompt, a reply that appears word by word, and commands that begin with `/`."""

import contextlib
import sys
from typing import IO

from ..system.errors import ChatbotError, printable
from .bot import Chatbot
from .commands import command, describe
from .conversation import Conversation

LEAVE = {"quit", "q", "/quit"}
PROMPT = "> "


def converse(bot: Chatbot, name: str, *, quiet: bool = False, log: IO[str] | None = None) -> None:
    """Read lines and answer them until `quit`, `q` or Ctrl-D, with line editing and history where there is readline.

    Args:
        name: what the greeting calls the bot.
        quiet: whether nothing is said of words that the bot never learnt.
        log: where the conversation is written as well.
    """
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  # importing it is what gives input() line editing and history

    conversation = bot.conversation(log=log)
    print(f"Talking to {printable(name)} ({describe(bot.decoding)}).", file=sys.stderr)
    print("Leave with quit, q or Ctrl-D; /help lists what else you can do.", file=sys.stderr)
    while True:
        try:
            line = input(PROMPT)
            if line.strip().lower() in LEAVE:
                return
            if line.startswith("/"):
                print(command(conversation, line), file=sys.stderr)
            elif line.strip():
                _answer(conversation, line)
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


def _answer(conversation: Conversation, line: str) -> None:
    anything = False
    for piece in conversation.stream(line):
        print(piece, end="", flush=True)
        anything = True
    print("" if anything else "(no word in that; try another)")
