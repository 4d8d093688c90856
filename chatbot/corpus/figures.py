"""The figures of a preparation, in `prepared.json`: what the arrays beside it are, and the checksum of each.

docs/data.md lists them all; here stands what other files are read by.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from tqdm import tqdm

from ..system.errors import ChatbotError, command, shown
from ..system.schema import Bounds, Count, checked
from ..system.seal import crc32, read_sealed

PREPARED_FORMAT = 3
SPLITS = ("train", "valid", "test")
FIGURES = "prepared.json"
VOCABULARY = "vocabulary.txt"
CONTENT = (*(f"{split}.{kind}" for split in SPLITS for kind in ("ids", "offsets")), VOCABULARY)
BAR = 1 << 30  # bytes, above which a bar is shown
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0  # how often an epoch shows each pair of a corpus
MAX_BYTES = 8 << 20  # of the figures, which name every file of the corpus


class SplitFigures(TypedDict):
    """Of a split: its size, and how many pairs each corpus gave."""

    pairs: Count
    tokens: Count
    by_part: list[Count]


class SourceFigures(TypedDict):
    """Of a corpus, what its pairs are used by; docs/data.md lists the rest."""

    name: str
    weight: Annotated[float, Bounds(MIN_WEIGHT, MAX_WEIGHT)]
    is_old: bool


class Figures(TypedDict):
    """Of `prepared.json`, what the arrays are read by; docs/data.md lists the rest, which `report` shows."""

    format: int
    dtype: Literal["uint16", "int32"]
    splits: dict[str, SplitFigures]
    sources: list[SourceFigures]


def load_figures(folder: Path) -> dict[str, Any]:
    """The figures and settings of a preparation; docs/data.md lists them.

    Raises:
        ChatbotError: they are missing, damaged, or of another format version.
    """
    path = folder / FIGURES
    try:
        figures: dict[str, Any] = read_sealed(path, MAX_BYTES)
        version = figures["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChatbotError(f"{folder} holds no prepared corpus ({error}); run: {command('prepare')}") from error
    if version != PREPARED_FORMAT:
        raise ChatbotError(
            f"{path} has format {shown(version)}, this program reads {PREPARED_FORMAT}: prepare the corpus again"
        )
    try:
        found: dict[str, Any] = checked(Figures, figures, "its figures")
    except ChatbotError as error:
        raise ChatbotError(f"{path} is damaged ({error}): prepare the corpus again") from error
    return found


def checksums(folder: Path) -> dict[str, str]:
    """Of each array, and of the vocabulary, its checksum; above BAR bytes a bar says how far that is."""
    files = [folder / name for name in CONTENT]
    size = sum(file.stat().st_size for file in files)
    with tqdm(total=size, unit="B", unit_scale=True, desc="checking prepared data", disable=size < BAR) as bar:
        return {file.name: crc32(file, bar.update) for file in files}
