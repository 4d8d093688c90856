"""A corpus by its name to a folder of prepared arrays, once: the second time the folder is found and used again."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError
from ..system.files import atomic_file, atomic_folder, sha256, tidy
from ..system.lock import take
from .draft import Draft
from .formats.recognise import Conversation, conversations, recognise
from .inputs import InputFile, Reading, input_files
from .numbering import number
from .pairs import FEWEST_GROUPS, LEVELS, TRAIN, Pairs, batches, pairs_of
from .prepared import (
    DTYPES,
    MANIFEST,
    OFFSETS_DTYPE,
    PREPARED_FORMAT,
    SPLITS,
    VOCABULARY,
    ids_file,
    load_manifest,
    offsets_file,
)
from .report import summary as summary
from .sources import Source, resolve
from .vocabulary import Vocabulary

VERSION = 1  # of what preparation makes of the same input and settings; raise it when that changes
TOTALS = ("conversations", "pairs_read", "pairs_too_short", "pairs_too_long", "pairs_short")
SMALL_INPUT = 64 << 20  # bytes; below, one process is faster than starting several, and hashing is not worth avoiding


@dataclass(frozen=True)
class Preparation:
    """A prepared corpus: its folder and manifest (`prepared.load_manifest`), and how it came about."""

    folder: Path
    manifest: dict[str, Any]
    reused: bool
    source: Source


def prepare(
    config: CorpusConfig,
    data_dir: Path,
    *,
    workers: int = 0,
    force: bool = False,
    vocabulary: Vocabulary | None = None,
) -> Preparation:
    """Prepare `config.corpus`, or find it prepared from the same input with the same settings.

    Args:
        config: which corpus, and all that decides what is made of it.
        data_dir: where corpora are looked for and kept; the result goes to `data_dir/prepared/`.
        workers: processes that normalise text; 0 is one for each core, or a single one for a small corpus.
        force: prepare again even if it is prepared.
        vocabulary: the words to number by; without it those of the file `config.vocabulary`, and without that file's
            name those that the training pairs teach.

    Raises:
        ChatbotError: no such corpus, not a format that is known, too much damage, no usable pair, no space.
    """
    if vocabulary is None and config.vocabulary:
        vocabulary = Vocabulary.load(Path(config.vocabulary))
    source = resolve(config.corpus, data_dir)
    found, refused = input_files(source.path)
    format, files = recognise(found, config.format, str(source.path))
    prepared = data_dir / "prepared"
    with _alone(prepared):
        inputs = _identify(files, prepared)
        folder = prepared / f"{source.name}-{_key(config, format, inputs, vocabulary)}"
        if not force and (manifest := _intact(folder)):
            return Preparation(folder, manifest, True, source)
        with atomic_folder(folder) as part:
            reading = Reading(latin=config.tutorial_quirks, examples=refused)
            manifest = _prepare(config, format, files, reading, part, workers, vocabulary)
            if _stats(files) != [tuple(entry["stat"]) for entry in inputs]:
                raise ChatbotError(f"{source.path} changed while it was read: run it again")
            manifest |= {"source": source.name, "format_read": format, "inputs": inputs}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Preparation(folder, manifest, False, source)


def _prepare(
    config: CorpusConfig,
    format: str,
    files: list[InputFile],
    reading: Reading,
    folder: Path,
    workers: int,
    given: Vocabulary | None,
) -> dict[str, Any]:
    """Read `files`, write everything but the manifest into `folder`, return the manifest."""
    began = time.monotonic()
    with Draft(folder) as draft:
        totals, films = _read(config, format, files, reading, workers, draft)
        reading.check(config.max_bad_fraction)
        words, packed = draft.close()
        _require(len(packed), "no usable pair", files, totals, config)
        level = 0 if len(films) >= FEWEST_GROUPS else 1 if totals["conversations"] >= FEWEST_GROUPS else 2
        sides = packed >> np.uint8(2 * level) & np.uint8(3)
        _require(int((sides == TRAIN).sum()), "no pair for training", files, totals, config)
        numbered = number(draft, words, sides, config, folder, given)
    _require(numbered.splits["train"]["pairs"], "no pair for training without a rare word", files, totals, config)
    with (folder / VOCABULARY).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{token}\n" for token in numbered.vocabulary.tokens)
    return {
        "format": PREPARED_FORMAT,
        "version": VERSION,
        "dtype": numbered.dtype,
        "splits": numbered.splits,
        **{name: totals[name] for name in TOTALS},
        **numbered.figures,
        "split_by": LEVELS[level],
        "settings": dataclasses.asdict(config),
        "bad_lines": {
            "count": reading.bad,
            "read": reading.records,
            "not_utf8": reading.recoded,
            "first_not_utf8": reading.first_recoded,
            "reasons": dict(reading.reasons),
            "examples": [bad._asdict() for bad in reading.examples],
        },
        "seconds": round(time.monotonic() - began, 2),
    }


def _read(
    config: CorpusConfig, format: str, files: list[InputFile], reading: Reading, workers: int, draft: Draft
) -> tuple[Counter[str], set[str]]:
    """The text pass: all of `files` into `draft`. Returns counts of pairs, and films (FEWEST_GROUPS of them do)."""
    size = sum(file.size for file in files)
    workers = workers or (1 if size < SMALL_INPUT else _cores())
    totals: Counter[str] = Counter()
    films: set[str] = set()
    with tqdm(total=size, unit="B", unit_scale=True, desc="preparing", disable=None) as bar:
        reading.advance = bar.update
        for pairs in _pairs(conversations(format, files, reading), config, workers):
            draft.add(pairs)
            totals += Counter(
                conversations=pairs.conversations,
                pairs_read=pairs.read,
                pairs_too_short=pairs.too_short,
                pairs_too_long=pairs.too_long,
                pairs_short=len(pairs.sides),
            )
            if len(films) < FEWEST_GROUPS:
                films |= pairs.films
    return totals, films


def _require(pairs: int, what: str, files: list[InputFile], totals: Counter[str], config: CorpusConfig) -> None:
    if not pairs:
        raise ChatbotError(
            f"{files[0].name}: {what} (of {totals['pairs_read']:,} pairs read, {totals['pairs_too_long']:,} are over "
            f"{config.max_length} words, {totals['pairs_too_short']:,} under {config.min_length}); "
            "see --max-length, --min-count, --split and --format"
        )


def _pairs(found: Iterable[Conversation], config: CorpusConfig, workers: int) -> Iterator[Pairs]:
    """`pairs_of` over batches of `found`, in order, by so many processes; only a few batches are under way at once."""
    work = functools.partial(pairs_of, config=config)
    if workers == 1:
        yield from map(work, batches(found))
        return
    waiting: deque[Future[Pairs]] = deque()
    # not fork: the parent may run threads (torch's, tqdm's), and macOS forbids it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            for batch in batches(found):
                waiting.append(pool.submit(work, batch))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ChatbotError("a worker process was killed, perhaps for want of memory: try --workers 1") from error
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """In a worker: leave when the parent is gone, even if it was killed; Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _key(config: CorpusConfig, format: str, inputs: list[dict[str, Any]], vocabulary: Vocabulary | None) -> str:
    """A short name for the input's content and the settings that matter."""
    settings = dataclasses.asdict(config) | {"corpus": None, "format": format}
    del settings["vocabulary"]
    content = [VERSION, PREPARED_FORMAT, settings, [entry["sha256"] for entry in inputs]]
    content += [vocabulary.tokens] if vocabulary else []
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _identify(files: list[InputFile], prepared: Path) -> list[dict[str, Any]]:
    """Each file's name, sha256, size and stat.

    A file of over SMALL_INPUT bytes is hashed once, and again when its size, times or inode change (or changed less
    than two seconds before it was hashed, when a clock tick could hide a second change).
    """
    cache_path = prepared / "inputs.json"
    try:
        cache = json.loads(cache_path.read_bytes())
        assert isinstance(cache, dict)
    except (OSError, ValueError, AssertionError, RecursionError):
        cache = {}
    entries, changed = [], False
    for file, stat in zip(files, _stats(files), strict=True):
        place = str(file.path.resolve())
        known = cache.get(place)
        if (
            stat[0] < SMALL_INPUT
            or not isinstance(known, dict)
            or known.get("stat") != list(stat)
            or "sha256" not in known
        ):
            known = {"stat": list(stat), "sha256": sha256(file.path)}
            if stat[0] >= SMALL_INPUT and time.time_ns() - max(stat[1:3]) > 2e9:
                cache[place], changed = known, True
        entries.append({"file": file.name, "size": stat[0], "sha256": known["sha256"], "stat": list(stat)})
    if changed:
        with atomic_file(cache_path, "w") as out:
            json.dump(cache, out, indent=1)
    return entries


def _stats(files: list[InputFile]) -> list[tuple[int, int, int, int]]:
    """(size, modified, changed, inode) of each file; what they say together changes when the content does."""
    try:
        stats = [file.path.stat() for file in files]
    except OSError as error:
        raise ChatbotError(f"cannot read {error.filename}: {error.strerror}") from error
    return [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for stat in stats]


def _intact(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder whose files are all there and of the right size; None otherwise."""
    if not folder.exists():
        return None
    try:
        manifest = load_manifest(folder)
        width = np.dtype(DTYPES[manifest["dtype"]]).itemsize
        for split in SPLITS:
            sizes = manifest["splits"][split]
            expected = {
                ids_file(split): sizes["tokens"] * width,
                offsets_file(split): (2 * sizes["pairs"] + 1) * np.dtype(OFFSETS_DTYPE).itemsize,
            }
            if any((folder / name).stat().st_size != size for name, size in expected.items()):
                return None
        summary(manifest)  # all that is told of it is there
        return manifest if (folder / VOCABULARY).stat().st_size else None
    except Exception:  # not what was written: it is prepared again
        return None


@contextlib.contextmanager
def _alone(prepared: Path) -> Iterator[None]:
    """One preparation at a time in a data folder: the others wait, and then find the work done.

    Whoever holds the lock also removes what a killed preparation left behind. Where there are no locks two at once do
    the work twice, and each result is whole.
    """
    try:
        prepared.mkdir(parents=True, exist_ok=True)
        lock = (prepared / ".lock").open("w")
    except OSError:  # what is prepared can be used all the same, and writing will say what is wrong
        yield
        return
    with lock:
        if take(lock.fileno(), wait=True):
            tidy(prepared)
        yield
