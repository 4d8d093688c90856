"""The figures of a preparation for people: a summary, and a table for the terminal or a file beside the data."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..system.files import atomic_file
from .figures import SPLITS, VOCABULARY
from .prepared import PairDataset
from .survey import LONGEST
from .vocabulary import Vocabulary

SHOWN = 3  # pairs of each corpus
TABLE = "stats.tsv"
DROPPED = {
    "pairs_duplicate": "seen before",
    "pairs_held_back": "held out of old corpora",
    "pairs_unknown_reply": "rare word in reply",
    "pairs_unknown_prompt": "rare word in prompt",
    "pairs_only_unknown": "nothing but rare words",
    "pairs_leaked": "held out, but also in training",
}


def summary(figures: dict[str, Any]) -> str:
    """The figures of a preparation in a dozen lines."""
    settings, sources, splits = figures["settings"], figures["sources"], figures["splits"]
    kept, total = figures["words_kept"], figures["words_total"]
    dropped = [f"{count:,} {DROPPED[name]}" for name, count in figures["dropped"].items() if count]
    coverage, given = figures["coverage"], figures["vocabulary_given"]
    lines = [
        *_sources(figures),
        f"pairs read    {figures['pairs_read']:,}",
        f"pairs short   {figures['pairs_short']:,} with {settings['min_length']} to {settings['max_length']} words "
        f"on both sides{_chosen(figures)} ({figures['duplicates']:,} of them repeat another)",
        f"words         {figures['words_counted']:,} counted; kept {kept:,} of {total:,} = {kept / max(total, 1):.4f} "
        + ("that the given vocabulary has" if given else f"seen {settings['min_count']} times or more"),
        f"pairs kept    {figures['pairs_kept']:,} of {figures['pairs_short']:,} = "
        f"{figures['pairs_kept'] / figures['pairs_short']:.4f}"
        + (f"; dropped {', '.join(dropped)}" if dropped else ""),
        "split         " + ", ".join(f"{name} {sizes['pairs']:,}" for name, sizes in splits.items()),
        f"coverage      the vocabulary knows {coverage['train']:.2%} of the words of training text"
        + (f", {coverage['held_out']:.2%} of the held-out" if coverage["held_out"] is not None else ""),
        "replies       "
        + ", ".join(f"{reply['reply']} ({reply['count']:,})" for reply in figures["frequent_replies"][:8]),
    ]
    for index, name in enumerate(splits):
        if settings["split"][index] and not splits[name]["pairs"]:
            lines.append(f"note          nothing is held out for {name}: the corpus is too small for its share")
    for number, source in enumerate(sources):
        if not splits["train"]["by_part"][number]:
            lines.append(f"note          nothing of {source['name']} is left for training")
        lines += _damage(source["bad_lines"])
    return "\n".join(lines)


def _chosen(figures: dict[str, Any]) -> str:
    """Whose choice the greatest length is."""
    if not figures.get("length_is_chosen"):
        return ""
    most = figures["settings"]["max_length"] == LONGEST
    return ", the most that --max-length auto takes" if most else ", which keeps 90% of the pairs or more"


def _sources(figures: dict[str, Any]) -> Iterator[str]:
    """A line about each corpus."""
    for number, source in enumerate(figures["sources"]):
        found = source["conversations"]
        line = (
            f"{'' if number else 'corpus':<13} {source['name']} ({source['format_read']}), "
            f"{found:,} conversation{'' if found == 1 else 's'}, split by {source['split_by']}"
        )
        if len(figures["sources"]) > 1:
            train, valid, test = (split["by_part"][number] for split in figures["splits"].values())
            line += f": {train:,} pairs for training, {valid:,} and {test:,} held out"
        if source["is_old"]:
            line += "; rehearsed"
        elif source["weight"] != 1:
            line += f"; shown {source['weight']:g} times an epoch"
        yield line
        yield from _understood(source["understood"])


def _understood(understood: dict[str, Any]) -> Iterator[str]:
    """How the files of a corpus were read, who speaks in them, and what was left out of them."""
    yield "understood    " + "; ".join(
        layout + (f" ({count:,} files)" if count > 1 else "") for layout, count in understood["layouts"].items()
    )
    if speakers := understood["speakers"]:
        more = understood["speakers_in_all"] - len(speakers)
        named = ", ".join(f"{name} ({count:,})" for name, count in speakers.items())
        yield f"speakers      {named}" + (f" and {more:,} more" if more else "")
    if left_out := understood["left_out"]:
        yield "left out      " + ", ".join(f"{what} {count:,}" for what, count in left_out.items())


def _damage(bad: dict[str, Any]) -> list[str]:
    lines = []
    if bad["not_utf8"]:
        lines.append(
            f"encoding      {bad['not_utf8']:,} lines are not UTF-8 and were read as cp1252 "
            f"(the first: {bad['first_not_utf8']})"
        )
    if bad["count"]:
        lines.append(f"damaged       {bad['count']:,} of {bad['read']:,} lines, left out:")
        lines += [f"              {count:,} x {reason}" for reason, count in bad["reasons"].items()]
    for example in bad["examples"][:3]:
        place = f"{example['file']}:{example['line']}" if example["line"] else example["file"]
        lines.append(f"              {place}: {example['reason']}")
    return lines


def first_pairs(folder: Path, figures: dict[str, Any]) -> str:
    """The first SHOWN training pairs of each corpus, as they will be learnt, word for word."""
    words = Vocabulary.load(folder / VOCABULARY).tokens
    dataset = PairDataset(folder, SPLITS[0])
    lines: list[str] = []
    for source, part in zip(figures["sources"], dataset.parts, strict=True):
        for index in part.indices[:SHOWN]:
            prompt, reply = (" ".join(words[id] for id in ids.tolist()) for ids in dataset[index])
            head = "learnt" if not lines else source["name"][:13] if index == part.indices[0] else ""
            lines.append(f"{head:<13} {prompt} => {reply}")
    return "\n".join(lines)


def table(figures: dict[str, Any]) -> str:
    """Lengths, coverage and frequent replies as text: two columns and a bar."""
    lines: list[str] = []
    for what, group in itertools.groupby(_rows(figures), key=lambda row: row[0]):
        rows = list(group)
        most = max(value for _, _, value in rows)
        lines += ["", what]
        for _, key, value in rows:
            told = f"{value:,}" if isinstance(value, int) else f"{value:.1%}"
            lines.append(f"  {str(key)[:32]:>32} {told:>10} {'#' * round(30 * value / most)}")
    return "\n".join(lines[1:])


def save_table(folder: Path, figures: dict[str, Any]) -> Path:
    """Write the same table into `folder`, with tabs between its columns, and return the file's path."""
    path = folder / TABLE
    with atomic_file(path, "w") as file:
        file.write("what\tkey\tcount\n")
        for what, key, value in _rows(figures):
            file.write(f"{what}\t{key}\t{value if isinstance(value, int) else format(value, '.6f')}\n")
    return path


def _rows(figures: dict[str, Any]) -> Iterator[tuple[str, int | str, int | float]]:
    """Yield what a row is about, the row's name, and its count or share."""
    for side, counts in figures["lengths"].items():
        yield from ((f"{side} of so many words", length, count) for length, count in enumerate(counts) if count)
    coverage = figures["coverage"]
    shares = {int(size): share for size, share in coverage["by_vocabulary"].items()}
    for size, share in sorted((shares | {figures["words_kept"]: coverage["train"]}).items()):
        yield "coverage by a vocabulary of", size, share
    yield from (("reply", reply["reply"], reply["count"]) for reply in figures["frequent_replies"])
