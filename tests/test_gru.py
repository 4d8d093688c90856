"""The faster GRU gives the outputs and gradients of nn.GRU, and steps aside where it does not apply."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import chatbot.network.kernels.gru as room
from chatbot.network.kernels.gru import GRU, without_some
from chatbot.network.kernels.linear import ROUND, product, rounded, weight_gradient
from chatbot.network.kernels.packing import PackedWords


def results(gru: nn.GRU, data: Tensor, lengths: list[int], first: Tensor | None) -> list[Tensor]:
    """Outputs, last states and every gradient of a scalar that depends on all of them."""
    data = data.clone().requires_grad_()
    first = None if first is None else first.clone().requires_grad_()
    packed = pack_padded_sequence(data, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, hidden = gru(packed, first)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True)
    generator = torch.Generator().manual_seed(7)
    total = (outputs * torch.randn(outputs.shape, generator=generator)).sum()
    total = total + (hidden * torch.randn(hidden.shape, generator=generator)).sum()
    leaves = [data, *([] if first is None else [first]), *gru.parameters()]
    return [outputs.detach(), hidden.detach(), *torch.autograd.grad(total, leaves)]


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    given_first=st.booleans(),
)
def test_outputs_and_gradients_are_those_of_nn_gru(
    lengths: list[int], layers: int, bidirectional: bool, sizes: tuple[int, int], given_first: bool
) -> None:
    torch.manual_seed(0)
    expected = nn.GRU(*sizes, layers, bidirectional=bidirectional, batch_first=True)
    fast = GRU(*sizes, layers, bidirectional=bidirectional, batch_first=True)
    fast.load_state_dict(expected.state_dict())
    data = torch.randn(len(lengths), max(lengths), sizes[0])
    first = torch.randn(layers * (1 + bidirectional), len(lengths), sizes[1]) if given_first else None
    for one, other in zip(results(expected, data, lengths, first), results(fast, data, lengths, first), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("applies", "precision"), [(False, torch.float32), (True, torch.float32), (True, torch.bfloat16)]
)
def test_rows_of_a_table_are_read_as_the_vectors_themselves(
    bidirectional: bool, applies: bool, precision: torch.dtype
) -> None:
    torch.manual_seed(0)
    gru = GRU(3, 5, 2, bidirectional=bidirectional, batch_first=True)
    gru.train(applies)
    found = []
    for reads_table in (False, True):
        table = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        rows = pack_padded_sequence(torch.tensor([[0, 3, 0, 2], [3, 3, 2, 0]]), torch.tensor([4, 3]), batch_first=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            if reads_table:
                outputs, hidden = gru(PackedWords(rows, table))
            else:
                outputs, hidden = gru(rows._replace(data=table[rows.data]))
        weights = torch.randn(outputs.data.shape, generator=torch.Generator().manual_seed(2))
        gradients = torch.autograd.grad((outputs.data * weights).sum() + hidden.sum(), [table, *gru.parameters()])
        assert not gradients[0][1].any(), "never read"
        found.append([outputs.data, hidden, *gradients])
    rtol, atol = (1e-4, 1e-5) if precision == torch.float32 else (0.01, 0.01)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_no_first_state_is_one_of_zeros(bidirectional: bool, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    gru = GRU(3, 5, 2, bidirectional=bidirectional, batch_first=True)
    data, zeros = torch.randn(3, 4, 3), torch.zeros(2 * (1 + bidirectional), 3, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        without, given_zeros = (results(gru, data, [4, 1, 3], first) for first in (None, zeros))
    del given_zeros[3]  # the gradient of the zeros
    for one, other in zip(without, given_zeros, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given_first", [False, True])
@pytest.mark.parametrize("given_table", [False, True])
def test_in_bfloat16_results_are_near_those_of_nn_gru_and_products_have_few_shapes(
    bidirectional: bool, given_first: bool, given_table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: set[int] = set()
    monkeypatch.setattr(room, "product", lambda a, *others: rows.add(len(a)) or product(a, *others))
    monkeypatch.setattr(room, "weight_gradient", lambda a, b: rows.add(len(a)) or weight_gradient(a, b))
    expected = nn.GRU(6, 8, 2, bidirectional=bidirectional)
    fast = GRU(6, 8, 2, bidirectional=bidirectional)
    fast.load_state_dict(expected.state_dict())
    lengths = torch.randint(1, 8, (37,))
    table = torch.randn(int(lengths.sum()), 6).requires_grad_()
    places = torch.randint(len(table), (int(lengths.max()), 37))
    read = pack_padded_sequence(places, lengths, enforce_sorted=False)
    first = torch.randn(2 * (1 + bidirectional), 37, 8).requires_grad_() if given_first else None
    found = []
    for gru, narrow in ((expected, False), (fast, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            words = PackedWords(read, table)
            outputs, hidden = gru(words if narrow and given_table else words.vectors(), first)
        weights = torch.randn(outputs.data.shape, generator=torch.Generator().manual_seed(1))
        total = (outputs.data * weights).sum() + hidden.square().sum()
        leaves = [table, *([] if first is None else [first]), *gru.parameters()]
        found.append([outputs.data, hidden, *torch.autograd.grad(total, leaves)])
    for one, other in zip(*found, strict=True):
        scale = one.abs().max()
        torch.testing.assert_close(other / scale, one / scale, rtol=0.02, atol=0.02)
    assert len(rows) > 2
    assert all(count % ROUND == 0 for count in rows)


def test_rows_are_rounded_up_by_little_and_to_few_numbers() -> None:
    found = [rounded(rows) for rows in range(4097)]
    assert all(rows <= up < max(rows + ROUND, rows * 17 / 16) for rows, up in enumerate(found))
    assert found == sorted(found), "a part of the rows has a part of the rounded ones"
    assert len(set(found)) <= 1 + 256 // ROUND + 4 * 16


def test_it_is_used_in_training_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    apply = room._Pass.apply
    monkeypatch.setattr(room._Pass, "apply", lambda *arguments: calls.append(1) or apply(*arguments))
    gru = GRU(3, 4, batch_first=True)
    packed = pack_padded_sequence(torch.randn(2, 3, 3), torch.tensor([3, 2]), batch_first=True)
    gru(packed)
    assert len(calls) == 1
    with torch.no_grad():
        gru(packed)
    gru(torch.randn(2, 3, 3))
    gru.double()(packed.to(torch.float64))
    gru.float().eval()(packed)
    assert len(calls) == 1


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("given_first", [False, True])
def test_where_nn_gru_s_own_pass_is_taken_dropout_between_layers_is_not_its_own(
    batch_first: bool, packs: bool, given_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN's makes the host wait. With none in its place what is left is nn.GRU without dropout."""
    shares, passes, pass_of_torch = [], [], torch.gru
    monkeypatch.setattr(room, "dropout", lambda data, share, training: shares.append((share, training)) or data)
    monkeypatch.setattr(torch, "gru", lambda *given: passes.append(given) or pass_of_torch(*given))
    expected = nn.GRU(3, 5, 3, bidirectional=True, batch_first=batch_first, dtype=torch.float64)
    gru = GRU(3, 5, 3, bidirectional=True, batch_first=batch_first, dropout=0.5, dtype=torch.float64)
    gru.load_state_dict(expected.state_dict())
    data = torch.randn(*((4, 6) if batch_first else (6, 4)), 3, dtype=torch.float64)
    first = torch.randn(6, 4, 5, dtype=torch.float64) if given_first else None
    lengths = torch.tensor([2, 6, 1, 6])
    read: Any = pack_padded_sequence(data, lengths, batch_first, enforce_sorted=False) if packs else data
    found = []
    for one in (expected, gru):
        outputs, hidden = one(read, first)
        total = (outputs.data if packs else outputs).square().sum() + hidden.sum()
        found.append([outputs, hidden, *torch.autograd.grad(total, list(one.parameters()))])
    torch.testing.assert_close(*found)
    assert shares == [(0.5, True)] * 2
    assert len(passes) == 3
    assert not any(0.5 in [value for value in given if isinstance(value, float)] for given in passes)


@pytest.mark.parametrize("packs", [False, True])
def test_states_of_too_few_layers_are_refused(packs: bool) -> None:
    gru = GRU(3, 5, 3, dropout=0.5, batch_first=True, dtype=torch.float64)
    data: Any = torch.randn(2, 4, 3, dtype=torch.float64)
    data = pack_padded_sequence(data, torch.tensor([4, 2]), batch_first=True) if packs else data
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        gru(data, torch.zeros(2, 2, 5, dtype=torch.float64))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(
    ("more", "cells"),
    [({}, True), ({"bidirectional": True}, False), ({"bias": False}, False), ({"batch_first": False}, False)],
)
def test_one_word_further_is_what_nn_gru_makes_of_it_to_the_last_bit(
    layers: int, more: dict[str, bool], cells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, cell = [], torch.gru_cell
    monkeypatch.setattr(torch, "gru_cell", lambda *given: calls.append(1) or cell(*given))
    ways = {"batch_first": True, **more}
    gru, theirs = GRU(3, 5, layers, dropout=0.5, **ways).eval(), nn.GRU(3, 5, layers, **ways)
    theirs.load_state_dict(gru.state_dict())
    batch = 4 if ways["batch_first"] else 1
    word, state = torch.randn(4, 1, 3), torch.randn(layers * (1 + gru.bidirectional), batch, 5)
    with torch.inference_mode():
        for ours, expected in zip(gru(word, state), theirs(word, state), strict=True):
            assert torch.equal(ours, expected)
        with pytest.raises(RuntimeError, match="Expected hidden size"):
            gru(word, state[:0])
    assert bool(calls) == cells


def test_several_words_are_read_one_by_one_in_a_file_as_nn_gru_reads_them() -> None:
    gru = nn.GRU(3, 5, 2, batch_first=True)
    words, state = torch.randn(4, 6, 3), torch.randn(2, 4, 5)
    found = room.by_words(words, state, [weight for weights in gru.all_weights for weight in weights])
    torch.testing.assert_close(found, gru(words, state))


def test_in_training_one_word_has_dropout_also_without_gradients() -> None:
    gru = GRU(3, 5, 2, dropout=0.5, batch_first=True)
    word, state = torch.randn(4, 1, 3), torch.randn(2, 4, 5)
    with torch.no_grad():
        assert not torch.equal(gru(word, state)[0], gru.eval()(word, state)[0])


def test_what_has_no_batch_is_read_as_nn_gru_reads_it() -> None:
    gru = GRU(3, 5, 2, dropout=0.5)
    assert gru(torch.randn(4, 3))[0].shape == (4, 5)


@pytest.mark.parametrize("packs", [False, True])
def test_dropout_between_layers_is_drawn_in_training(packs: bool) -> None:
    gru = GRU(3, 4, 2, dropout=0.5, batch_first=True)
    data: Any = torch.randn(2, 3, 3)
    data = pack_padded_sequence(data, torch.tensor([3, 2]), batch_first=True) if packs else data
    assert not torch.equal(gru(data)[1], gru(data)[1])
    gru.eval()
    assert torch.equal(gru(data)[1], gru(data)[1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_dropout_is_the_same_in_both_passes(bidirectional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    gru = GRU(3, 5, 2, bidirectional=bidirectional, batch_first=True, dropout=0.5, recurrent_dropout=0.4)
    data, whole = torch.randn(2, 4, 3), [parameter.clone() for parameter in gru.parameters()]
    found = []
    for applies in (True, False):
        monkeypatch.setattr(GRU, "_applies", lambda *_, applies=applies: applies)
        torch.manual_seed(1)
        found.append(results(gru, data, [4, 2], None))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    monkeypatch.undo()
    assert not torch.equal(results(gru, data, [4, 2], None)[0], found[0][0]), "drawn anew"
    assert all(map(torch.equal, gru.parameters(), whole))
    plain = nn.GRU(3, 5, 2, bidirectional=bidirectional, batch_first=True)
    plain.load_state_dict(gru.state_dict())
    assert torch.equal(gru.eval()(data)[0], plain(data)[0]), "whole again"


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_dropout_acts_on_weights_that_were_just_loaded(packs: bool, layers: int, share: float) -> None:
    gru, other = (
        GRU(3, 50, layers, batch_first=True, dropout=0.5 * (layers > 1), recurrent_dropout=share) for _ in "ab"
    )
    gru.load_state_dict(other.state_dict(), assign=True)
    data: Any = torch.randn(2, 4, 3)
    data = pack_padded_sequence(data, torch.tensor([4, 2]), batch_first=True) if packs else data
    whole = nn.GRU(3, 50, layers, batch_first=True)
    whole.load_state_dict(other.state_dict())
    (first, *_), (expected, *_) = gru(data)[1], whole(data)[1]  # below all dropout between layers
    assert torch.allclose(first, expected, rtol=1e-4, atol=1e-5) == (share == 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_recurrent_dropout_leaves_out_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    weight = torch.rand(3 * 101, 101).add_(0.5).requires_grad_()  # 101: no multiple of the bytes in a word
    left = without_some(weight, share)
    gone = left == 0
    assert gone.float().mean() == pytest.approx(share, abs=0.02)
    assert torch.equal(*gone.view(3, 101, 101)[:2])
    assert torch.equal(*gone.view(3, 101, 101)[1:])
    torch.testing.assert_close(
        left[~gone] / weight[~gone], torch.full_like(left[~gone], 1 / (1 - share)), rtol=0.04, atol=0
    )
    left.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad == 0, gone)
