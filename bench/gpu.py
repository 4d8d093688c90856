"""Everything about a GPU in one command of at most four minutes: is it right, how fast is it, what does it learn.

    python bench/gpu.py [--corpus FOLDER] [--minutes 4] [--device cuda] [--json FILE]

First what must be true is looked at (`gpu_checks.py`), and where pytest is installed the tests that need a GPU are run.
Then one table: a step as the tutorial takes it, ours asked for kernel by kernel, and ours as a CUDA graph, at several
sizes of a batch. *wall* is the time from step to step, *host* how long Python was at work on it, *busy* how long the
device was, *kernels* how many there were, *calls* how often the host started one or a graph of them; *ratio* is pairs a
second beside the tutorial's at the first size. Then replies a second, and short trainings of as many pairs each, with
their held-out perplexities. What there is no time left for is named.

Without `--corpus` the table's pairs are random words in lengths as the tutorial's preparation has them, and the sample
corpus is learnt; with the folder of the Cornell corpus both are of that. Without a GPU all of it is done in miniature:
so a test sees that it runs.
"""

import argparse
import dataclasses
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpu_checks
import results
import torch
from answering import random_bot, speed
from gpu_checks import Material, Recorded
from training import Counted, OurTraining, read_pairs, synchronize
from tutorial_training import TutorialTraining

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import PRESETS, decoding_named
from chatbot.config.settings import Config
from chatbot.corpus.preparation import prepare
from chatbot.network.model import Seq2Seq
from chatbot.runs.directory import RunDirectory
from chatbot.system.devices import pick_device, pick_precision
from chatbot.training.batch_size import BASE, scaled
from chatbot.training.distributed import Group
from chatbot.training.graph import recording

GPU_TESTS = ["test_torchscript.py", "test_decoding.py", "test_graph.py"]
COLUMNS = {
    "step": ("variant", ""),
    "pairs": ("batch_size", ",d"),
    "wall ms": ("wall_ms", ".2f"),
    "host ms": ("host_ms", ".2f"),
    "busy ms": ("busy_ms", ".2f"),
    "busy": ("busy_share", ".0%"),
    "kernels": ("kernels", ",.0f"),
    "calls": ("calls", ",.0f"),
    "pairs/s": ("pairs_per_second", ",.0f"),
    "ratio": ("ratio", ".1f"),
    "peak MB": ("peak_memory_mb", ",.0f"),
}


@dataclasses.dataclass
class Sizes:
    """How much is done: on a GPU, and in miniature on a CPU."""

    batches: tuple[int, ...] = (64, 256, 1024, 4096)
    warm_up: int = 5
    steps: int = 20
    profiled: int = 5
    at_once: tuple[int, ...] = (1, 64, 256, 1024)
    trained_at: tuple[int, ...] = (64, 256, 1024)
    pairs: int = 600 * 64  # of a short training


SMALL = Sizes((4,), 1, 1, 1, (1, 4), (8,), 4 * 64)


def main() -> None:
    parser = argparse.ArgumentParser(description="check and measure a GPU")
    parser.add_argument(
        "--corpus", type=Path, help="folder of the classic Cornell files (default: random words, sample)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=4.0, help="after so many nothing new is begun")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    bench = Bench(device, arguments.corpus, SMALL if device.type == "cpu" else Sizes(), arguments.minutes)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, in miniature"
    print(f"{name}, torch {torch.__version__}, {bench.precision}", flush=True)
    found: dict[str, Any] = {"device": name, "precision": bench.precision, "left_out": []}
    for what, measure in (
        ("checks", bench.checks),
        ("tests", bench.tests),
        ("steps", bench.steps),
        ("replies", bench.replies),
        ("trainings", bench.trainings),
    ):
        began = time.perf_counter()
        found[what] = []
        for row in measure():
            found[what].append(row)
            if time.perf_counter() > bench.end:
                found["left_out"].append(f"the rest of the {what}")
                break
        if what == "steps":
            print(results.table(found[what], COLUMNS), flush=True)
        print(f"({what}: {time.perf_counter() - began:.0f} s)", flush=True)
        results.write(
            arguments.json, "gpu", **found, table=lines(found)
        )  # so that nothing is lost if the next one fails
    for missing in found["left_out"]:
        print(f"no time was left for {missing}")
    if any(row["passed"] is False for row in found["checks"] + found["tests"]):
        sys.exit("what must be true is not: the figures above are of no use")


class Bench:
    """All measurements on one device; each yields its rows, and prints those that are no table."""

    def __init__(self, device: torch.device, corpus: Path | None, sizes: Sizes, minutes: float) -> None:
        self.device, self.corpus, self.sizes = device, corpus, sizes
        self.end = time.perf_counter() + 60 * minutes
        self.precision = pick_precision("auto", device)
        self.small = device.type == "cpu"
        self.pairs, size = read_pairs(corpus)
        if self.small:
            self.pairs = self.pairs[:200]
        self.counted = Counted(self.pairs, size)
        self.material = Material(self.counted, device, self.precision, self.small, sizes.batches[0])
        self.folder = tempfile.TemporaryDirectory()

    # is it right

    def checks(self) -> Iterator[dict[str, Any]]:
        """What must be true, looked at on this device."""
        for said, passed in gpu_checks.checks(self.material):
            print(f"{'yes' if passed else 'NO'}: {said}", flush=True)
            yield {"what": said, "passed": passed}

    def tests(self) -> Iterator[dict[str, Any]]:
        """The tests that need a GPU, where pytest is installed."""
        if self.small or not all(map(importlib.util.find_spec, ("pytest", "hypothesis"))):
            yield {"what": "tests that need a GPU (left out: no GPU, no pytest or no hypothesis)", "passed": None}
            return
        files = [str(results.ROOT / "tests" / file) for file in GPU_TESTS]
        command = [sys.executable, "-m", "pytest", "-q", "-k", "gpu", "-p", "no:cacheprovider", *files]
        done = subprocess.run(command, cwd=results.ROOT, capture_output=True, text=True, timeout=90)
        last = (done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1]
        print(last if not done.returncode else done.stdout[-3000:], flush=True)
        yield {"what": last, "passed": done.returncode == 0}

    # how fast

    def steps(self) -> Iterator[dict[str, Any]]:
        """A row for each way to take a step at each size of a batch."""
        tutorial = 0.0
        for size in self.sizes.batches:
            for name, make in self._ways(size).items():
                row = self._timed(make(), size)
                tutorial = tutorial or row["pairs_per_second"]
                yield {"variant": name, "batch_size": size, **row, "ratio": row["pairs_per_second"] / tutorial}

    def _ways(self, size: int) -> dict[str, Callable[[], Any]]:
        precision, record = self.precision, recording(self.device)
        return {
            "tutorial": lambda: TutorialTraining(self.counted.vocabulary_size, self.device),
            f"ours, {precision}, default recipe, eager": lambda: OurTraining(self.counted, self.device, precision),
            f"ours, {precision}, default recipe, graph": lambda: self.material.recorded(record, size),
        }

    def _timed(self, way: Any, size: int) -> dict[str, Any]:
        sizes, device = self.sizes, self.device
        batches = self.material.batches(way, min(10, sizes.warm_up + sizes.steps), size)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        for count in range(sizes.warm_up):
            way.update(batches[count % len(batches)])
        if isinstance(way, Recorded):  # of every shape that is timed, so that none is recorded then
            for batch in batches:
                way.update(batch)
        synchronize(device)
        began = time.perf_counter()
        for count in range(sizes.steps):
            way.update(batches[count % len(batches)])
        host = time.perf_counter() - began
        synchronize(device)
        wall = time.perf_counter() - began
        return {
            "wall_ms": 1e3 * wall / sizes.steps,
            "host_ms": 1e3 * host / sizes.steps,
            "pairs_per_second": size * sizes.steps / wall,
            "peak_memory_mb": torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None,
            **self._profiled(way, batches, wall / sizes.steps),
        }

    def _profiled(self, way: Any, batches: list[Any], wall: float) -> dict[str, Any]:
        """How long the device is busy in a step, and with how many kernels; nothing on a CPU."""
        if self.device.type != "cuda":
            return {"busy_ms": None, "busy_share": None, "kernels": None, "calls": None}
        from torch.profiler import ProfilerActivity, profile

        count = self.sizes.profiled
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
            for number in range(count):
                way.update(batches[number % len(batches)])
            synchronize(self.device)
        events = watched.events() or []
        kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
        starts = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
        busy = sum(event.device_time for event in kernels) / 1e6 / count
        return {
            "busy_ms": 1e3 * busy,
            "busy_share": busy / wall,
            "kernels": len(kernels) / count,
            "calls": sum(event.name.startswith(starts) for event in events) / count,
        }

    def replies(self) -> Iterator[dict[str, Any]]:
        """Replies a second of random weights at the tutorial's sizes, so that every reply goes on to its longest."""
        torch.manual_seed(0)
        bot = random_bot()
        config = PRESETS["default"]
        config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, tokenizer="english"))
        bot = Chatbot.from_model(_network(bot).to(self.device), config, bot.vocabulary)
        rng, words = random.Random(0), range(bot.vocabulary.num_special, len(bot.vocabulary))
        for name in ("greedy", "default"):
            how = decoding_named(name, bot.decoding)
            for size in self.sizes.at_once:
                prompts = [rng.choices(words, k=rng.randint(1, 10)) for _ in range(max(size, 1 if self.small else 10))]

                def answer(some: list[list[int]], how: Any = how, size: int = size) -> None:
                    for start in range(0, len(some), size):
                        bot.reply_batch(some[start : start + size], size, how)

                speed(prompts, answer)  # warm-up
                rate = speed(prompts, answer)
                print(f"replies, {name}, {size:,} at once: {rate:,.0f} a second", flush=True)
                yield {"decoding": name, "at_once": size, "replies_per_second": rate}

    # what it learns

    def trainings(self) -> Iterator[dict[str, Any]]:
        """Short trainings of as many pairs in batches of several sizes, each from the start, and their perplexities."""
        preset = PRESETS["default"]
        corpus = str(self.corpus) if self.corpus else "sample"
        corpus_settings = dataclasses.replace(preset.corpus, corpus=corpus)
        if self.small:
            preset = dataclasses.replace(preset, model=dataclasses.replace(preset.model, hidden_size=8))
        prepared = prepare(corpus_settings, Path(self.folder.name)).folder
        for size in self.sizes.trained_at:
            steps = max(1, self.sizes.pairs // BASE)
            every = {"validate_every": max(1, steps // 4), "steps": steps, "patience": 0, "max_minutes": 1.0}
            settings = dataclasses.replace(preset.training, precision=self.precision, fixed_shapes="on", **every)
            config = Config(corpus_settings, preset.model, scaled(settings, size), preset.decoding)
            try:
                from chatbot.training.loop import train

                run = RunDirectory(Path(self.folder.name) / str(size))
                outcome = train(config, prepared, run, Group(self.device))
            except ImportError as error:
                print(f"no training: {error}")
                yield {"batch_size": size, "missing": str(error)}
                return
            print(
                f"trained on {corpus}, {size:,} pairs a step, {outcome.step} steps: held-out perplexity "
                f"{outcome.perplexity:.2f} after {outcome.seconds:.1f} s",
                flush=True,
            )
            yield {
                "batch_size": size,
                "steps": outcome.step,
                "perplexity": outcome.perplexity,
                "seconds": outcome.seconds,
                "reason": outcome.reason,
            }


def _network(bot: Chatbot) -> Seq2Seq:
    return Seq2Seq(PRESETS["default"].model, len(bot.vocabulary)).eval()


def lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the one table."""
    rows = found.get("steps", [])
    return [
        results.line(
            f"training, {row['variant']}, {row['batch_size']} pairs, {found['device']}",
            "pairs/s",
            row["pairs_per_second"],
            rows[0]["pairs_per_second"],
            memory=row["peak_memory_mb"],
        )
        for row in rows[1:]
    ]


if __name__ == "__main__":
    main()
