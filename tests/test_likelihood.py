"""log p(target | source) against the decoder asked word by word."""

import math

import pytest
import torch
from plain_search import PlainSearch, network

import chatbot.decoding.generate as generate
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.decoding.generate import log_likelihood

V = 19
PAIRS = [([5, 6, 7], [8, 9]), ([4], []), ([10, 11, 12, 13, 14], [5, 4, 5, 4, 5, 4]), ([5, 6, 7], [9]), ([4, 4], [18])]


def test_it_is_the_sum_over_the_words_and_the_end_of_each_target(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(V)
    expected = []
    for source, target in PAIRS:
        plain = PlainSearch(model.encoder, model.decoder, source)
        expected.append(math.fsum(plain.score((*target, EOS_ID))))
    for batch in (1, 2, 128):
        monkeypatch.setattr(generate, "SCORED_AT_ONCE", batch)
        found = log_likelihood(model, *zip(*PAIRS, strict=True))
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_an_empty_source_is_read_as_eos_alone() -> None:
    model = network(V).train()
    assert log_likelihood(model, [[]], [[5, 6]]).tolist() == log_likelihood(model, [[EOS_ID]], [[5, 6]]).tolist()
    assert not model.training
    assert log_likelihood(model, [], []).tolist() == []
