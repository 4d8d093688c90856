"""Kneser-Ney estimates beside a restatement with dictionaries, and what training makes of them."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.settings import Config, ModelConfig, TrainingConfig
from chatbot.corpus.prepared import PartOfSplit
from chatbot.corpus.vocabulary import EOS_ID, SOS_ID, Vocabulary
from chatbot.network.batch import collate
from chatbot.network.kernels.cross_entropy import cross_entropy
from chatbot.network.model import Seq2Seq
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.loop import train
from chatbot.training.ngrams import NgramModel
from chatbot.training.optimization import batch_loss
from chatbot.training.steps import Part, StepReader, smoothed

V, SPECIAL = 9, 3
WORDS = Vocabulary.from_words("abcdef", unknown=False, separator=False)
Pairs = list[tuple[np.ndarray, np.ndarray]]
TEXT = st.lists(st.integers(SPECIAL, V - 1), max_size=5)


def as_pairs(pairs: list[tuple[list[int], list[int]]]) -> Pairs:
    return [(np.array(prompt, np.uint16), np.array(reply, np.uint16)) for prompt, reply in pairs]


def longest(text: list[int], order: int) -> list[tuple[int, ...]]:
    """Of each word of a text, EOS last, the n-gram of up to `order` words that ends in it."""
    tokens = [SOS_ID, *text, EOS_ID]
    return [tuple(tokens[max(0, end - order) : end]) for end in range(2, len(tokens) + 1)]


class Plain:
    """Interpolated modified Kneser-Ney by its definition: from all n-grams that end in a word, counted one by one."""

    def __init__(self, grams: Counter[tuple[int, ...]], order: int) -> None:
        self.order = order
        self.levels: dict[int, Counter[tuple[int, ...]]] = {}
        for length in range(order, 0, -1):
            counts = Counter({gram: count for gram, count in grams.items() if len(gram) == length and count})
            if length < order:
                counts.update(gram[1:] for gram in self.levels[length + 1])
            self.levels[length] = counts
        self.discounts = {length: self.estimated(counts) for length, counts in self.levels.items()}

    @staticmethod
    def estimated(counts: Counter[tuple[int, ...]]) -> list[float]:
        n = [0, *(sum(count == k for count in counts.values()) for k in (1, 2, 3, 4))]
        if not (n[1] and n[2] and n[3]):
            return [0, 0.75, 0.75, 0.75]
        y = n[1] / (n[1] + 2 * n[2])
        return [0, *(min(max(k - (k + 1) * y * n[k + 1] / n[k], 0), k) for k in (1, 2, 3))]

    def probability(self, history: tuple[int, ...], word: int) -> float:
        if not history:
            found, lower = self.levels[1], 1 / V
        else:
            lower = self.probability(history[1:], word)
            found = Counter({g: c for g, c in self.levels[len(history) + 1].items() if g[:-1] == history})
        total = sum(found.values())
        if not total:
            return lower
        d = self.discounts[len(history) + 1]
        own = found[(*history, word)]
        return (own - d[min(own, 3)] + sum(d[min(count, 3)] for count in found.values()) * lower) / total


def counted(pairs: list[tuple[list[int], list[int]]]) -> list[list[int]]:
    """The texts that count: a prompt that is some reply too is the same turn of a conversation, and counts once."""
    texts = [reply for _, reply in pairs]
    left = list(texts)
    for prompt, _ in pairs:
        if prompt in left:
            left.remove(prompt)
        elif prompt and min(prompt) >= SPECIAL:
            texts.append(prompt)
    return texts


def dense(model: NgramModel, texts: list[list[int]], share: float = 1.0, *, counted: bool = True) -> np.ndarray:
    said = np.array([word for text in texts for word in (*text, EOS_ID)])
    lengths = np.array([len(text) + 1 for text in texts])
    soft = model.targets(said, np.cumsum(lengths) - lengths, share, counted=counted)
    return model.table().dense(soft).double().numpy()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12), st.integers(2, 4))
def test_each_word_is_expected_from_all_that_was_counted_but_itself(
    pairs: list[tuple[list[int], list[int]]], order: int
) -> None:
    grams = Counter(gram for text in counted(pairs) for gram in longest(text, order))
    whole = Plain(grams, order)
    texts = [reply for _, reply in pairs]
    found = dense(NgramModel(as_pairs(pairs), V, SPECIAL, order), texts)
    rows = iter(found)
    for text in texts:
        for gram in longest(text, order):
            without = Plain(grams - Counter([gram]), order)
            without.discounts = whole.discounts
            without.levels[1] = whole.levels[1]  # of all words one more or less is nothing
            expected = [without.probability(gram[:-1], word) for word in range(V)]
            np.testing.assert_allclose(next(rows), expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_texts_that_were_not_counted_are_expected_from_all_counts() -> None:
    pairs = [([3, 4], [5, 6, 7]), ([5, 6, 7], [3, 4, 8]), ([7, 7], [8])]
    model = NgramModel(as_pairs(pairs), V, SPECIAL, 3)
    plain = Plain(Counter(gram for text in counted(pairs) for gram in longest(text, 3)), 3)
    for text in ([8, 5, 3], [3, 4, 8], []):
        for row, gram in zip(dense(model, [text], counted=False), longest(text, 3), strict=True):
            np.testing.assert_allclose(row, [plain.probability(gram[:-1], word) for word in range(V)], atol=1e-6)


def test_a_large_vocabulary_shortens_the_ngrams() -> None:
    pairs = as_pairs([([3], [4, 5, 6]), ([4], [4, 5, 6])])
    assert NgramModel(pairs, 55_108, SPECIAL, 4).order == 4
    assert NgramModel(pairs, 55_109, SPECIAL, 4).order == 3


def test_of_a_large_corpus_some_pairs_are_counted_and_weigh_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatbot.corpus.ngrams.COUNTED_PAIRS", 2)
    pairs = [([3], [4, number]) for number in (3, 4, 5, 6, 7)]
    model = NgramModel(as_pairs(pairs), V, SPECIAL, 2)
    assert model.share == 2 / 5
    first_and_last = NgramModel(as_pairs([pairs[0], pairs[-1]]), V, SPECIAL, 2)
    # words of texts that were counted are left out, and of others not, though their n-grams stand elsewhere
    for text in ([4, 3], [4, 7], [3]):
        np.testing.assert_array_equal(dense(model, [text]), dense(first_and_last, [text]))
    for text in ([4, 5], [4], [3, 3]):
        np.testing.assert_array_equal(dense(model, [text]), dense(first_and_last, [text], counted=False))
    assert (dense(model, [[4, 5], [4, 3]])[0] != dense(first_and_last, [[4, 5]])[0]).any()


def test_neither_direction_nor_order_of_the_pairs_changes_what_is_counted() -> None:
    turns = [[3, 4], [5, 6, 7], [3, 8, 4], [7], [4, 5, 3]]
    pairs = list(itertools.pairwise(turns))
    turned = [(reply, prompt) for prompt, reply in pairs]
    shuffled = [pairs[number] for number in (2, 0, 3, 1)]
    expected = dense(NgramModel(as_pairs(pairs), V, SPECIAL, 3), turns)
    for others in (turned, shuffled):
        np.testing.assert_allclose(dense(NgramModel(as_pairs(others), V, SPECIAL, 3), turns), expected)


def test_texts_unlike_all_that_was_counted_have_nothing_but_short_histories() -> None:
    model = NgramModel(as_pairs([([3], []), ([4], [])]), V, SPECIAL, 4)  # nothing longer than three words
    found = dense(model, [[5, 6, 7, 8]], counted=False)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


PAIRS = as_pairs([([5, 6, 7], [8]), ([8], [3, 4, 5, 6]), ([4, 5], []), ([5, 3, 6, 4, 7], [7, 8])])


def test_the_soft_loss_is_the_mean_of_both_by_their_shares() -> None:
    model = NgramModel(PAIRS, V, SPECIAL, 4)
    batch = collate(PAIRS)
    logits = torch.randn(len(batch.targets), V, requires_grad=True)
    plain = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")
    texts = [row[1:length].tolist() for row, length in zip(batch.tgt, batch.tgt_lengths.tolist(), strict=True)]
    expected = torch.from_numpy(dense(model, texts)).float()
    against = torch.nn.functional.cross_entropy(logits, expected, reduction="sum")
    for share in (0.0, 0.3, 0.99):
        soft = smoothed(batch, model, share).soft
        assert soft is not None
        loss, cost = cross_entropy(logits, batch.targets, model.table().dense(soft))
        torch.testing.assert_close(loss, (1 - share) * plain + share * against)
        torch.testing.assert_close(cost, plain.detach())
        assert not cost.requires_grad
    ours, theirs = (torch.autograd.grad(value, logits)[0] for value in (loss, 0.01 * plain + 0.99 * against))
    torch.testing.assert_close(ours, theirs)


def test_a_step_reads_targets_with_the_share_that_is_set() -> None:
    config = TrainingConfig(batch_size=4, ngram_smoothing=0.4, prompt_dropout=0.0)
    pairs = _Lengths(PAIRS)
    model = NgramModel(PAIRS, V, SPECIAL, 4)
    model.share = 0.5
    part = StepReader(pairs, config, WORDS, ngrams=model)[0].parts[0]  # type: ignore[arg-type]
    expected = smoothed(part.batch, model, 0.2).soft
    assert part.soft is not None
    assert expected is not None
    for one, other in zip(part.to(torch.device("meta")).soft or (), expected, strict=True):
        assert (one.shape == other.shape) if isinstance(one, torch.Tensor) else one == other
    torch.testing.assert_close(model.table().dense(part.soft), model.table().dense(expected))
    assert StepReader(pairs, config, WORDS)[0].parts[0].soft is None  # type: ignore[arg-type]


def test_smoothing_fades_to_nothing_by_the_last_step() -> None:
    config = TrainingConfig(batch_size=4, ngram_smoothing=0.8, prompt_dropout=0.0, steps=100)
    model = NgramModel(PAIRS, V, SPECIAL, 4)
    reader = StepReader(_Lengths(PAIRS), config, WORDS, ngrams=model)  # type: ignore[arg-type]
    for step, share in ((0, 0.8), (50, 0.4), (99, 0.008)):
        part = reader[step].parts[0]
        assert part.soft is not None
        said = part.soft.weights[: len(part.batch.targets)]  # the words' own share comes first
        torch.testing.assert_close(said, torch.full_like(said, 1 - share))


def test_a_training_learns_from_them(
    tiny: Config, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def look(
        logits: torch.Tensor, targets: torch.Tensor, soft: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if soft is not None:
            seen.append(soft.gather(1, targets.unsqueeze(1)).mean().item())
        return cross_entropy(logits, targets, soft)

    monkeypatch.setattr("chatbot.training.optimization.cross_entropy", look)
    for share in (0.6, 0.0):
        settings = dataclasses.replace(tiny.training, steps=2, ngram_smoothing=share)
        config = dataclasses.replace(tiny, training=settings)
        train(config, prepared, RunDirectory(tmp_path / f"run{share}"), Group())
    first, second = seen  # the steps of the first
    assert 0.4 < first < second < 0.95


class _Lengths(list):
    """Pairs of one corpus that know their lengths, as a prepared corpus does."""

    @property
    def parts(self) -> list[PartOfSplit]:
        return [PartOfSplit("pairs", 1.0, range(len(self)))]

    def lengths(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prompts, replies = (np.array([len(self[index][side]) for index in indices]) for side in (0, 1))
        return prompts, replies


def test_what_is_reported_is_the_plain_likelihood() -> None:
    torch.manual_seed(0)
    network = Seq2Seq(ModelConfig(hidden_size=8, dropout=0.0), V).train()
    batch, model, settings = collate(PAIRS), NgramModel(PAIRS, V, SPECIAL, 4), TrainingConfig(precision="fp32")
    loss, cost = batch_loss(network, Part(batch), settings, 10)
    soft_loss, soft_cost = batch_loss(network, smoothed(batch, model, 0.5), settings, 10, ngrams=model.table())
    torch.testing.assert_close(cost, soft_cost)
    assert abs(loss.item() - soft_loss.item()) > 1e-4


def test_smoothing_is_of_the_loss_over_tokens() -> None:
    with pytest.raises(ChatbotError, match="--loss tokens"):
        TrainingConfig(ngram_smoothing=0.5, loss="steps")
