"""Luong's three scores, against the paper's, one query and one place at a time."""

import dataclasses

import pytest
import torch
from torch import nn

from chatbot.config.settings import ModelConfig
from chatbot.network.attention import SCORES, ConcatAttention, GeneralAttention
from chatbot.network.model import BRIDGES


def score(module: nn.Module, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Luong's three scores for one query and one memory vector, straight from the paper."""
    if isinstance(module, GeneralAttention):
        return query.dot(module.projection(memory))
    if isinstance(module, ConcatAttention):
        return module.v.dot(torch.tanh(module.projection(torch.cat((query, memory)))))
    return query.dot(memory)


@pytest.mark.parametrize("kind", SCORES)
def test_attention_is_the_softmax_of_luongs_score_over_real_positions(kind: str) -> None:
    torch.manual_seed(1)
    module = SCORES[kind](5)
    query, memory = torch.randn(3, 2, 5), torch.randn(3, 4, 5)
    lengths = [4, 2, 1]
    mask = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    context, weights = module(query, memory, mask)
    for b, length in enumerate(lengths):
        for t in range(2):
            scores = torch.stack([score(module, query[b, t], memory[b, s]) for s in range(length)])
            torch.testing.assert_close(weights[b, t, :length], scores.softmax(0))
            assert torch.all(weights[b, t, length:] == 0)
            torch.testing.assert_close(context[b, t], weights[b, t] @ memory[b])


def test_the_names_are_those_of_the_settings() -> None:
    choices = {field.name: field.metadata["choices"] for field in dataclasses.fields(ModelConfig)}
    assert set(choices["attention"]) == SCORES.keys()
    assert set(choices["bridge"]) == BRIDGES.keys()
