"""A file of prompts in, a file of replies out: many at once, in the order of the file."""

import itertools
from pathlib import Path
from typing import IO

from tqdm import tqdm

from .bot import Chatbot
from .errors import ChatbotError
from .files import atomic_file
from .tokenizer import MAX_CHARACTERS

LONGEST_LINE = 4 * MAX_CHARACTERS  # bytes: more of a line's end than is read of a prompt
READ_AHEAD = 16  # batches that are read together, so that prompts of about one length share a batch


def answer_file(bot: Chatbot, prompts: Path, out: Path, batch_size: int) -> int:
    """Answer each line of `prompts` and write `prompt<TAB>reply` lines to `out`; returns how many.

    Bytes that are not UTF-8 are read as U+FFFD; a line without a word has the empty reply. A tab in a prompt is written
    as a space, and of a very long line only its end is kept. In memory are `READ_AHEAD` batches,
    whatever the size of the file.

    Raises:
        ChatbotError: the prompts cannot be read, or the replies not be written.
    """
    count = 0
    try:
        total = prompts.stat().st_size
        with (
            prompts.open("rb") as lines,
            atomic_file(out, "w") as file,
            tqdm(total=total, unit="B", unit_scale=True, desc="answering", dynamic_ncols=True) as bar,
        ):
            while chunk := list(itertools.islice(lines, READ_AHEAD * batch_size)):
                texts = [line[-LONGEST_LINE:].decode("utf-8", "replace") for line in chunk]
                _write(file, texts, bot.reply_batch(texts, batch_size))
                count += len(texts)
                bar.update(sum(map(len, chunk)))
                bar.set_postfix_str(f"{count:,} replies", refresh=False)
    except OSError as error:
        raise ChatbotError(f"cannot read {prompts}: {error.strerror or error}") from error
    return count


def _write(file: IO[str], texts: list[str], replies: list[str]) -> None:
    for text, reply in zip(texts, replies, strict=True):
        file.write(f"{' '.join(text.split())}\t{reply}\n")
