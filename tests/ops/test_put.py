"""put and put_ beside PyTorch's; distributions to fill a tensor with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad


@pytest.mark.parametrize("accumulate", [False, True])
def test_put(accumulate: bool, torch: Any) -> None:
    def run(module: Any) -> list[Any]:
        x = module.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
        s = module.tensor([10.0, 20.0, 30.0], requires_grad=True)
        index = module.tensor([1, -1, 1]) if accumulate else module.tensor([1, -1, 3])
        y = module.Tensor.put(x, index, s, accumulate)
        z = (x * 1).t().clone().put_(index, s, accumulate)
        (y * y + z.t()).sum().backward()
        empty = module.ones(2).put_(module.zeros(0, dtype=module.int64), module.zeros(0))
        return [y, z, x.grad, s.grad, empty]

    for a, b in zip(run(jitgrad), run(torch), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())


def test_errors() -> None:
    x = jitgrad.zeros(4)
    with pytest.raises(RuntimeError, match="same number of elements"):
        x.put_(jitgrad.tensor([0, 1]), jitgrad.ones(1))
    with pytest.raises(IndexError):
        x.put_(jitgrad.tensor([4]), jitgrad.ones(1))
    with pytest.raises(RuntimeError, match="p to be in"):
        x.geometric_(1.0)
    with pytest.raises(RuntimeError, match="sigma > 0"):
        x.cauchy_(0, -1)
    with pytest.raises(RuntimeError, match="std > 0"):
        x.log_normal_(0, 0)
    with pytest.raises(RuntimeError, match="not implemented for 'Long'"):
        jitgrad.zeros(1, dtype=jitgrad.int64).cauchy_()


def test_distributions() -> None:
    jitgrad.manual_seed(3)
    x = jitgrad.zeros(200, 100)
    assert abs(x.geometric_(0.25).mean().item() - 4) < 0.1
    assert x.min().item() == 1
    assert abs(x.cauchy_(2.0, 3.0).median().item() - 2) < 0.15
    assert abs((x - 2).abs().median().item() - 3) < 0.15
    log = x.log_normal_(0.5, 0.25).log()
    assert abs(log.mean().item() - 0.5) < 0.01
    assert abs(log.std().item() - 0.25) < 0.01
    assert jitgrad.zeros(5, dtype=jitgrad.int64).geometric_(0.5).dtype is jitgrad.int64
