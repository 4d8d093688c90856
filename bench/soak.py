"""Long runs: memory, file descriptors and file sizes of a training of so many minutes, then of so many replies.

    python bench/soak.py [RUN] [--minutes 30] [--replies 100000] [--hidden-size 64] [--rows 12] [--json FILE]

The training is of a small model on the sample corpus, with a validation (and so a save) every 50 steps: many steps in
little time. Replies are of RUN (a run directory, a checkpoint or an export's folder), or of the model just trained, to
hostile and ordinary lines, one at a time, by greedy search, a beam and samples in turn. Everything happens in this one
process, in one thread; it prints a row now and then, and what was added between the first quarter and the end.
"""

import argparse
import dataclasses
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import DECODINGS, PRESETS
from chatbot.corpus.preparation import prepare
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.loop import train

LINES = [
    "Hello.",
    "How are you?",
    "What's your name?",
    "",
    "xqzzy wvvkk",
    "word " * 300,
    "\U0001f600 \ud800 \x00",
    "a" * 9000,
]
COLUMNS = ("minutes", "count", "rss_mb", "descriptors", "metrics_kb", "tensorboard_kb")


def main() -> None:
    parser = argparse.ArgumentParser(description="measure what a long run leaks")
    parser.add_argument("run", nargs="?", type=Path, help="whose replies (default: the model that is trained)")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--replies", type=int, default=100_000)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--rows", type=int, default=12, help="of each table")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        figures = {
            "training": soak_training(run, Path(folder), arguments.minutes, arguments.hidden_size, arguments.rows)
        }
        figures["replies"] = soak_replies(arguments.run or run.path, arguments.replies, arguments.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def soak_training(
    run: RunDirectory, folder: Path, minutes: float, hidden_size: int, rows: int
) -> list[dict[str, float]]:
    """Train for so many minutes, and look every so many seconds from another thread."""
    preset = PRESETS["sample"]
    config = dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, hidden_size=hidden_size),
        training=dataclasses.replace(
            preset.training,
            steps=10**9,
            schedule="constant",
            learning_rate=1e-4,
            batch_size=8,
            validate_every=50,
            max_minutes=minutes,
            precision="fp32",
        ),
    )
    prepared = prepare(config.corpus, folder / "data").folder
    table = Table("steps", rows)
    over = threading.Event()

    def look() -> None:
        while not over.wait(60 * minutes / rows):
            try:
                newest = json.loads(run.metrics.read_bytes().splitlines()[-1])["step"]
            except (OSError, IndexError, ValueError):
                continue  # nothing is written yet, or half a line
            table.add(newest, run)

    watcher = threading.Thread(target=look)
    watcher.start()
    with Path(os.devnull).open("w") as nowhere:
        told, sys.stderr = sys.stderr, nowhere  # the progress bar
        outcome = train(config, prepared, run, Group())
        sys.stderr = told
    over.set()
    watcher.join()
    table.add(outcome.step, run)
    return table.end()


def soak_replies(path: Path, count: int, rows: int) -> list[dict[str, float]]:
    """Answer so many lines, and look now and then."""
    bot, rng = Chatbot.load(path), random.Random(0)
    own = [bot.decoding, *DECODINGS.values()]
    words = bot.vocabulary.tokens[bot.vocabulary.num_special :]
    table = Table("replies", rows)
    for number, decoding in zip(range(1, count + 1), itertools.cycle(own), strict=False):
        # every second line is of new words, so that what is remembered of lines would grow
        line = rng.choice(LINES) if number % 2 else " ".join(rng.choices(words, k=rng.randint(1, 10))) + str(number)
        bot.reply(line, decoding=dataclasses.replace(decoding, seed=number))
        if number % max(1, count // rows) == 0:
            table.add(number)
    return table.end()


class Table:
    """Rows as they come, printed; at the end what was added after the first quarter."""

    def __init__(self, name: str, rows: int) -> None:
        self.rows: list[dict[str, float]] = []
        self.started = time.perf_counter()
        print("".join(f"{column:>16}" for column in COLUMNS).replace("count", name.rjust(5)), flush=True)

    def add(self, count: int, run: RunDirectory | None = None) -> None:
        """One more row, of what Linux says of this process."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        row = {
            "minutes": round((time.perf_counter() - self.started) / 60, 2),
            "count": count,
            "rss_mb": round(int(status["VmRSS"].split()[0]) / 1024, 1),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        }
        if run:
            files = [path.stat().st_size for path in run.tensorboard.glob("*")]
            row |= {"metrics_kb": run.metrics.stat().st_size // 1024, "tensorboard_kb": sum(files) // 1024}
        self.rows.append(row)
        print("".join(f"{row.get(column, ''):>16}" for column in COLUMNS), flush=True)

    def end(self) -> list[dict[str, float]]:
        early, late = self.rows[len(self.rows) // 4], self.rows[-1]
        print(
            f"after the first quarter: {late['rss_mb'] - early['rss_mb']:+.1f} MB, "
            f"{late['descriptors'] - early['descriptors']:+d} descriptors\n"
        )
        return self.rows


if __name__ == "__main__":
    main()
