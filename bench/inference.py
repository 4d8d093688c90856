"""Latency, throughput, memory and size of every way to run a trained model, beside the tutorial's deployed search.

    python bench/inference.py RUN [--corpus PATH] [--data-dir data] [--rounds 300] [--threads 1 2] [--json FILE]

RUN is the directory of a trained run; for replies of natural length take a model that has learnt to end them. It is
exported here in every form, and all forms answer the prompts of the test split of its corpus (`--corpus` says where
that lies now), or where that is not at hand those of the sample corpus, in the run's words:

    tutorial      traced parts in a scripted loop that always takes as many steps as the longest reply may have
    eager         `GreedySearchDecoder` on the network as it is trained
    torchscript   `chatbot.pt`
    C++           `chatbot.pt` in the client of `cpp/`: a line of text in, a line out
    onnx, int8    `chatbot.onnx` and `chatbot.int8.onnx` in ONNX Runtime

A round times one prompt in each of them in turn; batches of 64 likewise. First reply and peak memory are of a process
that does nothing else, from its start (`bench/deployed.py`). Bytes read are those of the weights that a reply needs at
batch 1, each as often as the recurrence comes back to it: for the prompt's words the recurrent matrices of the encoder,
for each token of the reply all of the decoder. The floor is the time of reading as many bytes, a decoder's again and
again (so from a cache, if one holds them). Agreement is with the eager search on the prompts (the first `--prompts` of
them); perplexity is under teacher forcing, of int8 by way of encoder.int8.onnx and decoder.int8.onnx.

Alone a reply waits for memory, in a batch for arithmetic: the last lines give both bounds in fp32, the second from the
rate of one large product and two operations for each weight that is read. "Times the floor" is a form's mean time over
its floor, "of the bound" its rate in batches over the second bound. All is timed with each number of `--threads`; of
other processes, first reply and peak memory, with one.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import results
import torch
from deployed import Client, build_client, first_replies
from torch import nn
from tutorial_inference import tutorial_search

from chatbot.config.settings import DecodingConfig
from chatbot.corpus.prepared import PairDataset
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.decoding.search import GreedySearchDecoder
from chatbot.deployment.onnx import export_onnx, load_onnx, onnx_paths
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.evaluation.examination import held_out_pairs, split_of
from chatbot.network.batch import collate, pad_prompts
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory

BATCH = 64
COLUMNS = {
    "": ("variant", ""),
    "ms alone": ("milliseconds", ".2f"),
    "times faster": ("times_faster", ".2f"),
    "replies/s alone": ("replies_per_second_alone", ".0f"),
    "of 64": ("replies_per_second_of_64", ".0f"),
    "first reply, s": ("first_reply_seconds", ".2f"),
    "peak MB": ("peak_memory_mb", ".0f"),
    "file MB": ("megabytes", ".1f"),
    "MB read": ("megabytes_read", ".0f"),
    "floor, ms": ("floor_milliseconds", ".2f"),
    "times the floor": ("times_the_floor", ".2f"),
    "of the bound": ("of_the_bound", ".0%"),
    "equal tokens": ("equal_tokens", ".2%"),
    "perplexity": ("perplexity", ".3f"),
}

Prompts = Sequence[Sequence[int]]
Search = Callable[[Prompts], Any]  # -> tokens (B, T); of the C++ client a line of text
WITH_TOKENS = ("eager", "torchscript", "onnx", "int8")  # forms that take batches and give tokens


def main() -> None:
    parser = argparse.ArgumentParser(description="measure inference")
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a trained run")
    parser.add_argument("--corpus", help="where the run's corpus lies, if not where it was trained on it")
    parser.add_argument("--data-dir", type=Path, default=results.ROOT / "data")
    parser.add_argument("--rounds", type=int, default=100, help="prompts that are timed alone")
    parser.add_argument("--batches", type=int, default=10, help="batches of 64 that are timed")
    parser.add_argument("--starts", type=int, default=3, help="how often each process is started")
    parser.add_argument("--prompts", type=int, default=1000, help="compare the replies to so many; 0 is all")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="all is timed with each of them")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads[0])
    checkpoint = RunDirectory(arguments.run).load_chosen()
    # greedy search in every form, whatever the run's own decoding is
    checkpoint.config = dataclasses.replace(checkpoint.config, decoding=DecodingConfig())
    pairs, split = held_out(checkpoint, arguments.corpus, arguments.data_dir)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    order = order[: arguments.prompts] if arguments.prompts else order
    prompts = [pairs[index][0].tolist() or [EOS_ID] for index in order]
    timed = (prompts * (1 + arguments.rounds // len(prompts)))[: arguments.rounds]  # a small corpus comes round again
    why_no_client = build_client()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        searches, files, parts = made(checkpoint, Path(name), arguments.run)
        batches = [prompts[at : at + BATCH] for at in range(0, arguments.batches * BATCH, BATCH)]
        batches = [batch for batch in batches if len(batch) == BATCH]
        if not why_no_client:
            files["C++"] = files["torchscript"]
        times = {}
        of_decoder = round(bytes_read(checkpoint, 0, 1, "fp32"))
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for form in ("onnx", "int8"):  # whose threads are those that torch has when it is opened
                searches[form] = onnx_search(files[form], checkpoint.config.corpus.max_length + 1)
            client = None if why_no_client else Client(files["torchscript"], threads)
            if client:
                searches["C++"] = in_text(client, checkpoint)
            times[threads] = (*latencies(searches, timed, of_decoder), throughputs(searches, batches))
            if client:
                client.close()
        torch.set_num_threads(arguments.threads[0])
        longest, text = checkpoint.config.corpus.max_length + 1, " ".join(checkpoint.vocabulary.decode(prompts[0]))
        first = first_replies(files, text, prompts[0], longest, arguments.starts)
        replies = {name: all_replies(search, prompts) for name, search in searches.items() if name in WITH_TOKENS}
        perplexities = {name: perplexity(*pair, pairs, order) for name, pair in parts.items()}
        sizes = {name: path.stat().st_size for name, path in files.items() if name not in ("tutorial", "eager", "C++")}
    words = statistics.mean(len(prompt) for prompt in timed)
    tokens = statistics.mean(len(reply) for reply in replies["eager"][: arguments.rounds])
    fp32 = bytes_read(checkpoint, words, tokens, "fp32")
    rows, figures = [], {}
    for threads, (alone, bandwidth, product_rate, together) in times.items():
        bound = product_rate / (fp32 / 2)
        figures[threads] = {
            "gigabytes_per_second": bandwidth / 1e9,
            "gigaflops_per_second": product_rate / 1e9,
            "replies_per_second_alone_at_most": bandwidth / fp32,
            "replies_per_second_of_a_batch_at_most": bound,
        }
        for name in searches:
            read = bytes_read(
                checkpoint,
                words,
                longest if name == "tutorial" else tokens,
                "int8" if name == "int8" else "fp32",
            )
            floor, mean = 1000 * read / bandwidth, 1000 * statistics.mean(alone[name])
            rate = BATCH / statistics.median(together[name]) if together.get(name) else None
            rows.append(
                {
                    "variant": name,
                    "threads": threads,
                    "milliseconds": 1000 * statistics.median(alone[name]),
                    "mean_milliseconds": mean,
                    "times_faster": statistics.median(alone["tutorial"]) / statistics.median(alone[name]),
                    "replies_per_second_alone": 1000 / mean,
                    "replies_per_second_of_64": rate,
                    "first_reply_seconds": first[name][0],
                    "peak_memory_mb": first[name][1],
                    "megabytes": sizes[name] / 1e6 if name in sizes else None,
                    "megabytes_read": read / 1e6,
                    "floor_milliseconds": floor,
                    "times_the_floor": mean / floor,
                    "of_the_bound": rate / bound if rate and name != "int8" else None,
                    "equal_tokens": agreement(replies["eager"], replies[name]) if name in replies else None,
                    "perplexity": perplexities.get(name),
                }
            )
    for threads in arguments.threads:
        print(f"\n{threads} thread{'s' * (threads > 1)}:")
        print(results.table([row for row in rows if row["threads"] == threads], COLUMNS))
        for key, value in figures[threads].items():
            print(f"{key.replace('_', ' '):40}{value:10.4g}")
    of_first = figures[arguments.threads[0]]
    about = {
        "threads": arguments.threads[0],
        "prompts": len(prompts),
        "rounds": arguments.rounds,
        "words_of_a_prompt": words,
        "tokens_of_a_reply": tokens,
        **of_first,
    }
    for key in ("prompts", "rounds", "words_of_a_prompt", "tokens_of_a_reply"):
        print(f"{key.replace('_', ' '):40}{about[key]:10.4g}")
    about |= {"run": arguments.run.name, "hidden_size": checkpoint.config.model.hidden_size, "prompts_of": split}
    with_first = [row for row in rows if row["threads"] == arguments.threads[0]]
    table = lines(with_first, of_first["replies_per_second_of_a_batch_at_most"], why_no_client)
    more = {"more_threads": [row for row in rows if row["threads"] != arguments.threads[0]], "by_threads": figures}
    results.write(arguments.json, "inference", **about, rows=with_first, **more, table=table)


def onnx_search(file: Path, longest: int) -> Search:
    """Greedy search in ONNX Runtime, with as many threads as torch has now."""
    search = load_onnx(file, "greedy").search
    return lambda prompts: search(*pad_prompts(prompts), longest).tokens


def in_text(client: Client, checkpoint: Checkpoint) -> Search:
    """The client in C++, asked one prompt as a line."""
    return lambda prompts: client.reply(" ".join(checkpoint.vocabulary.decode(prompts[0])))


def lines(rows: list[dict[str, Any]], batch_bound: float, why_no_client: str) -> list[dict[str, Any]]:
    """Those of the one table."""
    tutorial, *others = rows
    found = []
    for title, key, unit in (
        ("reply alone", "milliseconds", "ms"),
        ("process start to first reply", "first_reply_seconds", "s"),
    ):
        for row in others:
            memory = {"memory": row["peak_memory_mb"], "baseline_memory": tutorial["peak_memory_mb"]}
            bound = {"bound": row["floor_milliseconds"]} if unit == "ms" else memory
            found.append(results.line(f"{title}, {row['variant']}", unit, row[key], tutorial[key], **bound))
        if why_no_client:
            found.append(results.line(f"{title}, C++", unit, None, note=why_no_client))
    return found + [
        results.line(
            f"replies in batches of 64, {row['variant']} (baseline: one at a time)",
            "replies/s",
            row["replies_per_second_of_64"],
            tutorial["replies_per_second_alone"],
            bound=None if row["variant"] == "int8" else batch_bound,
        )
        for row in others
        if row["replies_per_second_of_64"]
    ]


def held_out(checkpoint: Checkpoint, corpus: str | None, data_dir: Path) -> tuple[PairDataset, str]:
    """The test split of the run's own corpus, or else every pair of the sample corpus; and which of them it is."""
    own = checkpoint.config.corpus
    name = "sample" if own.corpus == "sample" else corpus or own.corpus
    if name == "sample" or Path(name).exists():
        settings = dataclasses.replace(checkpoint.config, corpus=dataclasses.replace(own, corpus=name))
        checkpoint = dataclasses.replace(checkpoint, config=settings)
        _, dataset = held_out_pairs(checkpoint, data_dir)
        return dataset, f"{split_of(checkpoint, None, None)} split of its own corpus"
    return held_out_pairs(checkpoint, data_dir, corpus="sample")[1], "sample corpus"


def made(
    checkpoint: Checkpoint, folder: Path, run: Path
) -> tuple[dict[str, Search], dict[str, Path], dict[str, tuple[nn.Module, nn.Module]]]:
    """Every form of the model: its search; what a process opens; and where there are, its encoder and decoder."""
    settings = checkpoint.config.model
    if (settings.decoder_layers, settings.attention, settings.embedding_size) != (2, "dot", 0):
        raise SystemExit("the tutorial's decoder has 2 layers of one size and dot attention; this run's has not")
    with torch.inference_mode(False):
        model = checkpoint.build_model()  # whose weights the tutorial's search below takes over
    longest = checkpoint.config.corpus.max_length + 1
    eager = GreedySearchDecoder(model.encoder, model.decoder, checkpoint.never_replied).eval()
    export(checkpoint, folder / "export")
    files = {"tutorial": folder / "tutorial.pt", "eager": run, "torchscript": folder / "export" / "chatbot.pt"}
    bundle = load_bundle(files["torchscript"]).module.greedy_batch
    parts: dict[str, tuple[nn.Module, nn.Module]] = {"eager": (model.encoder, model.decoder)}
    searches: dict[str, Search] = {}
    with torch.inference_mode(False):
        old = tutorial_search(model)
        torch.jit.save(old, files["tutorial"])
    searches["tutorial"] = lambda prompts: old(pad_prompts(prompts)[0].t(), pad_prompts(prompts)[1], longest)[0]
    searches["eager"] = lambda prompts: eager(*pad_prompts(prompts), longest).tokens
    searches["torchscript"] = lambda prompts: bundle(*pad_prompts(prompts), longest).tokens
    for name, quantized in (("onnx", False), ("int8", True)):
        export_onnx(checkpoint, folder / "export", quantized=quantized)
        files[name], encoder, decoder = onnx_paths(folder / "export", quantized)
        searches[name] = onnx_search(files[name], longest)
        parts[name] = load_onnx(encoder, "encoder"), load_onnx(decoder, "decoder")
    return searches, files, parts


def latencies(
    searches: dict[str, Search], prompts: Prompts, weights: int
) -> tuple[dict[str, list[float]], float, float]:
    """Seconds of each search for each prompt alone; bytes a second of a read, operations a second of a product.

    weights: how many bytes are read, as a search reads them: again and again, from a cache if one holds so many.
    """
    read = torch.ones(weights // 4)
    square = torch.rand(1024, 1024)
    times: dict[str, list[float]] = {name: [] for name in searches}
    reads, products = [], []
    warm_up = prompts[:20]
    for round, prompt in enumerate([*warm_up, *prompts]):
        for name, search in searches.items():
            began = time.perf_counter()
            search([prompt])
            if round >= len(warm_up):
                times[name].append(time.perf_counter() - began)
        if round % 10 == 0:
            for _ in range(5):
                began = time.perf_counter()
                read.sum()
                reads.append(time.perf_counter() - began)
            began = time.perf_counter()
            square @ square
            products.append(time.perf_counter() - began)
    rate = 2 * 1024**3 / statistics.median(products)
    return times, weights / statistics.median(reads), rate  # as replies: other work slows both


def throughputs(searches: dict[str, Search], batches: Sequence[Prompts]) -> dict[str, list[float]]:
    """Seconds of each search for each batch; the tutorial's and the C++ client take one prompt at a time only."""
    times: dict[str, list[float]] = {name: [] for name in searches if name in WITH_TOKENS}
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


def perplexity(encoder: nn.Module, decoder: nn.Module, pairs: PairDataset, order: Sequence[int]) -> float:
    """Of the true replies to the pairs of these numbers, EOS counted, fed word by word."""
    loss, count = 0.0, 0
    for at in range(0, len(order), 128):
        batch = collate([pairs[index] for index in order[at : at + 128]])
        memory, source, hidden = encoder(batch.src, batch.src_lengths)
        real = torch.arange(batch.tgt.size(1)) < batch.tgt_lengths.unsqueeze(1)  # (B, T)
        targets = torch.zeros_like(batch.tgt).masked_scatter(real, batch.targets)
        for step in range(batch.tgt.size(1)):
            logits, hidden, _ = decoder(batch.tgt[:, step : step + 1], hidden, memory, source)
            losses = nn.functional.cross_entropy(logits[:, 0].float(), targets[:, step], reduction="none")
            loss += float(losses[real[:, step]].double().sum())
        count += len(batch.targets)
    return float(torch.tensor(loss / count).exp())


if __name__ == "__main__":
    main()
