"""N-grams of the training texts, as soft targets for the network (`--ngram-smoothing`).

An n-gram model predicts the next word from the last few words alone. It is interpolated modified Kneser-Ney (Chen and
Goodman 1999, *An empirical study of smoothing techniques for language modeling*): for a history h of m-1 words and a
word w,

    p_m(w | h) = (c(hw) - D(c(hw))) / c(h.) + g(h) p_(m-1)(w | h without its first word)

where c(h.) sums c(hw) over all w, g(h) is what the discounts D took away, over c(h.), and D(1), D(2), D(3) (for 3 and
more) are estimated from how many n-grams were seen once, twice, three and four times. For the longest n-grams, and for
those that begin a text, c is how often they were seen; for the others, after how many different words (the part that
is Kneser and Ney's).

A network that learns from these besides the words that were said knows early which words follow each other, and which
others might have. The word to be predicted must then not be among what was counted, or the n-grams would predict
little else: `NgramModel.targets` leaves it out.

The counts are numpy arrays on the host. Targets go to the device as references to histories (a hundred bytes a word)
and become distributions there, from an `NgramTable` that was sent once. N words to be predicted, V words of the
vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..corpus.ngrams import behind_sos, evenly_spaced, looked_up, turns, with_ends
from ..corpus.vocabulary import SOS_ID
from ..system.devices import sent

ORDER = 4  # words of the longest n-grams; 5 would leave room for no vocabulary above 6,208 words


class SoftTargets(NamedTuple):
    """N distributions over V words in little space; `NgramTable.dense` computes them.

    Position rows[k] gets shares[k] of what the table holds of history histories[k]. Position i gets rest[i] of the
    table's two common distributions. The word w of position i gets weights[k] more where places[k] is i * V + w.

    rows, histories (R,) int64, shares (R,); places (P,) int64, weights (P,); rest (N, 2); floats are float32. entries:
    how many words all those histories have together, known here so that the device need not be asked.
    """

    rows: Tensor
    histories: Tensor
    shares: Tensor
    places: Tensor
    weights: Tensor
    rest: Tensor
    entries: int
    vocabulary_size: int

    def to(self, device: torch.device) -> "SoftTargets":
        """Move all of it, without waiting for the device."""
        parts = (sent(part, device) for part in self if isinstance(part, Tensor))
        return SoftTargets._make((*parts, self.entries, self.vocabulary_size))


class FixedTargets(NamedTuple):
    """Soft targets in a shape that does not depend on them; `NgramTable.dense_fixed` computes them.

    rows, histories, shares (R,) and rest (N, 2) as in `SoftTargets`, filled up with zeros; own (N,) is what the word
    itself gets more at each position; entries: at least as many as all the histories have together.
    """

    rows: Tensor
    histories: Tensor
    shares: Tensor
    own: Tensor
    rest: Tensor
    entries: int


class NgramTable(NamedTuple):
    """The words that follow each history, on the device that trains.

    words (entries,) int32, weights (entries,) float32; bounds (histories + 1,) int64, where the entries of each history
    begin; common (2, V) float32: the unigrams, and the first words of texts.
    """

    words: Tensor
    weights: Tensor
    bounds: Tensor
    common: Tensor

    def to(self, device: torch.device) -> "NgramTable":
        """Move all of it."""
        return NgramTable(*(part.to(device) for part in self))

    def dense(self, soft: SoftTargets) -> Tensor:
        """The distributions, (N, V), without waiting for the device."""
        found = soft.rest @ self.common
        first = self.bounds[soft.histories]
        lengths = self.bounds[soft.histories + 1] - first
        of = torch.repeat_interleave(lengths, output_size=soft.entries)
        # index_select, for indexing with brackets takes several times as long on a CPU
        entries = torch.arange(soft.entries, device=of.device)
        entries += (first - lengths.cumsum(0) + lengths).index_select(0, of)
        places = (soft.rows * found.size(1)).index_select(0, of) + self.words.index_select(0, entries)
        flat = found.view(-1)
        flat.index_add_(0, places, soft.shares.index_select(0, of) * self.weights.index_select(0, entries))
        flat.index_add_(0, soft.places, soft.weights)
        return found

    def dense_fixed(self, soft: FixedTargets, targets: Tensor) -> Tensor:
        """The same of fixed shapes, with the words `targets` (N,): (N, V); no value decides what is done."""
        found = soft.rest @ self.common
        first = self.bounds[soft.histories]
        lengths = (self.bounds[soft.histories + 1] - first) * (soft.shares != 0)  # nothing stands where it is filled up
        ends = lengths.cumsum(0)
        place = torch.arange(soft.entries, device=ends.device)
        inside = place < ends[-1]
        of = torch.searchsorted(ends, place, right=True).clamp(max=len(ends) - 1)
        entries = torch.where(inside, (first - ends + lengths)[of] + place, 0)
        flat = found.view(-1)
        # zeros are added for those beyond the end, at places that differ, for adding to one place takes its turn
        places = torch.where(inside, soft.rows[of] * found.size(1) + self.words[entries], place % len(flat))
        flat.index_add_(0, places, soft.shares[of] * self.weights[entries] * inside)
        return found.scatter_add_(1, targets.unsqueeze(1), soft.own.unsqueeze(1))


class _Counts:
    """All n-grams of one length with their counts, made from a key for each time that one counts.

    A key is a number whose digits, in base V, are the ids; a history is a key without the last of them.

    keys (n-grams,) int64, rising, and counts (n-grams,); weights (n-grams,) float32, the discounted count over its
    history's total; histories (H,) int64; bounds (H + 1,), where the keys of each history begin; totals, taken (H,)
    float64, the sums over a history of its counts and of their discounts D.
    """

    def __init__(self, seen: np.ndarray, vocabulary_size: int) -> None:
        self.keys, counts = np.unique(seen, return_counts=True)
        self.counts = counts.astype(np.int32)
        self.histories, first = np.unique(self.keys // vocabulary_size, return_index=True)
        self.bounds = np.append(first, len(self.keys))
        self._discounts = _estimated_discounts(self.counts)
        discounts = self.discounts(self.counts)
        self.totals = np.add.reduceat(self.counts, first, dtype=np.float64)
        self.taken = np.add.reduceat(discounts, first)
        self.weights = ((self.counts - discounts) / np.repeat(self.totals, np.diff(self.bounds))).astype(np.float32)

    def discounts(self, counts: np.ndarray) -> np.ndarray:
        """D of each count."""
        return self._discounts[np.minimum(counts, 3)]


class NgramModel:
    """Kneser-Ney estimates from the texts of training pairs, each turn of a dialogue counted once.

    Args:
        pairs: the training pairs, (prompt, reply).
        vocabulary_size: V.
        num_special: how many ids, from 0 up, are not words; prompts that hold one are not counted.
        order: how many words the longest n-grams have, at least 2; lowered where keys would not fit into 63 bits (5
            words fit up to a vocabulary of 6,208, 4 up to 55,108).
    """

    def __init__(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], vocabulary_size: int, num_special: int, order: int = ORDER
    ) -> None:
        self.vocabulary_size = vocabulary_size
        while vocabulary_size**order >= 1 << 63:
            order -= 1
        self.order = order
        counted = evenly_spaced(len(pairs))
        self.share = len(counted) / len(pairs)  # of the pairs, that are counted
        # each turn once: if one counted as a reply and as a prompt, `targets` would leave it out once and still find it
        texts = turns([pairs[index] for index in counted], num_special)
        # the texts whose own words `targets` must leave out; None where that is all of them
        whole = len(counted) == len(pairs)
        self._counted = None if whole else frozenset(text.astype(np.int64).tobytes() for text in texts)
        tokens, places = behind_sos(*with_ends(texts))
        self._counts: dict[int, _Counts] = {}
        longer = np.empty(0, np.int64)
        for length in range(order, 1, -1):
            # n-grams of the longest kind count each time; of a shorter kind those that begin a text do, and besides
            # each longer n-gram counts once for the words that it ends in (`longer`)
            here = np.flatnonzero(places >= length - 1 if length == order else places == length - 1)
            seen = np.concatenate((self._keys(tokens, here, length), longer))
            self._counts[length] = _Counts(seen, vocabulary_size)
            longer = self._counts[length].keys % vocabulary_size ** (length - 1)
        self._unigrams = _Counts(longer, vocabulary_size)

    def table(self) -> NgramTable:
        """The table that `targets` refers to: the n-grams of every length from 2 up, one length after the other."""
        size, unigrams, bigrams = self.vocabulary_size, self._unigrams, self._counts[2]
        common = np.zeros((2, size))
        common[0, unigrams.keys] = unigrams.weights
        common[0] += unigrams.taken / unigrams.totals / size
        first = bigrams.keys // size == SOS_ID
        common[1, bigrams.keys[first] % size] = bigrams.weights[first]
        levels = [self._counts[length] for length in range(2, self.order + 1)]
        lengths = np.concatenate([np.diff(level.bounds) for level in levels])
        return NgramTable(
            torch.from_numpy(np.concatenate([level.keys % size for level in levels]).astype(np.int32)),
            torch.from_numpy(np.concatenate([level.weights for level in levels])),
            torch.from_numpy(np.concatenate(([0], np.cumsum(lengths)))),
            torch.from_numpy(common.astype(np.float32)),
        )

    def targets(self, said: np.ndarray, starts: np.ndarray, share: float, *, counted: bool = True) -> SoftTargets:
        """Soft targets: a `share` of each goes to the words that n-grams expect, the rest to the word that was said.

        They are expected from the counts without the n-grams that end in the said word itself. (One word more or less
        makes no difference to the unigrams and to the discounts, so those stay.)

        Args:
            said: (N,) words of text after text, EOS last in each. starts: (texts,) where in `said` each begins.
            counted: whether the texts are training texts; which of them were counted is looked up.
        """
        size = self.vocabulary_size
        tokens, places = behind_sos(said, starts)
        at = np.flatnonzero(places)  # where each of `said` stands in `tokens`
        said, places = tokens[at], places[at]
        held = np.repeat(self._held(said, starts, counted), np.diff(np.append(starts, len(said))))
        carried = np.full(len(said), share)  # what the longer n-grams leave to the shorter ones
        lost = np.zeros(len(said), bool)  # whether the n-gram one longer was seen here only, and is left out
        rest = np.zeros((len(said), 2))
        numbers = np.cumsum([0] + [len(self._counts[length].histories) for length in range(2, self.order + 1)])
        references: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, histories, shares
        more = [(np.arange(len(said)) * size + said, np.full(len(said), 1 - share))]  # places, weights
        entries = 0
        for length in range(self.order, 1, -1):
            counts = self._counts[length]
            rows = np.flatnonzero(places >= length - 1)
            keys = self._keys(tokens, at[rows], length)
            place, seen = looked_up(counts.keys, keys)
            count = np.zeros(len(keys), np.int64)
            count[seen] = counts.counts[place[seen]]
            ends_here = (length == self.order) | (places[rows] == length - 1)  # no longer n-gram ends in this word
            less = held[rows] & (count > 0) & (lost[rows] | ends_here)
            lost[rows] = less & (count == 1)
            history, known = looked_up(counts.histories, keys // size)
            rows, count, less, history = rows[known], count[known], less[known], history[known]

            one_less = np.where(less, count - 1, count)
            total = counts.totals[history] - less
            taken = counts.taken[history] - counts.discounts(count) + counts.discounts(one_less)
            emptied = total == 0  # nothing but the word at hand was ever said there
            total[emptied] = taken[emptied] = 1
            shares = np.where(emptied, 0, carried[rows] / total)
            change = (one_less - counts.discounts(one_less)) - (count - counts.discounts(count))
            more.append((rows[less] * size + said[rows[less]], (shares * change)[less]))
            carried[rows] *= taken / total
            shares *= counts.totals[history]
            sparse = np.ones(len(rows), bool)
            if length == 2:  # the first words of texts are many and the same for all texts: a common distribution
                sparse = places[rows] > 1
                rest[rows[~sparse], 1] = shares[~sparse]
            references.append((rows[sparse], history[sparse] + numbers[length - 2], shares[sparse]))
            entries += int((counts.bounds[history + 1] - counts.bounds[history])[sparse].sum())
        rest[:, 0] = carried
        rows, histories, shares = (np.concatenate(column) for column in zip(*references, strict=True))
        where, weights = (np.concatenate(column) for column in zip(*more, strict=True))
        parts = (rows, histories, np.float32(shares), where, np.float32(weights), np.float32(rest))
        return SoftTargets._make((*map(torch.from_numpy, parts), entries, size))

    def _held(self, said: np.ndarray, starts: np.ndarray, counted: bool) -> np.ndarray:
        """Which texts are among those that were counted, (texts,) bool."""
        if not counted or self._counted is None:
            return np.full(len(starts), counted)
        return np.array([text[:-1].tobytes() in self._counted for text in np.split(said, starts[1:])], bool)

    def _keys(self, tokens: np.ndarray, at: np.ndarray, length: int) -> np.ndarray:
        """Keys of the n-grams of `length` that end at places in `tokens`."""
        keys = np.zeros(len(at), np.int64)
        for back in range(length - 1, -1, -1):
            keys = keys * self.vocabulary_size + tokens[at - back]
        return keys


def _estimated_discounts(counts: np.ndarray) -> np.ndarray:
    """D of the counts 0, 1, 2, and 3 or more: Chen and Goodman's estimates, or 3/4 where too little was counted."""
    once, twice, thrice, four_times = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (once and twice and thrice):
        return np.array([0.0, 0.75, 0.75, 0.75])
    share = once / (once + 2 * twice)
    found = [1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four_times / thrice]
    return np.clip([0.0, *found], 0, [0, 1, 2, 3])
