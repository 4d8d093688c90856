"""Training in one process and in two: pairs a second at the same batch of all processes together, and memory of each.

    python bench/scaling.py [--corpus sample] [--steps 75] [--batch-size 64] [--rounds 1] [--json FILE]
        [--flags --hidden-size 128 ...]

Each is a training by `chatbot train` from its beginning, in a folder that is thrown away; the first 25 steps are
warm-up. `--flags`, at the end, are given to it as they are. Every process has one thread, so that two take two cores;
beside them one process with two threads, the other way to use those. Efficiency is the share of twice the pairs a
second of one process. Memory is that of the first process at its peak, the one that also writes the files.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import results

COLUMNS = {
    "processes": ("processes", ""),
    "threads of each": ("threads", ""),
    "pairs/s": ("pairs_per_second", ",.0f"),
    "times one": ("times_one", ".2f"),
    "efficiency": ("efficiency", ".0%"),
    "peak MB of a process": ("peak_memory_mb", ",.0f"),
}
WAYS = ((1, 1), (2, 1), (1, 2))  # processes, threads of each
WARM_UP = 25  # steps: as many as a line of metrics.jsonl is about


def main() -> None:
    parser = argparse.ArgumentParser(description="measure training in one process and in two")
    parser.add_argument("--corpus", default="sample")
    parser.add_argument("--data-dir", type=Path, default=results.ROOT / "data")
    parser.add_argument("--steps", type=int, default=75)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags of chatbot train")
    arguments = parser.parse_args()
    if arguments.steps < 2 * WARM_UP:
        parser.error(f"--steps must be {2 * WARM_UP} at least: the first {WARM_UP} are warm-up")
    runs: dict[tuple[int, int], list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, done in runs.items():
            done.append(trained(*way, arguments))
    one = statistics.median(run["pairs_per_second"] for run in runs[1, 1])
    rows = []
    for (processes, threads), done in runs.items():
        speed = statistics.median(run["pairs_per_second"] for run in done)
        rows.append(
            {
                "processes": processes,
                "threads": threads,
                "pairs_per_second": speed,
                "times_one": speed / one,
                "efficiency": speed / one / (processes * threads),
                "peak_memory_mb": max(run["peak_memory_mb"] for run in done),
            }
        )
    print(results.table(rows, COLUMNS))
    found = {"corpus": Path(arguments.corpus).name, "batch_size": arguments.batch_size, "steps": arguments.steps}
    results.write(arguments.json, "scaling", **found, rows=rows, table=lines(rows))


def lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the one table: beside one process with one thread, and twice its speed."""
    one, *others = rows
    return [
        results.line(
            f"training, {row['processes']} x {row['threads']} threads (baseline: 1 x 1)",
            "pairs/s",
            row["pairs_per_second"],
            one["pairs_per_second"],
            bound=2 * one["pairs_per_second"],
            memory=row["peak_memory_mb"],
            baseline_memory=one["peak_memory_mb"],
        )
        for row in others
    ]


def trained(processes: int, threads: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Pairs a second, and the peak memory of the first process in MB, of one training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "chatbot", "train", "--preset", "default", "--corpus", arguments.corpus]
        command += ["--data-dir", str(arguments.data_dir), "--checkpoints-dir", folder, "--run", "scaling"]
        command += ["--device", "cpu", "--threads", str(threads), "--processes", str(processes)]
        command += ["--batch-size", str(arguments.batch_size), "--steps", str(arguments.steps)]
        command += ["--validate-every", str(arguments.steps), "--max-minutes", "0", *arguments.flags]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=results.ROOT, env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        metrics = (Path(folder) / "scaling" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in metrics]
    speeds = [r["pairs_per_second"] for r in rows if r["part"] == "train" and r["step"] > WARM_UP]
    peak = next(row["peak_memory_mb"] for row in rows if row["part"] == "valid")
    return {"pairs_per_second": statistics.median(speeds), "peak_memory_mb": peak}


if __name__ == "__main__":
    main()
