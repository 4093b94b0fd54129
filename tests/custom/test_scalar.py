"""Ops made of a user's scalar function: what is read, what is derived, what comes out."""

from __future__ import annotations

import ast
import math

import numpy as np
import pytest

import jitgrad
from jitgrad import custom
from jitgrad.autograd import gradcheck, gradgradcheck
from jitgrad.custom.derivative import gradient
from jitgrad.custom.source import Formula
from jitgrad.ops.recipe import evaluate
from tests.ops.data import DATA

SCALE = 0.7


@custom.pointwise
def softclip(x, limit):
    """Clip softly."""
    r = x / limit
    return limit * math.tanh(r)


@custom.pointwise
def branches(x, z):
    if x > 0 and z > SCALE:
        return x**2 * softclip(z, 2.0)
    t = np.exp(x)
    t *= z
    return t if x < -1 or not z > 0 else t + math.pi


@custom.pointwise
def distance(x, z, u, v):
    a = (x - u) ** 2
    a += (z - v) ** 2
    return math.sqrt(a + 1e-3)


@custom.pointwise(gradient=lambda g, y: (g * (1 - y * y),))
def my_tanh(x):
    return math.tanh(x)


@custom.pointwise(gradient=lambda g, x, z: (g * z, None))
def half_a_product(x, z):
    return x * z


def data(*shape: int, seed: int = 0) -> jitgrad.Tensor:
    """Random float64 data that requires grad."""
    made = np.random.default_rng(seed).uniform(-2, 2, shape)
    return jitgrad.from_numpy(np.asarray(made)).requires_grad_()


CALLS = {
    "softclip": (softclip, (3, 4), (4,)),
    "softclip of no dims": (softclip, (), (2, 3)),
    "branches": (branches, (3, 4), (4,)),
    "branches of nothing": (branches, (0, 4), (4,)),
    "distance": (distance, (3, 1), (1, 4), (3, 4), ()),
    "my_tanh": (my_tanh, (5,)),
}


def reference(op: custom.PointwiseOp, *arrays: np.ndarray) -> np.ndarray:
    """The user's function called for each element."""
    function = np.frompyfunc(op.__wrapped__, len(arrays), 1)
    return np.asarray(function(*np.broadcast_arrays(*arrays)), np.float64)


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_of_two_orders(name: str) -> None:
    op, *shapes = CALLS[name]
    inputs = [data(*shape, seed=i) for i, shape in enumerate(shapes)]
    expected = reference(op, *(x.detach().numpy() for x in inputs))
    np.testing.assert_allclose(op(*inputs).detach().numpy(), expected, rtol=1e-12)
    assert gradcheck(op, tuple(inputs))
    assert gradgradcheck(op, tuple(inputs))


def test_float32_strides_numbers_and_large_sizes() -> None:
    x = data(300, 257)
    y = softclip(x.t(), 1.5)
    np.testing.assert_allclose(y.detach().numpy(), 1.5 * np.tanh(x.detach().numpy().T / 1.5))
    z = softclip(x.float(), 1.5)
    assert z.dtype is jitgrad.float32
    np.testing.assert_allclose(z.detach().numpy(), y.t().detach().numpy(), rtol=1e-6)
    assert softclip(jitgrad.tensor([1, 2]), 2.0).dtype is jitgrad.float32


def test_a_given_gradient_is_used_and_keeps_only_what_it_reads() -> None:
    x, z = data(3), data(3, seed=1)
    half_a_product(x, z).sum().backward()
    assert z.grad is None
    np.testing.assert_allclose(x.grad.numpy(), z.detach().numpy())
    assert my_tanh.gradients == ("g * (1 - y * y)",)
    # Only y is kept, so x may be changed.
    w = x * 1
    y = my_tanh(w)
    w.zero_()
    y.sum().backward()


def test_names_and_nodes() -> None:
    assert softclip(1.0, 2.0) == pytest.approx(2 * math.tanh(0.5))
    y = my_tanh(data(2))
    assert y.grad_fn.name() == "MyTanhBackward0"
    assert softclip.__doc__ == "Clip softly."
    assert "limit" in repr(softclip)
    again = custom.pointwise(my_tanh.__wrapped__)
    np.testing.assert_array_equal(again(jitgrad.ones(2)).numpy(), my_tanh(jitgrad.ones(2)).numpy())


UNARY = (
    "abs sqrt exp expm1 exp2 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh sigmoid erf erfc"
).split()


@pytest.mark.parametrize("name", UNARY)
def test_every_function_is_differentiated_by_its_row(name: str) -> None:

    text = gradient(Formula([], ast.parse(f"{name}(x * x)", mode="eval").body), "x")
    assert text is not None
    low, high = DATA[name].domains[0]
    at = math.sqrt(min(high, 0.8) * 0.7)
    one = jitgrad.ones(1, dtype=jitgrad.float64)
    slope = evaluate(text, {"x": one * at, "g": one}, one).item()
    f = lambda v: getattr(jitgrad, name)(one * v * v).item()  # noqa: E731
    assert slope == pytest.approx((f(at + 1e-6) - f(at - 1e-6)) / 2e-6, rel=1e-6)


def _text(x):
    return "a"


def _unknown(x):
    return math.gamma(x)


def _loop(x):
    for _ in range(3):
        x = x * x
    return x


def _five(a, b, c, d, e):
    return a + b + c + d + e


def _none(x):
    x = x + 1


def _infinite(x):
    return x * math.inf


@pytest.mark.parametrize("function", [_text, _unknown, _loop, _five, _none, _infinite])
def test_what_no_formula_can_hold_is_refused(function) -> None:
    with pytest.raises(custom.FormulaError):
        custom.pointwise(function)


def test_wrong_gradients_and_calls() -> None:
    with pytest.raises(custom.FormulaError, match="takes g"):
        custom.pointwise(lambda x: x * 2, gradient=lambda x: x)
    with pytest.raises(custom.FormulaError, match="2 values for 1 operands"):
        custom.pointwise(my_tanh.__wrapped__, gradient=lambda g, x: (g, x))
    with pytest.raises(TypeError, match="takes 2 operands"):
        softclip(jitgrad.ones(2))
    with pytest.raises(TypeError):
        softclip("a", jitgrad.ones(2))
    with pytest.raises(RuntimeError, match="must match"):
        softclip(jitgrad.ones(2), jitgrad.ones(3))
    with pytest.raises(custom.FormulaError, match="source"):
        custom.pointwise(eval("lambda x: x"))
