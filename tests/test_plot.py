"""Pictures of evaluations: each run has its bars, as high as its figures; what cannot be drawn is said beforehand."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_scoreboard import evaluation

from chatbot.__main__ import main
from chatbot.evaluation.plot import picture


def column_of(image: np.ndarray, color: tuple[int, int, int]) -> int:
    """Most pixels of a colour in one column of the first panel: how high its bar is."""
    panel = image[: len(image) // 2, : image.shape[1] // 4]
    return int((np.abs(panel.astype(int) - color).max(axis=-1) < 8).sum(axis=0).max())


def test_a_bar_is_as_high_as_the_figure() -> None:
    pytest.importorskip("matplotlib")
    image = picture([evaluation("a/one", perplexity=30.0), evaluation("b/two", perplexity=15.0)])
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    blue, orange = (column_of(image, color) for color in ((31, 119, 180), (255, 127, 14)))
    assert abs(orange / blue - 0.5) < 0.05
    assert column_of(picture([evaluation()]), (255, 127, 14)) == 0  # one run, one colour


def test_a_figure_that_is_not_there_has_no_bar() -> None:
    pytest.importorskip("matplotlib")
    one, two = evaluation("a/one"), evaluation("b/two")
    del two["rows"]["beam"]
    for row in one["rows"].values():
        row["broken"] = None
    picture([one, two])


@pytest.mark.parametrize(
    ("name", "missing", "says"),
    [
        ("figures.txt", None, "no kind of picture ends in '.txt'"),
        ("figures.png", "matplotlib", "drawing needs the package matplotlib"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_the_work(
    name: str, missing: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    assert main(["evaluate", "no-such-run", "--plot", str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().err
