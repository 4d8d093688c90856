"""Dropout leaves out its share, at random and reproducibly, and keeps the mean; out of training it does nothing."""

import pytest
import torch

from chatbot.network.kernels.dropout import Dropout


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95])
def test_it_leaves_out_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    values = torch.rand(1001, 331).add_(0.5).requires_grad_()  # an odd number of them
    result = Dropout(share)(values)
    left = result.detach()
    gone = left == 0
    assert gone.double().mean() == pytest.approx(share, rel=0.05)
    assert left.double().mean() == pytest.approx(values.detach().double().mean().item(), rel=0.02)
    torch.testing.assert_close(left[~gone], values.detach()[~gone] / (1 - share), rtol=0.001, atol=0)
    result.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, left / values.detach())


def test_draws_follow_the_seed() -> None:
    values, layer = torch.ones(100, 7), Dropout(0.3)
    torch.manual_seed(5)
    first, second = layer(values), layer(values)
    torch.manual_seed(5)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)


def test_nothing_everything_and_out_of_training() -> None:
    values = torch.randn(5, 7)
    assert torch.equal(Dropout(0.0)(values), values)
    assert not Dropout(1.0)(values).any()
    assert torch.equal(Dropout(0.5).eval()(values), values)
    for dtype in (torch.float64, torch.bfloat16):
        assert Dropout(0.5)(values.to(dtype)).dtype == dtype
