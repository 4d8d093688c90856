"""The network against references worked out another way, and the equalities that a user relies on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chatbot.config.settings import ModelConfig
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.evaluation.likelihood import token_sums
from chatbot.network.batch import collate
from chatbot.network.kernels.packing import PackedWords, RealPositions, packed_in_any_order, unpacked
from chatbot.network.model import LinearBridge, Seq2Seq
from chatbot.network.tutorial import TutorialBridge

V = 23
PAIRS = [([5, 6, 7, 5, 5], [4, 5]), ([10], [6, 7, 8, 9]), ([11, 12, 13], []), ([14, 15, 4], [22])]


def network(**settings: object) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"hidden_size": 7, "embedding_size": 5, "encoder_layers": 2, "decoder_layers": 2} | settings
    return Seq2Seq(ModelConfig(**sizes), V).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["dot", "general", "concat"])
@pytest.mark.parametrize(("bridge", "copies"), [("linear", False), ("linear", True), ("tutorial", False)])
def test_a_batch_says_what_each_pair_says_alone(kind: str, bridge: str, copies: bool) -> None:
    model = network(attention=kind, bridge=bridge, copy_mechanism=copies)
    batch = collate(PAIRS)
    together = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    rows = sorted(PAIRS, key=lambda pair: -len(pair[0]))
    alone = []
    for pair in rows:
        one = collate([pair])
        alone.append(model(one.src, one.src_lengths, one.tgt, one.tgt_lengths))
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("copies", [False, True])
def test_teacher_forcing_in_one_call_equals_one_word_at_a_time(copies: bool) -> None:
    model = network(copy_mechanism=copies)
    batch = collate(PAIRS)
    at_once = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    memory, source, hidden = model.encoder(batch.src, batch.src_lengths)
    steps = []
    for t in range(batch.tgt.size(1)):
        logits, hidden, weights = model.decoder(batch.tgt[:, t : t + 1], hidden, memory, source)
        torch.testing.assert_close(weights.sum(-1), torch.ones(len(PAIRS), 1))
        steps.append(logits)
    real = RealPositions(batch.tgt_lengths, batch.tgt.size(1), torch.device("cpu"))
    torch.testing.assert_close(at_once, real.pick(torch.cat(steps, 1)))


@pytest.mark.parametrize("copies", [False, True])
def test_in_bfloat16_the_logits_are_nearly_those_of_float32(copies: bool) -> None:
    """Though products then have few shapes, which positions are filled up to."""
    model = network(copy_mechanism=copies, hidden_size=32)
    batch = collate(PAIRS)
    expected = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.02 * expected.detach().std().item())


def test_the_memory_is_the_sum_of_both_directions_read_step_by_step() -> None:
    model = network(encoder_layers=1, decoder_layers=1)
    gru = model.encoder.gru
    ids = [5, 6, 7]
    cells = []
    for suffix in ("", "_reverse"):
        cell = nn.GRUCell(5, 7)
        cell.load_state_dict(
            {
                f"{kind}_{part}": getattr(gru, f"{kind}_{part}_l0{suffix}")
                for kind in ("weight", "bias")
                for part in ("ih", "hh")
            }
        )
        cells.append(cell)
    embedded = model.encoder.embedding(torch.tensor(ids))
    forward, backward = [torch.zeros(7)], [torch.zeros(7)]
    for t in range(3):
        forward.append(cells[0](embedded[t], forward[-1]))
        backward.append(cells[1](embedded[2 - t], backward[-1]))
    memory, _, hidden = model.encoder(torch.tensor([ids]), torch.tensor([3]))
    expected = torch.stack([forward[t + 1] + backward[3 - t] for t in range(3)])
    torch.testing.assert_close(memory[0], expected)
    bridge = model.encoder.bridge
    torch.testing.assert_close(hidden[0, 0], torch.tanh(bridge.projections[0](torch.cat((forward[-1], backward[-1])))))


def test_the_linear_bridge_joins_top_layers_to_top_layers() -> None:
    assert LinearBridge(2, 2, 3).sources == [0, 1]
    assert LinearBridge(3, 1, 3).sources == [2]
    assert LinearBridge(1, 3, 3).sources == [0, 0, 0]


def test_the_tutorials_bridge_is_the_first_states_as_they_are_laid_out() -> None:
    hidden = torch.randn(4, 2, 3)
    assert torch.equal(TutorialBridge(2, 2, 3)(hidden), hidden[:2])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["dot", "general", "concat"])
def test_every_parameter_learns(kind: str, tied: bool) -> None:
    model = network(attention=kind, tie_embeddings=tied).train()
    batch = collate(PAIRS)
    logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    nn.functional.cross_entropy(logits, batch.targets).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []
    assert (model.decoder.out.weight is model.encoder.embedding.weight) == tied


def test_scaled_embeddings_are_read_larger_than_they_are_kept() -> None:
    scaled, plain = network(scale_embeddings=True), network()
    scaled.load_state_dict(plain.state_dict())
    tokens = torch.tensor([[5, 6, 4]])
    size = plain.encoder.embedding.embedding_dim
    assert torch.equal(scaled.encoder.embedding(tokens), plain.encoder.embedding(tokens) * size**0.5)
    assert torch.equal(scaled.decoder.out.weight, plain.encoder.embedding.weight)
    with torch.no_grad():  # a network whose rows are that much larger reads the same
        plain.encoder.embedding.weight.mul_(size**0.5)
    src = torch.tensor([3])
    torch.testing.assert_close(scaled.encoder(tokens, src)[0], plain.encoder(tokens, src)[0])


def test_all_dropout_is_scaled_and_comes_back() -> None:
    config = ModelConfig(hidden_size=8, dropout=0.4, recurrent_dropout=0.2)
    model = Seq2Seq(config, 20)
    parts = (model.encoder.dropout, model.decoder.dropout, model.decoder.output_dropout)
    grus = (model.encoder.gru, model.decoder.gru)
    for share in (0.0, 0.5, 1.0):
        model.scale_dropout(share)
        assert [part.p for part in parts] == [0.4 * share] * 3
        assert [(gru.dropout, gru.recurrent_dropout) for gru in grus] == [(0.4 * share, 0.2 * share)] * 2


def test_dropout_that_the_tutorial_does_not_have_stays_off() -> None:
    model = Seq2Seq(ModelConfig(hidden_size=8, dropout=0.4, dropout_places="tutorial", encoder_layers=1), 20)
    model.scale_dropout(1.0)
    assert model.encoder.dropout.p == model.encoder.gru.dropout == model.decoder.output_dropout.p == 0
    assert model.decoder.dropout.p == model.decoder.gru.dropout == 0.4


@pytest.mark.parametrize("places", ["all", "tutorial"])
def test_a_word_loses_the_same_wherever_it_stands_but_not_in_the_tutorials_way(places: str) -> None:
    model = network(embedding_size=50, dropout=0.5, dropout_places=places).train()
    seen: list[torch.Tensor] = []

    def look(gru: nn.Module, arguments: tuple[PackedWords, ...]) -> None:
        seen.append(arguments[0].vectors().data)

    for part in (model.encoder, model.decoder):
        part.gru.register_forward_pre_hook(look)
    prompt, reply = [5, 6, 5, 6, 5], [7, 8, 7, 8, 7]
    batch = collate([(prompt, reply)])
    model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    read, said = seen[0], seen[1][1:]  # SOS is read first
    assert torch.equal(read[0], read[2])
    assert torch.equal(read[1], read[3])
    assert (read == 0).any() == (places == "all")
    assert torch.equal(said[0], said[2]) == (places == "all")
    assert (said == 0).any()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("places", ["all", "tutorial"])
@pytest.mark.parametrize("scaled", [True, False])
def test_what_is_trained_on_tables_of_words_is_what_is_scored_word_by_word(
    tied: bool, places: str, scaled: bool
) -> None:
    model = network(tie_embeddings=tied, dropout_places=places, scale_embeddings=scaled, dropout=0.0)
    batch, found = collate(PAIRS), []
    for trains in (True, False):  # where it does not train it takes the way of a GPU
        model.train(trains)
        logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
        found.append([logits, *torch.autograd.grad((logits * weights).sum(), list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_padding_costs_nothing_and_gets_no_gradient() -> None:
    model = network(tie_embeddings=False)
    batch = collate(PAIRS)
    assert len(batch.targets) == sum(len(reply) + 1 for _, reply in PAIRS)
    logits = model(batch.src, batch.src_lengths, batch.tgt, batch.tgt_lengths)
    logits.sum().backward()
    assert torch.all(model.encoder.embedding.weight.grad[0] == 0)


def test_a_model_that_knows_nothing_has_the_vocabularys_size_as_perplexity() -> None:
    sums = token_sums(torch.zeros(11, V), torch.full((11,), EOS_ID))
    assert math.isclose(sums.figures()["perplexity"], V, rel_tol=1e-6)
    assert sums.tokens == 11


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=9))
def test_rows_in_any_order_are_packed_and_unpacked_as_torch_does_it(lengths: list[int]) -> None:
    rows = torch.randn(len(lengths), max(lengths), 3)
    expected = pack_padded_sequence(rows, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    found = packed_in_any_order(rows, torch.tensor(lengths))
    assert all(map(torch.equal, found, expected))  # type: ignore[arg-type]
    assert torch.equal(unpacked(found), pad_packed_sequence(expected, batch_first=True)[0])
