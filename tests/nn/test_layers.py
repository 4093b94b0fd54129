"""Layers against PyTorch, with the same parameters: text, outputs, gradients, state."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import fails, same_module

nn = jitgrad.nn


def normal(*shape: int) -> np.ndarray[Any, Any]:
    """Normal numbers, always the same for a shape."""
    return np.random.default_rng(list(shape)).normal(size=shape).astype(np.float32)


#: name -> how to make it, the inputs
CASES: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...]]] = {
    "Identity": (lambda n: n.Identity(3, a=4), (normal(2, 3),)),
    "Linear": (lambda n: n.Linear(3, 4), (normal(5, 3),)),
    "Linear of a vector": (lambda n: n.Linear(3, 4), (normal(3),)),
    "Linear of dims": (lambda n: n.Linear(3, 4), (normal(2, 5, 3),)),
    "Linear no bias": (lambda n: n.Linear(3, 4, bias=False), (normal(5, 3),)),
    "Linear of nothing": (lambda n: n.Linear(3, 4), (normal(0, 3),)),
    "Bilinear": (lambda n: n.Bilinear(3, 4, 5), (normal(2, 3), normal(2, 4))),
    "Bilinear no bias": (lambda n: n.Bilinear(3, 4, 5, False), (normal(6, 3), normal(6, 4))),
    "Flatten": (lambda n: n.Flatten(), (normal(2, 3, 4),)),
    "Flatten some": (lambda n: n.Flatten(0, -2), (normal(2, 3, 4),)),
    "Unflatten": (lambda n: n.Unflatten(1, (2, 3)), (normal(2, 6),)),
    "CELU": (lambda n: n.CELU(0.5), (normal(3, 4),)),
    "ELU": (lambda n: n.ELU(), (normal(3, 4),)),
    "ELU in place": (lambda n: n.Sequential(n.Linear(4, 3), n.ELU(0.7, True)), (normal(3, 4),)),
    "GELU": (lambda n: n.GELU(), (normal(3, 4),)),
    "GELU tanh": (lambda n: n.GELU("tanh"), (normal(3, 4),)),
    "GLU": (lambda n: n.GLU(1), (normal(3, 4),)),
    "Hardshrink": (lambda n: n.Hardshrink(), (normal(3, 4),)),
    "Hardsigmoid": (lambda n: n.Hardsigmoid(), (normal(3, 4),)),
    "Hardswish": (lambda n: n.Hardswish(), (normal(3, 4),)),
    "Hardtanh": (lambda n: n.Hardtanh(-0.5, 2), (normal(3, 4),)),
    "LeakyReLU": (lambda n: n.LeakyReLU(0.2), (normal(3, 4),)),
    "LogSigmoid": (lambda n: n.LogSigmoid(), (normal(3, 4),)),
    "LogSoftmax": (lambda n: n.LogSoftmax(1), (normal(3, 4),)),
    "Mish": (lambda n: n.Mish(), (normal(3, 4),)),
    "PReLU": (lambda n: n.PReLU(), (normal(3, 4),)),
    "PReLU channels": (lambda n: n.PReLU(4, init=0.1), (normal(3, 4, 2),)),
    "RReLU": (lambda n: n.RReLU(0.3, 0.3), (normal(3, 4),)),
    "ReLU": (lambda n: n.ReLU(), (normal(3, 4),)),
    "ReLU in place": (lambda n: n.Sequential(n.Linear(4, 4), n.ReLU(True)), (normal(3, 4),)),
    "ReLU6": (lambda n: n.ReLU6(), (normal(3, 4),)),
    "SELU": (lambda n: n.SELU(), (normal(3, 4),)),
    "SiLU": (lambda n: n.SiLU(), (normal(3, 4),)),
    "SiLU in place": (
        lambda n: n.Sequential(n.Linear(4, 4), n.SiLU(inplace=True)),
        (normal(3, 4),),
    ),
    "Sigmoid": (lambda n: n.Sigmoid(), (normal(3, 4),)),
    "Softmax": (lambda n: n.Softmax(-1), (normal(3, 4),)),
    "Softmax2d": (lambda n: n.Softmax2d(), (normal(2, 3, 4, 2),)),
    "Softmin": (lambda n: n.Softmin(0), (normal(3, 4),)),
    "Softplus": (lambda n: n.Softplus(2, 1), (normal(3, 4),)),
    "Softshrink": (lambda n: n.Softshrink(0.2), (normal(3, 4),)),
    "Softsign": (lambda n: n.Softsign(), (normal(3, 4),)),
    "Tanh": (lambda n: n.Tanh(), (normal(3, 4),)),
    "Tanhshrink": (lambda n: n.Tanhshrink(), (normal(3, 4),)),
    "Threshold": (lambda n: n.Threshold(0.1, 20), (normal(3, 4),)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_same(torch: ModuleType, name: str, dtype: str) -> None:
    make, inputs = CASES[name]
    rtol = 3e-5 if dtype == "float32" else 1e-7
    same_module(torch, lambda T: make(T.nn), *inputs, dtype=dtype, rtol=rtol)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda n, T: n.Bilinear(0, 1, 1), None),
        (lambda n, T: n.Bilinear(3, 4, 5)(T.ones(2, 3), T.ones(3, 4)), None),
        (lambda n, T: n.Bilinear(3, 4, 5)(T.ones(2, 3), T.ones(2, 3)), None),
        (lambda n, T: n.Bilinear(3, 4, 5)(T.ones(2, 4), T.ones(2, 4)), None),
        (lambda n, T: n.Bilinear(3, 4, 5)(T.ones(3), T.ones(2, 4)), None),
        (lambda n, T: n.Linear(3, 4)(T.ones(2, 4)), "mat1 and mat2 shapes cannot be multiplied"),
        (lambda n, T: n.Hardtanh(2, 1), None),
        (lambda n, T: n.Softmax2d()(T.ones(2, 2)), None),
        (lambda n, T: n.Unflatten(1, 3.5), None),
        (lambda n, T: n.Unflatten(1, (3, 2.5)), None),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, lambda T: program(T.nn, T), says)


@pytest.mark.parametrize("layer", [lambda n: n.Linear(100, 300), lambda n: n.Bilinear(25, 20, 300)])
def test_initial_distribution(torch: ModuleType, layer: Any) -> None:
    """Uniform within the same bounds as PyTorch's."""
    ours, theirs = layer(nn), layer(torch.nn)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        bound = q.detach().abs().max().item()
        assert abs(p.detach().abs().max().item() - bound) < 0.05 * bound, name
        assert abs(p.detach().std().item() - q.detach().std().item()) < 0.15 * bound, name


def test_dtype_of_the_parameters() -> None:
    assert nn.Linear(2, 2, dtype=jitgrad.float64).weight.dtype is jitgrad.float64
    assert nn.PReLU(dtype=jitgrad.float64).weight.dtype is jitgrad.float64
