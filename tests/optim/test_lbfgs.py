"""L-BFGS against PyTorch's, with and without line search."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad


def rosenbrock(T: Any, options: dict[str, Any], steps: int) -> tuple[list[Any], dict[str, Any]]:
    x = T.tensor([-1.2, 1.0, 0.7], dtype=T.float64, requires_grad=True)
    m = T.tensor([[0.5, -0.3], [0.2, 0.9]], dtype=T.float64, requires_grad=True)
    unused = T.zeros(2, dtype=T.float64, requires_grad=True)
    optimizer = T.optim.LBFGS([x, m, unused], **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss = loss + ((m @ m.t() - 0.5) ** 2).sum() + (m.sum() - x[0]) ** 2
        loss.backward()
        return loss

    path = []
    for _ in range(steps):
        loss = optimizer.step(closure)
        path.append([loss.item(), *x.tolist(), *m.reshape(-1).tolist()])
    return path, optimizer.state_dict()


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-3},
        {"lr": 0.01, "max_iter": 7, "history_size": 3},
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "max_iter": 5, "history_size": 2, "lr": 0.5},
        {"line_search_fn": "strong_wolfe", "max_eval": 6, "tolerance_change": 1e-3},
    ],
    ids=str,
)
def test_path(torch: ModuleType, options: dict[str, Any]) -> None:
    found, mine = rosenbrock(jitgrad, options, 6)
    wanted, theirs = rosenbrock(torch, options, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)
    a, b = mine["state"][0], theirs["state"][0]
    assert set(a) == set(b)
    assert a["func_evals"] == b["func_evals"]
    assert a["n_iter"] == b["n_iter"]
    assert len(a["old_dirs"]) == len(b["old_dirs"])
    assert mine["param_groups"] == theirs["param_groups"]


def test_a_minimum_is_left_alone() -> None:
    w = jitgrad.ones(2, requires_grad=True)
    optimizer = jitgrad.optim.LBFGS([w])

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((w - 1) ** 2).sum()
        loss.backward()
        return loss

    with jitgrad.no_grad():
        assert optimizer.step(closure).item() == 0
    assert w.tolist() == [1.0, 1.0]


def test_errors() -> None:
    w, v = jitgrad.ones(1, requires_grad=True), jitgrad.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="per-parameter options"):
        jitgrad.optim.LBFGS([{"params": [w]}, {"params": [v]}])
    with pytest.raises(TypeError, match="closure"):
        jitgrad.optim.LBFGS([w]).step()

    def closure() -> Any:
        w.grad = None
        loss = (w**2).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        jitgrad.optim.LBFGS([w], line_search_fn="other").step(closure)
