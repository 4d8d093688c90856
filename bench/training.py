"""Training speed beside the tutorial's step: the same batches, sizes and mathematics per pair, in turn, in one process.

    python bench/training.py [--corpus FOLDER] [--rounds 8] [--threads 1] [--device cuda]
        [--batch-sizes 256 1024] [--json FILE]

Every variant takes the same batches of 64. "ours" is the tutorial's network with its dropout and plain targets, so the
same mathematics, tied (output layer and embedding are one matrix) or untied as the tutorial has it. Then come what the
default recipe asks for besides (soft targets, more dropout, averaged weights), and the default recipe as it is, whose
network has a layer less in the encoder and copies. A round times one step of each variant in turn (on a GPU ten steps),
and the table gives the median, which on a CPU has no averaging of weights in it: that comes every eighth step. The
product rate is that of one large product, whose time is compared with the products that a step needs: ours need fewer,
for what words and first states of zero save is not multiplied (`kernels.gru`). Peak memory is that of a process that
takes 25 steps of the one variant (of a GPU's memory: what torch held). bf16 is left out where the processor does not
multiply it. Without `--corpus` the pairs are random words in lengths as the tutorial's preparation has them.
`--batch-sizes` times ours at other sizes too: in pairs/s, beside the tutorial's at 64.
"""

import argparse
import copy
import dataclasses
import functools
import itertools
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from torch.utils.data import DataLoader
from tutorial_training import HIDDEN, Pair, TutorialTraining, drawn

from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.network.batch import collate
from chatbot.network.model import Seq2Seq
from chatbot.system.devices import pick_precision
from chatbot.system.process import peak_memory
from chatbot.training.ngrams import NgramModel
from chatbot.training.optimization import AVERAGE_EVERY, Optimizer, average, batch_loss
from chatbot.training.steps import Part, smoothed

BATCH = 64
STEPS_ON_GPU = 10  # between two looks at the clock
STEPS_FOR_MEMORY = 25  # some, for batches differ, and oneDNN keeps a kernel for each new shape
SIDE = 1536  # of the large product; a multiple of 8, for others are slower (`kernels.linear`)
UNTIED, TIED, BF16 = "ours, fp32, untied", "ours, fp32", "ours, bf16"
RECIPE = "ours, fp32, the default recipe's regularisation"  # more mathematics: soft targets, more dropout, averages
DEFAULT = "ours, fp32, the default recipe"  # and another network
DEFAULT_BF16 = "ours, bf16, the default recipe"
NOTES = {RECIPE: "more mathematics", DEFAULT: "another network", DEFAULT_BF16: "another network"}
COLUMNS = {
    "": ("variant", ""),
    "ms a step": ("milliseconds", ",.0f"),
    "pairs/s": ("pairs_per_second", ",.1f"),
    "ratio": ("ratio", ".2f"),
    "of fp32 product rate": ("of_product_rate", ".0%"),
    "peak MB": ("peak_memory_mb", ",.0f"),
}


class Counted:
    """The pairs' n-grams, which the recipe's soft targets come from; counted when they are first asked for."""

    def __init__(self, pairs: list[Pair], vocabulary_size: int) -> None:
        self.pairs, self.vocabulary_size = pairs, vocabulary_size

    @functools.cached_property
    def ngrams(self) -> NgramModel:
        arrays = [(np.array(prompt), np.array(reply)) for prompt, reply in self.pairs]
        return NgramModel(arrays, self.vocabulary_size, EOS_ID + 1)


class OurTraining:
    """The program's own step, with all that its batches are made of.

    Args:
        model: what is changed of the default recipe's network.
        training: what is changed of the default recipe's training.
    """

    def __init__(
        self,
        pairs: Counted,
        device: torch.device,
        precision: str,
        model: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        config = PRESETS["default"]
        self.config: Config = dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, **(model or {})),
            training=dataclasses.replace(config.training, precision=precision, **(training or {})),
        )
        self.device, self.ngrams = device, pairs.ngrams
        self.table = self.ngrams.table().to(device) if self.config.training.ngram_smoothing else None
        self.model = Seq2Seq(self.config.model, pairs.vocabulary_size).to(device).train()
        self.averaged = copy.deepcopy(self.model) if self.config.training.weight_averaging else None
        self.steps = 0
        self.optimizer = Optimizer(self.model, self.config.training)

    def read(self, pairs: list[Pair]) -> Part:
        """What an update takes, on the host."""
        batch = collate(pairs)
        if self.table is None:
            return Part(batch)
        return smoothed(batch, self.ngrams, self.config.training.ngram_smoothing)

    def update(self, part: Part) -> torch.Tensor:
        """One update; returns the mean loss, on the device."""
        part = part.to(self.device)
        self.optimizer.zero_grad()
        loss, _ = batch_loss(self.model, part, self.config.training, len(part.batch.targets), self.table)
        loss.backward()
        self.optimizer.step(self.steps)
        self.steps += 1
        if self.averaged is not None and self.steps % AVERAGE_EVERY == 0:
            average(self.averaged, self.model, self.config.training.weight_averaging, self.steps)
        return loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description="measure training")
    parser.add_argument("--corpus", type=Path, help="folder of the classic Cornell files (default: random words)")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[], metavar="PAIRS", help="more sizes for ours")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--memory-of", metavar="VARIANT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    pairs, size = read_pairs(arguments.corpus)
    makers = variants(Counted(pairs, size), device, arguments.batch_sizes)
    if arguments.memory_of:
        print(measured_memory(*makers[arguments.memory_of], pairs, device))
        return
    rng = random.Random(0)
    made = {name: (maker(), batch) for name, (maker, batch) in makers.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    operations: dict[bool, list[float]] = {True: [], False: []}  # with what ours saves, and without
    rates = []
    for round in range(arguments.rounds + 1):
        steps = STEPS_ON_GPU if device.type == "cuda" else 1
        sizes = sorted({batch for _, batch in made.values()})
        batches = {batch: [drawn(pairs, batch, rng) for _ in range(steps)] for batch in sizes}
        for saves, counts in operations.items():
            counts.extend(floating_operations(batch, size, saves=saves) for batch in batches[BATCH])
        rates.append(product_rate(device))
        for name, (variant, batch) in made.items():
            seconds = timed(variant, batches[batch], device)
            if round:  # the first is warm-up
                times[name].append(seconds)
    del made
    memory = {name: memory_in_a_process_of_its_own(name) for name in times}
    size_of = {name: batch for name, (_, batch) in makers.items()}
    rate = statistics.median(rates)
    whole, saved = (statistics.mean(operations[saves]) for saves in (False, True))
    print(
        f"{whole / 1e9:.1f} GFLOP a batch of {BATCH}, of which ours does {saved / 1e9:.1f}; "
        f"products run at {rate / 1e9:.0f} GFLOP/s in fp32"
    )
    same = dict.fromkeys((UNTIED, TIED, BF16), BATCH * rate / saved)
    rows = report(times, size_of, memory, {"tutorial": BATCH * rate / whole, **same})
    print(results.table(rows, COLUMNS))
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{arguments.threads} CPU thread" + "s" * (arguments.threads > 1)
    )
    print(f"{name}, torch {torch.__version__}, {arguments.rounds} rounds")
    found = {"device": name, "rounds": arguments.rounds, "gigaflops_per_second": rate / 1e9, "rows": rows}
    results.write(arguments.json, "training", **found, table=lines(rows, name))


def variants(pairs: Counted, device: torch.device, more_sizes: list[int]) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name -> (how to make it, its batch size)."""
    network: dict[str, Any] = {"encoder_layers": 2, "copy_mechanism": False}
    same = {**network, "dropout": 0.1, "dropout_places": "tutorial", "recurrent_dropout": 0.0}
    plain = {"ngram_smoothing": 0.0, "weight_averaging": 0.0}
    made: dict[str, tuple[Callable[[], Any], int]] = {
        "tutorial": (lambda: TutorialTraining(pairs.vocabulary_size, device), BATCH),
        UNTIED: (lambda: OurTraining(pairs, device, "fp32", {**same, "tie_embeddings": False}, plain), BATCH),
        TIED: (lambda: OurTraining(pairs, device, "fp32", same, plain), BATCH),
        RECIPE: (lambda: OurTraining(pairs, device, "fp32", network), BATCH),
        DEFAULT: (lambda: OurTraining(pairs, device, "fp32"), BATCH),
    }
    fastest = "fp32"
    if pick_precision("auto", device) == "bf16":
        fastest = "bf16"
        made[BF16] = (lambda: OurTraining(pairs, device, "bf16", same, plain), BATCH)
        made[DEFAULT_BF16] = (lambda: OurTraining(pairs, device, "bf16"), BATCH)
    for batch in more_sizes:
        made[f"ours, {fastest}, {batch}"] = (lambda: OurTraining(pairs, device, fastest, same, plain), batch)
    return made


def timed(variant: Any, drawn_batches: list[list[Pair]], device: torch.device) -> float:
    """Seconds an update.

    On a CPU they include reading the pairs. For a GPU other processes read ahead, into pinned memory, so there that is
    done before; and updates follow each other, for none waits for the one before.
    """
    data: Iterable[Any] = map(variant.read, drawn_batches)
    if device.type == "cuda":
        data = list(DataLoader(list(data), batch_size=None, pin_memory=True))  # type: ignore[arg-type]
    synchronize(device)
    began = time.perf_counter()
    for batch in data:
        variant.update(batch)
    synchronize(device)
    return (time.perf_counter() - began) / len(drawn_batches)


def measured_memory(maker: Callable[[], Any], batch: int, pairs: list[Pair], device: torch.device) -> int:
    """Bytes of this process's, or the device's, memory at their peak over some steps."""
    variant, rng = maker(), random.Random(0)
    for _ in range(STEPS_FOR_MEMORY):
        variant.update(variant.read(drawn(pairs, batch, rng)))
    return peak_memory(device)


def memory_in_a_process_of_its_own(name: str) -> int:
    """`measured_memory` of one variant, for the peak of a process is that of all that it ever did."""
    done = subprocess.run([sys.executable, *sys.argv, "--memory-of", name], check=True, capture_output=True, text=True)
    return int(done.stdout)


def report(
    times: dict[str, list[float]], sizes: dict[str, int], memory: dict[str, int], bounds: dict[str, float]
) -> list[dict[str, Any]]:
    """A row for each variant; `bounds` are the pairs a second that could be taken at the rate of one large product."""
    baseline = BATCH / statistics.median(times["tutorial"])
    return [
        {
            "variant": name,
            "batch_size": sizes[name],
            "milliseconds": 1000 * statistics.median(seconds),
            "pairs_per_second": sizes[name] / statistics.median(seconds),
            "ratio": sizes[name] / statistics.median(seconds) / baseline,
            "bound": bounds.get(name),
            "of_product_rate": sizes[name] / statistics.median(seconds) / bounds[name] if name in bounds else None,
            "peak_memory_mb": memory[name] / 1e6,
        }
        for name, seconds in times.items()
    ]


def lines(rows: list[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """Those of the one table."""
    tutorial, *others = rows
    found = [
        results.line(
            f"training, {row['variant']}, {device}",
            "pairs/s",
            row["pairs_per_second"],
            tutorial["pairs_per_second"],
            bound=row["bound"],
            memory=row["peak_memory_mb"],
            note=NOTES.get(row["variant"], ""),
            baseline_memory=tutorial["peak_memory_mb"],
        )
        for row in others
    ]
    if not any("bf16" in row["variant"] for row in rows):
        why = "no bf16 instructions in this processor"
        found.append(results.line(f"training, ours, bf16, {device}", "pairs/s", None, note=why))
    return found


def read_pairs(corpus: Path | None) -> tuple[list[Pair], int]:
    """Pairs of ids by the tutorial's preparation, and the vocabulary's size."""
    if corpus is None:
        rng, words = random.Random(1), range(3, 7826)
        zipf = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))  # as often as in real text
        return [
            tuple(rng.choices(words, cum_weights=zipf, k=rng.randint(1, 9)) for _ in "ab") for _ in range(50_000)
        ], 7826
    from chatbot.corpus.preparation import prepare
    from chatbot.corpus.prepared import PairDataset, load_vocabulary

    settings = dataclasses.replace(PRESETS["tutorial"].corpus, corpus=str(corpus))
    folder = prepare(settings, results.ROOT / "data").folder
    dataset = PairDataset(folder, "train")
    pairs = [(prompt.tolist(), reply.tolist()) for prompt, reply in (dataset[i] for i in range(len(dataset)))]
    return pairs, len(load_vocabulary(folder))


def floating_operations(batch: list[Pair], vocabulary_size: int, *, saves: bool) -> float:
    """Of the matrix products of one step on real tokens: six for each multiply-add, forward and both gradients.

    Args:
        saves: whether a word that stands in the prompts several times is multiplied once, and first states of zero not.
    """
    gates = 3 * HIDDEN * HIDDEN
    prompts = sum(len(prompt) for prompt, _ in batch)
    replies = sum(len(reply) + 1 for _, reply in batch)
    words = len({word for prompt, _ in batch for word in prompt}) if saves else prompts
    states = prompts - len(batch) if saves else prompts
    # two directions; the second layer reads both of the first
    encoder = 2 * gates * (words + 2 * prompts + 2 * states)
    decoder = (4 * gates + 2 * HIDDEN * HIDDEN + HIDDEN * vocabulary_size) * replies
    return 6.0 * (encoder + decoder)


def product_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large fp32 product, now."""
    a = torch.randn(SIDE, SIDE, device=device)
    a @ a
    synchronize(device)
    began = time.perf_counter()
    a @ a
    synchronize(device)
    return 2 * SIDE**3 / (time.perf_counter() - began)


def synchronize(device: torch.device) -> None:
    """Wait for what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
