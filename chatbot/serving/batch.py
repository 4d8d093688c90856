"""A file of prompts in, a file of replies out: many at once, in the order of the file."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from ..chat.bot import Chatbot
from ..corpus.inputs import line_ends
from ..corpus.tokenizer import LONGEST_LINE
from ..system.errors import ChatbotError, printable
from ..system.files import atomic_file

READ_AHEAD = 16  # batches that are read together, so that prompts of about one length share a batch


def answer_file(bot: Chatbot, prompts: Path, out: Path, batch_size: int) -> int:
    """Answer each line of `prompts` and write `prompt<TAB>reply` lines to `out`; returns how many.

    Bytes that are not UTF-8 are read as U+FFFD; a line without a word has the empty reply. White space in a prompt is
    written as one space, a control character as Python spells it (`\\x1b`), and of a very long line only its end is
    kept. In memory are the ends of `READ_AHEAD` batches of lines, whatever the size of the file or of a line.

    Raises:
        ChatbotError: the prompts cannot be read, or the replies not be written.
    """
    count = 0
    try:
        total = prompts.stat().st_size
        source = prompts.open("rb")
    except OSError as error:
        raise _unreadable(prompts, error) from error
    with (
        source,
        atomic_file(out, "w") as file,
        tqdm(total=total, unit="B", unit_scale=True, desc="answering", dynamic_ncols=True) as bar,
    ):
        lines = _lines(source, prompts, bar)
        while texts := list(itertools.islice(lines, READ_AHEAD * batch_size)):
            for text, reply in zip(texts, bot.reply_batch(texts, batch_size), strict=True):
                file.write(f"{printable(' '.join(text.split()))}\t{reply}\n")
            count += len(texts)
            bar.set_postfix_str(f"{count:,} replies", refresh=False)
    return count


def _lines(source: IO[bytes], prompts: Path, bar: Any) -> Iterator[str]:
    try:
        for line in line_ends(source, LONGEST_LINE):
            yield line.removesuffix(b"\n").decode("utf-8", "replace")
            bar.update(len(line))  # of a pipe nobody knows the place
    except OSError as error:
        raise _unreadable(prompts, error) from error


def _unreadable(prompts: Path, error: OSError) -> ChatbotError:
    return ChatbotError(f"cannot read {prompts}: {error.strerror or error}")
