"""Several corpora in one training: `cornell+chitchat+sample*10`, names and paths joined by `+`.

Each is read in its own format and split by its own films or conversations. A weight behind `*` says how often an epoch
shows each of its pairs: 10 is ten times, 0.5 every second epoch.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..system.errors import ChatbotError, shown
from .sources import NAMES, Offers, Source, on_disk, resolve, resolve_auto

MAX_PARTS = 64
MAX_WEIGHT = 1000.0
SAMPLE_WEIGHT = 5.0  # of the sample corpus in `auto`: docs/training.md says how it was chosen
_WEIGHTED = re.compile(r"(.*)\*(\d{1,4}(?:\.\d{1,6})?)", re.DOTALL)


class Part(NamedTuple):
    """One corpus of a mixture, and how often an epoch shows each of its pairs.

    is_old: it is rehearsed only: it gives no words, and nothing of it is held out to judge by.
    """

    source: Source
    weight: float = 1.0
    is_old: bool = False


class Mixture(NamedTuple):
    """The corpora of a training, one or more.

    name: of its prepared folder, and of a run that is given no other. spec: what asks for it again: `auto` written out.
    notices: lines to tell the user.
    """

    name: str
    spec: str
    parts: list[Part]
    notices: list[str]


def resolve_mixture(spec: str, data_dir: Path, offers: Offers | None = None, *, old: str = "") -> Mixture:
    """Find all corpora that `spec` names, downloading into `data_dir` what that takes.

    What exists as a path is that path, whatever marks it holds. The corpora that `old` names likewise are the last
    parts, and have none in the mixture's name and spec.

    Raises:
        ChatbotError: a corpus is not there and cannot be had, a weight is no weight, or a part has no name.
    """
    parts: list[Part] = []
    named: list[str] = []
    notices: list[str] = []
    for text in _split(spec):
        name, weight = _weighted(text, spec)
        if name == "auto":
            sources, notice = resolve_auto(data_dir, offers)
            notices += [notice] if notice else []
            found = [(source, SAMPLE_WEIGHT if source.name == "sample" else 1.0) for source in sources]
            named += [_spelt(source.name, weight * own) for source, own in found]
        else:
            found = [(resolve(name, data_dir, offers), 1.0)]
            named.append(_spelt(name, weight))
        parts += [Part(source, weight * own) for source, own in found]
    if old:
        parts += [part._replace(is_old=True) for part in resolve_mixture(old, data_dir, offers).parts]
    if len(parts) > MAX_PARTS:
        raise ChatbotError(f"{len(parts)} corpora in one mixture: at most {MAX_PARTS}")
    twice = {part.source.path.resolve() for part in parts}
    if len(twice) < len(parts):
        raise ChatbotError(f"{shown(spec)} names a corpus twice: give it a weight instead, such as sample*2")
    parts = _told_apart(parts)
    name = "-".join(part.source.name for part in parts if not part.is_old)[:80]
    return Mixture(name, "+".join(named), parts, notices)


def at_hand(spec: str, data_dir: Path, besides: str = "") -> str:
    """What `spec` names of corpora that are on disk already and are none of `besides`, as a spec; "" if there is none.

    Nothing is downloaded.
    """
    taken = {path.resolve() for _, _, path in _found(besides, data_dir)}
    return "+".join(_spelt(name, weight) for name, weight, path in _found(spec, data_dir) if path.resolve() not in taken)


def _found(spec: str, data_dir: Path) -> Iterator[tuple[str, float, Path]]:
    """Name, weight and place of those corpora of `spec` that are on disk."""
    for text in _split(spec):
        name, weight = _weighted(text, spec) if text else ("", 1.0)
        for one in ("cornell", "chitchat", "sample") if name == "auto" else (name,):
            if path := on_disk(one, data_dir):
                yield one, weight * (SAMPLE_WEIGHT if (name, one) == ("auto", "sample") else 1.0), path


def _split(spec: str) -> list[str]:
    return [spec] if spec in NAMES or _exists(spec) else spec.split("+")


def is_mixture(spec: str) -> bool:
    """Whether `spec` asks for more than one corpus, or may."""
    return spec == "auto" or ("+" in spec and not _exists(spec))


def _weighted(text: str, spec: str) -> tuple[str, float]:
    if _exists(text) or not (match := _WEIGHTED.fullmatch(text)):
        if not text:
            raise ChatbotError(f"{shown(spec)} has a part without a name: join names and paths by one +")
        return text, 1.0
    weight = float(match[2])
    if not 0 < weight <= MAX_WEIGHT:
        raise ChatbotError(f"the weight of {shown(match[1])} must be above 0, at most {MAX_WEIGHT:g}, not {match[2]}")
    return match[1], weight


def _spelt(name: str, weight: float) -> str:
    return name if weight == 1 else f"{name}*{weight:g}"


def _exists(text: str) -> bool:
    try:
        return text != "" and Path(text).expanduser().exists()
    except (RuntimeError, OSError, ValueError):  # `~nobody`, longer than a name can be, or a NUL
        return False


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
