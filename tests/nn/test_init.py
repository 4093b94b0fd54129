"""Initialisation against PyTorch: what is fixed exactly, what is random by its distribution."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

import jitgrad
from tests.nn.both import check, fails

init = jitgrad.nn.init


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.init.zeros_(T.ones(2, 3)),
        lambda T: T.nn.init.ones_(T.zeros(2, 3)),
        lambda T: T.nn.init.constant_(T.zeros(2), 0.3),
        lambda T: T.nn.init.eye_(T.zeros(2, 3)),
        lambda T: T.nn.init.dirac_(T.ones(3, 4, 5)),
        lambda T: T.nn.init.dirac_(T.ones(4, 2, 3, 4), groups=2),
        lambda T: T.nn.init.dirac_(T.ones(4, 5, 1, 2, 3)),
        lambda T: T.nn.init.constant_(T.nn.Parameter(T.zeros(2)), 0.3),
        lambda T: T.nn.init.kaiming_uniform_(T.zeros(0, 3)),
        lambda T: T.nn.init.uniform(T.zeros(0)),
        lambda T: [
            T.nn.init.calculate_gain(n)
            for n in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
        ],
        lambda T: T.nn.init.calculate_gain("leaky_relu", 0.3),
    ],
)
def test_fixed(torch: ModuleType, program: Any) -> None:
    check(torch, program)


def uniform(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound).cdf


def gaussian(std: float) -> Any:
    return stats.norm(0, std).cdf


FAN_IN, FAN_OUT = 30 * 4, 40 * 4
DISTRIBUTIONS: dict[str, tuple[Any, Any]] = {
    "uniform": (lambda w: init.uniform_(w, -2, 2), uniform(2)),
    "normal": (lambda w: init.normal_(w, 0, 3), gaussian(3)),
    "xavier_uniform": (
        lambda w: init.xavier_uniform_(w, 2),
        uniform(2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    ),
    "xavier_normal": (init.xavier_normal_, gaussian(math.sqrt(2 / (FAN_IN + FAN_OUT)))),
    "kaiming_uniform": (init.kaiming_uniform_, uniform(math.sqrt(6 / FAN_IN))),
    "kaiming_uniform sqrt 5": (
        lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)),
        uniform(1 / math.sqrt(FAN_IN)),
    ),
    "kaiming_normal": (
        lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        gaussian(math.sqrt(2 / FAN_OUT)),
    ),
    "trunc_normal": (
        lambda w: init.trunc_normal_(w, 0, 2, -3, 1),
        stats.truncnorm(-1.5, 0.5, 0, 2).cdf,
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str) -> None:
    """Kolmogorov and Smirnov see no difference; the tensor is returned, not recorded."""
    fill, cdf = DISTRIBUTIONS[name]
    w = jitgrad.nn.Parameter(jitgrad.zeros(40, 30, 2, 2))
    assert fill(w) is w
    assert w.is_leaf
    assert stats.kstest(w.detach().numpy().ravel(), cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3), (2, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(jitgrad.empty(*shape, dtype=jitgrad.float64), gain=2).numpy()
    w = w.reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_sparse() -> None:
    w = init.sparse_(jitgrad.ones(20, 5), sparsity=0.33, std=2.0).numpy()
    assert (w == 0).sum(0).tolist() == [7] * 5
    assert 1 < w[w != 0].std() < 3


@pytest.mark.parametrize("name", [n for n in dir(init) if n.endswith("_") and n[0] != "_"])
def test_generator(name: str) -> None:
    if name in ("constant_", "ones_", "zeros_", "eye_", "dirac_"):
        return
    arguments = {"sparsity": 0.5} if name == "sparse_" else {}
    a, b, c = (
        getattr(init, name)(
            jitgrad.ones(4, 4), generator=jitgrad.Generator().manual_seed(s), **arguments
        )
        for s in (1, 1, 2)
    )
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.init.eye_(T.zeros(2)),
        lambda T: T.nn.init.dirac_(T.zeros(2, 2)),
        lambda T: T.nn.init.dirac_(T.zeros(3, 2, 2), groups=2),
        lambda T: T.nn.init.sparse_(T.zeros(2), 0.5),
        lambda T: T.nn.init.orthogonal_(T.zeros(2)),
        lambda T: T.nn.init.xavier_uniform_(T.zeros(2)),
        lambda T: T.nn.init.kaiming_normal_(T.zeros(2)),
        lambda T: T.nn.init.kaiming_normal_(T.zeros(2, 2), mode="fan"),
        lambda T: T.nn.init.kaiming_normal_(T.zeros(2, 2), nonlinearity="foo"),
        lambda T: T.nn.init.calculate_gain("leaky_relu", "x"),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


def test_truncated_normal_far_from_its_bounds() -> None:
    with pytest.warns(UserWarning, match="2 std"):
        init.trunc_normal_(jitgrad.empty(2), 10.0, 1.0, -2.0, 2.0)
