"""Talking in a terminal: a prompt, a reply that appears word by word, and commands, which begin with `/`."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..config.presets import DECODINGS
from ..config.settings import DecodingConfig
from ..system.errors import ChatbotError, printable
from .bot import Chatbot
from .conversation import Conversation
from .pictures import attention_picture, save_picture

LEAVE = {"quit", "q", "/quit"}
PROMPT = "> "
SHOWN_WIDTH = 9  # characters of a word in a printed alignment
SHOWN = {("beam", "beam_width"), ("sample", "temperature")}  # settings that are told whatever their values are
NOTHING_SAID = "(say something first)"


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


class Command(NamedTuple):
    """How a command is typed, what it does, what does it, and what its argument is read as, if it takes one."""

    usage: str
    help: str
    run: Callable[..., str]
    argument: Callable[[str], Any] | None = None


def command(talk: Conversation, line: str) -> str:
    """Do what a line that begins with `/` asks for; returns what to show.

    Raises:
        ChatbotError: there is no such command, or its argument is none.
    """
    name, *words = line[1:].split() or [""]
    if name not in COMMANDS:
        raise ChatbotError(f"there is no command /{name[:20]}; /help lists them")
    found = COMMANDS[name]
    try:
        if len(words) > (found.argument is not None):
            raise ValueError
        arguments = [found.argument(word) for word in words if found.argument]
    except ValueError as error:
        raise ChatbotError(f"/{name} is used so: {_usage(found)}") from error
    return found.run(talk, *arguments)


def _search_by(talk: Conversation, decoding: DecodingConfig) -> str:
    talk.decoding = decoding
    return describe(decoding)


def _reset(talk: Conversation) -> str:
    talk.reset()
    return "forgotten"


def _beam(talk: Conversation, width: int = 5) -> str:
    return _search_by(talk, dataclasses.replace(DECODINGS["beam"], beam_width=width))


def _sample(talk: Conversation, temperature: float = 1.0) -> str:
    return _search_by(talk, dataclasses.replace(DECODINGS["sample"], temperature=temperature))


def _nbest(talk: Conversation, count: int = 5) -> str:
    if not talk.prompt:
        return NOTHING_SAID
    return "\n".join(f"{log_prob:8.2f}  {reply}" for reply, log_prob in talk.nbest(count))


def _attention(talk: Conversation, file: str = "") -> str:
    if not talk.prompt:
        return NOTHING_SAID
    words, said, weights = talk.attention()
    if not file:
        return alignment(words, said, weights)
    save_picture(Path(file), attention_picture(weights, words, said))
    return f"wrote {printable(file)}"


def _positive(word: str) -> int:
    if int(word) < 1:
        raise ValueError
    return int(word)


COMMANDS: dict[str, Command] = {
    made.usage.split()[0][1:]: made
    for made in (
        Command("/help", "this list", lambda talk: "\n".join(map(_usage, COMMANDS.values()))),
        Command("/reset", "forget what was said so far", _reset),
        Command("/default", "search as at the beginning", lambda talk: _search_by(talk, talk.first_decoding)),
        Command("/greedy", "always the likeliest next word", lambda talk: _search_by(talk, DECODINGS["greedy"])),
        Command("/beam 5", "the best of so many replies that are built side by side", _beam, int),
        Command("/sample 0.8", "draw words; below 1 the likely ones come more often", _sample, float),
        Command("/nbest 5", "so many answers to your last sentence, with log-probabilities", _nbest, _positive),
        Command("/attention FILE.png", "how the last reply looked at your sentence, or printed", _attention, str),
    )
}


def _usage(command: Command) -> str:
    return f"{command.usage:<20} {command.help}"


def describe(decoding: DecodingConfig) -> str:
    """A decoding in a few words: what differs from the defaults and belongs to its method."""
    defaults, said = DecodingConfig(), [decoding.method]
    for field in dataclasses.fields(DecodingConfig):
        value = getattr(decoding, field.name)
        if field.name in ("method", "seed") or field.metadata["method"] not in (None, decoding.method):
            continue
        if field.name == "fallback" and not decoding.min_confidence:
            continue
        if value != getattr(defaults, field.name) or (decoding.method, field.name) in SHOWN:
            figure = f"to {len(value)} replies" if isinstance(value, tuple) else f"{value:g}"
            said.append(f"{field.name.replace('_', ' ')} {figure}")
    return ", ".join(said)


def alignment(words: Sequence[str], said: Sequence[str], weights: np.ndarray) -> str:
    """Attention weights (T, S) as a table in per cent: a column for each word of the prompt, a row for each said."""
    head = " " * SHOWN_WIDTH + "".join(f"{word[: SHOWN_WIDTH - 1]:>{SHOWN_WIDTH}}" for word in words)
    rows = [
        f"{word[: SHOWN_WIDTH - 1]:<{SHOWN_WIDTH}}" + "".join(f"{100 * weight:{SHOWN_WIDTH}.0f}" for weight in row)
        for word, row in zip(said, weights, strict=True)
    ]
    return "\n".join([head, *rows])
