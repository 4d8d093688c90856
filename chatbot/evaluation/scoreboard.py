"""Evaluations for people: a table of one run, several runs side by side, and the replies themselves.

An evaluation is what `chatbot evaluate` keeps as JSON: a dict with the figures of a split and, under `rows`, those of
each list of replies.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypedDict

from ..system.errors import ChatbotError
from ..system.files import atomic_file
from ..system.schema import Bounds, Count, Positive, checked

# a head, the titles of its columns, what each column tells of, and the figures: key, name, format
Block: TypeAlias = tuple[str, Sequence[str], Sequence[Mapping[str, Any]], Sequence[tuple[str, str, str]]]

WIDTH = 100
REFERENCES = {"human": "human replies", "random": "random reply", "frequent": "most frequent"}
NOTE = (
    "BLEU: mean over replies, Chen and Cherry's smoothing 4. Random reply, most frequent: of the training\n"
    "set. Generic: their own ten commonest replies. Repeats: stand in the training set word for word.\n"
    "Broken English: odder, by counts of words that meet, than 98% of what people say."
)
FORMATS = {"share": "{:.3f}", "plain": "{:.2f}", "percent": "{:.1%}", "speed": "{:,.0f}", "count": "{:,}"}


FIGURES = (  # of replies: key, name, format
    *((f"bleu_{n}", f"BLEU-{n}", "share") for n in (1, 2, 3, 4)),
    ("distinct_1", "distinct-1", "small"),
    ("distinct_2", "distinct-2", "small"),
    ("mean_length", "words a reply", "plain"),
    ("entropy_1", "bits a word", "plain"),
    ("entropy_2", "bits a bigram", "plain"),
    ("generic_rate", "generic rate", "percent"),
    ("exact_repeats", "repeats of training", "percent"),
    ("broken", "broken English", "percent"),
    ("pairs_per_second", "pairs/s", "speed"),
)
SCORES = (  # the same of a split
    ("step", "step", "count"),
    ("pairs", "pairs scored", "count"),
    ("perplexity", "perplexity", "plain"),
    ("token_accuracy", "token accuracy", "percent"),
    ("pairs_per_second", "pairs/s", "speed"),
)


class Said(TypedDict):
    """A reply, and how often it was given."""

    reply: str
    count: Count


# an evaluation as it is kept: the figures that are shown here
Figure: TypeAlias = Positive | None
Share: TypeAlias = Annotated[float, Bounds(0, 1)] | None


def _figure(form: str) -> Any:
    return Share if form in ("share", "percent") else Figure


_typed_dict: Any = TypedDict  # made of the keys above, which a type checker does not follow
_dict: Any = dict
Row: Any = _typed_dict(
    "Row",
    {key: _figure(form) for key, _, form in FIGURES} | {"replies": Count, "judged": Count, "frequent": list[Said]},
)
Scores: Any = _typed_dict("Scores", {key: _figure(form) for key, _, form in SCORES[1:4]})
Evaluation = _typed_dict(
    "Evaluation",
    {key: _figure(form) for key, _, form in SCORES}
    | {"step": Count, "pairs": Count, "tokens": Count, "loss": Figure, "run": str, "split": str, "data": str}
    | {"sources": _dict[str, Scores], "rows": _dict[str, Row]},
)


def checked_evaluation(value: Any) -> dict[str, Any]:
    """An evaluation that was read back, of which every figure that is shown is one.

    Raises:
        ChatbotError: it is something else.
    """
    evaluation: dict[str, Any] = checked(Evaluation, value, "it")
    if "human" not in evaluation["rows"]:
        raise ChatbotError("its rows have no human replies")
    if any(row["judged"] and row["broken"] is None for row in evaluation["rows"].values()):
        raise ChatbotError("its rows do not say how many replies are broken")
    return evaluation


def table(evaluation: Mapping[str, Any]) -> str:
    """One run: its figures of the split, then a column for each decoding and each reference."""
    rows, pairs, split = evaluation["rows"], evaluation["pairs"], evaluation["split"]
    answered = next(iter(rows.values()))["replies"]
    head = f"{evaluation['run']}, step {evaluation['step']}, {pairs:,} pairs of the split {split}:"
    lines = [_columns((head, [""], [evaluation], SCORES[2:]))]
    if len(sources := evaluation["sources"]) > 1:
        lines.append("\n" + _columns(("of each corpus:", list(sources), list(sources.values()), SCORES[1:4])))
    lines += [
        f"\nreplies to {'all' if answered == pairs else f'{answered:,} (drawn at random)'} of these pairs:",
        _columns(("", [REFERENCES.get(name, name) for name in rows], list(rows.values()), FIGURES)),
        NOTE,
    ]
    lines += [_commonest(name, row) for name, row in rows.items() if name not in REFERENCES]
    return "\n".join(lines + warnings(evaluation))


def side_by_side(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Runs: a line for each figure, a column for each run; of the split, of each decoding, and of the human replies."""
    names = names_of(evaluations)
    blocks: list[Block] = [(f"split {evaluations[0]['split']}", names, evaluations, SCORES)]
    decodings = dict.fromkeys(name for evaluation in evaluations for name in evaluation["rows"])
    for kind in [*(name for name in decodings if name not in REFERENCES), "human"]:
        rows = [evaluation["rows"].get(kind, {}) for evaluation in evaluations]
        counts = [f"({_shown(row.get('replies'), 'count')})" for row in rows]
        blocks.append((REFERENCES.get(kind, kind), counts, rows, FIGURES))
    parts = [_columns(*blocks)]
    warned = [f"{name}: {line}" for name, one in zip(names, evaluations, strict=True) for line in warnings(one)]
    parts += ["\n".join(warned)] if warned else []
    if len({evaluation["data"] for evaluation in evaluations}) > 1:
        parts.append("These runs were not scored on the same pairs in the same words: the figures do not compare.")
    return "\n\n".join([*parts, NOTE])


def names_of(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the runs; their paths, where two runs have one name."""
    names = [Path(evaluation["run"]).name for evaluation in evaluations]
    return names if len(set(names)) == len(names) else [str(evaluation["run"]) for evaluation in evaluations]


def warnings(evaluation: Mapping[str, Any]) -> list[str]:
    """A line for each decoding whose replies are broken English clearly more often than people's.

    That is by more than a percentage point, and by more than two standard errors of such a difference between samples
    of the same kind of replies.
    """
    people, lines = evaluation["rows"]["human"], []
    for name, row in evaluation["rows"].items():
        if name in REFERENCES or not (row["judged"] and people["judged"]):
            continue
        sizes = (row["judged"], people["judged"])
        pooled = sum(one["broken"] * one["judged"] for one in (row, people)) / sum(sizes)
        error = math.sqrt(pooled * (1 - pooled) * sum(1 / size for size in sizes))
        if row["broken"] - people["broken"] > max(0.01, 2 * error):
            shares = f"{row['broken']:.1%} of its replies, {people['broken']:.1%} of theirs"
            lines.append(f"{name} breaks English more often than people: {shares}")
    return lines


def _columns(*blocks: Block) -> str:
    """Blocks below each other, each a head and a line for each figure; columns that do not fit come below them all."""
    names = blocks[0][1]
    width = max(10, *(len(name) + 2 for name in names))
    fit = max(1, (WIDTH - 24) // width)
    parts = []
    for first in range(0, len(names), fit):
        lines = []
        for head, titles, entries, figures in blocks:
            some = entries[first : first + fit]
            lines.append((head, titles[first : first + fit]))
            lines += [(f"  {name}", [_shown(entry.get(key), style) for entry in some]) for key, name, style in figures]
        texts = (f"{head:<24}" + "".join(f"{cell:>{width}}" for cell in cells) for head, cells in lines)
        parts.append("\n".join(text.rstrip() for text in texts))
    return "\n\n".join(parts)


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
