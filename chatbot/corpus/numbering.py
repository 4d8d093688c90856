"""Pairs in provisional numbers on disk -> the vocabulary -> the prepared arrays. All in numpy, a chunk at a time.

The text pass (`preparation`) numbers words as it meets them and appends every pair to a `Draft`. Only when all is
read is it known which words are frequent enough, so a second pass renumbers. What stays in memory is the table of
words and a few bytes for each pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError
from .draft import SEP_NUMBER, UNK_NUMBER, Chunk, Draft, sums
from .pairs import TRAIN
from .prepared import DTYPES, OFFSETS_DTYPE, SPLITS, ids_file, offsets_file
from .vocabulary import Vocabulary

FREQUENT_REPLIES = 20


@dataclass
class Numbered:
    """What numbering found: the vocabulary, and figures for the manifest."""

    vocabulary: Vocabulary
    dtype: str
    splits: dict[str, dict[str, int]]
    figures: dict[str, Any] = field(default_factory=dict)


def number(
    draft: Draft,
    words: list[str],
    sides: np.ndarray,
    config: CorpusConfig,
    folder: Path,
    given: Vocabulary | None = None,
) -> Numbered:
    """Choose the vocabulary from the training pairs, drop what the settings drop, and write the arrays of each split.

    Args:
        draft: the closed draft.
        words: its words by number.
        sides: (P,) TRAIN, VALID or TEST for each pair.
        folder: where the arrays go.
        given: a vocabulary to take instead of choosing one. If it has no `<unk>`, a pair with an unknown word is
            dropped whatever the settings say.

    Raises:
        ChatbotError: the given vocabulary has no `<sep>` and the settings want context.
    """
    hashes = np.empty(len(sides), np.uint64)  # 160 MB for 20 million pairs, so there is only one such array
    dropped = np.zeros(len(sides), bool)
    split = bool((sides != TRAIN).any())
    for chunk in draft.chunks():
        hashes[chunk.pairs] = pair_hashes(chunk.numbers, chunk)
    again, _ = repeats(hashes, sides, ~dropped)
    duplicates = int(again.sum())
    if config.duplicates == "drop":
        dropped |= again
    reasons = {"pairs_duplicate": int(dropped.sum())}
    counts = _counts(draft, len(words), (sides == TRAIN) & ~dropped)
    vocabulary, final = _given(words, config, given) if given else _vocabulary(words, counts, config)

    held_out = np.zeros(2, np.int64)  # words of held-out pairs: all, unknown
    for chunk in draft.chunks():
        ids = final[chunk.numbers]
        here = chunk.pairs
        for reason, drop in _unusable(chunk, ids, vocabulary, config).items():
            drop &= ~dropped[here]
            dropped[here] |= drop
            reasons[reason] = reasons.get(reason, 0) + int(drop.sum())
        if split:
            hashes[here] = pair_hashes(ids, chunk)
        outside = chunk.per_number(sides[here] != TRAIN) & (chunk.numbers != SEP_NUMBER)
        held_out += outside.sum(), (outside & (ids < 0)).sum()
    reasons["pairs_leaked"] = 0
    if split:
        _, leaked = repeats(hashes, sides, ~dropped)
        dropped |= leaked
        reasons["pairs_leaked"] = int(leaked.sum())

    dtype = "uint16" if len(vocabulary) <= 1 << 16 else "int32"
    splits, lengths = _write(draft, final, sides, dropped, vocabulary, dtype, folder)
    for chunk in draft.chunks():
        hashes[chunk.pairs] = run_hashes(chunk.numbers, chunk.bounds)[1::2]
    total, known = int(counts.sum()), int(counts[final >= vocabulary.num_special].sum())
    figures = {
        "words_counted": int((counts > 0).sum()) + vocabulary.num_special,
        "words_total": int((counts > 0).sum()),
        "words_kept": int((counts[final >= vocabulary.num_special] > 0).sum()),
        "vocabulary_given": given is not None,
        "pairs_kept": sum(split["pairs"] for split in splits.values()),
        "duplicates": duplicates,
        "dropped": reasons,
        "coverage": {
            "train": known / total if total else 0.0,
            "held_out": 1 - int(held_out[1]) / int(held_out[0]) if held_out[0] else None,
            "by_vocabulary": _coverage(counts, total),
        },
        "lengths": lengths,
        "frequent_replies": _frequent_replies(draft, hashes, words, ~dropped),
    }
    return Numbered(vocabulary, dtype, splits, figures)


def _counts(draft: Draft, words: int, used: np.ndarray) -> np.ndarray:
    """How often each word stands in the `used` pairs, int64; `<unk>` and `<sep>` are no words."""
    counts = np.zeros(words, np.int64)
    for chunk in draft.chunks():
        counts += np.bincount(chunk.numbers[chunk.per_number(used[chunk.pairs])], minlength=words)
    counts[[UNK_NUMBER, SEP_NUMBER]] = 0
    return counts


def _vocabulary(words: list[str], counts: np.ndarray, config: CorpusConfig) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary, and (words,) int32 from draft numbers to its ids: -1 for an unknown word."""
    by_count = np.argsort(-counts, kind="stable")  # of equals the first seen first
    known = by_count[: np.count_nonzero(counts >= config.min_count)]
    if config.tutorial_quirks:
        known = np.sort(known)  # the order in which they were first seen
    vocabulary = Vocabulary.from_words(
        (words[number] for number in known.tolist()),
        unknown=config.unknown_prompts == "keep",
        separator=config.context > 0,
    )
    final = np.full(len(words), -1, np.int32)
    final[known] = np.arange(vocabulary.num_special, len(vocabulary), dtype=np.int32)
    if vocabulary.sep_id is not None:
        final[SEP_NUMBER] = vocabulary.sep_id
    return vocabulary, final


def _given(words: list[str], config: CorpusConfig, vocabulary: Vocabulary) -> tuple[Vocabulary, np.ndarray]:
    """As `_vocabulary`, for a vocabulary that is there already."""
    if config.context and vocabulary.sep_id is None:
        raise ChatbotError(
            "the vocabulary that was given has no <sep>, so there can be no context: leave out --context"
        )
    final = np.fromiter((vocabulary.ids.get(word, -1) for word in words), np.int32, len(words))
    final[UNK_NUMBER] = -1
    return vocabulary, final


def _unusable(chunk: Chunk, ids: np.ndarray, vocabulary: Vocabulary, config: CorpusConfig) -> dict[str, np.ndarray]:
    """(P,) masks of pairs to drop, by reason; a pair may be in several."""
    unknown = chunk.flagged(ids < 0) > 0
    hollow = unknown & (chunk.flagged(ids >= vocabulary.num_special) == 0)
    reasons = {"pairs_unknown_reply": unknown[:, 1]}
    if config.unknown_prompts == "drop" or vocabulary.unk_id is None:
        reasons["pairs_unknown_prompt"] = unknown[:, 0]
    reasons["pairs_only_unknown"] = hollow.any(axis=1)
    return reasons


def _write(
    draft: Draft,
    final: np.ndarray,
    sides: np.ndarray,
    dropped: np.ndarray,
    vocabulary: Vocabulary,
    dtype: str,
    folder: Path,
) -> tuple[dict[str, dict[str, int]], dict[str, list[int]]]:
    """Write ids and offsets of every split. Returns their sizes, and histograms of the lengths of both sides."""
    splits = {}
    histograms = {"prompts": np.zeros(0, np.int64), "replies": np.zeros(0, np.int64)}
    unknown = 0 if vocabulary.unk_id is None else vocabulary.unk_id
    for side, split in enumerate(SPLITS):
        pairs, tokens = 0, 0
        with (folder / ids_file(split)).open("wb") as ids_out, (folder / offsets_file(split)).open("wb") as offsets_out:
            offsets_out.write(np.zeros(1, OFFSETS_DTYPE).data)  # not tofile, whose errors do not say why
            for chunk in draft.chunks():
                here = (sides[chunk.pairs] == side) & ~dropped[chunk.pairs]
                ids = final[chunk.numbers[chunk.per_number(here)]]
                ids_out.write(np.where(ids < 0, unknown, ids).astype(DTYPES[dtype]).data)
                lengths = np.diff(chunk.bounds).reshape(-1, 2)[here]
                offsets_out.write((tokens + np.cumsum(lengths)).astype(OFFSETS_DTYPE).data)
                pairs, tokens = pairs + len(lengths), tokens + int(lengths.sum())
                for name, column in zip(histograms, lengths.T, strict=True):
                    histograms[name] = _added(histograms[name], np.bincount(column))
        splits[split] = {"pairs": pairs, "tokens": tokens}
    return splits, {name: counts.tolist() for name, counts in histograms.items()}


def _frequent_replies(draft: Draft, hashes: np.ndarray, words: list[str], kept: np.ndarray) -> list[dict[str, Any]]:
    """The commonest replies (by their hashes, (P,)) among the pairs kept, as words joined by spaces, with counts."""
    found: list[tuple[int, int]] = []
    for chosen in _buckets(hashes, kept):
        _, first, counts = np.unique(hashes[chosen], return_index=True, return_counts=True)
        top = np.argsort(-counts, kind="stable")[:FREQUENT_REPLIES]
        found += zip((-counts[top]).tolist(), chosen[first[top]].tolist(), strict=True)
    wanted = {pair: -count for count, pair in sorted(found)[:FREQUENT_REPLIES]}
    replies = []
    for chunk in draft.chunks():
        for pair in sorted(wanted):
            if chunk.pairs.start <= pair < chunk.pairs.stop:
                start, end = chunk.bounds[2 * (pair - chunk.first) + 1 :][:2]
                text = " ".join(words[number] for number in chunk.numbers[start:end].tolist())
                replies.append({"reply": text, "count": wanted.pop(pair)})
        if not wanted:
            break
    return sorted(replies, key=lambda reply: -reply["count"])


def _coverage(counts: np.ndarray, total: int) -> dict[str, float]:
    """Share of the words of training text that a vocabulary of so many of the commonest words would know."""
    running = np.cumsum(-np.sort(-counts))
    sizes = [size for size in (100, 300, 1000, 3000, 10_000, 30_000, 100_000) if size < np.count_nonzero(counts)]
    return {str(size): float(running[size - 1]) / total for size in sizes}


def repeats(hashes: np.ndarray, sides: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of equal hashes (P,), which come again, and which stand on a later side of the split than the first: (P,) bool.

    Only pairs that are `used` (P,) count. "First" is by side, then by place. A sixteenth of the hashes at a time.
    """
    again, leaked = np.zeros(len(hashes), bool), np.zeros(len(hashes), bool)
    for chosen in _buckets(hashes, used):
        values, of = hashes[chosen], sides[chosen]
        order = np.lexsort((of, values))
        values, of, chosen = values[order], of[order], chosen[order]
        new = np.ones(len(values), bool)
        np.not_equal(values[1:], values[:-1], out=new[1:])
        first = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0)) if len(new) else np.zeros(0, np.int64)
        again[chosen] = ~new
        leaked[chosen] = of > of[first]
    return again, leaked


def _buckets(hashes: np.ndarray, used: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the hashes that are `used`, in sixteen lists such that equal ones come together."""
    high = hashes.astype("<u8", copy=False).view(np.uint8)[7::8] >> 4
    return (np.flatnonzero((high == bucket) & used) for bucket in range(16))


def pair_hashes(numbers: np.ndarray, chunk: Chunk) -> np.ndarray:
    """(P,) uint64, the same for pairs with the same prompt and reply: a collision in 20 million is 1 : 100,000."""
    sides = run_hashes(numbers, chunk.bounds)
    return _mixed(sides[0::2]) + sides[1::2]


def run_hashes(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(S,) uint64 for S runs of numbers (N,), by their values and order."""
    place = np.arange(len(numbers)) - np.repeat(bounds[:-1], np.diff(bounds))
    mixed = _mixed((numbers.astype(np.int64) << 20 | place).view(np.uint64))
    return _mixed(sums(mixed, bounds, np.uint64) + np.diff(bounds).astype(np.uint64))


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit of the value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _added(total: np.ndarray, more: np.ndarray) -> np.ndarray:
    if len(more) > len(total):
        total, more = more, total
    total = total.copy()
    total[: len(more)] += more
    return total
