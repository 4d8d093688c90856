"""Evaluations as a picture: a panel for each figure, bars of the same figure beside each other. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..chat.pictures import kind_of_picture
from ..system.errors import ChatbotError
from .scoreboard import FIGURES, REFERENCES, SCORES, names_of

NETWORK = ("perplexity", "token_accuracy")  # bars of each run
REPLIES = ("bleu_2", "distinct_2", "mean_length", "generic_rate", "exact_repeats", "broken")  # of each decoding, too
TITLES = {key: (name, form) for key, name, form in (*SCORES, *FIGURES)}


def ready(path: Path) -> None:
    """Say before the work whether there can be a picture of it.

    Raises:
        ChatbotError: matplotlib is not installed, or no kind of picture ends as `path` does.
    """
    kind_of_picture(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        text = "drawing needs the package matplotlib, which is not installed: pip install -e '.[plot]'"
        raise ChatbotError(text) from error


def picture(evaluations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Evaluations side by side, a colour each, as an image (height, width, 3) of uint8.

    The first panels are of the network; the others are of the replies, in groups by decoding. Dotted lines are people.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = names_of(evaluations)
    colors = [f"C{place}" for place in range(len(evaluations))]
    decodings = list(dict.fromkeys(row for one in evaluations for row in one["rows"] if row not in REFERENCES))
    figure = Figure(figsize=(11, 5.5), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = dict(zip((*NETWORK, *REPLIES), figure.subplots(2, 4).flat, strict=True))
    for key in NETWORK:
        _bars(panels[key], key, [""], [[one[key]] for one in evaluations], colors)
    for key in REPLIES:
        values = [[one["rows"].get(row, {}).get(key) for row in decodings] for one in evaluations]
        _bars(panels[key], key, decodings, values, colors)
        for color, one in zip(colors, evaluations, strict=True):
            if key != "bleu_2" and (human := one["rows"]["human"].get(key)) is not None:  # people's own is 1
                panels[key].axhline(human, color=color if len(evaluations) > 1 else "black", linestyle=":")
    title = f"split {evaluations[0]['split']}; dotted: people's replies"
    figure.suptitle(f"{names[0]}, {title}" if len(names) == 1 else title, fontsize="medium")
    if len(names) > 1:
        figure.legend(panels["perplexity"].containers, names, loc="outside lower center", ncols=4, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _bars(
    axes: Any, key: str, groups: Sequence[str], values: Sequence[Sequence[float | None]], colors: list[str]
) -> None:
    """Bars in groups: one of each run (`values` of a run has a figure for each group), with no bar for None."""
    width = 0.8 / len(values)
    for place, (row, color) in enumerate(zip(values, colors, strict=True)):
        at = np.arange(len(groups)) - 0.4 + width * (place + 0.5)
        axes.bar(at, [np.nan if value is None else value for value in row], width, color=color)
    title, form = TITLES[key]
    axes.set_title(title, fontsize="medium")
    axes.set_xticks(range(len(groups)), groups, rotation=20 if len(groups) > 3 else 0, fontsize="small")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", length=0)
    if form == "percent":
        axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
