"""What the next word is by the last few words alone: n-grams of the training texts, as numpy arrays. No torch here.

Interpolated modified Kneser-Ney (Chen and Goodman 1999, *An empirical study of smoothing techniques for language
modeling*, equations 25-29): for a history h of m-1 words and a word w,

    p_m(w | h) = (c(hw) - D(c(hw))) / c(h.) + g(h) p_(m-1)(w | h without its first word)

where c(h.) sums c(hw) over all w, g(h) is what the discounts D took away, over c(h.), and D(1), D(2), D(3) (for 3 and
more) are estimated from how many n-grams were seen once, twice, three and four times. In the longest n-grams, and in
those that begin a text, c counts how often; in the others, after how many different words (that is Kneser and Ney's).

A network that learns from these besides the words that were said knows from the first steps on what words follow each
other, and to the end which others might have: `--ngram-smoothing`. For that the word at hand must not be among what
was counted, or the n-grams would say little else: `NgramModel.expectations` leaves it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .vocabulary import EOS_ID, SOS_ID

COUNTED_PAIRS = 250_000  # of a larger corpus a sample of so many: the counts are kept in memory


@dataclass(frozen=True)
class Expectations:
    """Which words were to be expected at each of N positions: of each a distribution over V words.

    At position i word w has the sum of `weights` where (rows, words) is (i, w), and `rest[i] @ common[:, w]` besides.

    rows, words: (K,) int64. weights: (K,) float32. rest: (N, 2) float32. common: (2, V) float32, what many positions
    share: the unigrams, and the first words of texts.
    """

    rows: np.ndarray
    words: np.ndarray
    weights: np.ndarray
    rest: np.ndarray
    common: np.ndarray


class _Counts:
    """All n-grams of one length, from their keys, as often as each counts. H histories, a discount D to each count.

    A key is a number whose digits, in base V, are the ids; a history is a key without the last of them.

    keys, counts: (n-grams,) int64, by rising key. weights: (n-grams,) float32, a word's share behind its history, less
    D. histories: (H,) int64. bounds: (H + 1,) where each one's keys begin. totals, taken: (H,) float64, the sums over
    a history of its counts and of their D.
    """

    def __init__(self, seen: np.ndarray, vocabulary_size: int) -> None:
        self.keys, self.counts = np.unique(seen, return_counts=True)
        self.histories, first = np.unique(self.keys // vocabulary_size, return_index=True)
        self.bounds = np.append(first, len(self.keys))
        self._discounts = _estimated_discounts(self.counts)
        discounts = self.discounts(self.counts)
        self.totals = np.add.reduceat(self.counts, first).astype(np.float64)
        self.taken = np.add.reduceat(discounts, first)
        of = np.repeat(np.arange(len(first)), np.diff(self.bounds))
        self.weights = ((self.counts - discounts) / self.totals[of]).astype(np.float32)

    def discounts(self, counts: np.ndarray) -> np.ndarray:
        """D of each count."""
        return self._discounts[np.minimum(counts, 3)]

    def of_keys(self, keys: np.ndarray) -> np.ndarray:
        """(N,) keys to (N,) counts, 0 of n-grams that were not seen."""
        places, found = _looked_up(self.keys, keys)
        return np.where(found, self.counts[places], 0)


class NgramModel:
    """Kneser-Ney estimates from the texts of training pairs: replies, and prompts that are not the reply before.

    Args:
        pairs: the training pairs, (prompt, reply). Prompts with a word of which no reply is made (a special one) are
            left out.
        vocabulary_size: V.
        num_special: how many ids, from 0 up, are not words.
        order: how many words the longest n-grams have, at least 2; lowered where keys would not fit into 63 bits (4
            words fit up to a vocabulary of 55,108).
    """

    def __init__(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], vocabulary_size: int, num_special: int, order: int
    ) -> None:
        self.vocabulary_size = vocabulary_size
        while vocabulary_size**order >= 1 << 63:
            order -= 1
        self.order = order
        stride = -(-len(pairs) // COUNTED_PAIRS)
        self.share = 1 / stride  # of the pairs, that were counted
        tokens, places = _flat(_texts(pairs, stride, num_special))
        self._counts: dict[int, _Counts] = {}
        longer = np.empty(0, np.int64)
        for length in range(order, 1, -1):
            # of the longest all are counted, of the others those that begin a text, of which no longer ones tell
            here = np.flatnonzero(places >= length - 1 if length == order else places == length - 1)
            seen = np.concatenate((self._keys(tokens, here, length), longer))
            self._counts[length] = _Counts(seen, vocabulary_size)
            longer = self._counts[length].keys % vocabulary_size ** (length - 1)
        words, pairs_of_words = _Counts(longer, vocabulary_size), self._counts[2]
        common = np.zeros((2, vocabulary_size))
        common[0, words.keys] = words.weights
        common[0] += words.taken / words.totals / vocabulary_size
        first = pairs_of_words.keys // vocabulary_size == SOS_ID
        common[1, pairs_of_words.keys[first] % vocabulary_size] = pairs_of_words.weights[first]
        self._common = common.astype(np.float32)

    def expectations(self, said: np.ndarray, starts: np.ndarray, *, counted: bool = True) -> Expectations:
        """Which words were to be expected in texts, each word predicted as if it did not stand there.

        Args:
            said: (N,) the words to be predicted, of text after text, EOS last in each. starts: (texts,) where in
                `said` each begins.
            counted: whether the texts are among those counted, so that the n-gram which ends in the very word to be
                predicted is to be left out of the counts.
        """
        size = self.vocabulary_size
        tokens = np.insert(said.astype(np.int64), starts, SOS_ID)
        begins = np.zeros(len(tokens), bool)
        begins[starts + np.arange(len(starts))] = True
        places = _places_in_texts(begins)
        at = np.flatnonzero(~begins)  # of each of `said`
        places = places[at]
        carried = np.ones(len(said))  # what the longer n-grams leave to the shorter ones
        left_out = np.zeros(len(said), bool)  # whether the n-gram one longer is no more, without the word at hand
        rest = np.zeros((len(said), 2))
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for length in range(self.order, 1, -1):
            counts = self._counts[length]
            rows = np.flatnonzero(places >= length - 1)
            keys = self._keys(tokens, at[rows], length)
            count = counts.of_keys(keys)
            less = counted & (count > 0) & (left_out[rows] | (length == self.order) | (places[rows] == length - 1))
            left_out[rows] = less & (count == 1)
            history, known = _looked_up(counts.histories, keys // size)
            rows, count, less, history = rows[known], count[known], less[known], history[known]

            # the history's sums without the word at hand; nothing may be left
            total = counts.totals[history] - less
            one_less = np.where(less, count - 1, count)
            taken = counts.taken[history] - counts.discounts(count) + counts.discounts(one_less)
            alone = total == 0
            total[alone] = taken[alone] = 1
            share = np.where(alone, 0, carried[rows] / total)
            more = (one_less - counts.discounts(one_less)) - (count - counts.discounts(count))
            parts.append((rows[less], said[rows[less]], (share * more)[less]))
            share *= counts.totals[history]
            if length == 2:
                first = places[rows] == 1
                rest[rows[first], 1] = share[first]
                share, history, those = share[~first], history[~first], rows[~first]
            else:
                those = rows
            of, entries = _ranges(counts.bounds[history], counts.bounds[history + 1])
            parts.append((those[of], counts.keys[entries] % size, share[of] * counts.weights[entries]))
            carried[rows] *= taken / total
        rest[:, 0] = carried
        found = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Expectations(found[0], found[1], found[2].astype(np.float32), rest.astype(np.float32), self._common)

    def _keys(self, tokens: np.ndarray, at: np.ndarray, length: int) -> np.ndarray:
        """Keys of the n-grams of `length` that end at places in `tokens`."""
        keys = np.zeros(len(at), np.int64)
        for back in range(length - 1, -1, -1):
            keys = keys * self.vocabulary_size + tokens[at - back]
        return keys


def _texts(pairs: Sequence[tuple[np.ndarray, np.ndarray]], stride: int, num_special: int) -> list[np.ndarray]:
    """Of every `stride`-th pair the reply, and the prompt unless it was the reply before, as in a conversation."""
    texts: list[np.ndarray] = []
    before = b""
    for index in range(0, len(pairs), stride):
        prompt, reply = pairs[index]
        if len(prompt) and prompt.tobytes() != before and prompt.min() >= num_special:
            texts.append(prompt)
        texts.append(reply)
        before = reply.tobytes()
    return texts


def _flat(texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All texts, each between SOS and EOS, one behind the other; and of each token its place in its text, SOS at 0."""
    lengths = np.array([len(text) + 2 for text in texts])
    ends = np.cumsum(lengths)
    tokens = np.empty(ends[-1], np.int64)
    begins = np.zeros(len(tokens), bool)
    begins[ends - lengths] = True
    inside = np.ones(len(tokens), bool)
    inside[ends - lengths] = inside[ends - 1] = False
    tokens[ends - lengths], tokens[ends - 1] = SOS_ID, EOS_ID
    tokens[inside] = np.concatenate(texts)
    return tokens, _places_in_texts(begins)


def _places_in_texts(begins: np.ndarray) -> np.ndarray:
    """How far each token is behind the last that begins a text."""
    numbers = np.arange(len(begins))
    return numbers - np.maximum.accumulate(np.where(begins, numbers, 0))


def _estimated_discounts(counts: np.ndarray) -> np.ndarray:
    """D of the counts 0, 1, 2 and 3 or more: Chen and Goodman's estimates, or 3/4 where too little was counted."""
    once, twice, thrice, four_times = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (once and twice and thrice):
        return np.array([0.0, 0.75, 0.75, 0.75])
    share = once / (once + 2 * twice)
    found = [1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four_times / thrice]
    return np.clip([0.0, *found], 0, [0, 1, 2, 3])


def _looked_up(sorted_values: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each value stands, and whether it does (if not, the place is any)."""
    places = np.searchsorted(sorted_values, values).clip(max=len(sorted_values) - 1)
    return places, sorted_values[places] == values


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All numbers from `first` up to but not `last`, range after range, behind the number of the range each is of."""
    lengths = last - first
    of = np.repeat(np.arange(len(first)), lengths)
    return of, np.arange(len(of)) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
