"""Beam search against a plain beam without early stopping, and against the list of every reply there is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_search import (
    LIMITS,
    MARKS,
    NEVER,
    SEP,
    PlainSearch,
    Said,
    Table,
    TwoTables,
    network,
    reply,
    scripted,
    some_prompts,
    value,
)

from chatbot.corpus.vocabulary import EOS_ID, PAD_ID
from chatbot.decoding.beam import BeamSearchDecoder, continuations
from chatbot.decoding.search import GreedySearchDecoder, Hypotheses, Limits
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq

V = 19


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return network(V)


def beam_of(model: Seq2Seq) -> BeamSearchDecoder:
    return BeamSearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()


def listed(found: Hypotheses, row: int) -> list[tuple[float, Said]]:
    pairs = zip(found.totals[row].tolist(), map(reply, found.tokens[row]), strict=True)
    return [(total, said) for total, said in pairs if total > float("-inf")]


def check_figures(found: Hypotheses, row: int, plain: PlainSearch, prompt: list[int]) -> None:
    """Scores are the model's log-probabilities, attention is of the tokens that the reply really has."""
    for n, (_, said) in enumerate(listed(found, row)[:9]):
        length = len(said)
        torch.testing.assert_close(found.scores[row, n, :length], torch.tensor(plain.score(said)))
        assert torch.all(found.scores[row, n, length:] == 0)
        attention = found.attention[row, n]
        with torch.no_grad():
            memory, source, hidden = plain.read
            words = torch.tensor([[1, *said[:-1]]])
            expected = plain.decoder(words, hidden, memory, source)[2][0]  # (T, S) in one call
        torch.testing.assert_close(attention[:length, : len(prompt)], expected)
        assert torch.all(attention[:, len(prompt) :] == 0)
        assert torch.all(attention[length:] == 0)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy_search(model: Seq2Seq, limits: Limits, alpha: float) -> None:
    batch = pad_prompts(some_prompts(30, V))
    greedy = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    with torch.inference_mode():
        expected = greedy.search(*batch, limits)
        found = beam_of(model)(*batch, limits, 1, 1, alpha)
    assert torch.equal(expected.tokens, found.tokens[:, 0])
    # greedy search works on the rows that have not ended only, so its products have other shapes
    torch.testing.assert_close(expected.scores, found.scores[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(expected.attention, found.attention[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize(("size", "longest"), [(6, 5), (8, 3)])
def test_a_beam_wide_enough_finds_every_reply_in_order(size: int, longest: int, limits: Limits, alpha: float) -> None:
    model = network(size, seed=size)
    limits = limits._replace(max_length=longest)
    prompts = [[5, 4, 5, 4, 5], [4, 4]]
    plains = [PlainSearch(model.encoder, model.decoder, prompt) for prompt in prompts]
    every = [plain.every_reply(limits, alpha) for plain in plains]
    count = max(map(len, every))
    with torch.inference_mode():
        found = beam_of(model)(*pad_prompts(prompts), limits, count, count, alpha)
    for row, (plain, replies) in enumerate(zip(plains, every, strict=True)):
        got = listed(found, row)
        assert {said for _, said in got} == set(replies)
        assert len(got) == len(replies)
        assert [total for total, _ in got] == pytest.approx([replies[said] for _, said in got], abs=1e-4)
        assert [total for total, _ in got] == sorted((total for total, _ in got), reverse=True)
        check_figures(found, row, plain, prompts[row])


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize(("width", "count", "alpha"), [(2, 2, 0.0), (3, 1, 0.7), (5, 5, 1.5), (4, 9, 0.3)])
def test_a_narrow_beam_finds_what_a_plain_one_finds(
    model: Seq2Seq, limits: Limits, width: int, count: int, alpha: float
) -> None:
    prompts = some_prompts(5, V)
    with torch.inference_mode():
        found = beam_of(model)(*pad_prompts(prompts), limits, width, count, alpha)
    for row, prompt in enumerate(prompts):
        plain = PlainSearch(model.encoder, model.decoder, prompt)
        expected = plain.beam(limits, width, count, alpha)
        got = listed(found, row)
        assert [said for _, said in got] == [said for _, said in expected]
        assert [total for total, _ in got] == pytest.approx([total for total, _ in expected], abs=1e-4)
        check_figures(found, row, plain, prompt)


def test_a_sentence_alone_has_the_replies_that_it_has_in_a_batch(model: Seq2Seq) -> None:
    prompts = some_prompts(12, V)
    search = beam_of(model)
    with torch.inference_mode():
        together = search(*pad_prompts(prompts), LIMITS["everything"], 4, 4, 0.6)
        for row, prompt in enumerate(prompts):
            alone = search(*pad_prompts([prompt]), LIMITS["everything"], 4, 4, 0.6)
            for n, (total, said) in enumerate(listed(alone, 0)):
                assert said == reply(together.tokens[row, n])
                assert total == pytest.approx(float(together.totals[row, n]), abs=1e-4)


def test_scripted_it_finds_the_same(model: Seq2Seq) -> None:
    compiled = scripted(BeamSearchDecoder, model)
    batch = pad_prompts(some_prompts(9, V))
    with torch.inference_mode():
        for limits in LIMITS.values():
            for width, count, alpha in ((1, 1, 0.0), (4, 3, 0.9), (30, 30, 0.0)):
                expected = beam_of(model)(*batch, limits, width, count, alpha)
                got = compiled(*batch, limits, width, count, alpha)
                assert all(torch.equal(mine, its) for mine, its in zip(expected, got, strict=True))


def test_it_stops_as_soon_as_nothing_better_can_come() -> None:
    table = torch.zeros(8, 8)
    table[:, EOS_ID] = 3.0
    encoder, decoder = Table(table).parts()
    search = BeamSearchDecoder(encoder, decoder, NEVER)
    for width, steps in ((1, 1), (2, 2), (5, 2)):
        # with two replies or more, the second best is known after the second step
        decoder.calls = 0
        search(*pad_prompts([[4], [5, 6]]), Limits(1000), width, min(width, 2))
        assert decoder.calls == steps


def test_a_longer_reply_may_still_win_by_the_length_penalty() -> None:
    # EOS is likelier at once, but three sure words and EOS have more per token: stopping at the first would miss it
    table = torch.full((9, 9), -30.0)
    table[1, EOS_ID], table[1, 4] = 0.15, 0.0
    table[4, 5] = table[5, 6] = table[6, 7] = table[7, EOS_ID] = 0.0
    search = BeamSearchDecoder(*Table(table).parts(), NEVER, MARKS, SEP)
    found = search(*pad_prompts([[4]]), Limits(9), 3, 1, 1.0)
    assert reply(found.tokens[0, 0]) == (4, 5, 6, 7, EOS_ID)
    assert reply(search(*pad_prompts([[4]]), Limits(9), 3, 1, 0.0).tokens[0, 0]) == (EOS_ID,)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    width=st.integers(1, 5),
    count=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.6, 2.0]),
    anti_lm=st.sampled_from([0.0, 0.5, 2.0]),
    anti_lm_tokens=st.integers(1, 7),
)
def test_stopping_early_loses_nothing(
    seed: int, width: int, count: int, alpha: float, anti_lm: float, anti_lm_tokens: int
) -> None:
    # a lambda above 1 turns every rank of the first words positive, so totals rise and fall
    chance = torch.Generator().manual_seed(seed)
    table = torch.randn(8, 8, generator=chance) * 2
    table[:, EOS_ID] += torch.randn(8, generator=chance) * 3
    encoder, decoder = Table(table).parts()
    limits = Limits(8, anti_lm=anti_lm, anti_lm_tokens=anti_lm_tokens)
    found = BeamSearchDecoder(encoder, decoder, NEVER)(*pad_prompts([[4]]), limits, width, count, alpha)
    expected = PlainSearch(encoder, decoder, [4]).beam(limits, width, count, alpha)
    assert listed(found, 0) == [(pytest.approx(total, abs=1e-4), said) for total, said in expected]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1_000_000),
    width=st.integers(1, 6),
    count=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 1.0, 1.7]),
    anti_lm=st.sampled_from([0.0, 0.3, 0.9, 1.5]),
    bound=st.sampled_from([0.2, 1.5]),
    anti_lm_tokens=st.integers(0, 9),
    threshold=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_what_is_dropped_changes_no_reply(
    seed: int, width: int, count: int, alpha: float, anti_lm: float, bound: float, anti_lm_tokens: int, threshold: float
) -> None:
    # behind the empty prompt other words are likely, so ranks reach their bound (with a lambda of 1 all would be equal)
    chance = torch.Generator().manual_seed(seed)
    prompted, blank = torch.randn(2, 8, 8, generator=chance) * 3
    prompted[:, EOS_ID] += torch.randn(8, generator=chance) * 3
    encoder, decoder = TwoTables(prompted, blank).parts()
    limits = Limits(8, 1, 2, anti_lm=anti_lm, anti_lm_tokens=anti_lm_tokens, anti_lm_bound=bound)
    prompts = [[4], [5, 6], [7]]
    found = BeamSearchDecoder(encoder, decoder, NEVER)(*pad_prompts(prompts), limits, width, count, alpha, threshold)
    for row, prompt in enumerate(prompts):
        plain = PlainSearch(encoder, decoder, prompt)
        expected = plain.beam(limits, width, count, alpha, threshold or math.inf)
        # at their bound ranks are equal but for rounding, so of equal totals either reply may come
        assert [total for total, _ in listed(found, row)] == pytest.approx([total for total, _ in expected], abs=1e-4)
        if anti_lm == 0:
            assert [said for _, said in listed(found, row)] == [said for _, said in expected]
        assert len({said for _, said in listed(found, row)}) == len(expected)
        for total, said in listed(found, row):
            assert value(plain.rank(said, limits), said, alpha) == pytest.approx(total, abs=1e-4)


def test_rows_that_cannot_change_the_best_reply_are_not_worked_on() -> None:
    # 4 and 5 are said (and one word that is next to impossible); then replies end, and to go on costs 4 nats a word
    table = torch.full((8, 8), -40.0)
    table[1, 4:6], table[4:, EOS_ID], table[4:, 4:] = 0.0, 4.0, 0.0
    for count, anti_lm, bound, rows in (
        (1, 0.0, 0.0, 1 + 3),  # of the two that do not end at the second word none will be the best
        (4, 0.0, 0.0, 1 + 3 + 2),
        (1, 0.3, 0.5, 2 * (1 + 3)),
        (1, 0.3, 2.0, 2 * (1 + 3 + 2)),  # 0.6 a word might still bring them back
    ):
        encoder, decoder = Table(table).parts()
        limits = Limits(8, anti_lm=anti_lm, anti_lm_tokens=20, anti_lm_bound=bound)
        BeamSearchDecoder(encoder, decoder, NEVER)(*pad_prompts([[4]]), limits, 4, count, 1.0)
        assert decoder.rows == rows, (count, anti_lm, bound)


def test_a_threshold_drops_what_is_far_behind_the_best() -> None:
    # three words that are said, 1 nat apart; nothing ends before the last step
    table = torch.full((8, 8), -40.0)
    table[1, 4:7], table[4:, 4:7] = torch.tensor([0.0, -1.0, -2.0]), torch.tensor([0.0, -40.0, -40.0])
    for count, threshold, rows in ((1, 0.0, 3), (1, 2.5, 3), (1, 1.5, 2), (1, 0.5, 1), (3, 0.5, 1)):
        encoder, decoder = Table(table).parts()
        BeamSearchDecoder(encoder, decoder, NEVER)(*pad_prompts([[4]]), Limits(2), 3, count, 1.0, threshold)
        assert decoder.rows == 1 + rows, (count, threshold)


def test_of_totals_above_zero_the_shorter_reply_wins_by_the_length_penalty() -> None:
    table = torch.full((5, 5), -30.0)
    table[1, EOS_ID], table[1, 4], table[4, EOS_ID] = 1.0, 0.0, 0.0
    search = BeamSearchDecoder(*Table(table).parts(), NEVER, MARKS, SEP)
    # the first word's rank is -log p: 0.31 for EOS, 1.31 for the word, which EOS follows for sure
    limits = Limits(20, anti_lm=2.0, anti_lm_tokens=1)
    found = search(*pad_prompts([[4]]), limits, 2, 1, 2.0)
    assert reply(found.tokens[0, 0]) == (4, EOS_ID)
    assert found.totals.item() == pytest.approx(1.3133 / (7 / 6) ** 2, abs=1e-3)


def test_where_there_are_fewer_replies_than_asked_for_the_rest_is_padding() -> None:
    search = BeamSearchDecoder(*Table(torch.zeros(5, 5)).parts(), NEVER, MARKS, SEP)
    found = search(*pad_prompts([[4, 4]]), Limits(2), 6, 5)
    assert found.tokens[0].tolist() == [[EOS_ID, PAD_ID], [4, EOS_ID], [4, 4], [PAD_ID, PAD_ID], [PAD_ID, PAD_ID]]
    assert found.totals[0, 3:].tolist() == [float("-inf")] * 2
    assert torch.all(found.scores[0, 3:] == 0)
    assert torch.all(found.attention[0, 3:] == 0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kinds=st.integers(1, 4),
    width=st.integers(1, 7),
    count=st.integers(1, 7),
    alpha=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_of_equals_the_order_is_fixed(seed: int, kinds: int, width: int, count: int, alpha: float) -> None:
    # few different logits: nearly every choice is among equals
    size = 9
    table = torch.randint(kinds, (size, size), generator=torch.Generator().manual_seed(seed)).float()
    encoder, decoder = Table(table).parts()
    limits = Limits(4)
    found = BeamSearchDecoder(encoder, decoder, NEVER)(*pad_prompts([[4], [5, 6]]), limits, width, count, alpha)
    expected = PlainSearch(encoder, decoder, [4]).beam(limits, width, count, alpha)
    for row in range(2):
        assert [said for _, said in listed(found, row)] == [said for _, said in expected]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    hypotheses=st.integers(1, 4),
    vocabulary=st.integers(1, 60),
    count=st.integers(1, 30),
    kinds=st.sampled_from([1, 2, 10, 10**6]),
)
def test_the_best_continuations_are_those_of_a_stable_sort(
    seed: int, hypotheses: int, vocabulary: int, count: int, kinds: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    ranked = -torch.randint(kinds, (3, hypotheses, vocabulary), generator=chance).float()
    ranked[torch.rand(ranked.shape, generator=chance) < 0.2] = float("-inf")
    totals = -torch.randint(min(kinds, 5), (3, hypotheses), generator=chance).double()
    row = torch.randperm(3 * hypotheses, generator=chance)  # rows may lie in any order
    given = ranked.flatten(0, 1)[row.argsort()]
    values, parents, words = continuations(given, row.view(3, hypotheses), totals, count)
    assert values.shape == parents.shape == words.shape == (3, count)
    for row in range(3):
        every = [
            (float(totals[row, k]) + float(ranked[row, k, w]), k, w)
            for k in range(hypotheses)
            for w in range(vocabulary)
        ]
        best = sorted(every, key=lambda continuation: -continuation[0])[:count]
        best = [continuation for continuation in best if continuation[0] > float("-inf")]
        got = list(zip(values[row].tolist(), parents[row].tolist(), words[row].tolist(), strict=True))
        assert got[: len(best)] == best
        assert all(value == float("-inf") for value, _, _ in got[len(best) :])


def test_a_beam_of_one_is_greedy_search_among_words_that_hardly_differ() -> None:
    # after some words of so many, a total is too large for a float to hold what makes the difference
    table = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(1)) * 1e-6
    parts, batch = Table(table).parts(), pad_prompts([[4]])
    expected = GreedySearchDecoder(*parts, NEVER).search(*batch, Limits(20, 20))
    assert torch.equal(BeamSearchDecoder(*parts, NEVER)(*batch, Limits(20, 20), 1, 1).tokens[:, 0], expected.tokens)


def test_differences_smaller_than_a_float_can_hold_beside_a_large_total_still_count() -> None:
    ranked = torch.tensor([[-1.0, -1.0 + 2**-24]])
    _, _, words = continuations(ranked, torch.tensor([[0]]), torch.tensor([[-1000.0]], dtype=torch.float64), 1)
    assert words.tolist() == [[1]]
