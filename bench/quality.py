"""Held-out perplexity over training time: the tutorial's recipe and ours, on the same pairs, words and split.

    python bench/quality.py tutorial --corpus FOLDER --steps 3000 --out tutorial.json
    python bench/quality.py ours --corpus FOLDER --out ours.json [--preset tutorial] [--set model.dropout=0.2 ...]
    python bench/quality.py ngrams --corpus FOLDER
    python bench/quality.py compare tutorial.json ours.json [--step-cost 0.55]
    python bench/quality.py draw tutorial.json ours.json --out docs/pictures/quality.png [--step-cost 0.55]

The pairs are the tutorial's (its words, fewer than 10 a side, none with a rare word), split by film. The scorer is one:
the negative log-likelihood of the held-out replies, EOS counted, over their tokens. Seconds are of training alone. On a
machine that had other work to do they are no measure: `--step-cost` then says how long a step of ours takes, in steps
of the tutorial's (`bench/training.py` measures both side by side), which become the unit of time.
"""

import argparse
import dataclasses
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from tutorial_training import TutorialTraining, drawn

from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config, CorpusConfig
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.evaluation.likelihood import evaluate
from chatbot.runs.directory import RunDirectory
from chatbot.training.distributed import Group
from chatbot.training.loop import train
from chatbot.training.ngrams import NgramModel

SAME_DATA = CorpusConfig(tokenizer="tutorial", max_length=9, unknown_prompts="drop")


def main() -> None:
    parser = argparse.ArgumentParser(description="held-out perplexity over training time")
    parser.add_argument("what", choices=("tutorial", "ours", "ngrams", "compare", "draw"))
    parser.add_argument("curves", nargs="*", type=Path, metavar="FILE", help="for compare and draw: the two files")
    parser.add_argument("--corpus", default="cornell")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=3000, help="of the tutorial's recipe")
    parser.add_argument("--every", type=int, default=250, help="steps between two scores of the tutorial's recipe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--preset", choices=("default", "tutorial"), default="default", help="of ours, on the same pairs"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.NAME=JSON", help="settings of ours to change")
    parser.add_argument(
        "--step-cost", type=float, default=0.0, metavar="RATIO", help="for compare and draw: time by steps"
    )
    parser.add_argument("--out", type=Path, help="file for the curve; for draw, the picture: .png, .svg")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what in ("compare", "draw"):
        if len(arguments.curves) != 2 or (arguments.what == "draw" and arguments.out is None):
            parser.error("name the file of the tutorial's curve, then that of ours (and --out FILE for draw)")
        baseline, candidate = (json.loads(path.read_text()) for path in arguments.curves)
        unit = "steps of the tutorial's" if arguments.step_cost else "minutes"
        for curve, cost in ((baseline, 1.0), (candidate, arguments.step_cost)):
            for point in curve["points"]:
                point["spent"] = cost * point["step"] if arguments.step_cost else point["seconds"] / 60
        if arguments.what == "compare":
            compare(baseline, candidate, unit)
        else:
            draw(baseline, candidate, unit, arguments.out)
        return
    corpus = dataclasses.replace(SAME_DATA, corpus=arguments.corpus)
    folder = prepare(corpus, arguments.data_dir).folder
    if arguments.what == "ngrams":
        ngrams(folder)
        return
    if arguments.what == "tutorial":
        curve = tutorial(folder, arguments.steps, arguments.every)
    else:
        curve = ours(folder, changed(corpus, arguments.set, arguments.preset))
        print(json.dumps(curve))
    results.write(arguments.out, "quality", threads=arguments.threads, **curve)


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
        if train(config, folder, run, Group()).reason == "interrupted":
            raise SystemExit(130)
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        model = run.load_chosen().build_model()
        test = evaluate(model, PairDataset(folder, "test"), "test", torch.device("cpu"))["perplexity"]
    points = [
        {
            "step": row["step"],
            "seconds": row["seconds"],
            "train_loss": mean_loss(rows, row["step"]),
            "valid": row["perplexity"],
        }
        for row in rows
        if row["part"] == "valid"
    ]
    settings = config.to_dict()
    settings["corpus"]["corpus"] = Path(config.corpus.corpus).name  # where it lies is nobody's business
    return {"recipe": "ours", "settings": settings, "test": test, "points": points}


def ngrams(folder: Path) -> None:
    """Counting alone, of which our recipe's soft targets are made: the held-out perplexity of n-grams."""
    pairs, vocabulary = PairDataset(folder, "train"), load_vocabulary(folder)
    for order in (2, 3, 4):
        began = time.perf_counter()
        model = NgramModel(pairs, len(vocabulary), vocabulary.num_special, order)
        table, seconds = model.table(), time.perf_counter() - began
        found = {}
        for split in ("valid", "test"):
            replies = [np.append(reply, EOS_ID) for _, reply in as_lists(PairDataset(folder, split))]
            said, starts = np.concatenate(replies), np.cumsum([0, *map(len, replies[:-1])])
            soft = model.targets(said, starts, 1.0, counted=False)
            likely = table.dense(soft)[torch.arange(len(said)), torch.from_numpy(said)]
            found[split] = math.exp(-likely.log().mean())
        print(f"up to {order} words: valid {found['valid']:.2f}, test {found['test']:.2f}, {seconds:.1f} s of counting")


def mean_loss(rows: list[dict[str, Any]], step: int) -> float:
    """Of the 100 steps before `step`, in nats a token, from the lines of metrics that are of them."""
    losses = [row["loss"] for row in rows if row["part"] == "train" and step - 100 < row["step"] <= step]
    return sum(losses) / len(losses)


def compare(baseline: dict[str, Any], candidate: dict[str, Any], unit: str) -> None:
    """When ours reaches the best that the tutorial's recipe ever reaches, and how far below it ends.

    Each point says by `spent` when it was, in `unit`.
    """
    best = min(baseline["points"], key=lambda point: point["valid"])
    reached = next((point for point in candidate["points"] if point["valid"] <= best["valid"]), None)
    own = min(candidate["points"], key=lambda point: point["valid"])
    print(f"tutorial: best valid {best['valid']:.2f} (test {best['test']:.2f}) after {best['spent']:.0f} {unit}")
    if reached:
        share = reached["spent"] / best["spent"]
        print(f"ours: {reached['valid']:.2f} after {reached['spent']:.0f} {unit}, 1/{1 / share:.1f} of that time")
    print(
        f"ours: best valid {own['valid']:.2f} ({1 - own['valid'] / best['valid']:.1%} lower) after "
        f"{own['spent']:.0f} {unit}, test {candidate['test']:.2f} ({1 - candidate['test'] / best['test']:.1%} lower)"
    )


def draw(baseline: dict[str, Any], candidate: dict[str, Any], unit: str, path: Path) -> None:
    """Both curves over what was `spent`, the best of each marked, and where ours passes the tutorial's best."""
    from matplotlib.figure import Figure  # of the extra [plot]; the rest needs none

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    lows = []
    for curve, name, color in ((baseline, "the tutorial's recipe", "tab:orange"), (candidate, "ours", "tab:blue")):
        spent = [point["spent"] for point in curve["points"]]
        valid = [point["valid"] for point in curve["points"]]
        low = min(range(len(valid)), key=valid.__getitem__)
        lows.append(valid[low])
        axes.plot(spent, valid, color=color, marker=".", label=f"{name}: {valid[low]:.1f} after {spent[low]:.0f}")
        axes.plot(spent[low], valid[low], color=color, marker="o", markersize=9, fillstyle="none")
        if curve is baseline:
            axes.axhline(valid[low], color=color, linewidth=0.8, linestyle=":")
    axes.set_ylim(0.9 * min(lows), 2.2 * max(lows))  # the first steps are far above
    axes.set_xlim(left=0)
    axes.set_xlabel(f"training, {unit}")
    axes.set_ylabel("held-out perplexity (valid)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def changed(corpus: CorpusConfig, changes: list[str], preset: str = "default") -> Config:
    """The preset's settings with `section.name=json` changes."""
    data: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, _, value = change.partition("=")
        section, _, field = name.partition(".")
        data.setdefault(section, {})[field] = json.loads(value)
    return Config.from_dict(data, over=dataclasses.replace(PRESETS[preset], corpus=corpus))


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
