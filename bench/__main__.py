"""All measurements that fit into ten minutes on two cores, and one table of them.

    python bench [--corpus FOLDER] [--run RUN] [--only NAME ...]
    python bench --markdown

Each is a process of its own and writes FOLDER/NAME.json (`--out FOLDER`, default bench/results). Without `--corpus`
(the folder of the classic Cornell files) texts are generated, words are random, and nothing needs a network. Inference
is measured on `--run`; without it on checkpoints/pretrained where that is, and else on a network of the default sizes
that learns the sample corpus first, just long enough to end its replies. `--markdown` measures nothing and prints the
table of what is in the folder.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import results

COLUMNS = {
    "measured": ("what", ""),
    "in": ("unit", ""),
    "here": ("ours", "short"),
    "baseline": ("baseline", "short"),
    "times better": ("times_better", ".2f"),
    "bound": ("bound", "short"),
    "of the bound": ("of_bound", ".0%"),
    "peak MB": ("peak_mb", ",.0f"),
    "its peak MB": ("baseline_peak_mb", ",.0f"),
    "note": ("note", ""),
}
QUICK_INFERENCE = ["--rounds", "10", "--batches", "1", "--starts", "1", "--prompts", "64", "--threads", "1"]
NAMES = ("preparation", "training", "training-2-threads", "inference", "answering", "scaling", "serving")
# a network that ends its replies is all that is wanted
BRIEF = """
    --preset default --corpus sample --min-count 1 --steps 120 --batch-size 32 --learning-rate 3e-3 --warmup-steps 20
    --validate-every 120 --dropout 0 --max-minutes 0 --device cpu --threads 1
""".split()  # noqa: SIM905
TINY = ("--hidden-size", "32", "--steps", "20")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="measure everything, and print one table")
    parser.add_argument("--corpus", help="folder of the classic Cornell files (default: generated)")
    parser.add_argument(
        "--run", help="a run, by name or path, for inference (default: pretrained, or one that is made)"
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=results.FOLDER, metavar="FOLDER", help="(default: bench/results)")
    parser.add_argument("--quick", action="store_true", help="hardly any rounds: to see that all of it works")
    parser.add_argument("--markdown", action="store_true", help="only print the table of what is in the folder")
    arguments = parser.parse_args()
    failed = [] if arguments.markdown else measure(arguments)
    print(report(arguments.out, [name for name in arguments.only if name not in failed]))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


def measure(arguments: argparse.Namespace) -> list[str]:
    """Run what was asked for; returns the names of what failed."""
    began, failed = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        run = None
        if not {"inference", "answering", "serving"}.isdisjoint(arguments.only):
            run = chosen_run(arguments.run, Path(folder), arguments.quick)
        for name, words in commands(run, arguments).items():
            if name not in arguments.only:
                continue
            print(f"\n{name}: bench/{' '.join(map(str, words))}", flush=True)
            file = ["--json", arguments.out / f"{name}.json"]
            if python(results.ROOT / "bench" / words[0], *file, *words[1:]):
                failed.append(name)
    print(f"\nall of it took {(time.perf_counter() - began) / 60:.1f} minutes\n")
    return failed


def commands(run: Any, arguments: argparse.Namespace) -> dict[str, list[Any]]:
    """What is run under each name, without the file that it writes."""
    corpus = ["--corpus", arguments.corpus] if arguments.corpus else []
    if arguments.quick:
        return {
            "preparation": ["preparation.py", "--conversations", 2000, "--rounds", 1, "--sizes", 2000, *corpus],
            "training": ["training.py", "--rounds", 1, *corpus],
            "training-2-threads": ["training.py", "--rounds", 1, "--threads", 2, *corpus],
            "inference": ["inference.py", run, *QUICK_INFERENCE, *corpus],
            "answering": ["answering.py", run, "--rounds", 1, "--batch-size", 32],
            "serving": ["serving.py", run, "--rounds", 1, "--seconds", 1, "--clients", 4],
            "scaling": ["scaling.py", "--steps", 50, "--batch-size", 8, "--flags", *TINY[:2]],
        }
    found: dict[str, list[Any]] = {
        "preparation": ["preparation.py", "--rounds", 3, "--sizes", 500_000, *corpus],
        "training": ["training.py", "--rounds", 15, *corpus],
        "training-2-threads": ["training.py", "--rounds", 15, "--threads", 2, *corpus],
        "inference": ["inference.py", run, "--rounds", 200, "--prompts", 1000, *corpus],
        "answering": ["answering.py", run, "--rounds", 3],
        "serving": ["serving.py", run, "--rounds", 1],
        "scaling": ["scaling.py", "--steps", 50],
    }
    if (os.cpu_count() or 1) < 2:
        del found["training-2-threads"], found["scaling"]
    return found


def chosen_run(name: str | None, folder: Path, quick: bool) -> Path:
    """The run of that name; without one the pretrained where there is such, else one that is trained in `folder`."""
    runs = results.ROOT / "checkpoints"
    if name is not None:
        return runs / name if (runs / name).is_dir() else Path(name)
    if not quick and (runs / "pretrained").is_dir():
        return runs / "pretrained"
    print("training a network for inference: bench/__main__.py says how", flush=True)
    data = ["--data-dir", results.ROOT / "data", "--checkpoints-dir", folder, "--run", "brief"]
    if python("-m", "chatbot", "train", *BRIEF, *data, *(TINY if quick else [])):
        raise SystemExit("the network for inference could not be trained")
    return folder / "brief"


def python(*words: Any) -> int:
    """Run Python with these arguments, the package of this checkout in front; returns its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(results.ROOT)}
    return subprocess.run([sys.executable, *map(str, words)], env=environment, check=False).returncode


def report(folder: Path, names: Sequence[str]) -> str:
    """The one table of these measurements, and of what, where and when they were taken."""
    found = [results.read(folder / f"{name}.json") for name in NAMES if name in names]
    found = [measured for measured in found if measured]
    if not found:
        return f"nothing is measured in {folder} yet: make bench"
    rows = [row for measured in found for row in measured["table"]]
    columns = {title: (key, form) for title, (key, form) in COLUMNS.items() if any(row[key] for row in rows)}
    lines = [results.table(rows, columns), ""]
    for measured in found:
        machine, versions = measured["machine"], measured["versions"]
        state = "uncommitted changes on " if measured["dirty"] else ""
        lines.append(
            f"{measured['bench']}: {machine['processor']}, {machine['cores']} cores ({' '.join(machine['flags'])}), "
            f"load {machine['load']} at the end, Python {versions['python']}, torch {versions['torch']}, "
            f"{state}commit {measured['commit']}, {measured['date'][:10]}"
        )
    return "\n".join(dict.fromkeys(lines))


if __name__ == "__main__":
    sys.exit(main())
