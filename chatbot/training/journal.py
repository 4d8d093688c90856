"""What a training writes down: `metrics.jsonl` for scripts, TensorBoard events for people; the same numbers in both.

However long a training gets, its files stay small: `spaced` says at which steps something is written.
"""

import contextlib
import gc
import json
import math
import threading
from pathlib import Path
from typing import TypedDict

from ..chat.bot import Chatbot
from ..chat.pictures import attention_picture
from ..evaluation.examination import readable
from ..runs.directory import RunDirectory
from ..system.errors import ChatbotError, failing_as
from ..system.files import atomic_file
from ..system.schema import Count, checked


def spaced(step: int, every: int, most: int) -> bool:
    """Whether a step is one of those at which something is written: every `every` steps, and less often as they grow.

    After `most` times (a power of two from 2 on) it is every second of those steps, after twice as many steps every
    fourth, and so on: whenever the steps double, `most` / 2 times are added. It depends on the step alone, so a resumed
    training writes at the same steps.
    """
    times, rest = divmod(step, every)
    return rest == 0 and times % (1 << max(0, times.bit_length() - most.bit_length() + 1)) == 0


class Measurement(TypedDict):
    """What is read back of a line of `metrics.jsonl`: after how many updates it was measured, and on what."""

    step: Count
    part: str


class Journal:
    """`metrics.jsonl` and the TensorBoard events of a run: the same numbers in both.

    What writes raises a ChatbotError where the disk is full, or gone.
    """

    def __init__(self, run: RunDirectory, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here, for its import takes a second

        self._run = run
        _forget_after(run, step)
        with contextlib.ExitStack() as stack:
            with _writing(run.metrics):
                self._file = stack.enter_context(run.metrics.open("a", encoding="utf-8"))
            stack.callback(setattr, threading, "excepthook", threading.excepthook)
            self._excepthook, threading.excepthook = threading.excepthook, self._thread_failed
            if run.tensorboard.is_symlink():
                raise ChatbotError(f"{run.tensorboard} is a link, and no folder of the run: remove it")
            with _writing(run.tensorboard):
                self._writer = SummaryWriter(str(run.tensorboard), purge_step=step + 1 if step else None)
            stack.callback(self._writer.close)
            self._open = stack.pop_all()

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread of its own; its OSErrors come again from the next call, and are said then."""
        if not issubclass(failure.exc_type, OSError):
            self._excepthook(failure)

    def write(self, step: int, part: str, **values: float) -> None:
        """One measurement of `part` (`train`, `valid`, or `valid/NAME` of a mixture's corpora) after `step` updates."""
        rounded = {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in values.items()}
        with _writing(self._run.metrics):
            self._file.write(json.dumps({"step": step, "part": part, **rounded}) + "\n")
            self._file.flush()
        with _writing(self._run.tensorboard):
            for name, value in values.items():
                self._writer.add_scalar(f"{name}/{part}", value, step)

    def show(self, step: int, bot: Chatbot, prompts: list[list[int]]) -> None:
        """Sample replies to all prompts as a table, and attention for the last two as images, for TensorBoard."""
        rows = "\n".join(f"| {prompt} | {reply} |" for prompt, reply in samples(bot, prompts))
        with _writing(self._run.tensorboard):
            self._writer.add_text("replies", f"| prompt | reply |\n|---|---|\n{rows}", step)
            for number, prompt in enumerate(prompts[-2:]):
                words, reply, weights = bot.attend(prompt)
                picture = attention_picture(weights, words, reply)
                self._writer.add_image(f"attention/{number}", picture, step, dataformats="HWC")
            self._writer.flush()
        gc.collect()  # a drawn figure refers to itself: without this tens of megabytes of them would wait

    def close(self) -> None:
        """Write out what is left, if that can be done; every validation did so before."""
        with contextlib.suppress(OSError):
            self._open.close()


def samples(bot: Chatbot, prompts: list[list[int]]) -> list[tuple[str, str]]:
    """Prompts and the bot's replies, as text."""
    texts = [readable(bot.vocabulary, bot.tokenizer, prompt) for prompt in prompts]
    return list(zip(texts, bot.reply_batch(prompts), strict=True))


def _writing(path: Path) -> contextlib.AbstractContextManager[None]:
    return failing_as(f"cannot write {path}", "; what was saved before stands: mend that, then --resume")


def _forget_after(run: RunDirectory, step: int) -> None:
    """Drop the measurements of steps that a resumed training is going to take again."""
    kept = []
    for line in run.measurements():
        try:
            if checked(Measurement, json.loads(line), "a measurement")["step"] <= step:
                kept.append(line.rstrip("\n") + "\n")
        except (ValueError, ChatbotError, RecursionError):
            continue  # the line that a crash cut short
    with atomic_file(run.metrics, "w") as file:
        file.writelines(kept)
