"""Evaluations for people: a table of one run, several runs side by side, and the replies themselves.

An evaluation is what `chatbot evaluate` keeps as JSON: a dict with the figures of a split and, under `rows`, those of
each list of replies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..system.files import atomic_file

WIDTH = 100
REFERENCES = {"human": "human replies", "random": "random reply", "frequent": "most frequent"}
NOTE = (
    "BLEU: mean over replies, Chen and Cherry's smoothing 4. Random reply, most frequent: of the training\n"
    "set. Generic: the row's own ten commonest replies. Repeats: stand in the training set word for word."
)
FORMATS = {"share": "{:.3f}", "plain": "{:.2f}", "percent": "{:.1%}", "speed": "{:,.0f}", "count": "{:,}"}


class Column(NamedTuple):
    """A figure of replies: its key, its name, its head (two lines) and width in the table of one run, its format."""

    key: str
    name: str
    head: tuple[str, str]
    width: int
    style: str


COLUMNS = (
    Column("bleu_1", "BLEU-1", ("BLEU-1", ""), 6, "share"),
    Column("bleu_2", "BLEU-2", ("-2", ""), 6, "share"),
    Column("bleu_3", "BLEU-3", ("-3", ""), 6, "share"),
    Column("bleu_4", "BLEU-4", ("-4", ""), 6, "share"),
    Column("distinct_1", "distinct-1", ("dist-1", ""), 8, "small"),
    Column("distinct_2", "distinct-2", ("dist-2", ""), 8, "small"),
    Column("mean_length", "words a reply", ("words", "/reply"), 6, "plain"),
    Column("entropy_1", "bits a word", ("bits a", "word"), 7, "plain"),
    Column("entropy_2", "bits a bigram", ("bits a", "bigram"), 7, "plain"),
    Column("generic_rate", "generic rate", ("generic", "rate"), 8, "percent"),
    Column("exact_repeats", "repeats of training", ("repeats", ""), 8, "percent"),
    Column("pairs_per_second", "pairs/s", ("pairs/s", ""), 8, "speed"),
)
SCORES = (
    ("step", "step", "count"),
    ("pairs", "pairs scored", "count"),
    ("perplexity", "perplexity", "plain"),
    ("token_accuracy", "token accuracy", "percent"),
    ("pairs_per_second", "pairs/s", "speed"),
)


def table(evaluation: Mapping[str, Any]) -> str:
    """One run: its figures of the split, then a line for each decoding and each reference."""
    rows, pairs, split = evaluation["rows"], evaluation["pairs"], evaluation["split"]
    answered = next(iter(rows.values()))["replies"]
    lines = [f"{evaluation['run']}, step {evaluation['step']}, {pairs:,} pairs of the split {split}:"]
    lines += [f"  {name:<15}{_shown(evaluation[key], style):>10}" for key, name, style in SCORES[2:]]
    lines += ["", f"replies to {'all' if answered == pairs else f'{answered:,} (drawn at random)'} of these pairs:"]
    for line in (0, 1):
        lines.append((" " * 14 + "".join(f"{column.head[line]:>{column.width}}" for column in COLUMNS)).rstrip())
    for name, row in rows.items():
        cells = "".join(f"{_shown(row[column.key], column.style):>{column.width}}" for column in COLUMNS)
        lines.append(f"{REFERENCES.get(name, name):<14}" + cells)
    lines += [NOTE, *(_commonest(name, row) for name, row in rows.items() if name not in REFERENCES)]
    return "\n".join(lines)


def side_by_side(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Runs: a line for each figure, a column for each run; of the split, of each decoding, and of the human replies."""
    paths = [str(evaluation["run"]) for evaluation in evaluations]
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(names):
        names = paths
    width = max(10, *(len(name) + 2 for name in names))
    fit = max(1, (WIDTH - 24) // width)  # what does not fit comes below
    parts = [
        _columns(names[first : first + fit], evaluations[first : first + fit], width)
        for first in range(0, len(names), fit)
    ]
    if len({evaluation["data"] for evaluation in evaluations}) > 1:
        parts.append("These runs were not scored on the same pairs in the same words: the figures do not compare.")
    return "\n\n".join([*parts, NOTE])


def _columns(names: Sequence[str], evaluations: Sequence[Mapping[str, Any]], width: int) -> str:
    def line(name: str, values: Sequence[str]) -> str:
        return (f"{name:<24}" + "".join(f"{value:>{width}}" for value in values)).rstrip()

    lines = [line(f"split {evaluations[0]['split']}", names)]
    for key, name, style in SCORES:
        lines.append(line(f"  {name}", [_shown(evaluation[key], style) for evaluation in evaluations]))
    decodings = dict.fromkeys(name for evaluation in evaluations for name in evaluation["rows"])
    for kind in [*(name for name in decodings if name not in REFERENCES), "human"]:
        rows = [evaluation["rows"].get(kind, {}) for evaluation in evaluations]
        lines.append(line(REFERENCES.get(kind, kind), [f"({_shown(row.get('replies'), 'count')})" for row in rows]))
        for column in COLUMNS:
            if any(row.get(column.key) is not None for row in rows):
                lines.append(line(f"  {column.name}", [_shown(row.get(column.key), column.style) for row in rows]))
    return "\n".join(lines)


def save_replies(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """Write columns of texts between tabs, under a line of their names; white space in a text becomes one space."""
    with atomic_file(path, "w") as file:
        for texts in (tuple(columns), *zip(*columns.values(), strict=True)):
            file.write("\t".join(" ".join(text.split()) for text in texts) + "\n")


def _commonest(name: str, row: Mapping[str, Any]) -> str:
    said = ", ".join(f"{entry['reply'] or '(nothing)'} ({entry['count']:,})" for entry in row["frequent"])
    text = f"{name} most often says: {said}"
    return text if len(text) <= WIDTH else text[: WIDTH - 3].rstrip() + "..."


def _shown(value: Any, style: str) -> str:
    if value is None:
        return "-"
    if style == "small":
        return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.1e}"
    return FORMATS[style].format(value)
