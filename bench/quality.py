"""Held-out perplexity over training time: the tutorial's recipe and ours, on the same pairs, words and split.

    python bench/quality.py tutorial --corpus FOLDER --steps 3000 --out tutorial.json
    python bench/quality.py ours --corpus FOLDER --out ours.json [--set training.dropout=0.2 ...]
    python bench/quality.py compare tutorial.json ours.json

The pairs are the tutorial's (its words, fewer than 10 a side, none with a rare word), split by film. Seconds are of
training alone. The scorer is one: the negative log-likelihood of the held-out replies, EOS counted, over their tokens.
"""

import argparse
import dataclasses
import json
import math
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see chatbot.__main__

import torch
from tutorial_training import TutorialTraining, drawn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatbot.checkpoint import RunDirectory
from chatbot.config import PRESETS, Config, CorpusConfig
from chatbot.distributed import Group
from chatbot.evaluation import evaluate
from chatbot.preparation import prepare
from chatbot.prepared import PairDataset, load_vocabulary
from chatbot.training import train

SAME_DATA = CorpusConfig(tokenizer="tutorial", max_length=9, unknown_prompts="drop", unknown_replies="drop")


def main() -> None:
    parser = argparse.ArgumentParser(description="held-out perplexity over training time")
    parser.add_argument("what", choices=("tutorial", "ours", "compare"))
    parser.add_argument("curves", nargs="*", type=Path, help="for compare: the two files")
    parser.add_argument("--corpus", default="auto")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=3000, help="of the tutorial's recipe")
    parser.add_argument("--every", type=int, default=250, help="steps between two scores of the tutorial's recipe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.NAME=JSON", help="settings of ours to change")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "compare":
        compare(*(json.loads(path.read_text()) for path in arguments.curves))
        return
    corpus = dataclasses.replace(SAME_DATA, corpus=arguments.corpus)
    folder = prepare(corpus, arguments.data_dir).folder
    if arguments.what == "tutorial":
        curve = tutorial(folder, arguments.steps, arguments.every)
    else:
        curve = ours(folder, changed(corpus, arguments.set))
    if arguments.out:
        arguments.out.write_text(json.dumps(curve, indent=1) + "\n")


def tutorial(folder: Path, steps: int, every: int) -> dict[str, Any]:
    """The tutorial's recipe, scored as it goes."""
    torch.manual_seed(0)
    rng = random.Random(0)
    training = TutorialTraining(len(load_vocabulary(folder)))
    pairs = as_lists(PairDataset(folder, "train"))
    held_out = {split: PairDataset(folder, split) for split in ("valid", "test")}
    seconds, losses, points = 0.0, [], []
    for step in range(1, steps + 1):
        began = time.perf_counter()
        losses.append(training.step(drawn(pairs, 64, rng)))
        seconds += time.perf_counter() - began
        if step % every == 0:
            point = {"step": step, "seconds": seconds, "train_loss": sum(losses[-100:]) / len(losses[-100:])}
            for split, dataset in held_out.items():
                point[split] = perplexity(training, alike(dataset))
                point[f"{split}_padded"] = perplexity(training, mixed(dataset))
            points.append(point)
            print(json.dumps(point), flush=True)
    return {"recipe": "tutorial", "points": points}


def ours(folder: Path, config: Config) -> dict[str, Any]:
    """Our recipe, by the program itself."""
    with tempfile.TemporaryDirectory() as temporary:
        run = RunDirectory(Path(temporary) / "run")
        train(config, folder, run, Group())
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        model = run.load_chosen().build_model()
        test = evaluate(model, PairDataset(folder, "test"), "test", torch.device("cpu")).perplexity
    points = [
        {"step": row["step"], "seconds": row["seconds"], "valid": row["perplexity"]}
        for row in rows
        if row["part"] == "valid"
    ]
    print(json.dumps({"settings": config.to_dict(), "test": test, "points": points}))
    return {"recipe": "ours", "settings": config.to_dict(), "test": test, "points": points}


def compare(baseline: dict[str, Any], candidate: dict[str, Any]) -> None:
    """When ours reaches the best that the tutorial's recipe ever reaches, and how far below it ends."""
    best = min(baseline["points"], key=lambda point: point["valid"])
    reached = next((point for point in candidate["points"] if point["valid"] <= best["valid"]), None)
    own = min(candidate["points"], key=lambda point: point["valid"])
    print(f"tutorial: best valid {best['valid']:.2f} (test {best['test']:.2f}) after {best['seconds']:.0f} s")
    if reached:
        share = reached["seconds"] / best["seconds"]
        print(f"ours: {reached['valid']:.2f} after {reached['seconds']:.0f} s, 1/{1 / share:.1f} of that time")
    print(
        f"ours: best valid {own['valid']:.2f} ({1 - own['valid'] / best['valid']:.1%} lower) after "
        f"{own['seconds']:.0f} s, test {candidate['test']:.2f} ({1 - candidate['test'] / best['test']:.1%} lower)"
    )


def changed(corpus: CorpusConfig, changes: list[str]) -> Config:
    """The default settings with `section.name=json` changes."""
    data: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, _, value = change.partition("=")
        section, _, field = name.partition(".")
        data.setdefault(section, {})[field] = json.loads(value)
    return Config.from_dict(data, over=dataclasses.replace(PRESETS["default"], corpus=corpus))


def alike(dataset: PairDataset) -> list[list[tuple[Any, Any]]]:
    """Batches of prompts of one length: the tutorial's attention would take padding for words."""
    by_length: dict[int, list[tuple[Any, Any]]] = {}
    for index in range(len(dataset)):
        pair = dataset[index]
        by_length.setdefault(len(pair[0]), []).append(pair)
    return [pairs[i : i + 64] for pairs in by_length.values() for i in range(0, len(pairs), 64)]


def mixed(dataset: PairDataset) -> list[list[tuple[Any, Any]]]:
    """Batches of 64 pairs of any length, as the tutorial's training makes them: its attention weighs padding too."""
    pairs = as_lists(dataset)
    random.Random(0).shuffle(pairs)
    return [pairs[i : i + 64] for i in range(0, len(pairs), 64)]


def perplexity(training: TutorialTraining, batches: list[list[tuple[Any, Any]]]) -> float:
    sums = [training.held_out_loss(batch) for batch in batches]
    return math.exp(sum(loss for loss, _ in sums) / sum(count for _, count in sums))


def as_lists(dataset: PairDataset) -> list[tuple[list[int], list[int]]]:
    """All pairs in memory, as the tutorial has them."""
    return [(prompt.tolist(), reply.tolist()) for prompt, reply in (dataset[i] for i in range(len(dataset)))]


if __name__ == "__main__":
    main()
