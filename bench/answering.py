"""Replies a second: a file of prompts answered in batches beside the same prompts one at a time, by the same model.

    python bench/answering.py [RUN] [--batch-size 256] [--rounds 5] [--threads 1] [--json FILE]

RUN is a run directory or an export's folder. Without it the network has random weights at the tutorial's sizes, so that
every reply goes on to its longest. The prompts are random words of the vocabulary, 1 to 10 to a prompt.
"""

import argparse
import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import results
import torch

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import PRESETS, decoding_named
from chatbot.config.settings import CorpusConfig
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.network.model import Seq2Seq


def main() -> None:
    parser = argparse.ArgumentParser(description="measure answering")
    parser.add_argument("run", nargs="?", type=Path, help="run directory or export's folder (default: random weights)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    bot = Chatbot.load(arguments.run) if arguments.run else random_bot()
    own, rng = bot.decoding, random.Random(0)
    words = range(bot.vocabulary.num_special, len(bot.vocabulary))
    prompts = [rng.choices(words, k=rng.randint(1, 10)) for _ in range(arguments.batch_size)]
    few = prompts[:: max(1, len(prompts) // 32)]
    rows = []
    print(f"{'decoding':12}{'one at a time':>16}{f'{arguments.batch_size} at once':>16}{'ratio':>8}   replies/s")
    for name in ("greedy", "default"):
        decoding = decoding_named(name, own)
        alone: list[float] = []
        together: list[float] = []
        for _ in range(arguments.rounds):  # in turn, so that a busy moment meets both
            alone.append(speed(few, lambda some, how=decoding: [bot.reply_batch([one], decoding=how) for one in some]))
            together.append(speed(prompts, lambda some, how=decoding: bot.reply_batch(some, len(some), how)))
        one, many = statistics.median(alone), statistics.median(together)
        rows.append({"decoding": name, "one_at_a_time": one, "in_batches": many, "ratio": many / one})
        print(f"{name:12}{one:16.1f}{many:16.1f}{many / one:8.1f}")
    print(f"medians of {arguments.rounds}, {arguments.threads} threads, torch {torch.__version__}")
    found = {"threads": arguments.threads, "batch_size": arguments.batch_size, "rows": rows}
    lines = [
        results.line(
            f"replies, {row['decoding']} decoding, {arguments.batch_size} at once (baseline: one at a time)",
            "replies/s",
            row["in_batches"],
            row["one_at_a_time"],
        )
        for row in rows
    ]
    results.write(arguments.json, "answering", **found, table=lines)


def speed(prompts: list[list[int]], answer: Callable[[list[list[int]]], object]) -> float:
    """Prompts answered a second."""
    began = time.perf_counter()
    answer(prompts)
    return len(prompts) / (time.perf_counter() - began)


def random_bot() -> Chatbot:
    """A bot that learnt nothing, of the tutorial's sizes and vocabulary."""
    vocabulary = Vocabulary.from_words((f"word{i}" for i in range(7822)), unknown=True, separator=False)
    config = dataclasses.replace(PRESETS["default"], corpus=CorpusConfig())
    return Chatbot.from_model(Seq2Seq(config.model, len(vocabulary)).eval(), config, vocabulary)


if __name__ == "__main__":
    main()
