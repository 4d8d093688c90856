"""The copy mechanism against the paper's sum over both ways, worked out word by word."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.config.settings import ModelConfig
from chatbot.corpus.vocabulary import EOS_ID, PAD_ID, SOS_ID
from chatbot.network.batch import collate
from chatbot.network.copy_mechanism import CopyMechanism
from chatbot.network.model import Seq2Seq

V, H, E = 11, 4, 3
Prompts = list[list[int]]
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def mechanism() -> CopyMechanism:
    torch.manual_seed(0)
    copying = CopyMechanism(H, E)
    with torch.no_grad():
        copying.projection.weight.mul_(3)
        copying.bias.fill_(0.5)
    return copying.double()


def inputs(prompts: Prompts) -> Inputs:
    """logits (B, 2, V), states (B, 2, E), memory (B, S, H), source (B, S)"""
    width = max(map(len, prompts))
    source = torch.tensor([prompt + [PAD_ID] * (width - len(prompt)) for prompt in prompts])
    sizes = [(len(prompts), 2, V), (len(prompts), 2, E), (len(prompts), width, H)]
    logits, states, memory = (2 * torch.randn(size, dtype=torch.float64) for size in sizes)
    return logits, states, memory, source


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(EOS_ID, V - 1), min_size=1, max_size=6), min_size=1, max_size=3), st.booleans())
def test_a_word_is_as_likely_as_its_generation_and_its_copies_from_every_place_together(
    prompts: Prompts, searches: bool
) -> None:
    copying = mechanism()
    logits, states, memory, source = inputs(prompts)
    with torch.inference_mode(searches):
        found = copying(logits.clone(), states, memory, source).softmax(dim=-1)
    for b, prompt in enumerate(prompts):
        for t in range(2):
            weights = [math.exp(logit) for logit in logits[b, t]]
            for s, word in enumerate(prompt):
                if word > EOS_ID:
                    query = copying.projection(states[b, t]) / math.sqrt(H)
                    weights[word] += math.exp((memory[b, s].dot(query) + copying.bias).item())
            expected = torch.tensor(weights, dtype=torch.float64) / sum(weights)
            torch.testing.assert_close(found[b, t], expected)


def test_the_gradient_is_that_of_the_formula_also_where_a_word_stands_twice() -> None:
    copying = mechanism()
    logits, states, memory, source = inputs([[5, 6, 5, 5], [7, 7]])
    for part in (logits, states, memory):
        part.requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: copying(*given, source), (logits, states, memory))


@pytest.mark.parametrize("special", [PAD_ID, SOS_ID, EOS_ID])
def test_special_tokens_are_not_copied(special: int) -> None:
    logits, states, memory, _ = inputs([[5, 6, 7]])
    source = torch.full((1, 3), special)
    torch.testing.assert_close(mechanism()(logits, states, memory, source), logits, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(mechanism()(logits.clone(), states, memory, source), logits)


@pytest.mark.parametrize("copied", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("generated", [-300.0, 0.0, 300.0])
def test_scores_that_are_far_apart_are_summed_in_a_search_as_in_training(copied: float, generated: float) -> None:
    copying = mechanism().float()
    logits, states, memory, source = inputs([[5, 6, 5, 7]])
    logits, states, memory = logits.float(), states.float(), memory.float()
    logits[..., 5] += generated
    with torch.no_grad():
        copying.bias.fill_(copied)
    expected = copying(logits, states, memory, source)
    with torch.inference_mode():
        found = copying(logits.clone(), states, memory, source)
    assert torch.isfinite(found).all()
    likely = [torch.log_softmax(some, dim=-1).clamp_min(-80) for some in (found, expected)]
    torch.testing.assert_close(*likely, rtol=1e-6, atol=1e-4)


def test_a_search_under_autocast_takes_logits_of_half_the_width() -> None:
    copying = mechanism().float()
    logits, states, memory, source = inputs([[5, 6, 7, 5]])
    logits, states, memory = logits.bfloat16(), states.bfloat16(), memory.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected = copying(logits, states, memory, source)
        with torch.inference_mode():
            found = copying(logits.clone(), states, memory, source)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_under_autocast_the_scores_are_in_full_precision() -> None:
    copying = mechanism().float()
    _, states, memory, source = inputs([[5, 6, 7, 5]])
    states, memory = states.bfloat16().float(), memory.bfloat16().float()
    expected = copying.scores(states, memory, source)
    with torch.autocast("cpu", torch.bfloat16):
        found = copying.scores(states.bfloat16(), memory.bfloat16(), source)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_scores_that_are_far_apart_give_neither_nan_nor_infinity_to_a_gradient() -> None:
    copying = mechanism()
    logits, states, memory, source = inputs([[5, 6, 7, 5]])
    for part in (logits, states, memory):
        part.requires_grad_()
    found = copying(logits, states, memory * 1e4, source)
    torch.log_softmax(found, dim=-1)[..., 5].sum().backward()
    for part in (found, logits.grad, states.grad, memory.grad):
        assert part is not None
        assert torch.isfinite(part).all()


def test_a_network_says_names_again_that_it_never_heard_in_training() -> None:
    """Pairs like "7 3" - "7": of the words from 16 on no reply was ever shown, and no prompt."""
    known, unknown = range(4, 16), range(16, 24)
    perplexities = []
    for copies in (False, True):
        torch.manual_seed(0)
        config = ModelConfig(hidden_size=24, encoder_layers=1, decoder_layers=1, copy_mechanism=copies, dropout=0.0)
        model = Seq2Seq(config, 24)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            batch = collate([([word, 3], [word]) for word in known])
            logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
            loss = torch.nn.functional.cross_entropy(logits, batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss < 0.1
        batch = collate([([word, 3], [word]) for word in unknown])
        with torch.inference_mode():  # of the names, not of EOS
            logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)[::2]
        perplexities.append(math.exp(torch.nn.functional.cross_entropy(logits, batch.targets[::2])))
    generated, copied = perplexities
    assert copied < 3 < 100 < generated
