"""Replies with the network's matrices laid out column after column, as `Checkpoint.build_model` has them, and row after
row, as training has them.

    python bench/layout.py [RUN] [--prompts 24] [--rounds 5] [--threads 1] [--json FILE]

RUN is a run directory (default: the bot in the box). Prompts are those of its golden replies. The same network answers
them in both layouts, in turn, by greedy search alone, by the run's own decoding alone, and by greedy search in batches;
once eager, and once as the scripted module of `chatbot.pt`. Replies that differ end the measurement. The floor is the
time to read through what a reply must read of the weights, measured by summing those matrices themselves, again and
again: so caches serve them as they serve a reply.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
import torch
from inference import bytes_read

from chatbot.chat.bot import Chatbot
from chatbot.config.presets import DECODINGS
from chatbot.deployment import torchscript
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory

BATCHES = (16, 64, 256)
COLUMNS = {
    "": ("what", ""),
    "by rows, ms": ("rows", ".2f"),
    "by columns, ms": ("columns", ".2f"),
    "times faster": ("times_faster", ".2f"),
    "floor, ms": ("floor", ".2f"),
    "of the floor": ("of_floor", ".2f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="measure how matrices are laid out")
    parser.add_argument("run", nargs="?", type=Path, default=results.ROOT / "checkpoints" / "pretrained")
    parser.add_argument("--prompts", type=int, default=24, help="prompts that are answered alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint = RunDirectory(arguments.run).load_chosen()
    prompts = [prompt for prompt in checkpoint.prompts if prompt]
    alone = [[prompt] for prompt in prompts[:: max(1, len(prompts) // arguments.prompts)][: arguments.prompts]]
    models = {"rows": by_rows(checkpoint), "columns": checkpoint.build_model()}
    bots = {
        layout: Chatbot.from_model(model, checkpoint.config, checkpoint.vocabulary) for layout, model in models.items()
    }
    rows: list[dict[str, Any]] = []
    with torch.inference_mode(False), torch.no_grad(), torchscript._quiet(), torch.jit.optimized_execution(False):
        files = {layout: torchscript._script(model, checkpoint, {}) for layout, model in models.items()}
        ways: dict[str, tuple[dict[str, Callable[[Any], Any]], list[Any]]] = {}
        for name in ("greedy", "default"):
            how = DECODINGS["greedy"] if name == "greedy" else checkpoint.config.decoding
            method = "reply_greedy" if name == "greedy" else "reply"
            ways[f"eager, {name}"] = (
                {
                    layout: lambda some, bot=bot, how=how: bot.reply_batch(some, len(some), how)
                    for layout, bot in bots.items()
                },
                alone,
            )
            texts = [bots["rows"].vocabulary.decode(some[0]) for some in alone]
            ways[f"chatbot.pt, {name}"] = (
                {layout: getattr(file, method) for layout, file in files.items()},
                [" ".join(words) for words in texts],
            )
        for size in BATCHES:
            batch = (prompts * (1 + size // len(prompts)))[:size]
            ways[f"eager, greedy, {size} at once"] = (
                {
                    layout: lambda some, bot=bot: bot.reply_batch(some, len(some), DECODINGS["greedy"])
                    for layout, bot in bots.items()
                },
                [batch],
            )
        for what, (searches, given) in ways.items():
            rows.append({"what": what, **measured(searches, given, arguments.rounds)})
            print(f"{what}: {rows[-1]['rows']:.2f} by rows, {rows[-1]['columns']:.2f} by columns", flush=True)
        found = [bots["columns"].reply_batch(some, 1, DECODINGS["greedy"])[0] for some in alone]
    tokens = statistics.mean(1 + len(bots["rows"].words(reply)) for reply in found)
    words = statistics.mean(len(some[0]) for some in alone)
    read = bytes_read(checkpoint, words, tokens, "fp32")
    rate = bandwidth(models["columns"])
    for row in rows:
        if row["what"].endswith("greedy"):
            row["floor"] = 1000 * read / rate
            row["of_floor"] = row["columns"] / row["floor"]
    print(results.table(rows, COLUMNS))
    print(f"{words:.1f} words, {tokens:.1f} tokens: {read / 1e6:.0f} MB at {rate / 1e9:.1f} GB/s")
    print(
        f"means over prompts of the best of {arguments.rounds} rounds, {arguments.threads} threads, "
        f"torch {torch.__version__}"
    )
    results.write(arguments.json, "layout", threads=arguments.threads, rows=rows, bytes=read, bandwidth=rate)


def by_rows(checkpoint: Checkpoint) -> Seq2Seq:
    """The network as its checkpoint has it."""
    model = Seq2Seq(checkpoint.config.model, len(checkpoint.vocabulary))
    model.load_state_dict(checkpoint.model, assign=True)
    return model.eval()


def measured(searches: dict[str, Callable[[Any], Any]], given: list[Any], rounds: int) -> dict[str, Any]:
    """Milliseconds of each layout: the mean over what is given of the best round."""
    best = {layout: [float("inf")] * len(given) for layout in searches}
    for round in range(rounds + 1):
        for place, some in enumerate(given):
            replies = []
            for layout, search in searches.items():
                began = time.perf_counter()
                replies.append(search(some))
                if round:  # the first warms up
                    best[layout][place] = min(best[layout][place], time.perf_counter() - began)
            if replies[0] != replies[1]:
                raise SystemExit(f"{some}: {replies[0]!r} by rows, {replies[1]!r} by columns")
    means = {layout: 1000 * statistics.mean(times) for layout, times in best.items()}
    return {**means, "times_faster": means["rows"] / means["columns"]}


def bandwidth(model: Seq2Seq) -> float:
    """Bytes a second of a read through the decoder's matrices, the best of many."""
    matrices = [weight for name, weight in model.decoder.named_parameters() if weight.dim() == 2]
    size, best = sum(weight.numel() * weight.element_size() for weight in matrices), float("inf")
    for _ in range(100):
        began = time.perf_counter()
        for weight in matrices:
            weight.sum()
        best = min(best, time.perf_counter() - began)
    return size / best


if __name__ == "__main__":
    main()
