"""`chatbot serve` under load, beside the same server without batching, and one client beside `Chatbot.reply`.

    python bench/serving.py [RUN] [--clients 1 8 64 512] [--seconds 10] [--rounds 3] [--decoding default] [--json FILE]

The load is made by wrk (Debian: apt-get install wrk; Homebrew: brew install wrk): so many connections, each of which
asks again as soon as it has its reply, with prompts of bench/everyday. Both servers are loaded in turn.
The time of the processor that the server spends on a reply is measured too: other work on the machine changes it less.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import results
import torch

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import decoding_named

HERE = Path(__file__).resolve().parent
PROMPTS = HERE / "everyday" / "prompts.txt"
BATCH = {"batched": 64, "one at a time": 1}


class Server(NamedTuple):
    """A server under measurement."""

    url: str
    process: subprocess.Popen[str]

    def processor_seconds(self) -> float | None:
        """What it has had of the processor so far; None where the system does not tell."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():
            return None
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description="measure the server under load")
    pretrained = results.ROOT / "checkpoints" / "pretrained"
    parser.add_argument(
        "run", nargs="?", type=Path, default=pretrained, help="what to serve (default: the bot in the box)"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--seconds", type=int, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decoding", choices=("default", "greedy"), default="default")
    parser.add_argument("--threads", type=int, default=0, help="0 is the server's own default (default: 0)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk, which makes the load, is not installed: nothing is measured")
        line = results.line("served replies", "replies/s", None, note="wrk is not installed")
        results.write(arguments.json, "serving", rows=[], table=[line])
        return
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(served(arguments, size)) for name, size in BATCH.items()}
        rows = [measured(servers, clients, arguments) for clients in arguments.clients]
        alone = one_client(servers["batched"], arguments)
    results.write(
        arguments.json, "serving", threads=arguments.threads, rows=rows, alone=alone, table=table(rows, alone)
    )


@contextlib.contextmanager
def served(arguments: argparse.Namespace, batch: int) -> Iterator[Server]:
    """A server on a port of its own that answers so many prompts side by side."""
    method = ["--method", "greedy"] if arguments.decoding == "greedy" else []
    words = ["serve", arguments.run, "--port", 0, "--batch-size", batch, "--queue", 1024, "--timeout", 300]
    command = [sys.executable, "-m", "chatbot", *map(str, [*words, "--threads", arguments.threads]), *method]
    environment = {**os.environ, "PYTHONPATH": str(results.ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None and (line := process.stderr.readline()):
                found = re.search(r" at (http://\S+)", line)
            if found is None:
                raise SystemExit("the server did not start")
            yield Server(found[1], process)
        finally:
            process.terminate()


def measured(servers: dict[str, Server], clients: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """So many clients, on each server in turn: medians of the rounds."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for _ in range(arguments.rounds):
        for name, server in servers.items():
            rounds[name].append(load(server, clients, arguments.seconds))
    row: dict[str, Any] = {"clients": clients}
    for name, found in rounds.items():
        row[name] = {key: statistics.median(one[key] for one in found) for key in found[0]}
    ours, baseline = row["batched"], row["one at a time"]
    row["ratio"] = ours["rate"] / baseline["rate"] if baseline["rate"] else None
    print(
        f"{clients:4} clients: {ours['rate']:8.1f} replies/s beside {baseline['rate']:.1f} one at a time"
        f" ({row['ratio'] or 0:.1f} times); p50 {1e3 * ours['p50']:.0f} ms, p99 {1e3 * ours['p99']:.0f} ms, refused "
        f"{ours['refused']:.0f}; processor {1e3 * ours['processor']:.1f} ms a reply beside "
        f"{1e3 * baseline['processor']:.1f}",
        flush=True,
    )
    return row


def load(server: Server, clients: int, seconds: int) -> dict[str, float]:
    """What wrk finds with so many connections."""
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds}s",
        "--timeout",
        "300s",
        "-s",
        HERE / "serving.lua",
        server.url,
    ]
    before = server.processor_seconds()
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "PROMPTS": str(PROMPTS)}, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    after = server.processor_seconds()
    spent = after - before if after is not None and before is not None else 0.0
    return {**found, "rate": found["replies"] / found["seconds"], "processor": spent / max(1, found["replies"])}


def one_client(server: Server, arguments: argparse.Namespace) -> dict[str, float]:
    """One client's latency beside that of `Chatbot.reply`, prompt by prompt in turn: medians in seconds."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    bot = Chatbot.load(arguments.run)
    decoding = decoding_named(arguments.decoding, bot.decoding)
    lines = [line for line in PROMPTS.read_text().splitlines() if line and not line.startswith("#")]
    times: dict[str, list[float]] = {"served": [], "reply": []}
    # the plainest client there is: a more comfortable one takes a millisecond or two itself
    with contextlib.closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=300)) as client:
        for line in lines[: 20 * arguments.rounds]:
            began = time.perf_counter()
            client.request("POST", "/reply", json.dumps({"text": line}), {"Content-Type": "application/json"})
            client.getresponse().read()
            between = time.perf_counter()
            bot.reply(line, decoding=decoding)
            times["served"].append(between - began)
            times["reply"].append(time.perf_counter() - between)
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratio = statistics.median(one / other for one, other in zip(times["served"], times["reply"], strict=True))
    print(
        f"one client: {1e3 * medians['served']:.1f} ms, Chatbot.reply {1e3 * medians['reply']:.1f} ms, "
        f"ratio {ratio:.3f}"
    )
    return {**medians, "ratio": ratio}


def table(rows: list[dict[str, Any]], alone: dict[str, float]) -> list[dict[str, Any]]:
    """The lines of the one table."""
    lines = [
        results.line(
            f"served replies, {row['clients']} clients (baseline: without batching)",
            "replies/s",
            row["batched"]["rate"],
            row["one at a time"]["rate"],
            note=f"p99 {1e3 * row['batched']['p99']:.0f} ms",
        )
        for row in rows
    ]
    served = results.line(
        "a reply to one client (baseline: Chatbot.reply)", "ms", 1e3 * alone["served"], 1e3 * alone["reply"]
    )
    return [*lines, served]


if __name__ == "__main__":
    main()
