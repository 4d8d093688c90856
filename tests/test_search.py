"""Greedy search and what all searches keep to, against a reference that takes one word of one sentence at a time."""

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
    Table,
    network,
    repeats,
    reply,
    scripted,
    some_prompts,
    stands_in,
)

from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from chatbot.decoding.search import GreedySearchDecoder, Limits
from chatbot.decoding.tensors import distinct
from chatbot.network.batch import pad_prompts
from chatbot.network.model import Seq2Seq

V = 19


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return network(V)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_batch_in_any_order_finds_what_each_sentence_finds_alone(model: Seq2Seq, limits: Limits) -> None:
    prompts = some_prompts(40, V)
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    with torch.inference_mode():
        found = search.search(*pad_prompts(prompts), limits)
    lengths = set()
    replies = set()
    for row, prompt in enumerate(prompts):
        plain = PlainSearch(model.encoder, model.decoder, prompt)
        said = plain.greedy(limits)
        length = len(said)
        lengths.add(length)
        replies.add(said)
        assert reply(found.tokens[row]) == said
        # what is reported is the model's own log-probability, whatever the search went by
        torch.testing.assert_close(found.scores[row, :length], torch.tensor(plain.score(said)))
        assert torch.all(found.scores[row, length:] == 0)
        attention = found.attention[row]
        torch.testing.assert_close(attention[:length].sum(-1), torch.ones(length))
        assert torch.all(attention[:, len(prompt) :] == 0)
        assert torch.all(attention[length:] == 0)
    # or the test would see neither rows that end at different steps nor what prompts have to do with replies
    assert len(lengths) > 2
    assert len(replies) > 10


def test_each_limit_changes_replies(model: Seq2Seq) -> None:
    batch = pad_prompts(some_prompts(40, V))
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    with torch.inference_mode():
        found = {name: search.search(*batch, limits).tokens.tolist() for name, limits in LIMITS.items()}
        assert torch.equal(search(*batch, 7).tokens, search.search(*batch, LIMITS["plain"]).tokens)
    for name in LIMITS:
        assert name == "plain" or found[name] != found["plain"], name


def test_it_stops_when_every_row_has_ended(model: Seq2Seq) -> None:
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    with torch.inference_mode():
        said = PlainSearch(model.encoder, model.decoder, [5, 6]).greedy(Limits(1000))
        assert search(*pad_prompts([[5, 6]]), 1000).tokens.size(1) == len(said)


def test_special_tokens_are_never_said(model: Seq2Seq) -> None:
    loud = network(V)
    with torch.no_grad():
        loud.decoder.out.bias[NEVER] += 1000.0
    with torch.inference_mode():
        search = GreedySearchDecoder(loud.encoder, loud.decoder, NEVER, MARKS, SEP).eval()
        for limits in LIMITS.values():
            for row in search.search(*pad_prompts(some_prompts(10, V)), limits).tokens:
                assert not set(reply(row)) & set(NEVER)


def test_scripted_it_finds_the_same(model: Seq2Seq) -> None:
    eager = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    compiled = scripted(GreedySearchDecoder, model)
    batch = pad_prompts(some_prompts(9, V))
    with torch.inference_mode():
        for limits in LIMITS.values():
            for expected, got in zip(eager.search(*batch, limits), compiled.search(*batch, limits), strict=True):
                assert torch.equal(expected, got)
        assert torch.equal(eager(*batch, 5).tokens, compiled(*batch, 5).tokens)


@settings(deadline=None)
@given(
    said=st.integers(0, 7).flatmap(
        lambda t: st.lists(st.lists(st.integers(4, 7), min_size=t, max_size=t), min_size=1, max_size=3)
    ),
    turn=st.lists(st.integers(4, 7), max_size=7),
    n=st.integers(0, 4),
    again=st.integers(0, 4),
    min_length=st.integers(0, 8),
)
def test_what_must_not_come_next_is_forbidden_and_no_more(
    said: list[list[int]], turn: list[int], n: int, again: int, min_length: int
) -> None:
    search = GreedySearchDecoder(*Table(torch.zeros(8, 8)).parts(), NEVER, MARKS, SEP)
    ranked = torch.rand(len(said), 8)
    before = ranked.clone()
    limits = Limits(9, min_length, n, no_repeat_context_ngram=again)
    turns = search.turns_before(torch.tensor([[5, SEP, *turn, SEP, 6, 7]])).expand(len(said), -1)
    search.forbid(ranked, torch.tensor(said).view(len(said), -1).long(), turns, limits)
    for row, words in enumerate(said):
        allowed = {w for w in range(8) if w not in NEVER and not repeats((*words, w), n)}
        allowed = {w for w in allowed if not stands_in((*words, w), tuple(turn), again)}
        if len(words) < min_length and allowed != {EOS_ID}:
            allowed.discard(EOS_ID)
        assert {w for w in range(8) if ranked[row, w] > float("-inf")} == allowed
        assert all(ranked[row, w] == before[row, w] for w in allowed)


def test_a_reply_ends_before_its_shortest_length_where_no_word_is_left() -> None:
    # two words, each of which may come once
    search = GreedySearchDecoder(*Table(torch.zeros(6, 6)).parts(), NEVER, MARKS, SEP)
    found = search.search(*pad_prompts([[4]]), Limits(9, min_length=8, no_repeat_ngram=1))
    assert found.tokens.tolist() == [[4, 5, EOS_ID]]  # of equals the lowest id


@pytest.mark.parametrize(("logit", "penalised"), [(3.0, 1.5), (-3.0, -6.0)])
def test_repetition_makes_a_word_less_likely_whatever_its_sign(logit: float, penalised: float) -> None:
    table = torch.full((6, 6), -4.0)
    table[:, 4] = logit
    search = GreedySearchDecoder(*Table(table).parts(), NEVER, MARKS, SEP)
    state = search.read(torch.tensor([[4]]), torch.tensor([1]), Limits(5))
    said = torch.tensor([[4, 4]])
    log_probs, ranked, _, _ = search.step(said[:, :1], said, state, Limits(5, repetition_penalty=2.0))
    expected = table[0].clone()
    expected[4] = penalised
    torch.testing.assert_close(ranked[0, 4:], expected.log_softmax(0)[4:])
    torch.testing.assert_close(log_probs[0], table[0].log_softmax(0))


def test_the_language_model_is_asked_for_its_tokens_only() -> None:
    encoder, decoder = Table(torch.zeros(6, 6)).parts()
    search = GreedySearchDecoder(encoder, decoder, NEVER)
    # behind the empty prompt two replies that are equal so far are one row
    for anti_lm, tokens, rows in ((0.0, 3, 8), (0.5, 0, 8), (0.5, 3, 11), (0.5, 99, 12)):
        encoder.calls = decoder.calls = decoder.rows = 0
        search.search(*pad_prompts([[4], [4, 5]]), Limits(4, 4, anti_lm=anti_lm, anti_lm_tokens=tokens))
        assert (encoder.calls, decoder.calls, decoder.rows) == (1, 4, rows)  # the empty prompt rides with the others


@settings(deadline=None)
@given(parents=st.lists(st.integers(0, 5), min_size=1, max_size=40), words=st.integers(1, 9), seed=st.integers(0, 999))
def test_rows_are_alike_that_have_the_same_state_and_the_same_word(parents: list[int], words: int, seed: int) -> None:
    given = torch.tensor(parents)
    token = torch.randint(words, (len(parents), 1), generator=torch.Generator().manual_seed(seed)) + 2**18 - 9
    states, others, which = distinct(given, token, torch.arange(len(parents)))
    assert torch.equal(states[which], given)
    assert torch.equal(others[which], token)
    pairs = set(zip(parents, token.squeeze(1).tolist(), strict=True))
    assert len(states) == len(others) == (len(pairs) if 10 * len(pairs) < 9 * len(parents) else len(parents))


def test_padding_beyond_the_longest_prompt_changes_nothing(model: Seq2Seq) -> None:
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER, MARKS, SEP).eval()
    src, lengths = pad_prompts(some_prompts(5, V))
    with torch.inference_mode():
        found = search(src, lengths, 6)
        wider = search(torch.nn.functional.pad(src, (0, 3), value=PAD_ID), lengths, 6)
    assert torch.equal(found.tokens, wider.tokens)
    assert torch.equal(torch.nn.functional.pad(found.attention, (0, 3)), wider.attention)


def test_a_repetition_bars_no_other_word_even_where_padding_may_be_said() -> None:
    follows = {SOS_ID: 4, 4: 5, 5: PAD_ID, PAD_ID: EOS_ID}
    logits = torch.zeros(6, 6)
    for word, after in follows.items():
        logits[word, after] = 3.0
    search = GreedySearchDecoder(*Table(logits).parts(), []).eval()  # as a model of the lineage: no word is barred
    found = search.search(torch.tensor([[4]]), torch.tensor([1]), Limits(9, no_repeat_ngram=2))
    assert found.tokens.tolist() == [[4, 5, PAD_ID, EOS_ID]]
