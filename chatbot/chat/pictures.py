"""Pictures of what the network does, as arrays of pixels; with words on the axes where matplotlib is installed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..system.errors import ChatbotError, first_line
from ..system.files import atomic_file

CELL = 24  # pixels of one weight, where there is no matplotlib to draw axes


def attention_picture(weights: np.ndarray, src_words: Sequence[str], tgt_words: Sequence[str]) -> np.ndarray:
    """Attention weights (T, S) as an image (height, width, 3) of uint8: a row for each word said, white is 1.

    With matplotlib (`pip install -e '.[plot]'`) the words stand at the axes; without it the cells are drawn alone.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        pixels = (weights.clip(0, 1) * 255).astype(np.uint8).repeat(CELL, axis=0).repeat(CELL, axis=1)
        return np.stack([pixels] * 3, axis=-1)
    figure = Figure(figsize=(1.5 + 0.5 * len(src_words), 1.2 + 0.4 * len(tgt_words)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(src_words)), src_words, rotation=60, ha="right")
    axes.set_yticks(range(len(tgt_words)), tgt_words)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write an image (height, width, 3) of uint8 in the format that the file's name ends in.

    Raises:
        ChatbotError: there is no such format, or the file cannot be written.
    """
    from PIL import Image  # here, for few need it

    kind = kind_of_picture(path)
    with atomic_file(path) as file:
        try:
            Image.fromarray(picture).save(file, kind)
        except ValueError as error:  # a kind for other pictures than these
            raise ChatbotError(f"cannot write {path}: {first_line(error)}") from error


def kind_of_picture(path: Path) -> str:
    """The format that the file's name ends in, such as PNG.

    Raises:
        ChatbotError: there is no such format.
    """
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:  # some kinds can only be read
        raise ChatbotError(f"no kind of picture ends in {path.suffix!r}; try {path.with_suffix('.png')}")
    return kind
