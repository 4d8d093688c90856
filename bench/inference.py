"""Latency, throughput and size of every way to run a trained model, beside the tutorial's deployed search.

    python bench/inference.py RUN [--data-dir data] [--rounds 300] [--threads 1] [--json FILE]

RUN is the directory of a trained run, for replies of natural length take a model that has learnt to end them. It is
exported here in every form, and all forms answer the prompts of the test split:

    tutorial      traced parts in a scripted loop that always takes as many steps as the longest reply may have
    eager         `GreedySearchDecoder` on the network as it is trained
    torchscript   `chatbot.pt`
    onnx, int8    `chatbot.onnx` and `chatbot.int8.onnx` in ONNX Runtime

A round times one prompt in each of them in turn; batches of 64 likewise. Bytes read are those of the weights that a
reply needs at batch 1, each as often as the recurrence comes back to it: for the prompt's words the recurrent matrices
of the encoder, for each token of the reply all of the decoder. Over the bandwidth of one long read they give the floor.
Agreement is with the eager search on all prompts of the split; perplexity is under teacher forcing, of int8 by way of
encoder.int8.onnx and decoder.int8.onnx.

Alone a reply waits for memory, in a batch for arithmetic: the last lines give both bounds in fp32, the second from the
rate of one large product and two operations for each weight that is read.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see chatbot.__main__

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tutorial_inference import tutorial_search

from chatbot.checkpoint import Checkpoint, RunDirectory
from chatbot.dataset import collate, in_order, pad_prompts
from chatbot.exchange import OnnxDecoder, OnnxEncoder, export_onnx, load_onnx, onnx_paths
from chatbot.export import export, load_bundle
from chatbot.preparation import prepare
from chatbot.prepared import PairDataset, load_vocabulary
from chatbot.search import GreedySearchDecoder
from chatbot.vocabulary import EOS_ID

BATCH = 64

Prompts = Sequence[Sequence[int]]
Search = Callable[[Prompts], Tensor]  # -> tokens (B, T)


def main() -> None:
    parser = argparse.ArgumentParser(description="measure inference")
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a trained run")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=300, help="prompts that are timed alone")
    parser.add_argument("--batches", type=int, default=10, help="batches of 64 that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint = RunDirectory(arguments.run).load_chosen()
    folder = prepare(checkpoint.config.corpus, arguments.data_dir).folder
    if load_vocabulary(folder).tokens != checkpoint.vocabulary.tokens:
        raise SystemExit(f"the corpus has changed since {arguments.run} was trained: its vocabulary differs")
    pairs = PairDataset(folder, "test")
    prompts = [pairs[index][0].tolist() or [EOS_ID] for index in range(len(pairs))]
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0)).tolist()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        searches, sizes, parts = made(checkpoint, Path(name))
        alone, bandwidth, product_rate = latencies(searches, [prompts[i] for i in order[: arguments.rounds]])
        batches = [[prompts[i] for i in order[at : at + BATCH]] for at in range(0, arguments.batches * BATCH, BATCH)]
        together = throughputs(searches, [batch for batch in batches if len(batch) == BATCH])
        replies = {name: all_replies(search, prompts) for name, search in searches.items() if name != "tutorial"}
        perplexities = {name: perplexity(*pair, pairs) for name, pair in parts.items()}
    measured = replies["eager"]
    words = statistics.mean(len(prompts[i]) for i in order[: arguments.rounds])
    tokens = statistics.mean(len(measured[i]) for i in order[: arguments.rounds])
    rows = []
    for name in searches:
        form = "int8" if name == "int8" else "fp32"
        steps = checkpoint.config.corpus.max_length + 1 if name == "tutorial" else tokens
        read = bytes_read(checkpoint, words, steps, form)
        rows.append(
            {
                "variant": name,
                "milliseconds": 1000 * statistics.median(alone[name]),
                "mean_milliseconds": 1000 * statistics.mean(alone[name]),
                "times_faster": statistics.median(alone["tutorial"]) / statistics.median(alone[name]),
                "replies_per_second_alone": 1 / statistics.mean(alone[name]),
                "replies_per_second_of_64": BATCH / statistics.median(together[name]) if name in together else None,
                "megabytes": sizes.get(name, 0) / 1e6 or None,
                "megabytes_read": read / 1e6,
                "floor_milliseconds": 1000 * read / bandwidth,
                "equal_tokens": agreement(measured, replies[name]) if name in replies else None,
                "perplexity": perplexities.get(name),
            }
        )
    print_table(rows)
    about = {
        "threads": arguments.threads,
        "prompts": len(prompts),
        "rounds": arguments.rounds,
        "words_of_a_prompt": words,
        "tokens_of_a_reply": tokens,
        "gigabytes_per_second": bandwidth / 1e9,
        "gigaflops_per_second": product_rate / 1e9,
        "replies_per_second_alone_at_most": bandwidth / bytes_read(checkpoint, words, tokens, "fp32"),
        "replies_per_second_of_a_batch_at_most": product_rate / (bytes_read(checkpoint, words, tokens, "fp32") / 2),
    }
    for key, value in about.items():
        print(f"{key.replace('_', ' '):40}{value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def made(checkpoint: Checkpoint, folder: Path) -> tuple[dict[str, Search], dict[str, int], dict[str, Any]]:
    """Every form of the model: its search, the bytes of its file, and where there are, its encoder and decoder."""
    model = checkpoint.build_model()
    longest = checkpoint.config.corpus.max_length + 1
    eager = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    export(checkpoint, folder / "export")
    bundle = load_bundle(folder / "export" / "chatbot.pt").module.greedy_batch
    sizes = {"torchscript": (folder / "export" / "chatbot.pt").stat().st_size}
    parts: dict[str, Any] = {"eager": (model.encoder, model.decoder)}
    searches: dict[str, Search] = {}
    settings = checkpoint.config.model
    if (settings.encoder_layers, settings.decoder_layers, settings.attention) == (2, 2, "dot"):
        with torch.inference_mode(False):
            old = tutorial_search(model)
        searches["tutorial"] = lambda prompts: old(pad_prompts(prompts)[0].t(), pad_prompts(prompts)[1], longest)[0]
    else:
        raise SystemExit("the tutorial's search has 2 + 2 layers and dot attention; this run has not")
    searches["eager"] = lambda prompts: eager(*pad_prompts(prompts), longest).tokens
    searches["torchscript"] = lambda prompts: bundle(*pad_prompts(prompts), longest).tokens
    for name, quantized in (("onnx", False), ("int8", True)):
        export_onnx(checkpoint, folder, quantized=quantized)
        greedy, encoder, decoder = onnx_paths(folder, quantized)
        search = load_onnx(greedy, "greedy").search
        searches[name] = lambda prompts, search=search: search(*pad_prompts(prompts), longest).tokens  # type: ignore[misc]
        sizes[name] = greedy.stat().st_size
        parts[name] = OnnxEncoder(load_onnx(encoder, "encoder")), OnnxDecoder(load_onnx(decoder, "decoder"))
    return searches, sizes, parts


def latencies(searches: dict[str, Search], prompts: Prompts) -> tuple[dict[str, list[float]], float, float]:
    """Seconds of each search for each prompt alone; bytes a second of a long read, operations a second of a product."""
    big = torch.ones(1 << 26)  # 256 MiB: no cache holds it
    square = torch.rand(1024, 1024)
    times: dict[str, list[float]] = {name: [] for name in searches}
    reads, products = [], []
    for round, prompt in enumerate([*prompts[:20], *prompts]):  # the first 20 are warm-up
        for name, search in searches.items():
            began = time.perf_counter()
            search([prompt])
            if round >= 20:
                times[name].append(time.perf_counter() - began)
        if round % 10 == 0:
            began = time.perf_counter()
            big.sum()
            reads.append(time.perf_counter() - began)
            began = time.perf_counter()
            square @ square
            products.append(time.perf_counter() - began)
    rate = 2 * 1024**3 / statistics.median(products)
    return times, big.numel() * big.element_size() / statistics.median(reads), rate


def throughputs(searches: dict[str, Search], batches: Sequence[Prompts]) -> dict[str, list[float]]:
    """Seconds of each search for each batch; the tutorial's takes one prompt at a time only."""
    times: dict[str, list[float]] = {name: [] for name in searches if name != "tutorial"}
    for round, batch in enumerate([*batches[:1], *batches]):
        for name in times:
            began = time.perf_counter()
            searches[name](batch)
            if round:
                times[name].append(time.perf_counter() - began)
    return times


def bytes_read(checkpoint: Checkpoint, words: float, tokens: float, form: str) -> float:
    """Of weights, for one reply of so many tokens to a prompt of so many words."""
    read = 0.0
    for name, weight in checkpoint.model.items():
        if name in ("encoder.embedding.weight", "decoder.embedding.weight"):
            continue  # a row for each word: next to nothing
        matrix = weight.dim() == 2
        size = weight.numel() * (1 if form == "int8" and matrix else 4) + (4 * len(weight) if form == "int8" else 0)
        times = tokens if name.startswith("decoder.") else words if "weight_hh" in name else 1
        read += size * times
    return read


def all_replies(search: Search, prompts: Prompts) -> list[list[int]]:
    """The tokens of every reply, EOS being the last."""
    found: list[list[int]] = []
    for at in range(0, len(prompts), BATCH):
        rows = search(prompts[at : at + BATCH]).tolist()
        found += [row[: row.index(EOS_ID) + 1] if EOS_ID in row else row for row in rows]
    return found


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of the tokens that are the same at the same place; of two replies the longer one counts."""
    equal = sum(sum(map(int.__eq__, a, b)) for a, b in zip(ours, theirs, strict=True))
    return equal / sum(max(len(a), len(b)) for a, b in zip(ours, theirs, strict=True))


def perplexity(encoder: nn.Module, decoder: nn.Module, pairs: PairDataset) -> float:
    """Of the true replies, EOS counted, fed word by word."""
    loss, count = 0.0, 0
    for indices in in_order(pairs, 128):
        batch = collate([pairs[index] for index in indices])
        memory, mask, hidden = encoder(batch.src, batch.src_lengths)
        real = torch.arange(batch.tgt.size(1)) < batch.tgt_lengths.unsqueeze(1)  # (B, T)
        targets = torch.zeros_like(batch.tgt).masked_scatter(real, batch.targets)
        for step in range(batch.tgt.size(1)):
            logits, hidden, _ = decoder(batch.tgt[:, step : step + 1], hidden, memory, mask)
            losses = nn.functional.cross_entropy(logits[:, 0].float(), targets[:, step], reduction="none")
            loss += float(losses[real[:, step]].double().sum())
        count += len(batch.targets)
    return float(torch.tensor(loss / count).exp())


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line for each variant."""
    columns = {
        "ms alone": ("milliseconds", ".2f"),
        "times faster": ("times_faster", ".2f"),
        "replies/s alone": ("replies_per_second_alone", ".0f"),
        "of 64": ("replies_per_second_of_64", ".0f"),
        "file MB": ("megabytes", ".1f"),
        "MB read": ("megabytes_read", ".0f"),
        "floor ms": ("floor_milliseconds", ".2f"),
        "equal tokens": ("equal_tokens", ".2%"),
        "perplexity": ("perplexity", ".3f"),
    }
    print(f"{'':12}" + "".join(f"{title:>16}" for title in columns))
    for row in rows:
        cells = ["" if row[key] is None else format(row[key], form) for key, form in columns.values()]
        print(f"{row['variant']:12}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
