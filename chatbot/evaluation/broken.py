"""Broken English, told from replies alone by a model that no network has a part in: counts of what people say.

A word w behind the word v, and behind the two words u v, was seen c(vw) and c(uvw) times in the texts that are counted,
and would have been seen

    e(vw) = c(v) c(w) / N    e(uvw) = c(uv) c(vw) / c(v)

times, N being the number of all words, if it did not depend on v, or depended on v alone. So many times too rarely does
it stand there:

    (e(vw) + 1/2) / (c(vw) + 1/2) * (e(uvw) + 1/2) / (c(uvw) + 1/2)

The logarithm of that is its pointwise mutual information with the words before it (Church and Hanks 1990, *Word
association norms, mutual information, and lexicography*), negated, and nearer to 0 the less would have been seen at
all: a rare word in company that is new to it says nothing, two common words that never meet say much. The oddity of a
text is the logarithm of the sum over its words, of which the oddest decides. It has SOS before and EOS behind it, so
that the first word and the end count.

A reply is broken English if it is odder than 98% of what people say. docs/notes/experiments.md has what readers found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..corpus.ngrams import behind_sos, evenly_spaced, looked_up, turns, with_ends
from ..corpus.prepared import PairDataset

SHARE = 0.02  # of people's own replies, that are as odd as broken English
FEWEST = 50  # held-out replies that the bound is taken from, or there is none: of 50, one is 2%
HELD_OUT = 10  # the last tenth of each corpus is not counted
ADDED = 0.5


class Oddity:
    """How odd texts are, from counts of others.

    Args:
        texts: ids of words, EOS not among them; at least one text.
        vocabulary_size: V.
    """

    def __init__(self, texts: Sequence[np.ndarray], vocabulary_size: int) -> None:
        self._size = vocabulary_size
        tokens, places = behind_sos(*with_ends(texts))
        at = np.flatnonzero(places)
        self._before = np.bincount(tokens[at - 1], minlength=vocabulary_size)  # c(v) of words that one follows
        self._words = np.bincount(tokens[at], minlength=vocabulary_size)
        self._pairs = _Seen(self._pair_keys(tokens, at))
        self._triples = _Seen(self._triple_keys(tokens, np.flatnonzero(places >= 2)))

    def of(self, texts: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
        """The oddity of each text, (texts,) float64."""
        said, starts = with_ends(texts)
        seen, expected = self.counts(said, starts)
        return np.log(np.add.reduceat(((expected + ADDED) / (seen + ADDED)).prod(axis=0), starts))

    def counts(self, said: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How often each word was seen behind the one word before it and behind the two, and how often expected.

        Args:
            said: (N,) words of text after text, EOS last in each. starts: (texts,) where in `said` each begins.

        Returns:
            c and e, both (2, N) float64: row 0 behind one word, row 1 behind two, 0 for the first word of a text.
        """
        tokens, places = behind_sos(said, starts)
        at = np.flatnonzero(places)
        seen, expected = np.zeros((2, 2, len(at)))
        seen[0] = self._pairs.counts(self._pair_keys(tokens, at))
        expected[0] = self._before[tokens[at - 1]] * (self._words[tokens[at]] / self._words.sum())
        rows = np.flatnonzero(places[at] >= 2)
        at = at[rows]
        seen[1, rows] = self._triples.counts(self._triple_keys(tokens, at))
        before = self._pairs.counts(self._pair_keys(tokens, at - 1))
        expected[1, rows] = before * (seen[0, rows] / np.maximum(self._before[tokens[at - 1]], 1))
        return seen, expected

    def _pair_keys(self, tokens: np.ndarray, at: np.ndarray) -> np.ndarray:
        return tokens[at - 1] * self._size + tokens[at]

    def _triple_keys(self, tokens: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Keys of three words; -1 where the first two were not seen. No vocabulary is too large for 63 bits."""
        pair, known = looked_up(self._pairs.keys, self._pair_keys(tokens, at - 1))
        return np.where(known, pair * self._size + tokens[at], -1)


class _Seen:
    """Different keys, rising, and how often each was seen."""

    def __init__(self, seen: np.ndarray) -> None:
        self.keys, self._counts = np.unique(seen, return_counts=True)

    def counts(self, keys: np.ndarray) -> np.ndarray:
        """How often each key was seen, 0 for an unknown one."""
        places, known = looked_up(self.keys, keys)
        found = np.zeros(len(keys), np.int64)
        found[known] = self._counts[places[known]]
        return found


@dataclass(frozen=True)
class BrokenEnglish:
    """Tells broken English by the training pairs of a corpus.

    oddity: by the texts that are counted. bound: 98% of some replies that are not are at most as odd. unseen: places in
    the training split of the pairs that had no part in either.
    """

    oddity: Oddity
    bound: float
    unseen: np.ndarray

    @classmethod
    def of(cls, training: PairDataset, vocabulary_size: int, num_special: int) -> "BrokenEnglish | None":
        """Count training pairs (at most COUNTED_PAIRS, evenly spaced); None where too few are left for a bound.

        Args:
            num_special: how many ids, from 0 up, are not words; prompts that hold one are not counted.
        """
        counted, judged, unseen = divided(training)
        if len(judged) < FEWEST:
            return None
        pairs = [training[place] for place in counted[evenly_spaced(len(counted))].tolist()]
        oddity = Oddity(turns(pairs, num_special), vocabulary_size)
        replies = [training[place][1] for place in judged[evenly_spaced(len(judged))].tolist()]
        return cls(oddity, float(np.quantile(oddity.of(replies), 1 - SHARE)), unseen)

    def among(self, replies: Sequence[Sequence[int]]) -> list[bool]:
        """Which of the replies, ids without EOS, are broken English."""
        broken: list[bool] = (self.oddity.of(replies) > self.bound).tolist() if replies else []
        return broken


def divided(training: PairDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the pairs to count, of those that the bound is taken from, and of those that have no part in it.

    The last tenth of each corpus of a mixture is not counted; in it the two others take turns.
    """
    cuts = [(part.indices, part.indices.stop - len(part.indices) // HELD_OUT) for part in training.parts]
    counted = np.concatenate([np.arange(part.start, cut) for part, cut in cuts])
    held_out = np.concatenate([np.arange(cut, part.stop) for part, cut in cuts])
    return counted, held_out[::2], held_out[1::2]
