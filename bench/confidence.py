"""How well a reply's confidence tells odd replies from sensible ones: by the marks of readers, at several bounds.

    python bench/confidence.py checkpoints/pretrained new bench/readings/fallback-visitors [MORE...]

For each folder of readings it takes the replies of one system (its name in key.json), which RUN must have given: their
confidence is computed from RUN's network (chatbot/decoding/fallback.py). AUC is how often, of a sensible reply and one
that is odd or broken, the sensible one has more confidence. A reply's mark is the mean of its readers' marks: specific
from 1.5, odd below 1. Then, for each bound of `--min-confidence`: which share of the replies lies below it, and which
share of all replies is odd and below it, and specific and below it.
"""

import argparse
import json
import math
import re
import statistics
from collections import defaultdict
from pathlib import Path

import torch
from readers import marks_of

from chatbot.chat.bot import Chatbot, open_checkpoint
from chatbot.decoding.generate import log_likelihood

BOUNDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65)


def main() -> None:
    parser = argparse.ArgumentParser(description="a reply's confidence beside readers' marks")
    parser.add_argument("run", type=Path)
    parser.add_argument("system")
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bot, model = Chatbot.load(arguments.run), open_checkpoint(arguments.run).build_model()
    for folder in arguments.folders:
        read = replies(folder, arguments.system)
        prompts = [bot.prompt_ids(prompt, earlier) for prompt, earlier, _, _ in read]
        said = [bot.vocabulary.encode(bot.words(reply)) for _, _, reply, _ in read]
        likelihoods = log_likelihood(model, prompts, said).tolist()
        confidences = [math.exp(sum / (len(ids) + 1)) for sum, ids in zip(likelihoods, said, strict=True)]
        table(folder, confidences, [mark for _, _, _, mark in read])


def replies(folder: Path, system: str) -> list[tuple[str, list[str], str, float]]:
    """Prompt, the turns before it, the system's reply and its mean mark, where it was marked."""
    prompts: dict[str, tuple[str, list[str]]] = {}
    for sheet in sorted(folder.glob("sheet-*.txt")):
        earlier: list[str] = []
        for line in sheet.read_text().splitlines():
            if turn := re.match(r"    (?:bot|visitor): (.*)", line):
                earlier.append(turn[1])
            elif prompt := re.match(r"(\d+)\. > (.*)", line):
                prompts[prompt[1]], earlier = (prompt[2], earlier), []
    marks: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for reader in marks_of(folder).values():
        for place, mark in reader.items():
            marks[place].append(mark)
    key = json.loads((folder / "key.json").read_text())["key"]
    return [
        (*prompts[number], reply, statistics.fmean(marks[number, letter]))
        for number, row in key.items()
        for letter, (reply, *names) in row.items()
        if system in names and marks[number, letter]
    ]


def table(folder: Path, confidences: list[float], marks: list[float]) -> None:
    sensible = [value for value, mark in zip(confidences, marks, strict=True) if mark >= 1]
    odd = [value for value, mark in zip(confidences, marks, strict=True) if mark < 1]
    won = sum((one > other) + (one == other) / 2 for one in sensible for other in odd)
    print(f"{folder.name}: {len(marks)} replies, AUC {won / max(1, len(sensible) * len(odd)):.3f}")
    for bound in BOUNDS:
        below = [mark for value, mark in zip(confidences, marks, strict=True) if value < bound]
        shares = (len(below), sum(mark < 1 for mark in below), sum(mark >= 1.5 for mark in below))
        print("  below {:.2f}: {:4.0%}, odd {:3.0%}, specific {:3.0%}".format(bound, *(n / len(marks) for n in shares)))


if __name__ == "__main__":
    main()
