"""`chatbot chat` and `chatbot serve`: a bot answers a person, a file, or a network."""

import argparse
import contextlib
import dataclasses
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..config.arguments import decoding_from_flags
from ..system.errors import ChatbotError, failing_as, printable
from ..system.process import apart, keep_freed
from .run import found_run
from .told import say


def chat(arguments: argparse.Namespace) -> None:
    """chatbot chat"""
    from ..chat.conversation import transcribe
    from ..chat.terminal import converse
    from ..serving.lines import answer_file, answer_lines

    if (arguments.file is None) != (arguments.out is None):
        raise ChatbotError("--file PROMPTS and --out REPLIES go together")
    if arguments.file is not None and (arguments.log is not None or arguments.prompt is not None):
        raise ChatbotError("--file answers a file into --out: leave out --log and --prompt")
    path, bot = _opened(arguments)
    if arguments.file is not None:
        count = answer_file(bot, arguments.file, arguments.out, arguments.batch_size)
        say(f"wrote {arguments.out}: {count:,} replies")
        return
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_transcript(arguments.log))
        if arguments.prompt is not None:
            reply = bot.reply(arguments.prompt)
            print(reply)
            transcribe(log, arguments.prompt, reply)
        elif sys.stdin.isatty():
            converse(bot, str(path), quiet=arguments.quiet, log=log)
        else:
            answer_lines(bot, sys.stdin.buffer, sys.stdout, log)


def serve(arguments: argparse.Namespace) -> None:
    """chatbot serve"""
    from ..runs.directory import model_name

    try:
        from ..serving import server
        from ..serving.application import create_application
        from ..serving.guard import key_in
        from ..serving.limits import Limits
    except ImportError as error:
        raise ChatbotError(f"to serve, install the extra [serve] (pip install -e '.[serve]'): {error}") from error

    key = None if arguments.api_key is None else key_in(arguments.api_key)
    keep_freed()
    path, bot = apart(lambda: _opened(arguments))  # another thread answers
    name = arguments.name or model_name(path)
    limits = Limits(batch=arguments.batch_size, waiting=arguments.queue, timeout=arguments.timeout)
    with _transcript(arguments.log) as log, server.listen(arguments.host, arguments.port) as listening:
        local = server.is_local(listening)
        if not local and key is None:
            say("Anybody who reaches this machine can talk to the bot: --api-key asks for a key.")
        application = create_application(
            bot,
            name,
            limits=limits,
            key=key,
            hosts={"localhost", "127.0.0.1", "::1", str(listening.getsockname()[0])} if local else None,
            origins=arguments.allow_origin,
            log=log,
        )
        gc.collect()
        gc.freeze()  # what is loaded stays: the garbage collector need not look through it again and again
        told = f"Serving {printable(name)} at {server.url(listening)} (API: /docs). Ctrl-C ends it."
        server.serve(application, listening, limits, started=lambda: say(told))


def _opened(arguments: argparse.Namespace) -> tuple[Path, Any]:
    """What is talked to, and its bot with the decoding and the reranking that the flags ask for."""
    from ..chat.bot import Chatbot
    from ..runs.directory import find_model

    path = found_run(arguments, find_model)
    backward = None if arguments.rerank is None else find_model(arguments.rerank, arguments.checkpoints_dir)
    bot = Chatbot.load(path, arguments.device, mend_words=arguments.mend_words)
    bot = dataclasses.replace(bot, decoding=decoding_from_flags(arguments, bot.decoding))
    bot.decode.fallback_ids(bot.decoding.fallback)  # one that cannot be said is refused now, not at some reply
    return path, bot.reranked_with(backward) if backward else bot


@contextlib.contextmanager
def _transcript(path: Path | None) -> Iterator[IO[str] | None]:
    """The file that prompts and replies are added to, if one was named."""
    if path is None:
        yield None
        return
    with failing_as(f"cannot write {path}"):
        file = path.open("a", encoding="utf-8", errors="replace")
    with file:
        yield file
