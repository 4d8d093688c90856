"""Prepare a corpus, given by its name, as a folder of arrays; if that folder is there already, use it again."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
from tqdm import tqdm

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError, failing_as, shown
from ..system.files import atomic_file, atomic_folder, named, sha256, tidy
from ..system.lock import held
from ..system.schema import Bounds, checked
from ..system.seal import read_sealed, sealed
from .draft import Draft
from .figures import FIGURES, PREPARED_FORMAT, SPLITS, checksums, load_figures
from .formats.recognise import dialogues, recognise
from .forms import add_runs
from .inputs import BadLine, InputFile, input_files
from .language import KEEPS_ALL, LOOKED_AT, MOST_LOST, is_english
from .mixture import Mixture, Part, is_mixture, resolve_mixture
from .numbering import number
from .pairs import FEWEST_GROUPS, LEVELS, NO_SIDE, TRAIN
from .prepared import PairDataset
from .reading import Reading
from .report import summary, table
from .survey import LONGEST, SHORTEST, count_pairs, fitting_length
from .vocabulary import Vocabulary
from .workers import pairs_from

VERSION = 3  # raise it when the same input and settings give other data
SMALL_INPUT = 64 << 20  # bytes; below, a single process is faster, and digests are not worth caching
ENGLISH_CORPORA = ("cornell", "convokit", "chitchat", "dailydialog")  # formats of published corpora in English
MAX_CACHE = 8 << 20  # bytes of the cache of digests


@dataclass(frozen=True)
class Preparation:
    """A prepared corpus: its folder and figures (docs/data.md), whether it was there already, and its mixture.

    notice: a line for the user about the tokenizer, if it was chosen for a corpus that is not English.
    """

    folder: Path
    figures: dict[str, Any]
    reused: bool
    mixture: Mixture
    notice: str | None = None


class _Input(NamedTuple):
    """One corpus of the mixture: its format, the files that hold its dialogues, and those that could not be read."""

    part: Part
    format: str
    files: list[InputFile]
    refused: list[BadLine]


Length = Annotated[int, Bounds(SHORTEST, LONGEST)]


class Digest(TypedDict):
    """Of a large file, and its `_stat` then."""

    stat: list[int]
    sha256: str


def prepare(
    config: CorpusConfig,
    data_dir: Path,
    *,
    workers: int = 0,
    force: bool = False,
    vocabulary: Vocabulary | None = None,
    grow: bool = False,
    trained: bool = False,
) -> Preparation:
    """Prepare `config.corpus`, unless it is prepared already from the same input with the same settings.

    One process at a time prepares in a data folder; others wait, and then find the work done.

    Args:
        config: the corpus or mixture, and all settings that decide what is made of it.
        data_dir: the folder of corpora and downloads; the result is written to `data_dir/prepared/`.
        workers: how many processes tokenize; 0 means one for each core, or a single one for a small corpus.
        force: prepare it in any case.
        vocabulary: the vocabulary to use; by default that in the file `config.vocabulary`, or else one is learnt from
            the training pairs.
        grow: behind the words of that vocabulary come those that would be learnt and that it lacks.
        trained: a bot was trained with this tokenizer, which is kept whatever letters it loses.

    Raises:
        ChatbotError: there is no such corpus, its format is unknown, it is too damaged, it has no usable pair, or the
            disk is full.
    """
    if vocabulary is None and config.vocabulary:
        vocabulary = Vocabulary.load(named(Path(config.vocabulary)))
    if config.format != "auto" and is_mixture(config.corpus):
        raise ChatbotError(
            f"--format {config.format} is of one corpus, and {shown(config.corpus)} is a mixture, of which each is "
            "recognised by its content: name one corpus (--corpus)"
        )
    mixture = resolve_mixture(config.corpus, data_dir, old=config.old_corpus)
    inputs = [_input(part, config) for part in mixture.parts]
    files = [file for one in inputs for file in one.files]
    notice = None
    if config.tokenizer == "auto":
        foreign = [one.part.source.name for one in inputs if not _is_english(one, config)]
        config = dataclasses.replace(config, tokenizer=KEEPS_ALL if foreign else "english")
        if foreign:
            notice = f"{foreign[0]} is not English: read by the tokenizer {KEEPS_ALL} (--tokenizer names another)"
    prepared = data_dir / "prepared"
    with contextlib.ExitStack() as stack:
        # if the folder cannot be written, prepared data there can still be used; preparing will fail with a message
        with contextlib.suppress(ChatbotError):
            stack.enter_context(held(prepared / ".lock", "the folder of prepared data", wait=True))
            tidy(prepared)
        entries = _identify(files, prepared)
        is_chosen = not config.max_length
        if is_chosen:
            config = _with_length(config, inputs, prepared, _key(config, inputs, entries, vocabulary, grow))
        folder = prepared / f"{mixture.name}-{_key(config, inputs, entries, vocabulary, grow)}"
        if not force and (figures := _intact(folder)):
            return Preparation(folder, figures | {"length_is_chosen": is_chosen}, True, mixture, notice)
        if not force and folder.exists():
            damage = f"{folder} is damaged: prepared again"
            notice = f"{notice}\n{damage}" if notice else damage
        with atomic_folder(folder) as made:
            figures = _prepare(config, inputs, made, workers, vocabulary, grow, trained)
            for file, entry in zip(files, entries, strict=True):
                if _stat(file) != entry["stat"]:
                    raise ChatbotError(f"{file.name} changed while it was read: run it again")
            figures |= {"source": mixture.name, "inputs": entries, "length_is_chosen": is_chosen}
            figures["files"] = checksums(made)
            (made / FIGURES).write_text(json.dumps(sealed(figures), indent=1) + "\n", encoding="utf-8")
    return Preparation(folder, figures, False, mixture, notice)


def _input(part: Part, config: CorpusConfig) -> _Input:
    found, refused = input_files(part.source.path)
    if part.source.replies:
        return _Input(part, "parallel", [*found, *input_files(part.source.replies)[0]][:2], refused)
    format, columns = ("auto", "") if part.is_old else (config.format, config.columns)
    return _Input(part, *recognise(found, format, str(part.source.path), columns), refused)


def _with_length(config: CorpusConfig, inputs: list[_Input], prepared: Path, key: str) -> CorpusConfig:
    """The settings with a `max_length` that fits; that of large corpora is remembered by `key`. Cornell keeps 12."""
    path = prepared / "lengths.json"
    known = _remembered(path, Length)
    if (length := known.get(key)) is None:
        new = [one for one in inputs if not one.part.is_old and one.format != "cornell"]
        open_texts = dataclasses.replace(
            config, private=False
        )  # what is left out hardly shortens a turn, and takes time
        found = ((dialogues(one.format, one.files, _reading(one, open_texts)), one.part.weight) for one in new)
        length = fitting_length(found, config) if new else SHORTEST
        if sum(file.size for one in inputs for file in one.files) >= SMALL_INPUT:
            with atomic_file(path, "w") as out:
                json.dump(sealed(known | {key: length}), out, indent=1)
    return dataclasses.replace(config, max_length=length)


def _reading(one: _Input, config: CorpusConfig) -> Reading:
    # who speaks is asked of what is new
    asked = dataclasses.replace(config, me="", columns="") if one.part.is_old else config
    return Reading(latin=config.tutorial_quirks, config=asked)


def _is_english(one: _Input, config: CorpusConfig) -> bool:
    """Whether the tokenizer `english` may read a corpus, by its beginning."""
    if one.format in ENGLISH_CORPORA:
        return True
    turns = (
        turn for dialogue in dialogues(one.format, one.files, _reading(one, config)) for turn in dialogue.turns if turn
    )
    return is_english(list(itertools.islice(turns, LOOKED_AT)))


def pairs_in(config: CorpusConfig, data_dir: Path, most: int) -> int:
    """How many pairs `config.corpus` holds, before any is left out; `most` if there are as many.

    Raises:
        ChatbotError: as `prepare`.
    """
    count, whole = 0, dataclasses.replace(config, private=False)  # names to leave out need the whole file to be read
    for part in resolve_mixture(config.corpus, data_dir).parts:
        one = _input(part, config)
        count += count_pairs(dialogues(one.format, one.files, _reading(one, whole)), most - count)
        if count >= most:
            break
    return count


def _prepare(
    config: CorpusConfig,
    inputs: list[_Input],
    folder: Path,
    workers: int,
    given: Vocabulary | None,
    grow: bool,
    trained: bool,
) -> dict[str, Any]:
    """Read all files, write the arrays and the vocabulary into `folder`, return the figures."""
    began = time.monotonic()
    size = sum(file.size for one in inputs for file in one.files)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = workers or (1 if size < SMALL_INPUT else cores)
    # in `folder`, because that disk needs room for the result anyway; the system removes them whatever happens
    with TemporaryFile(dir=folder) as numbers, TemporaryFile(dir=folder) as lengths:
        draft = Draft(numbers, lengths)
        with tqdm(total=size, unit="B", unit_scale=True, desc="preparing", disable=None) as bar:
            sources = [_read(one, draft, config, workers, bar.update, trained) for one in inputs]
        draft.close()
        parts = np.repeat(np.arange(len(inputs), dtype=np.uint8), [source["pairs_short"] for source in sources])
        # each corpus is split by its own films, or else by its conversations or prompts
        levels = np.array([LEVELS.index(source["split_by"]) for source in sources], np.uint8)
        sides = draft.sides >> 2 * levels[parts] & np.uint8(3)
        are_old = np.array([one.part.is_old for one in inputs])
        sides[are_old[parts] & (sides != TRAIN)] = NO_SIDE
        if not (sides == TRAIN).any():
            raise _nothing("no pair for training", inputs[0], sources, config)
        weights = [0.0 if one.part.is_old else one.part.weight for one in inputs]
        names = [one.part.source.name for one in inputs]
        numbered = number(draft, sides, parts, weights, names, config, folder, given, grow)
    if not numbered["splits"]["train"]["pairs"]:
        raise _nothing("no pair for training without a rare word", inputs[0], sources, config)
    counted = ("conversations", "pairs_read", "pairs_too_short", "pairs_too_long", "pairs_short")
    return {
        "format": PREPARED_FORMAT,
        "version": VERSION,
        **{key: sum(source[key] for source in sources) for key in counted},
        **numbered,
        "settings": dataclasses.asdict(config),
        "sources": sources,
        "seconds": round(time.monotonic() - began, 2),
    }


def _read(
    one: _Input, draft: Draft, config: CorpusConfig, workers: int, advance: Callable[[int], Any], trained: bool
) -> dict[str, Any]:
    """Add the pairs of one corpus to the draft; returns the figures of the corpus."""
    reading = _reading(one, config)
    reading.examples, reading.advance = list(one.refused), advance
    totals: Counter[str] = Counter()
    films: set[str] = set()
    lost: Counter[str] = Counter()
    runs: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for pairs in pairs_from(dialogues(one.format, one.files, reading), config, workers):
        draft.add(pairs)
        totals.update(pairs.counts)
        lost.update(pairs.lost)
        if len(films) < FEWEST_GROUPS:  # further ones change nothing
            films |= pairs.films
        for side, found in pairs.runs.items():
            add_runs(runs[side], found)
    reading.check(config.max_bad_fraction)
    reading.check_me(one.files[0].name)
    if not (trained or one.part.is_old or config.tutorial_quirks):  # which takes the corpus as it is
        _refuse_lost(lost, totals["characters"], one.files[0].name, config.tokenizer)
    level = 0 if len(films) >= FEWEST_GROUPS else 1 if totals["conversations"] >= FEWEST_GROUPS else 2
    for side, counted in runs.items():
        if side >> 2 * level & 3 == TRAIN:
            add_runs(draft.runs, counted, one.part.weight)
    figures = {
        "name": one.part.source.name,
        "format_read": one.format,
        "weight": one.part.weight,
        "is_old": one.part.is_old,
        **totals,
        "letters_lost": lost.total(),
        "split_by": LEVELS[level],
        "understood": reading.understood(),
        "bad_lines": {
            "count": reading.bad,
            "read": reading.records,
            "not_utf8": reading.recoded,
            "first_not_utf8": reading.first_recoded,
            "reasons": dict(reading.reasons),
            "examples": [bad._asdict() for bad in reading.examples],
        },
    }
    if not totals["pairs_short"]:
        raise _nothing("no usable pair", one, [figures], config)
    return figures


def _refuse_lost(lost: Counter[str], characters: int, file: str, tokenizer: str) -> None:
    """Raise a ChatbotError if a tokenizer loses more of a corpus's characters than is bearable."""
    if lost.total() > MOST_LOST * characters:
        most = ", ".join(letter for letter, _ in lost.most_common(3))
        raise ChatbotError(
            f"{file}: the tokenizer {tokenizer} loses {lost.total() / characters:.0%} of its characters ({most}, ...): "
            f"--tokenizer {KEEPS_ALL} keeps them (not with --from, which keeps the bot's tokenizer)"
        )


def _nothing(what: str, one: _Input, sources: list[dict[str, Any]], config: CorpusConfig) -> ChatbotError:
    read, too_long, too_short = (
        sum(source.get(key, 0) for source in sources) for key in ("pairs_read", "pairs_too_long", "pairs_too_short")
    )
    return ChatbotError(
        f"{one.files[0].name}: {what} (of {read:,} pairs read, {too_long:,} are over {config.max_length} words, "
        f"{too_short:,} under {config.min_length}); see --max-length, --min-count, --split and --format"
    )


def _key(
    config: CorpusConfig,
    inputs: list[_Input],
    entries: list[dict[str, Any]],
    vocabulary: Vocabulary | None,
    grow: bool,
) -> str:
    """A short digest of the input's content and of the settings that matter."""
    given = [vocabulary.tokens, vocabulary.written, grow] if vocabulary else None
    parts = [(one.format, one.part.weight, one.part.is_old, len(one.files), one.part.source.name) for one in inputs]
    settings = dataclasses.asdict(config) | {"corpus": None, "old_corpus": None, "format": parts, "vocabulary": given}
    del settings["mend_words"]  # of chat only
    content = [VERSION, PREPARED_FORMAT, settings, [entry["sha256"] for entry in entries]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _identify(files: list[InputFile], prepared: Path) -> list[dict[str, Any]]:
    """Each file's name, sha256, size and stat.

    The digest of a file of over SMALL_INPUT bytes is cached until its size, times or inode change. It is not cached
    if the file changed in the two seconds before, since a second change in the same clock tick would go unseen.
    """
    cache_path = prepared / "inputs.json"
    cache = _remembered(cache_path, Digest)
    entries, changed = [], False
    for file in files:
        stat, place = _stat(file), str(file.path.resolve())
        known = cache.get(place) if stat[0] >= SMALL_INPUT else None
        if known is None or known["stat"] != stat:
            known = {"stat": stat, "sha256": sha256(file.path)}
            if stat[0] >= SMALL_INPUT and time.time_ns() - max(stat[1:3]) > 2e9:
                cache[place], changed = known, True
        entries.append({"file": file.name, "size": stat[0], **known})
    if changed:
        with atomic_file(cache_path, "w") as out:
            json.dump(sealed(cache), out, indent=1)
    return entries


def _remembered(path: Path, kind: Any) -> dict[str, Any]:
    """What a cache remembers, each of this kind; nothing where it is missing or damaged."""
    try:
        return dict(checked(dict[str, kind], read_sealed(path, MAX_CACHE), "a cache"))
    except (OSError, ValueError, ChatbotError):
        return {}


def _stat(file: InputFile) -> list[int]:
    """Size, times of modification and change, and inode: one of them changes when the content does."""
    with failing_as(f"cannot read {file.path}"):
        stat = file.path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _intact(folder: Path) -> dict[str, Any] | None:
    """The figures of a folder, if every byte of its files is as it was written; None otherwise."""
    try:
        figures = load_figures(folder)
        for split in SPLITS:
            PairDataset(folder, split)
        summary(figures), table(figures)  # which fail if a figure is missing, or is none
        return figures if figures["files"] == checksums(folder) else None
    except Exception:  # whatever is wrong with the folder, it is prepared again
        return None
