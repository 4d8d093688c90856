"""Products written where that is fast are products: the results, gradients and state dict of torch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import chatbot.network.kernels.linear as room
from chatbot.network.kernels.embedding import LookUp
from chatbot.network.kernels.linear import Linear, aligned, by_columns, product, rounded, weight_gradient

SIDES = st.integers(1, 20)


@settings(deadline=None, max_examples=40)
@given(rows=SIDES, inner=st.integers(0, 20), columns=SIDES, has_bias=st.booleans(), transposed=st.booleans())
def test_a_product_is_that_of_torch(rows: int, inner: int, columns: int, has_bias: bool, transposed: bool) -> None:
    a = torch.randn(inner, rows).t() if transposed else torch.randn(rows, inner)
    b, bias = torch.randn(columns, inner).t(), torch.randn(columns)
    found = product(a, b, bias if has_bias else None)
    torch.testing.assert_close(found, a @ b + bias if has_bias else a @ b, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(0, 20), sizes=st.tuples(SIDES, SIDES), block=st.integers(1, 8))
def test_the_gradient_of_a_weight_is_a_product_and_contiguous(rows: int, sizes: tuple[int, int], block: int) -> None:
    d_output, input = (torch.randn(rows, size) for size in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BLOCK", block)
        found = weight_gradient(d_output, input)
    torch.testing.assert_close(found, d_output.t() @ input, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous()


@pytest.mark.parametrize("columns", [1, 8, 9, 500, 1500])
def test_rows_begin_at_multiples_of_32_bytes(columns: int) -> None:
    made = aligned(3, columns, torch.zeros(()))
    assert made.shape == (3, columns)
    assert all(row.data_ptr() % 32 == 0 for row in made)
    assert product(torch.randn(3, 2), torch.randn(2, columns)).stride() == made.stride()
    assert aligned(3, columns, torch.zeros((), dtype=torch.float64)).is_contiguous()


def test_other_dtypes_are_left_to_torch() -> None:
    a, b = torch.randn(3, 5).double(), torch.randn(5, 7).double()
    assert torch.equal(product(a, b), a @ b)
    assert torch.equal(product(a, b, a[0, 0].expand(7)), torch.addmm(a[0, 0].expand(7), a, b))
    assert torch.equal(weight_gradient(a, a), a.t() @ a)


@settings(deadline=None, max_examples=20)
@given(sizes=st.tuples(*[st.integers(1, 20)] * 3))
def test_a_layer_that_does_not_learn_has_the_outputs_of_nn_linear(sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    expected, fast = nn.Linear(inner, columns).eval(), Linear(inner, columns).eval()
    fast.load_state_dict(expected.state_dict())
    input = torch.randn(rows, inner)
    with torch.inference_mode():
        for given in (input, input.unsqueeze(1)):
            torch.testing.assert_close(fast(given), expected(given), rtol=1e-4, atol=1e-5)
    assert torch.equal(fast.bias, expected.bias)  # it is added to the product, not the other way round


@settings(deadline=None, max_examples=20)
@given(sizes=st.tuples(*[st.integers(1, 20)] * 3))
def test_a_layer_has_the_outputs_and_gradients_of_nn_linear(sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    expected, fast = nn.Linear(inner, columns), Linear(inner, columns)
    fast.load_state_dict(expected.state_dict())
    input, weights = torch.randn(rows, inner), torch.randn(rows, columns)
    found = []
    for layer in (expected, fast):
        leaf = input.clone().requires_grad_()
        output = layer(leaf)
        (output * weights).sum().backward()
        found.append([output, leaf.grad, layer.weight.grad, layer.bias.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one)


def test_a_layer_without_biases_and_a_frozen_one_train_too() -> None:
    input = torch.randn(4, 3, requires_grad=True)
    bare = Linear(3, 5, bias=False)
    bare(input).sum().backward()
    assert bare.weight.grad is not None
    frozen = Linear(3, 5).requires_grad_(False)
    frozen(input).sum().backward()
    assert frozen.weight.grad is None
    assert frozen.bias.grad is None


def test_the_layer_is_faster_in_training_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    apply = room._Linear.apply
    monkeypatch.setattr(room._Linear, "apply", lambda *arguments: calls.append(1) or apply(*arguments))
    layer, input = Linear(3, 5), torch.randn(2, 3)
    layer(input)
    assert len(calls) == 1
    with torch.no_grad():
        layer(input)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(input).dtype == torch.bfloat16
    layer(torch.randn(2, 4, 3))
    layer.eval()(input)
    assert len(calls) == 1


@pytest.mark.parametrize("rows", [16, 37])
def test_in_bfloat16_rows_are_products_of_few_shapes_and_only_the_real_ones_come_back(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, linear = [], nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda x, *given: shapes.append(len(x)) or linear(x, *given))
    layer, input = Linear(3, 5), torch.randn(rows, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(input)
    torch.testing.assert_close(found.float(), layer(input), rtol=0.03, atol=0.03)
    gradient = torch.autograd.grad(found.float().sum(), layer.bias)[0]
    assert shapes[0] == rounded(rows)
    assert torch.equal(gradient, torch.full((5,), float(rows)))


def test_matrices_that_are_multiplied_are_laid_out_by_columns_and_are_what_they_were() -> None:
    tied, looked_up, vector = torch.randn(5, 3), torch.randn(5, 3), torch.randn(4)
    given = {"a.embedding.weight": tied, "out.weight": tied, "b.embedding.weight": looked_up, "out.bias": vector}
    found = by_columns(given)
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert found["out.weight"].stride() == (1, 5)
    assert found["out.weight"] is found["a.embedding.weight"]  # still once in memory
    assert found["b.embedding.weight"] is looked_up
    assert found["out.bias"] is vector
    assert tied.is_contiguous()  # what was given is left as it was


def test_what_is_looked_up_has_the_gradient_of_both_uses() -> None:
    weight, rows = torch.randn(6, 4, requires_grad=True), torch.tensor([5, 0, 2])
    some, whole = torch.randn(3, 4), torch.randn(6, 4)
    expected = torch.autograd.grad((weight[rows] * some).sum() + (weight * whole).tanh().sum(), weight)
    found, again = LookUp.apply(weight, rows)
    assert torch.equal(found, weight[rows])
    assert torch.equal(again, weight)
    total = (found * some).sum() + (again * whole).tanh().sum()
    torch.testing.assert_close(torch.autograd.grad(total, weight), expected)
    found, _ = LookUp.apply(weight, rows)
    (alone,) = torch.autograd.grad((found * some).sum(), weight)
    torch.testing.assert_close(alone, torch.zeros(6, 4).index_copy(0, rows, some))
