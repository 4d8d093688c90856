"""What a preparation found, for people: a summary for the terminal, a table and a plot beside the data."""

import itertools
from pathlib import Path
from typing import Any

from ..system.files import atomic_file

STATS_TABLE, STATS_PLOT = "stats.tsv", "stats.png"
DROPPED = {
    "pairs_duplicate": "seen before",
    "pairs_unknown_reply": "rare word in reply",
    "pairs_unknown_prompt": "rare word in prompt",
    "pairs_only_unknown": "nothing but rare words",
    "pairs_leaked": "held out, but also in training",
}


def summary(manifest: dict[str, Any]) -> str:
    """The figures of a preparation in a dozen lines."""
    settings, bad, splits = manifest["settings"], manifest["bad_lines"], manifest["splits"]
    kept, total = manifest["words_kept"], manifest["words_total"]
    dropped = [f"{count:,} {DROPPED[name]}" for name, count in manifest["dropped"].items() if count]
    coverage, given = manifest["coverage"], manifest.get("vocabulary_given", False)
    lines = [
        f"corpus        {manifest['source']} ({manifest['format_read']}), "
        f"{manifest['conversations']:,} conversations, split by {manifest['split_by']}",
        f"pairs read    {manifest['pairs_read']:,}",
        f"pairs short   {manifest['pairs_short']:,} with {settings['min_length']} to {settings['max_length']} words "
        f"on both sides ({manifest['duplicates']:,} of them repeat another)",
        f"words         {manifest['words_counted']:,} counted; kept {kept:,} of {total:,} = {_ratio(kept, total):.4f} "
        + ("that the given vocabulary has" if given else f"seen {settings['min_count']} times or more"),
        f"pairs kept    {manifest['pairs_kept']:,} of {manifest['pairs_short']:,} = "
        f"{_ratio(manifest['pairs_kept'], manifest['pairs_short']):.4f}"
        + (f"; dropped {', '.join(dropped)}" if dropped else ""),
        "split         " + ", ".join(f"{name} {sizes['pairs']:,}" for name, sizes in splits.items()),
        f"coverage      the vocabulary knows {coverage['train']:.2%} of the words of training text"
        + (f", {coverage['held_out']:.2%} of the held-out" if coverage["held_out"] is not None else ""),
        "replies       "
        + ", ".join(f"{reply['reply']} ({reply['count']:,})" for reply in manifest["frequent_replies"][:8]),
    ]
    for index, name in enumerate(splits):
        if settings["split"][index] and not splits[name]["pairs"]:
            lines.append(f"note          nothing is held out for {name}: the corpus is too small for its share")
    if bad["not_utf8"]:
        lines.append(
            f"encoding      {bad['not_utf8']:,} lines are not UTF-8 and were read as cp1252 "
            f"(the first: {bad['first_not_utf8']})"
        )
    if bad["count"]:
        lines.append(f"damaged       {bad['count']:,} of {bad['read']:,} lines, left out:")
        lines += [f"              {count:,} x {reason}" for reason, count in bad["reasons"].items()]
    lines += [f"              {_place(example)}: {example['reason']}" for example in bad["examples"][:3]]
    return "\n".join(lines)


def _place(example: dict[str, Any]) -> str:
    return f"{example['file']}:{example['line']}" if example["line"] else example["file"]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def save_stats(folder: Path, manifest: dict[str, Any]) -> str:
    """Write lengths, coverage and frequent replies beside the data: a table, and a plot if matplotlib is installed.

    Returns one line that says what was written, and what would make the plot.
    """
    rows: list[tuple[Any, ...]] = [("what", "key", "count")]
    for side, counts in manifest["lengths"].items():
        rows += [(f"{side} of so many words", length, count) for length, count in enumerate(counts) if count]
    rows += [("coverage by a vocabulary of", size, f"{share:.6f}") for size, share in _curve(manifest)]
    rows += [("reply", reply["reply"], reply["count"]) for reply in manifest["frequent_replies"]]
    with atomic_file(folder / STATS_TABLE, "w") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    if _plot(folder / STATS_PLOT, manifest):
        return f"statistics in {folder / STATS_TABLE} and {folder / STATS_PLOT}"
    return f"statistics in {folder / STATS_TABLE}; for the plot: pip install matplotlib"


def table(manifest: dict[str, Any]) -> str:
    """Lengths, coverage and frequent replies as text, in two columns with a bar."""
    lines = []
    for side, counts in manifest["lengths"].items():
        lines += ["", f"{side} by length in words"]
        lines += [_bar(str(length), count, max(counts)) for length, count in enumerate(counts) if count]
    lines += ["", "share of training text known to a vocabulary of"]
    lines += [_bar(f"{size:,}", share, 1.0) for size, share in _curve(manifest)]
    lines += ["", "most frequent replies"]
    replies = manifest["frequent_replies"]
    lines += [_bar(reply["reply"][:32], reply["count"], replies[0]["count"]) for reply in replies]
    return "\n".join(lines[1:])


def _bar(name: str, value: float, most: float) -> str:
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.1%}"
    return f"  {name:>32} {shown:>10} {'#' * round(30 * value / most) if most else ''}"


def _curve(manifest: dict[str, Any]) -> list[tuple[int, float]]:
    coverage = manifest["coverage"]
    points = {int(size): share for size, share in coverage["by_vocabulary"].items()}
    return sorted((points | {manifest["words_kept"]: coverage["train"]}).items())


def _plot(path: Path, manifest: dict[str, Any]) -> bool:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: no display, no global state
    lengths, coverage, replies = figure.subplots(1, 3)
    for side, counts in manifest["lengths"].items():
        lengths.plot(range(len(counts)), counts, marker="o", label=side)
    lengths.set(xlabel="words", ylabel="pairs", title="lengths")
    lengths.legend()
    points = _curve(manifest)
    coverage.plot([size for size, _ in points], [share for _, share in points], marker="o")
    coverage.set(xscale="log", xlabel="words in the vocabulary", title="share of training text known")
    frequent = list(itertools.islice(manifest["frequent_replies"], 12))[::-1]
    replies.barh(
        [reply["reply"][:24].replace("$", r"\$") for reply in frequent], [reply["count"] for reply in frequent]
    )
    replies.set(title="most frequent replies")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)
    return True
