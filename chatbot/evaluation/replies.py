"""Figures of replies: pure functions of lists of words (or ids), one list a reply.

The definitions are those of Csaky, Purgai and Recski, "Improving Neural Conversational Models with Entropy-Based Data
Filtering" (ACL 2019), and of their program dialog-eval; docs/evaluation.md has the formulas and the differences. A
figure that would divide by nothing is None.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Reply: TypeAlias = Sequence[Hashable]
Ngram: TypeAlias = tuple[Hashable, ...]

BLEU_WEIGHTS = [(1 / order,) * order for order in (1, 2, 3, 4)]
MOST = 10  # that many of the most frequent replies are the generic ones


def figures(
    replies: Sequence[Reply],
    references: Sequence[Reply],
    probabilities: Mapping[Ngram, float],
    training: Container[Ngram],
    pairs_per_second: float | None = None,
    text: Callable[[Reply], str] = str,
    broken: Sequence[bool] = (),
) -> dict[str, Any]:
    """All figures of a list of replies, under the keys of `--json`.

    Args:
        references: what a person said instead, one for each reply; else a ValueError is raised.
        probabilities: of words (as tuples of one) and bigrams in the training replies, where they stand there.
        training: the training replies, as tuples.
        pairs_per_second: how fast they were found; None for replies that were not generated.
        text: writes a reply for people.
        broken: of those replies that can be judged, which are broken English.

    Returns:
        replies: how many. bleu_n, corpus_bleu_n: for n from 1 to 4. distinct_n, entropy_n: for n of 1 and 2.
        exact_repeats: share of the replies that are replies of the training set too. pairs_per_second. judged:
        how many replies `broken` speaks of; broken: the share of these that are. The others are what the functions of
        their names return.
    """
    if len(replies) != len(references):
        raise ValueError(f"{len(replies)} replies and {len(references)} references")
    return {
        "replies": len(replies),
        **{f"bleu_{n}": score for n, score in enumerate(bleu(replies, references), 1)},
        **{f"corpus_bleu_{n}": score for n, score in enumerate(corpus_bleu(replies, references), 1)},
        **{f"distinct_{n}": distinct(replies, n) for n in (1, 2)},
        **{f"entropy_{n}": entropy(replies, probabilities, n) for n in (1, 2)},
        "mean_length": mean_length(replies),
        "generic_rate": generic_rate(replies),
        "exact_repeats": _mean(float(tuple(reply) in training) for reply in replies),
        "judged": len(broken),
        "broken": _mean(map(float, broken)),
        "pairs_per_second": pairs_per_second,
        "frequent": [{"reply": text(reply), "count": count} for reply, count in frequent(replies)],
    }


def bleu(replies: Sequence[Reply], references: Sequence[Reply]) -> tuple[float | None, ...]:
    """BLEU-1 to BLEU-4: of each reply against its one reference, then the mean over replies.

    BLEU-n (Papineni et al. 2002) is the brevity penalty times the geometric mean of the clipped precisions of
    1-grams to n-grams, each weighing 1/n. A precision of 0 is smoothed by method 4 of Chen and Cherry (2014) as nltk
    has it: the first becomes ln(L) / (2 * 5 * N), the next ln(L) / (4 * 5 * N), and so on, where L is the reply's
    length and N its number of such n-grams (at least 1). A reply of one word is not smoothed: its BLEU-1 to 4 are
    equal. Without any word in common BLEU is 0.
    """
    from nltk.translate import bleu_score  # here, for its import takes half a second

    if not replies:
        return (None,) * len(BLEU_WEIGHTS)
    smoothed = bleu_score.SmoothingFunction().method4
    scores = [
        bleu_score.sentence_bleu([reference], reply, BLEU_WEIGHTS, smoothed)
        for reply, reference in zip(replies, references, strict=True)
    ]
    return tuple(math.fsum(column) / len(scores) for column in zip(*scores, strict=True))


def corpus_bleu(replies: Sequence[Reply], references: Sequence[Reply]) -> tuple[float | None, ...]:
    """BLEU-1 to BLEU-4 of all replies as one text: n-grams are added up first, and nothing is smoothed.

    It is 0 where no n-gram of some order is right. nltk counts a reply too short for an n-gram as one that is wrong.
    """
    from nltk.translate import bleu_score

    if not replies:
        return (None,) * len(BLEU_WEIGHTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a precision of 0, which nltk turns into about 1e-77
        scores = bleu_score.corpus_bleu([[reference] for reference in references], replies, BLEU_WEIGHTS)
    return tuple(score if score > 1e-70 else 0.0 for score in scores)


def distinct(replies: Iterable[Reply], order: int) -> float | None:
    """Distinct-n (Li et al. 2016): different n-grams over all n-grams; it falls as the number of replies grows."""
    counts = Counter(ngram for reply in replies for ngram in ngrams(reply, order))
    return len(counts) / counts.total() if counts else None


def mean_length(replies: Iterable[Reply]) -> float | None:
    """Words in a reply; punctuation marks are words, `<eos>` is not."""
    return _mean(len(reply) for reply in replies)


def entropy(replies: Iterable[Reply], probabilities: Mapping[Ngram, float], order: int) -> float | None:
    """Entropy per word (order 1) or bigram (order 2) in bits (Serban et al. 2017): higher for what is less common.

    For a reply it is the mean of -log2 p over its n-grams, where p is the n-gram's share of all n-grams of the training
    replies; then the mean over replies. N-grams that training never had are left out, and replies without any other.
    """
    bits = ([-math.log2(probabilities[g]) for g in ngrams(reply, order) if g in probabilities] for reply in replies)
    return _mean(math.fsum(known) / len(known) for known in bits if known)


def generic_rate(replies: Sequence[Reply]) -> float | None:
    """Share of the replies that are one of the ten most frequent among them."""
    return sum(count for _, count in frequent(replies)) / len(replies) if replies else None


def frequent(replies: Iterable[Reply]) -> list[tuple[Ngram, int]]:
    """The ten most frequent replies with their counts; of equally frequent ones the first said."""
    return Counter(map(tuple, replies)).most_common(MOST)


def ngrams(reply: Reply, order: int) -> Iterator[Ngram]:
    """The n-grams of a reply from left to right."""
    return zip(*(reply[start:] for start in range(order)), strict=False)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return math.fsum(found) / len(found) if found else None
