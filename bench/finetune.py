"""Training on from a bot beside training from scratch: held-out perplexity of one kind of dialogue, and the time to it.

    python bench/finetune.py --data-dir data --out bench/results/finetune.json [--cells chitchat-300 sample-2000 ...]
    python bench/finetune.py --data-dir data --out FILE --rows chitchat-2000      what new rows begin at, and what then
    python bench/finetune.py --out FILE --markdown

A cell is a corpus and so many of its pairs. From scratch its presets `default` and `sample` are trained, to where the
held-out perplexity itself is lowest (it is looked at twice an epoch, and five looks without a better one end it): no
early stopping of the program's could find a better place. Trained on from the bot is as `chatbot train --from` does it,
and ends where its own validation pairs say. All see the same pairs, with the same split and the same `--min-count`.

All are scored on the same 600 pairs of other conversations. A word that a network lacks has no probability there, and
the networks have different words. So what is scored is a mixture: a share e of the probability goes evenly to all the
words that any of them could know (those of the bot, of the largest training file, and of the held-out pairs), the rest
to the network's own. Of e each look takes the value that is best for it. Thus every word costs something, whoever knows
it, and what nobody knows costs the same everywhere but for e.

The base must not have learnt the corpora. bench/results/finetune.json is of the bot in the box of version 0.1, which
had learnt from film alone (`git show 87189e5:checkpoints/pretrained/best.pt`); today's has learnt both.

Time is steps times the cost of a step: of the three networks in turn, on their own batches, in seconds of the
processor, one thread; validations are not counted. FILE is written after every training; what stands in it already is
not measured again.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import math
import random
import statistics
import sys
import tempfile
import time
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from torch import Tensor

from chatbot.config.presets import PRESETS, TRAINED_ON
from chatbot.config.settings import Config
from chatbot.corpus.formats.recognise import dialogues, recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.mixture import resolve_mixture
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.reading import Reading
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.network.batch import collate
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import BOX, RunDirectory, load_base
from chatbot.training import finetuning
from chatbot.training.distributed import Group
from chatbot.training.loop import Trainer

CELLS = [f"{kind}-{size}" for size in (300, 2000, 10_000) for kind in ("chitchat", "sample")]
HELD_OUT = 600
LONGEST = 12  # words a side, of every pair
SHARES = np.geomspace(1e-4, 0.5, 60)
LOOKS, PATIENCE = 2, 5  # looks an epoch from scratch, and how many without a better one are the last
Pair = tuple[str, str]
CHOSEN = finetuning.likenesses
COLUMNS = {
    "cell": ("cell", ""),
    "from": ("recipe", ""),
    "held out": ("perplexity", ".1f"),
    "beside the best from scratch": ("beside", "+.0%"),
    "steps": ("step", "d"),
    "ms a step": ("milliseconds", ".0f"),
    "seconds": ("seconds", ".0f"),
    "of the time from scratch": ("of_time", ".2f"),
    "25% below after": ("passed", ".0f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="train on from a bot, and from scratch")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="with chitchat/, and what the bot rehearses"
    )
    parser.add_argument("--base", default=str(BOX), help="run or file to train on from")
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="CORPUS-PAIRS")
    parser.add_argument("--rows", metavar="CORPUS-PAIRS", help="compare what new words' rows may begin at, instead")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--markdown", action="store_true", help="only print what stands in --out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = results.read(arguments.out)
    if arguments.markdown:
        print(results.table(compared(found["trainings"], found["costs"]), COLUMNS))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.rows:
            corpus = Corpus.of(arguments.rows, arguments, Path(scratch))
            others = [row for row in found.get("rows", []) if row["cell"] != corpus.name]
            found["rows"] = others + first_rows(corpus, arguments.base, arguments.data_dir)
            write(arguments, found)
            return
        for cell in arguments.cells:
            measure(Corpus.of(cell, arguments, Path(scratch)), arguments, found)
    print(results.table(compared(found["trainings"], found["costs"]), COLUMNS))


def measure(corpus: "Corpus", arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """All recipes on a cell, and then what a step of each costs, in turn."""
    trainings, costs = found.setdefault("trainings", []), found.setdefault("costs", {})
    trainers = {}
    for recipe in ("default", "sample", "bot"):
        trainer = trainers[recipe] = corpus.trainer(recipe, arguments.base, arguments.data_dir)
        if not any((row["cell"], row["recipe"]) == (corpus.name, recipe) for row in trainings):
            outcome = trainer.train()
            trainings.append(
                {
                    "cell": corpus.name,
                    "recipe": recipe,
                    "pairs": len(trainer.data.pairs.parts[0].indices),
                    "validation_pairs": len(trainer.data.held_out),
                    "words": len(trainer.data.vocabulary),
                    "reason": outcome.reason,
                    "points": trainer.points,
                }
            )
            write(arguments, found)
    if corpus.name not in costs:
        costs[corpus.name] = step_costs(trainers)
        write(arguments, found)
    for trainer in trainers.values():
        trainer.close()


def write(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    name, base = load_base(arguments.base, BOX.parent)
    about = {"run": name, "checkpoint": base.digest(), "corpus": base.config.corpus.corpus}
    parts = {name: found[name] for name in ("trainings", "costs", "rows") if name in found}
    results.write(arguments.out, "finetune", threads=arguments.threads, base=about, **parts)


def compared(trainings: list[dict[str, Any]], costs: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each training: its best, and after how long; of the bot's also when it was 25% below the others."""
    rows = []
    for cell in dict.fromkeys(row["cell"] for row in trainings):
        of_cell = {row["recipe"]: row for row in trainings if row["cell"] == cell}
        bests: dict[str, Any] = {}
        for recipe, training in of_cell.items():
            points = training["points"]
            # from scratch the lowest of all looks, from the bot what its own validation pairs chose
            chosen = [point for point in points if point["kept"]][-1]
            best = chosen if recipe == "bot" else min(points, key=lambda point: point["held_out"])
            cost = costs.get(cell, {}).get(recipe, math.nan)
            bests[recipe] = {
                "cell": cell,
                "recipe": "the bot" if recipe == "bot" else f"scratch, {recipe}",
                "perplexity": best["held_out"],
                "step": best["step"],
                "milliseconds": 1000 * cost,
                "seconds": best["step"] * cost,
            }
        scratch = min((row for recipe, row in bests.items() if recipe != "bot"), key=lambda row: row["perplexity"])
        if "bot" in bests:
            row = bests["bot"]
            row["beside"] = row["perplexity"] / scratch["perplexity"] - 1
            row["of_time"] = row["seconds"] / scratch["seconds"]
            below = [p["step"] for p in of_cell["bot"]["points"] if p["held_out"] <= 0.75 * scratch["perplexity"]]
            row["passed"] = below[0] * row["milliseconds"] / 1000 if below else None
        rows += bests.values()
    return rows


@dataclasses.dataclass
class Corpus:
    """A cell: its training pairs in a file, and pairs of other conversations to score on.

    common: how many words there are that any network here could know.
    """

    name: str
    path: Path
    held_out: list[Pair]
    common: int

    @classmethod
    def of(cls, cell: str, arguments: argparse.Namespace, scratch: Path) -> "Corpus":
        """The first pairs of a random order of the conversations; those of the last conversations are held out."""
        kind, _, size = cell.rpartition("-")
        conversations = list(pairs_by_conversation(kind, arguments.data_dir))  # a copy, for it is kept
        random.Random(0).shuffle(conversations)
        held_out: list[Pair] = []
        while len(held_out) < HELD_OUT:
            held_out += conversations.pop()
        pairs = [pair for conversation in conversations for pair in conversation]
        largest = pairs[: max(int(name.rpartition("-")[2]) for name in CELLS)]
        held_out = [pair for pair in dict.fromkeys(held_out) if pair not in set(largest)]
        path = scratch / f"{cell}.tsv"
        path.write_text("prompt\treply\n" + "".join(f"{a}\t{b}\n" for a, b in pairs[: int(size)]), encoding="utf-8")
        words = {
            word for pair in [*largest, *held_out] for text in pair for word in TOKENIZERS["english"].tokenize(text)
        }
        _, base = load_base(arguments.base, BOX.parent)
        return cls(cell, path, held_out, len(words.union(base.vocabulary.tokens)))

    def trainer(self, recipe: str, base: str, data_dir: Path) -> "Watched":
        """What trains by a recipe: a preset from scratch, or `bot`."""
        run = RunDirectory(self.path.parent / f"{self.name}-{recipe}")
        with contextlib.redirect_stderr(io.StringIO()):
            if recipe == "bot":
                start = finetuning.begin(base, BOX.parent, data_dir, functools.partial(self.settings, every=False))
                return Watched(self, start.config, start.folder, run, start.checkpoint)
            config = self.settings(PRESETS[recipe])
            folder = prepare(config.corpus, data_dir).folder
            batches = -(-len(PairDataset(folder, "train")) // config.training.batch_size)
            training = dataclasses.replace(config.training, validate_every=max(10, batches // LOOKS))
            return Watched(self, dataclasses.replace(config, training=training), folder, run)

    def settings(self, over: Config, every: bool = True) -> Config:
        """`over` with the corpus, and for training from scratch with the same split and words."""
        changes: dict[str, Any] = {"corpus": {"corpus": str(self.path)}, "training": {"precision": "fp32"}}
        changes["training"]["max_minutes"] = 0.0
        if every:
            own = {"min_count": TRAINED_ON.corpus.min_count, "split": TRAINED_ON.corpus.split}
            changes["corpus"] |= own | {"tokenizer": "english", "max_length": LONGEST}
            changes["training"]["patience"] = PATIENCE
        return Config.from_dict(changes, over=over)

    def perplexity(self, model: Seq2Seq, vocabulary: Vocabulary) -> float:
        """Of the held-out replies, by the mixture that is best for this network."""
        likely = self.likelihoods(model, vocabulary).double()
        return math.exp(min(float(-((1 - e) * likely + e / self.common).log().mean()) for e in SHARES))

    @torch.inference_mode()
    def likelihoods(self, model: Seq2Seq, vocabulary: Vocabulary) -> Tensor:
        """The network's own probability of each held-out token, EOS counted; 0 of a word that it lacks."""
        model.eval()
        tokenize = TOKENIZERS["english"].tokenize
        pairs = [[np.array(vocabulary.encode(tokenize(text)), np.int64) for text in pair] for pair in self.held_out]
        pairs.sort(key=lambda pair: (len(pair[1]), len(pair[0])))
        found = []
        for first in range(0, len(pairs), 64):
            batch = collate([(prompt, reply) for prompt, reply in pairs[first : first + 64]])
            logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
            likely = logits.softmax(dim=-1).gather(1, batch.targets.unsqueeze(1)).squeeze(1)
            found.append(likely.masked_fill(batch.targets == vocabulary.unk_id, 0.0))
        return torch.cat(found)


class Watched(Trainer):
    """A training that is scored on the held-out pairs of a corpus at each validation."""

    def __init__(
        self, corpus: Corpus, config: Config, folder: Path, run: RunDirectory, start: Checkpoint | None = None
    ) -> None:
        super().__init__(config, folder, run, Group(), start=start)
        self.corpus, self.from_scratch, self.points = corpus, start is None, list[dict[str, Any]]()

    def _validate(self, bar: Any) -> None:
        super()._validate(bar)
        held_out = self.corpus.perplexity(self.judged, self.data.vocabulary)
        kept = self.progress.worse_validations == 0
        self.points.append({"step": self.progress.step, "held_out": held_out, "kept": kept})
        print(self.corpus.name, self.points[-1], file=sys.stderr, flush=True)
        if self.from_scratch:  # here the held-out pairs say when to stop
            scores = [point["held_out"] for point in self.points]
            self.progress.worse_validations = len(scores) - 1 - scores.index(min(scores))


def step_costs(trainers: dict[str, Watched], rounds: int = 5, steps: int = 4) -> dict[str, float]:
    """Seconds of the processor for a step of each, in turn: the median over some rounds of a few steps."""
    seconds: dict[str, list[float]] = {recipe: [] for recipe in trainers}
    for number in range(rounds + 1):
        for recipe, trainer in trainers.items():
            trainer.progress.step = number * steps
            began = time.process_time()
            for step in range(number * steps, (number + 1) * steps):
                trainer._step(trainer.data.reader[step])
            if number:  # the first round warms up
                seconds[recipe].append((time.process_time() - began) / steps)
    return {recipe: statistics.median(times) for recipe, times in seconds.items()}


@functools.cache
def pairs_by_conversation(kind: str, data_dir: Path) -> list[list[Pair]]:
    """The pairs of a corpus that are short enough, as text, a list for each conversation."""
    tokenize, found = TOKENIZERS["english"].tokenize, []
    for part in resolve_mixture(kind, data_dir).parts:
        format, files = recognise(input_files(part.source.path)[0], "auto", kind)
        for dialogue in dialogues(format, files, Reading(latin=False, examples=[], advance=lambda size: None)):
            texts = [None if turn is None else " ".join(turn.split()) for turn in dialogue.turns]
            fits = [text is not None and 1 <= len(tokenize(text)) <= LONGEST for text in texts]
            answers = dialogue.answers or [True] * len(texts)
            places = [i for i in range(dialogue.start, len(texts) - 1) if fits[i] and fits[i + 1] and answers[i + 1]]
            if places:
                found.append([(str(texts[i]), str(texts[i + 1])) for i in places])
    return found


def first_rows(corpus: Corpus, base: str, data_dir: Path, steps: tuple[int, ...] = (0, 10, 30)) -> list[dict[str, Any]]:
    """Held-out perplexity after a few steps, and the nats of a new word, by what the new words' rows begin at."""
    rows = []
    for name, likenesses in LIKENESSES.items():
        with unittest.mock.patch.object(finetuning, "likenesses", likenesses):
            trainer = corpus.trainer("bot", base, data_dir)
        row: dict[str, Any] = {"cell": corpus.name, "rows": name, "words": len(trainer.data.vocabulary)}
        for step in range(max(steps) + 1):
            if step in steps:
                row[str(step)] = corpus.perplexity(trainer.model, trainer.data.vocabulary)
            trainer._step(trainer.data.reader[step])
        trainer.close()
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows


# other ways to make new rows, called as `finetuning.likenesses` is


def unknown_alone(known: Vocabulary, pairs: PairDataset, size: int) -> Tensor:
    return mixed({(row, int(known.unk_id or 0)): 1.0 for row in range(size - len(known))}, known, size)


def mean_of_all(known: Vocabulary, pairs: PairDataset, size: int) -> Tensor:
    words = range(known.num_special, len(known))
    return mixed({(row, id): 1.0 for row in range(size - len(known)) for id in words}, known, size)


def near_alone(known: Vocabulary, pairs: PairDataset, size: int) -> Tensor:
    both = CHOSEN(known, pairs, size).coalesce()
    shares = zip(*both.indices().tolist(), both.values().tolist(), strict=True)
    return mixed({(row, id): share for row, id, share in shares if id != known.unk_id}, known, size)


def looks_alike(known: Vocabulary, pairs: PairDataset, size: int) -> Tensor:
    """The known words of the longest beginning in common, 4 letters at least, and those of the same ending, 4 to 2."""
    words = known.tokens[known.num_special :]
    shares: dict[tuple[int, int], float] = {}
    for row, new in enumerate(load_vocabulary(pairs.folder).tokens[len(known) :]):
        stems = (new[:count] for count in range(len(new), max(3, len(new) // 2), -1))
        ends = (new[-count:] for count in (4, 3, 2))
        stem = next((found for part in stems if (found := [word for word in words if word.startswith(part)])), [])
        end = next((found for part in ends if (found := [word for word in words if word.endswith(part)])), [])
        for group in (stem, end):
            for word in group:
                shares[row, known.ids[word]] = shares.get((row, known.ids[word]), 0.0) + 1 / len(group)
    return mixed(shares, known, size)


def mixed(shares: dict[tuple[int, int], float], known: Vocabulary, size: int) -> Tensor:
    """Rows (size - V, V) of these shares, each row divided by its sum."""
    places, values = torch.tensor(list(shares)).view(-1, 2).T, torch.tensor(list(shares.values()))
    sums = torch.zeros(size - len(known)).index_add_(0, places[0], values)
    shape = (size - len(known), len(known))
    return torch.sparse_coo_tensor(places, values / sums[places[0]], shape, check_invariants=True)


LIKENESSES = {
    "<unk> and words that stand near, half each": CHOSEN,
    "<unk>": unknown_alone,
    "the mean of all rows": mean_of_all,
    "words that stand near": near_alone,
    "words that look alike": looks_alike,
}


if __name__ == "__main__":
    main()
