"""Averaged models against PyTorch's."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad

AVERAGES: dict[str, Any] = {
    "mean": lambda u: {},
    "mean, buffers too": lambda u: {"use_buffers": True},
    "fading": lambda u: {"avg_fn": u.get_ema_avg_fn(0.9)},
    "lists": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "fading lists": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8), "use_buffers": True},
}


def model(t: Any) -> Any:
    class Shift(t.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = t.nn.Parameter(t.tensor([1.0, 2.0], dtype=t.float64))
            self.register_buffer("seen", t.tensor([0.0], dtype=t.float64))

        def forward(self, x: Any) -> Any:
            return x + self.weight

    return Shift()


@pytest.mark.parametrize("name", AVERAGES)
def test_averages(torch: ModuleType, name: str) -> None:
    both = []
    for t in (jitgrad, torch):
        u = t.optim.swa_utils
        source = model(t)
        averaged = u.AveragedModel(source, **AVERAGES[name](u))
        found = []
        for step in range(6):
            with t.no_grad():
                source.weight.add_(t.tensor([step, -1.0], dtype=t.float64))
                source.seen.add_(step)
            averaged.update_parameters(source)
            found.append([*averaged.module.weight.tolist(), *averaged.module.seen.tolist()])
        found.append(averaged(t.zeros(2, dtype=t.float64)).tolist() + [int(averaged.n_averaged)])
        both.append((found, list(averaged.state_dict())))
    for mine, theirs in zip(both[0][0], both[1][0], strict=True):
        # On lists PyTorch rounds 1 / (count + 1) to float32.
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-7)
    assert both[0][1] == both[1][1]


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("steps", [0, 4])
def test_rates(torch: ModuleType, strategy: str, steps: int) -> None:
    both = []
    for t in (jitgrad, torch):
        w = t.ones(1, requires_grad=True)
        optimizer = t.optim.SGD([w], lr=1.0)
        scheduler = t.optim.swa_utils.SWALR(optimizer, 0.05, steps, strategy)
        found = []
        for _ in range(8):
            found += [optimizer.param_groups[0]["lr"], *scheduler.get_last_lr()]
            optimizer.step()
            scheduler.step()
        both.append(found)
    np.testing.assert_allclose(*both, rtol=1e-12)


def test_mistakes() -> None:
    u = jitgrad.optim.swa_utils
    optimizer = jitgrad.optim.SGD([jitgrad.ones(1)])
    with pytest.raises(ValueError, match="anneal_strategy must be"):
        u.SWALR(optimizer, 0.1, anneal_strategy="no")
    with pytest.raises(ValueError, match="equal or greater than 0, got -1"):
        u.SWALR(optimizer, 0.1, -1)
    with pytest.raises(ValueError, match="Invalid decay value 2"):
        u.get_ema_avg_fn(2)
    with pytest.raises(AssertionError, match="Only one of"):
        u.AveragedModel(
            model(jitgrad), avg_fn=u.get_swa_avg_fn(), multi_avg_fn=u.get_swa_multi_avg_fn()
        )


def test_update_bn_resets_and_restores() -> None:
    class Norm(jitgrad.nn.Module):
        momentum: Any = 0.1

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []

        def reset_running_stats(self) -> None:
            self.seen.clear()

        def forward(self, x: Any) -> Any:
            self.seen.append((self.momentum, self.training, x.item()))
            return x

    layer = Norm().eval()
    layer(jitgrad.tensor(5.0))
    loader = [jitgrad.tensor(1.0), (jitgrad.tensor(2.0), "label")]
    jitgrad.optim.swa_utils.update_bn(loader, layer)
    assert layer.seen == [(None, True, 1.0), (None, True, 2.0)]
    assert layer.momentum == 0.1
    assert not layer.training
    jitgrad.optim.swa_utils.update_bn(loader, jitgrad.nn.Linear(1, 1))
