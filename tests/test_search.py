"""Greedy search against a reference that takes one word of one sentence at a time."""

import random

import pytest
import torch

from chatbot.config import ModelConfig
from chatbot.dataset import pad_prompts
from chatbot.model import Seq2Seq
from chatbot.search import GreedySearchDecoder
from chatbot.vocabulary import EOS_ID, PAD_ID, SOS_ID

V = 19
NEVER = [PAD_ID, SOS_ID, 3]


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    torch.manual_seed(3)
    made = Seq2Seq(ModelConfig(hidden_size=9, embedding_size=5, decoder_layers=1, tie_embeddings=False), V).eval()
    with torch.no_grad():  # far from uniform, and EOS likely enough to end some rows early
        made.decoder.out.weight.mul_(8)
        made.decoder.out.bias[EOS_ID] += 1.5
    return made


def greedy_alone(model: Seq2Seq, prompt: list[int], max_length: int) -> tuple[list[int], list[float]]:
    memory, mask, hidden = model.encoder(torch.tensor([prompt]), torch.tensor([len(prompt)]))
    token, tokens, scores = SOS_ID, [], []
    while len(tokens) < max_length and token != EOS_ID:
        logits, hidden, _ = model.decoder(torch.tensor([[token]]), hidden, memory, mask)
        log_probs = logits[0, 0].log_softmax(0).tolist()
        token = max((id for id in range(V) if id not in NEVER), key=lambda id: log_probs[id])
        tokens.append(token)
        scores.append(log_probs[token])
    return tokens, scores


def test_a_batch_in_any_order_finds_what_each_sentence_finds_alone(model: Seq2Seq) -> None:
    rng = random.Random(0)
    prompts = [[rng.randrange(4, V) for _ in range(rng.randint(1, 8))] for _ in range(40)]
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER).eval()
    with torch.inference_mode():
        found = search(*pad_prompts(prompts), 7)
        lengths = set()
        for row, prompt in enumerate(prompts):
            tokens, scores = greedy_alone(model, prompt, 7)
            lengths.add(len(tokens))
            padding = found.tokens.size(1) - len(tokens)
            assert found.tokens[row].tolist() == tokens + [PAD_ID] * padding
            torch.testing.assert_close(found.scores[row], torch.tensor(scores + [0.0] * padding))
            attention = found.attention[row, : len(tokens)]
            torch.testing.assert_close(attention.sum(-1), torch.ones(len(tokens)))
            assert torch.all(attention[:, len(prompt) :] == 0)
            assert torch.all(found.attention[row, len(tokens) :] == 0)
    assert len(lengths) > 1  # or the test would not see rows that end at different steps


def test_it_stops_when_every_row_has_ended(model: Seq2Seq) -> None:
    search = GreedySearchDecoder(model.encoder, model.decoder, NEVER).eval()
    with torch.inference_mode():
        tokens, _ = greedy_alone(model, [5, 6], 1000)
        assert search(*pad_prompts([[5, 6]]), 1000).tokens.size(1) == len(tokens)


def test_special_tokens_are_never_said(model: Seq2Seq) -> None:
    before = model.decoder.out.bias.detach().clone()
    try:
        with torch.inference_mode():
            model.decoder.out.bias[NEVER] += 1000.0
            search = GreedySearchDecoder(model.encoder, model.decoder, NEVER).eval()
            tokens = search(*pad_prompts([[5, 6, 7]]), 5).tokens[0].tolist()
    finally:
        with torch.no_grad():
            model.decoder.out.bias.copy_(before)
    said = tokens[: tokens.index(EOS_ID)] if EOS_ID in tokens else tokens
    assert not set(said) & set(NEVER)
