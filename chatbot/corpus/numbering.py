"""The second pass of a preparation: make the vocabulary and the prepared arrays of each split from a draft of pairs.

It works in numpy, a chunk at a time; memory holds the words and some bytes for each pair.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config.settings import CorpusConfig
from ..system.errors import ChatbotError
from .draft import SEP_NUMBER, UNK_NUMBER, Chunk, Draft
from .figures import SPLITS, VOCABULARY
from .forms import majority_forms
from .hashing import commonest, pair_hashes, repeats, run_hashes
from .pairs import NO_SIDE, TEST, TRAIN, VALID
from .prepared import DTYPES, OFFSETS_DTYPE
from .vocabulary import Vocabulary

FREQUENT_REPLIES = 20
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # of vocabularies whose coverage is reported


def number(
    draft: Draft,
    sides: np.ndarray,
    parts: np.ndarray,
    weights: Sequence[float],
    names: Sequence[str],
    config: CorpusConfig,
    folder: Path,
    given: Vocabulary | None = None,
    grow: bool = False,
) -> dict[str, Any]:
    """Choose the vocabulary from the training pairs, drop pairs as the settings say, and write the arrays.

    Args:
        sides: (P,) TRAIN, VALID or TEST for each pair of the (closed) draft, or NO_SIDE for one that is dropped.
        parts: (P,) uint8, the number of the corpus that each pair is of.
        weights: how often an epoch shows the pairs of each corpus, and so how often their words count.
        names: of the corpora, whose voices begin their prompts if `config.voices` says so and there are several.
        folder: where the arrays and the vocabulary are written.
        given: a vocabulary to use instead. If it has no `<unk>`, every pair with an unknown word is dropped.
        grow: the given vocabulary is followed by those words of the chosen one that it lacks.

    Returns:
        The figures of what was kept, dropped and written.

    Raises:
        ChatbotError: the given vocabulary has no `<sep>`, and the settings ask for context; or no voice likewise.
    """
    if given and config.context and given.sep_id is None:
        raise ChatbotError("the given vocabulary has no <sep>, so there can be no context: leave out --context")
    if given and config.vocabulary and config.voices and len(names) > 1 and not given.voices:
        raise ChatbotError("the given vocabulary has no voices, such as <as:sample>: give --no-voices")
    words = draft.words
    hashes = np.empty(len(sides), np.uint64)  # one array for three uses: it is 160 MB for 20 million pairs
    for chunk in draft.chunks():
        hashes[chunk.pairs] = pair_hashes(chunk.numbers, chunk.bounds)
    again, _ = repeats(hashes, sides, True)
    dropped = again & (config.duplicates == "drop")
    reasons = {"pairs_duplicate": int(dropped.sum()), "pairs_held_back": int(((sides == NO_SIDE) & ~dropped).sum())}
    dropped |= sides == NO_SIDE

    counts = np.zeros(len(words))  # of each word, in the training pairs that are left
    for chunk in draft.chunks():
        used = ((sides[chunk.pairs] == TRAIN) & ~dropped[chunk.pairs]) * np.array(weights)[parts[chunk.pairs]]
        counts += np.bincount(chunk.numbers, chunk.per_number(used), minlength=len(words))
    counts = np.ceil(counts.round(6)).astype(np.int64)  # rounded, for 0.1 added up 30 times may be a little over 3
    counts[[UNK_NUMBER, SEP_NUMBER]] = 0  # they are no words
    if given and not grow:
        vocabulary = given
    else:
        learnt = _learnt(draft, counts, config, names)
        vocabulary = given.grown(learnt) if given else learnt
    final = np.fromiter((vocabulary.ids.get(word, -1) for word in words), np.int32, len(words))
    final[UNK_NUMBER] = -1  # unknown words are -1 here, since there may be no <unk>

    held_out = np.zeros(2, np.int64)  # words of held-out pairs, and how many of them are unknown
    for chunk in draft.chunks():
        ids, here = final[chunk.numbers], chunk.pairs
        for reason, drop in _unusable(chunk, ids, vocabulary, config).items():
            drop &= ~dropped[here]
            dropped[here] |= drop
            reasons[reason] = reasons.get(reason, 0) + int(drop.sum())
        # now by ids: pairs that differ only in unknown words are the same to the model
        hashes[here] = pair_hashes(ids, chunk.bounds)
        is_held_out = (sides[here] == VALID) | (sides[here] == TEST)
        outside = chunk.per_number(is_held_out) & (chunk.numbers != SEP_NUMBER)
        held_out += outside.sum(), (outside & (ids < 0)).sum()
    _, leaked = repeats(hashes, sides, ~dropped)
    dropped |= leaked
    reasons["pairs_leaked"] = int(leaked.sum())

    voices = np.array([vocabulary.voice_of(name) for name in names])[parts] if vocabulary.voices else None
    written = _write(draft, final, sides, dropped, vocabulary, voices, folder)
    for side, split in enumerate(SPLITS):
        by_part = np.bincount(parts[(sides == side) & ~dropped], minlength=len(weights))
        written["splits"][split]["by_part"] = by_part.tolist()
    for chunk in draft.chunks():
        hashes[chunk.pairs] = run_hashes(chunk.numbers, chunk.bounds)[1::2]
    known = final >= vocabulary.num_special
    total, seen = int(counts.sum()), int((counts > 0).sum())
    running = np.cumsum(-np.sort(-counts))
    return written | {
        "words_counted": seen + vocabulary.num_special,
        "words_total": seen,
        "words_kept": int((counts[known] > 0).sum()),
        "vocabulary_given": given is not None,
        "pairs_kept": int((~dropped).sum()),
        "duplicates": int(again.sum()),
        "dropped": reasons,
        "coverage": {
            "train": int(counts[known].sum()) / total if total else 0.0,
            "held_out": 1 - int(held_out[1]) / int(held_out[0]) if held_out[0] else None,
            "by_vocabulary": {str(size): float(running[size - 1]) / total for size in SIZES if size < seen},
        },
        "frequent_replies": _frequent_replies(draft, hashes, ~dropped),
    }


def _learnt(draft: Draft, counts: np.ndarray, config: CorpusConfig, names: Sequence[str]) -> Vocabulary:
    """The vocabulary of all words that are frequent enough, the commonest first, equally common ones as first seen."""
    by_count = np.argsort(-counts, kind="stable")
    known = by_count[: np.count_nonzero(counts >= config.min_count)]
    if config.tutorial_quirks:
        known = np.sort(known)  # the order in which they were first seen
    words = {draft.words[number]: count for number, count in zip(known.tolist(), counts[known].tolist(), strict=True)}
    return Vocabulary.from_words(
        words,
        unknown=config.unknown_prompts == "keep",
        separator=config.context > 0,
        voices=names if config.voices and len(names) > 1 else (),
        written=majority_forms(draft.runs, words, config.tokenizer),
    )


def _unusable(chunk: Chunk, ids: np.ndarray, vocabulary: Vocabulary, config: CorpusConfig) -> dict[str, np.ndarray]:
    """Masks (P,) of the pairs to drop, by reason; a pair may be in several."""
    unknown_prompt, unknown_reply = (chunk.flagged(ids < 0) > 0).T
    unknown_only = unknown_prompt & (chunk.flagged(ids >= vocabulary.num_special)[:, 0] == 0)
    must_know = config.unknown_prompts == "drop" or vocabulary.unk_id is None
    return {
        "pairs_unknown_reply": unknown_reply,
        **({"pairs_unknown_prompt": unknown_prompt} if must_know else {}),
        "pairs_only_unknown": unknown_only,
    }


def _write(
    draft: Draft,
    final: np.ndarray,
    sides: np.ndarray,
    dropped: np.ndarray,
    vocabulary: Vocabulary,
    voices: np.ndarray | None,
    folder: Path,
) -> dict[str, Any]:
    """Write the vocabulary and every split's ids and offsets; return their sizes and histograms of lengths in words.

    voices (P,): the id that begins each pair's prompt, which the histograms do not count; None where there is none.
    """
    vocabulary.save(folder / VOCABULARY)
    dtype = "uint16" if len(vocabulary) <= 1 << 16 else "int32"
    unknown = 0 if vocabulary.unk_id is None else vocabulary.unk_id
    splits, histograms = {}, np.zeros((2, draft.longest + 1), np.int64)
    for side, split in enumerate(SPLITS):
        pairs, tokens = 0, 0
        with (folder / f"{split}.ids").open("wb") as ids_out, (folder / f"{split}.offsets").open("wb") as offsets_out:
            offsets_out.write(np.zeros(1, OFFSETS_DTYPE).data)  # ndarray.tofile's errors do not say why
            for chunk in draft.chunks():
                here = (sides[chunk.pairs] == side) & ~dropped[chunk.pairs]
                ids = final[chunk.numbers[chunk.per_number(here)]]
                lengths = np.diff(chunk.bounds).reshape(-1, 2)[here]
                for histogram, column in zip(histograms, lengths.T, strict=True):
                    histogram += np.bincount(column, minlength=len(histogram))
                if voices is not None:
                    begins = np.cumsum(lengths.sum(axis=1)) - lengths.sum(axis=1)
                    ids = np.insert(ids, begins, voices[chunk.pairs][here])
                    lengths[:, 0] += 1
                ids_out.write(np.where(ids < 0, unknown, ids).astype(DTYPES[dtype]).data)
                offsets_out.write((tokens + np.cumsum(lengths)).astype(OFFSETS_DTYPE).data)
                pairs, tokens = pairs + len(lengths), tokens + int(lengths.sum())
        splits[split] = {"pairs": pairs, "tokens": tokens}
    prompts, replies = (np.trim_zeros(histogram, "b").tolist() for histogram in histograms)
    return {"dtype": dtype, "splits": splits, "lengths": {"prompts": prompts, "replies": replies}}


def _frequent_replies(draft: Draft, hashes: np.ndarray, kept: np.ndarray) -> list[dict[str, Any]]:
    """The commonest replies of the pairs kept, by their hashes (P,), as words joined by spaces, with counts."""
    counts, texts = dict(commonest(hashes, kept, FREQUENT_REPLIES)), dict[int, str]()
    for chunk in draft.chunks():
        for pair in counts:
            if chunk.pairs.start <= pair < chunk.pairs.stop:
                start, end = chunk.bounds[2 * (pair - chunk.first) + 1 :][:2]
                texts[pair] = " ".join(draft.words[number] for number in chunk.numbers[start:end].tolist())
    return [{"reply": texts[pair], "count": count} for pair, count in counts.items()]
