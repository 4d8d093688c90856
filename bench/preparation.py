"""Preparation, measured: time beside the lineage's way at the same output, and memory and time as the corpus grows.

    python bench/preparation.py [--corpus FOLDER] [--json FILE] [--rounds 5] [--sizes 500000 5000000] [--chat 1000000]

Every measurement is a process of its own, begun anew: wall time from before the imports to after the last byte, peak
memory as the system accounts it (with its workers', taken one by one). The ways are run in turn. Without `--corpus` the
files are generated, in the classic Cornell format and of about its size. The bound is the time that it takes to read
those files through, line by line, and do nothing with them.
"""

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import results

HERE = Path(__file__).resolve()
FIGURES = ("pairs_read", "pairs_short", "words_counted", "words_kept", "words_total", "pairs_kept")


def main() -> None:
    parser = argparse.ArgumentParser(description="measure preparation")
    parser.add_argument("--corpus", type=Path, help="folder of the classic Cornell files (default: generated)")
    parser.add_argument("--conversations", type=int, default=80_000, help="generated, where there is no --corpus")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: 5)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[500_000, 5_000_000], help="generated pairs")
    parser.add_argument("--chat", type=int, default=0, help="lines of a WhatsApp export, beside the same as pairs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "CORPUS", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one, arguments.began)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        corpus = arguments.corpus or generate_cornell(Path(folder) / "generated", arguments.conversations)
        fast = speed(corpus, Path(folder), arguments.rounds)
        grown = [growth(pairs, Path(folder)) for pairs in arguments.sizes]
        chats = chat(arguments.chat, Path(folder), arguments.rounds) if arguments.chat else None
    for row in grown:
        print(
            f"{row['pairs']:>12,} pairs {row['megabytes']:>8,.0f} MB of TSV {row['seconds']:>8.1f} s "
            f"{row['pairs'] / row['seconds']:>9,.0f} pairs/s {row['peak_mb']:>7,.0f} MB peak, "
            f"{row['worker_peak_mb']:,.0f} MB the largest worker"
        )
    found = {"corpus": "Cornell" if arguments.corpus else "generated", **fast, "growth": grown, "chat": chats}
    results.write(arguments.json, "preparation", **found, table=lines(found))


def lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the one table."""
    seconds, peaks = found["seconds"], found["peak_mb"]
    baseline = {"baseline": seconds["lineage"], "bound": found["reading"], "baseline_memory": peaks["lineage"]}
    rows = [
        results.line(f"preparation, {what}", "s", seconds[way], memory=peaks[way], **baseline)
        for way, what in (("chatbot", "the tutorial's output"), ("default", "the default preset"))
    ]
    return rows + [
        results.line(
            f"preparation, {row['pairs']:,} pairs", "pairs/s", row["pairs"] / row["seconds"], memory=row["peak_mb"]
        )
        for row in found["growth"]
    ]


def reading(corpus: Path) -> float:
    """Seconds to read the corpus's lines and do nothing with them."""
    began = time.perf_counter()
    for path in (corpus / "movie_lines.txt", corpus / "movie_conversations.txt"):
        with path.open(encoding="iso-8859-1") as file:
            for _ in file:
                pass
    return time.perf_counter() - began


def speed(corpus: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Both ways in turn, `rounds` times; their outputs must be equal."""
    runs: dict[str, list[dict[str, Any]]] = {"lineage": [], "chatbot": [], "default": []}
    readings = []
    for _ in range(rounds):
        readings.append(reading(corpus))
        for way, done in runs.items():
            done.append(measured(way, corpus, folder))
    first = [runs[way][0] for way in ("lineage", "chatbot")]
    for key in (*FIGURES, "ids"):
        if first[0][key] != first[1][key]:
            raise SystemExit(f"the two ways differ in {key}: {first[0][key]} and {first[1][key]}")
    medians = {way: statistics.median(run["seconds"] for run in done) for way, done in runs.items()}
    peaks = {way: max(run["peak_mb"] for run in done) for way, done in runs.items()}
    names = {
        "lineage": "the lineage's way",
        "chatbot": "chatbot --preset tutorial",
        "default": "chatbot --preset default",
    }
    for way, name in names.items():
        times = [run["seconds"] for run in runs[way]]
        share = f"{medians[way] / medians['lineage']:.3f} of its time" if way != "lineage" else ""
        print(
            f"{name:<26} median {medians[way]:6.2f} s ({min(times):.2f} - {max(times):.2f}) "
            f"{peaks[way]:5.0f} MB peak  {share}"
        )
    print("same output: " + " - ".join(f"{first[0][key]:,}" for key in FIGURES) + ", every id equal")
    return {"seconds": medians, "peak_mb": peaks, "reading": statistics.median(readings), "rounds": rounds}


def growth(pairs: int, folder: Path) -> dict[str, Any]:
    """Prepare so many generated pairs."""
    corpus = folder / f"{pairs}.tsv"
    generate(corpus, pairs)
    run = measured("default", corpus, folder)
    result = {"pairs": pairs, "megabytes": corpus.stat().st_size / 1e6} | {
        key: run[key] for key in ("seconds", "peak_mb", "worker_peak_mb", "pairs_kept", "words_total")
    }
    corpus.unlink()
    return result


def chat(lines: int, folder: Path, rounds: int) -> dict[str, Any]:
    """A WhatsApp export of so many lines, beside a TSV in which each line is the reply to the one before; in turn."""
    export, table, said = folder / "chat.txt", folder / "chat.tsv", ""
    with export.open("w") as log, table.open("w") as pairs:
        for number, text in enumerate(sentences(lines)):
            hours, minute = divmod(7 * number, 60)
            at = (
                f"{1 + hours // 24 // 28 % 12}/{1 + hours // 24 % 28}/{20 + hours // 8064:02}, {hours % 24}:{minute:02}"
            )
            log.write(f"{at} - {'Ann Lee' if number % 2 else 'Bob'}: {text}\n")
            pairs.write(f"{said}\t{text}\n" if said else "")
            said = text
    runs = [[measured("default", path, folder)["seconds"] for path in (export, table)] for _ in range(rounds)]
    seconds = [statistics.median(of) for of in zip(*runs, strict=True)]
    print(f"{lines:>12,} lines of WhatsApp {seconds[0]:.1f} s, as pairs between tabs {seconds[1]:.1f} s")
    return {"lines": lines, "seconds": seconds[0], "seconds_as_tsv": seconds[1], "ratio": seconds[0] / seconds[1]}


def generate(path: Path, pairs: int) -> None:
    """A file of pairs between tabs."""
    spoken = sentences(2 * pairs)
    with path.open("w") as file:
        file.writelines(f"{asked}\t{answered}\n" for asked, answered in zip(spoken, spoken, strict=True))


def generate_cornell(folder: Path, conversations: int) -> Path:
    """The two files of the classic Cornell corpus, with conversations of 2 to 6 utterances; returns the folder."""
    folder.mkdir()
    rng = random.Random(2)
    lengths = [rng.choice((2, 2, 2, 3, 3, 4, 5, 6)) for _ in range(conversations)]
    spoken, number = sentences(sum(lengths), 20_000), 0
    with (folder / "movie_lines.txt").open("w") as lines, (folder / "movie_conversations.txt").open("w") as talks:
        for talk, length in enumerate(lengths):
            names = [f"L{number + i}" for i in range(length)]
            number += length
            lines.writelines(
                f"{name} +++$+++ u{i % 2} +++$+++ m{talk // 150} +++$+++ {'AB'[i % 2]} +++$+++ {next(spoken)}\n"
                for i, name in enumerate(names)
            )
            talks.write(f"u0 +++$+++ u1 +++$+++ m{talk // 150} +++$+++ {names}\n")
    return folder


def sentences(count: int, vocabulary: int = 200_000) -> Iterator[str]:
    """1 to 15 words each, with the frequencies of language (rank ** -1.05) and a tail that grows with the text."""
    rng = random.Random(1)
    ranks = range(1, vocabulary + 1)
    weights = list(accumulate(rank**-1.05 for rank in ranks))
    names = [_name(rank) for rank in ranks]
    for start in range(0, count, 20_000):
        lengths = [rng.randint(1, 15) for _ in range(min(20_000, count - start))]
        words = iter(rng.choices(names, cum_weights=weights, k=sum(lengths)))
        made = [" ".join(next(words) for _ in range(length)) + rng.choice("..!?") for length in lengths]
        for number, sentence in enumerate(made, start):
            rare = f" {_name(300_000 + number // 2)}" if number % 40 == 0 else ""  # Heaps: new words never end
            yield sentence + rare


def _name(number: int) -> str:
    letters = ""
    while number:
        number, digit = divmod(number, 26)
        letters += "etaoinshrdlucmfwypvbgkjqxz"[digit]
    return letters


def measured(way: str, corpus: Path, folder: Path) -> dict[str, Any]:
    """Run `one` in a new process."""
    command = [sys.executable, str(HERE), "--one", way, str(corpus), str(folder)]
    done = subprocess.run([*command, "--began", str(time.time())], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one(way: str, corpus: str, folder: str, began: float) -> dict[str, Any]:
    """One way, once, in this process: figures, a digest of the ids, peak memory, seconds since `began`."""
    import hashlib
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3

    if way == "lineage":
        import tutorial_preparation

        result = tutorial_preparation.prepare(Path(corpus), Path(folder) / "formatted.txt")
        seconds = time.time() - began
        peaks = [resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ids = hashlib.sha256(json.dumps([result.pop("words"), result.pop("pairs")]).encode()).hexdigest()
    else:
        from chatbot.config.presets import PRESETS
        from chatbot.corpus.preparation import prepare

        preset = "tutorial" if way == "chatbot" else "default"
        config = dataclasses.replace(PRESETS[preset].corpus, corpus=corpus)
        done = prepare(config, Path(folder), force=True)
        seconds = time.time() - began
        peaks = [resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        result = {key: done.figures[key] for key in FIGURES}
        ids = digest(done.folder) if way == "chatbot" else ""
    return result | {"ids": ids, "seconds": seconds, "peak_mb": peaks[0], "worker_peak_mb": peaks[1]}


def digest(folder: Path) -> str:
    """The same digest of words and ids from a prepared folder's training part."""
    import hashlib

    from chatbot.corpus.prepared import PairDataset, load_vocabulary

    vocabulary = load_vocabulary(folder)
    pairs = [[side.tolist() for side in pair] for pair in PairDataset(folder, "train")]
    return hashlib.sha256(json.dumps([vocabulary.tokens[vocabulary.num_special :], pairs]).encode()).hexdigest()


if __name__ == "__main__":
    main()
