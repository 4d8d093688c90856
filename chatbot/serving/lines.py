"""Prompts line by line, replies line by line: from a pipe as they come, or from a file many at once."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

from tqdm import tqdm

from ..chat.bot import Chatbot
from ..chat.conversation import transcribe
from ..chat.terminal import LEAVE
from ..corpus.tokenizer import LONGEST_LINE
from ..system.errors import failing_as, printable
from ..system.files import atomic_file

READ_AHEAD = 16  # batches of a file that are read together, so that prompts of about one length share a batch


def answer_lines(bot: Chatbot, lines: IO[bytes], out: TextIO, log: IO[str] | None = None) -> None:
    """One reply on one line for each line of the input, as soon as it came; an empty one for a line without words.

    Each line is answered by itself; `quit` or `q` ends. Of a line of any length only the end is held. Bytes that are
    not UTF-8 are read as U+FFFD.

    Raises:
        ChatbotError: the input cannot be read on.
    """
    for line in _lines(lines, "the input"):
        if line.strip().lower() in LEAVE:
            return
        reply = bot.reply(line)
        print(reply, file=out, flush=True)
        transcribe(log, line, reply)


def answer_file(bot: Chatbot, prompts: Path, out: Path, batch_size: int) -> int:
    """Answer each line of `prompts` and write `prompt<TAB>reply` lines to `out`; returns how many.

    Lines are read as `answer_lines` reads them. White space in a prompt is written as one space, a control character
    as Python spells it (`\\x1b`). In memory are the ends of `READ_AHEAD` batches of lines, whatever the file's size.

    Raises:
        ChatbotError: the prompts cannot be read, or the replies not be written.
    """
    count = 0
    with failing_as(f"cannot read {prompts}"):
        total, source = prompts.stat().st_size, prompts.open("rb")
    with (
        source,
        atomic_file(out, "w") as file,
        tqdm(total=total, unit="B", unit_scale=True, desc="answering", dynamic_ncols=True) as bar,
    ):
        lines = _lines(source, str(prompts), bar)
        while texts := list(itertools.islice(lines, READ_AHEAD * batch_size)):
            for text, reply in zip(texts, bot.reply_batch(texts, batch_size), strict=True):
                file.write(f"{printable(' '.join(text.split()))}\t{reply}\n")
            count += len(texts)
            bar.set_postfix_str(f"{count:,} replies", refresh=False)
    return count


def line_ends(stream: IO[bytes], most: int) -> Iterator[bytes]:
    """Every line of a stream as soon as it is there, of a longer one its last `most` bytes; no more is ever held."""
    while line := stream.readline(most):
        more = line
        while not more.endswith(b"\n") and (more := stream.readline(most)):
            line = (line + more)[-most:]
        yield line


def _lines(source: IO[bytes], name: str, bar: tqdm | None = None) -> Iterator[str]:
    ends = line_ends(source, LONGEST_LINE)
    while True:
        with failing_as(f"cannot read {name}"):  # around the reading alone: what is done with a line fails as itself
            line = next(ends, b"")
        if not line:
            return
        yield line.decode("utf-8", "replace").removesuffix("\n")
        if bar is not None:
            bar.update(len(line))  # of a pipe nobody knows the place
