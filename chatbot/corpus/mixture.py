"""Several corpora in one training: `cornell+chitchat+sample*10`, names and paths joined by `+`.

Each is read in its own format and split by its own films or conversations. A weight behind `*` says how often an epoch
shows each of its pairs: 10 is ten times, 0.5 every second epoch.
"""

from pathlib import Path
from typing import NamedTuple

from ..system.errors import ChatbotError, shown
from ..system.files import exists
from .figures import MAX_WEIGHT, MIN_WEIGHT
from .sources import Offers, Source, on_disk, resolve, resolve_auto

MAX_PARTS = 64
SAMPLE_WEIGHT = 3.0  # of the sample corpus in `auto`
AUTO = f"auto is cornell+chitchat+sample*{SAMPLE_WEIGHT:g}"


class Part(NamedTuple):
    """One corpus of a mixture, and how often an epoch shows each of its pairs.

    is_old: it is only rehearsed: it gives no words, and nothing of it is held out to judge by.
    """

    source: Source
    weight: float = 1.0
    is_old: bool = False


class Mixture(NamedTuple):
    """The corpora of a training, one or more, each with a name of its own.

    name: of its prepared folder, and of a run that is given no other. spec: what asks for it again: `auto` written out.
    notice: a line to tell the user.
    """

    name: str
    spec: str
    parts: list[Part]
    notice: str | None = None


def resolve_mixture(spec: str, data_dir: Path, offers: Offers | None = None, *, old: str = "") -> Mixture:
    """Find all corpora that `spec` names, downloading into `data_dir` what that takes.

    Those that `old` names likewise come behind them, and are no part of the mixture's name and spec.

    Raises:
        ChatbotError: a corpus is not there and cannot be had, or comes twice, a weight is none, a part has no name.
    """
    found: list[tuple[str, Part]] = []  # by what asks for each
    notice = None
    for name, weight in _asked(spec):
        if name == "auto":
            sources, notice = resolve_auto(data_dir, offers)
            found += [
                (source.name, Part(source, SAMPLE_WEIGHT if source.name == "sample" else 1)) for source in sources
            ]
        else:
            found.append((name, Part(resolve(name, data_dir, offers), weight)))
    if old:
        found += [("", part._replace(is_old=True)) for part in resolve_mixture(old, data_dir, offers).parts]
    if len({part.source.path.resolve() for _, part in found}) < len(found):
        raise ChatbotError(f"{shown(spec)} names a corpus twice: give it a weight instead, such as sample*2 ({AUTO})")
    parts = _told_apart([part for _, part in found])
    name = "-".join(part.source.name for part in parts if not part.is_old)[:80]
    named = [_spelt(name, part.weight) for name, part in found if not part.is_old]
    return Mixture(name, "+".join(named), parts, notice)


def at_hand(spec: str, data_dir: Path, besides: str = "") -> str:
    """Those corpora of `spec` that are on disk already, but for those of `besides`, as a spec: "" if there are none.

    Nothing is downloaded.
    """
    taken = {path.resolve() for _, _, path in _here(besides, data_dir)}
    return "+".join(_spelt(name, weight) for name, weight, path in _here(spec, data_dir) if path.resolve() not in taken)


def _here(spec: str, data_dir: Path) -> list[tuple[str, float, Path]]:
    """The corpora of `spec` that are on disk: name, weight, place."""
    auto = [("cornell", 1.0), ("chitchat", 1.0), ("sample", SAMPLE_WEIGHT)]
    asked = [one for name, weight in _asked(spec) for one in (auto if name == "auto" else [(name, weight)])]
    return [(name, weight, path) for name, weight in asked if (path := on_disk(name, data_dir))]


def is_mixture(spec: str) -> bool:
    """Whether `spec` asks for more than one corpus; `auto` does.

    Raises:
        ChatbotError: a weight is none, or a part has no name.
    """
    asked = _asked(spec)
    return len(asked) > 1 or asked[0][0] == "auto"


def _asked(spec: str) -> list[tuple[str, float]]:
    """Each name or path, and its weight. What exists as a path is that path, whatever marks it holds."""
    asked: list[tuple[str, float]] = []
    pieces = spec.split("+")
    if len(pieces) > MAX_PARTS:
        raise ChatbotError(f"{len(pieces)} corpora in one mixture: at most {MAX_PARTS}")
    while pieces:
        # as many pieces as are one path together, or else the next
        count = next((n for n in range(len(pieces), 1, -1) if exists(_cut("+".join(pieces[:n]))[0])), 1)
        text, pieces = "+".join(pieces[:count]), pieces[count:]
        name, weight = _cut(text)
        if not name and spec:
            raise ChatbotError(f"{shown(spec)} has a part without a name: join names and paths by one +")
        asked.append((name, _number(weight, text)))
    if ("auto", 1) not in asked and "auto" in dict(asked):
        raise ChatbotError(f"auto is a mixture and takes no weight: write it out ({AUTO})")
    return asked


def _cut(text: str) -> tuple[str, str]:
    name, star, weight = text.rpartition("*")
    return (name, weight) if star and "+" not in weight and not exists(text) else (text, "1")


def _number(weight: str, of: str) -> float:
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not MIN_WEIGHT <= number <= MAX_WEIGHT:
        raise ChatbotError(f"{shown(of)}: the weight behind * must be a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}")
    return number


def _spelt(name: str, weight: float) -> str:
    return name if weight == 1 else f"{name}*{str(weight).removesuffix('.0')}"


def _told_apart(parts: list[Part]) -> list[Part]:
    """The parts with names of their own: a/chat.tsv and b/chat.tsv become chat and chat-2."""
    taken: set[str] = set()
    made = []
    for part in parts:
        name, number = part.source.name, 2
        while name in taken:
            name, number = f"{part.source.name}-{number}", number + 1
        taken.add(name)
        made.append(part._replace(source=part.source._replace(name=name)))
    return made
