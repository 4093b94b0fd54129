"""Activations as functions against PyTorch: values, gradients, special numbers, integers, in place."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, close, fails, plain

F = jitgrad.nn.functional

SPECIAL = [-np.inf, -1e30, -30.0, -6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 1e-4, 0.5, 1.0, 3.0, 6.0, 30.0]
NUMBERS = [*SPECIAL, 1e30, np.inf, *np.linspace(-7, 7, 43)]

#: name -> the arguments besides the input
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "celu": ("celu", {}),
    "celu 0.3": ("celu", {"alpha": 0.3}),
    "elu": ("elu", {}),
    "elu 2": ("elu", {"alpha": 2.0}),
    "gelu": ("gelu", {}),
    "gelu tanh": ("gelu", {"approximate": "tanh"}),
    "hardshrink": ("hardshrink", {}),
    "hardshrink 1": ("hardshrink", {"lambd": 1.0}),
    "hardsigmoid": ("hardsigmoid", {}),
    "hardswish": ("hardswish", {}),
    "hardtanh": ("hardtanh", {}),
    "hardtanh -3 6": ("hardtanh", {"min_val": -3.0, "max_val": 6.0}),
    "leaky_relu": ("leaky_relu", {}),
    "leaky_relu 0.3": ("leaky_relu", {"negative_slope": 0.3}),
    "leaky_relu negative": ("leaky_relu", {"negative_slope": -0.3}),
    "logsigmoid": ("logsigmoid", {}),
    "mish": ("mish", {}),
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "rrelu": ("rrelu", {}),
    "rrelu lower upper": ("rrelu", {"lower": 0.1, "upper": 0.7}),
    "selu": ("selu", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "softplus": ("softplus", {}),
    "softplus 2 3": ("softplus", {"beta": 2.0, "threshold": 3.0}),
    "softshrink": ("softshrink", {}),
    "softshrink 0": ("softshrink", {"lambd": 0.0}),
    "softsign": ("softsign", {}),
    "tanh": ("tanh", {}),
    "tanhshrink": ("tanhshrink", {}),
    "threshold": ("threshold", {"threshold": 0.5, "value": 20.0}),
}
# PyTorch's vector code makes NaN of an infinity times 0 that its scalar code does not meet.
AT_INFINITY = {"gelu", "gelu tanh", "hardswish", "mish", "silu", "softsign"}

LOOSE = {"hardsigmoid", "celu 0.3"}


def _with_gradient(T: Any, name: str, dtype: str, numbers: Any) -> Any:
    function, arguments = CASES[name]
    x = T.tensor(numbers, dtype=getattr(T, dtype)).requires_grad_()
    y = getattr(T.nn.functional, function)(x, **arguments)
    y.sum().backward()
    return [y.grad_fn.name(), plain(T, y.detach()), plain(T, x.grad)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(torch: ModuleType, name: str, dtype: str) -> None:
    numbers = [x for x in NUMBERS if name not in AT_INFINITY or not np.isinf(x)]
    numbers = [x for x in numbers if name not in ("gelu tanh",) or abs(x) < 1e20]
    ours = _with_gradient(jitgrad, name, dtype, numbers)
    theirs = _with_gradient(torch, name, dtype, numbers)
    # In PyTorch their constants are rounded to float32.
    rtol = 2e-6 if dtype == "float32" else 1e-6 if name in LOOSE else 1e-13
    assert close(ours, theirs, rtol), f"{ours}\n{theirs}"


@pytest.mark.parametrize("name", CASES)
def test_nan(name: str) -> None:
    """A NaN stays one; its gradient differs between PyTorch's vector code and its scalar code."""
    assert np.isnan(_with_gradient(jitgrad, name, "float32", [np.nan])[1][-1][0])


@pytest.mark.parametrize("name", sorted(AT_INFINITY - {"softsign"}))
def test_limits(name: str) -> None:
    y, _ = _with_gradient(jitgrad, name, "float64", [np.inf, 1e9])[1:]
    assert y[-1] == [np.inf, 1e9]


@pytest.mark.parametrize("dtype", ["int64", "bool"])
@pytest.mark.parametrize("name", CASES)
def test_integers(torch: ModuleType, name: str, dtype: str) -> None:
    function, arguments = CASES[name]

    def program(T: Any) -> Any:
        x = T.tensor([1, 0, 1, 1]) if dtype == "bool" else T.tensor([-3, 0, 1, 7])
        return getattr(T.nn.functional, function)(x.to(getattr(T, dtype)), **arguments)

    try:
        program(torch)
    except (RuntimeError, NotImplementedError):
        fails(torch, program, "")
    else:
        check(torch, program)


INPLACE = ["celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu"]
INPLACE += ["relu6", "rrelu", "selu", "silu", "threshold"]


@pytest.mark.parametrize("name", INPLACE)
def test_in_place(torch: ModuleType, name: str) -> None:
    function, arguments = CASES[name]

    def program(T: Any) -> Any:
        x = T.tensor([-4.0, -1.0, -0.3, 0.0, 0.7, 4.0]).requires_grad_()
        h = x * 1.5
        y = getattr(T.nn.functional, function)(h, **arguments, inplace=True)
        (y * T.arange(6.0)).sum().backward()
        plain_input = T.tensor([-1.0, 2.0])
        getattr(T.nn.functional, function)(plain_input, **arguments, inplace=True)
        return [y is h, x.grad, plain_input]

    check(torch, program)
    leaf = jitgrad.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        getattr(F, function)(leaf, **arguments, inplace=True)


def test_functions_that_end_in_an_underscore(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        found = []
        for name in ("celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "rrelu_", "selu_"):
            x = T.tensor([-4.0, -0.3, 0.7, 4.0])
            getattr(T.nn.functional, name)(x)
            found.append(x)
        x = T.tensor([-4.0, -0.3, 0.7, 4.0])
        T.nn.functional.threshold_(x, 0.1, 5.0)
        return [found, x]

    check(torch, program)


def test_in_place_with_a_negative_slope() -> None:
    for name in ("leaky_relu", "elu"):
        x = jitgrad.ones(2, requires_grad=True) * 1
        with pytest.raises(RuntimeError, match="negative slope"):
            getattr(F, name)(x, -0.5, inplace=True)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (), (0, 3)])
@pytest.mark.parametrize("n", [1, 3])
def test_prelu(torch: ModuleType, shape: tuple[int, ...], n: int) -> None:
    if n == 3 and len(shape) < 2:
        return
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def program(T: Any) -> Any:
        x = T.tensor(values).requires_grad_()
        w = T.tensor([0.25, -0.5, 2.0][:n]).requires_grad_()
        y = T.nn.functional.prelu(x, w)
        (y * y).sum().backward()
        return [y, x.grad, w.grad, y.grad_fn.name()]

    check(torch, program)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu(torch: ModuleType, dim: int) -> None:
    values = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)

    def program(T: Any) -> Any:
        x = T.tensor(values).requires_grad_()
        y = T.nn.functional.glu(x, dim)
        (y * y).sum().backward()
        return [y, x.grad, y.grad_fn.name()]

    check(torch, program)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("dim", [None, 0, -1])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 2), (2, 3, 2, 2)])
def test_softmax(torch: ModuleType, name: str, dim: int | None, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def program(T: Any) -> Any:
        x = T.tensor(values).requires_grad_()
        f = getattr(T.nn.functional, name)
        y = f(x, dim=dim)
        (y * y).sum().backward()
        return [y, x.grad, f(x, dim=0, dtype=T.float64)]

    check(torch, program)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda T: T.nn.functional.gelu(T.ones(1), approximate="foo"), None),
        (lambda T: T.nn.functional.softshrink(T.ones(1), -1), "lambda must be in range"),
        (lambda T: T.nn.functional.glu(T.ones(3)), None),
        (lambda T: T.nn.functional.glu(T.tensor(1.0)), None),
        (lambda T: T.nn.functional.prelu(T.ones(2, 3), T.ones(2)), None),
        (lambda T: T.nn.functional.prelu(T.ones(2, 3), T.ones(3, 1)), None),
        (lambda T: T.nn.functional.prelu(T.ones(()), T.ones(2)), None),
        (lambda T: T.nn.functional.prelu(T.ones(2).double(), T.ones(1)), None),
        (lambda T: T.nn.functional.celu(T.ones(1), 0.0), None),
        (lambda T: T.nn.functional.hardtanh(T.ones(1), 2, 1), None),
        (lambda T: T.nn.functional.rrelu(T.ones(1), 0.5, 0.1), None),
        (lambda T: T.nn.functional.elu(1.0), "must be Tensor"),
        (lambda T: T.nn.functional.glu(T.ones(2, 2), 5), "out of range"),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, program, says)


# ---------------------------------------------------------------- random ones
def test_rrelu_in_training() -> None:
    x = jitgrad.cat([jitgrad.full((4000,), -1.0), jitgrad.ones(10)]).requires_grad_()
    y = F.rrelu(x, 0.2, 0.6, training=True)
    y.sum().backward()
    slopes = -y.detach()[:4000]
    assert 0.2 <= slopes.min().item() < 0.21
    assert 0.59 < slopes.max().item() <= 0.6
    assert abs(slopes.mean().item() - 0.4) < 0.01
    assert y[4000:].tolist() == [1.0] * 10
    assert (x.grad[:4000] == slopes).all()
    a, b = (F.rrelu(x, training=True, generator=jitgrad.Generator().manual_seed(3)) for _ in "ab")
    assert (a == b).all()


def test_gumbel_softmax() -> None:
    p = jitgrad.tensor([0.1, 0.2, 0.7])
    logits = p.log().expand(4000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert set(hard.unique().tolist() if hasattr(hard, "unique") else [0.0, 1.0]) == {0.0, 1.0}
    assert (hard.sum(1) - 1).abs().max().item() < 1e-6
    assert (hard.mean(0) - p).abs().max().item() < 0.03
    hard[:, 0].sum().backward()
    assert logits.grad.abs().sum().item() > 0
    soft = F.gumbel_softmax(logits, tau=2.0, dim=1)
    assert (soft.sum(1) - 1).abs().max().item() < 1e-5
    assert not ((soft == 0) | (soft == 1)).any()
