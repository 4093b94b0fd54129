"""Special functions: SciPy's values, special numbers, in place, errors."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from scipy import special

import jitgrad
from tests.ops.both import check

VALUES = """
T.nan_to_num(L([float('nan'), float('inf'), -float('inf')]), 1, 2, 3)
T.nan_to_num(L([float('nan'), float('inf')], dtype=T.float64)), T.nan_to_num(L(1))
T.heaviside(L([float('nan'), -1.0, 0.0]), L(0.5)), T.heaviside(L([1, 0]), L(5))
T.signbit(L([-0.0, 0.0, -1.0])), T.signbit(L([-1, 1])), T.signbit(L(True))
T.digamma(L([0.0, -0.0, -1.0, 1.0])), T.lgamma(L([0.0, -1.0, 1.0, 2.0, float('inf')]))
T.erfinv(L([-1.0, 0.0, 1.0, 2.0]))
T.copysign(L(1), -2), T.xlogy(2, L(2.0)), T.float_power(2, L(3)), T.ldexp(L(1), L(2))
T.fmax(L(True), L(False)), T.atan2(L(1), L(2)), T.acosh(L(True)), T.sgn(L(True))
T.arctan2(L(1.0), L(0.0)), T.arcsinh(L(1.0)), T.arccosh(L(2.0)), T.arctanh(L(0.5))
T.atan2(g, h)
T.hypot(g, h)
T.asinh(g)
T.sinc(g)
T.logaddexp(g, h)
T.fmax(g, h)
T.exp2(g)
(g * 1).sinc_()
(g * 1).atan2_(h)
(g * 1).copysign_(h)
(g * 1).nan_to_num_()
(g * 0.1).logit_(0.2)
L([4, 6]).gcd_(L(9)), L([4, 6]).lcm_(L(9)), L([1.0, 2.0]).ldexp_(L([2.0, 3.0]))
"""
ERRORS = """
T.atan2(x, 2)
T.atan2(1.0, x)
T.hypot(x, 2.0)
T.hypot(i, i)
T.logaddexp(i, i)
T.frac(i)
T.heaviside(x, 2)
T.heaviside(x, i)
T.gcd(x, x)
T.gcd(i, 6)
T.positive(L(True))
T.polygamma(-1, x)
T.logit(1.0)
"""


@pytest.mark.parametrize("source", VALUES.strip().splitlines())
def test_values_nodes_and_gradients_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source, but=("message",))


def test_values_of_scipy() -> None:
    x = np.linspace(0.1, 0.9, 50)
    t = jitgrad.from_numpy(x)
    for mine, theirs in (
        (t.erfinv(), special.erfinv(x)),
        (t.lgamma(), special.gammaln(x)),
        (t.digamma(), special.digamma(x)),
        (jitgrad.polygamma(3, t), special.polygamma(3, x)),
        (t.logit(), special.logit(x)),
    ):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-14, atol=1e-14)


def test_atan2_in_every_quadrant_and_on_the_axes() -> None:
    numbers = np.array([0.0, -0.0, 1.0, -1.0, 3.0, -0.5, np.inf, -np.inf, 1e300, -1e-300])
    y, x = (np.ascontiguousarray(m) for m in np.meshgrid(numbers, numbers))
    found = jitgrad.atan2(jitgrad.from_numpy(y), jitgrad.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, np.arctan2(y, x), rtol=1e-15)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(np.arctan2(y, x)))


@pytest.mark.parametrize("name", ["asinh", "atanh", "acosh"])
def test_inverse_hyperbolic_functions_at_every_size(name: str) -> None:
    x = np.array([1e-300, 1e-20, 1e-5, 0.3, 0.999])
    if name != "atanh":
        x = np.concatenate([1 + x, 1 / x]) if name == "acosh" else np.concatenate([x, 1 / x, -x])
    found = getattr(jitgrad, name)(jitgrad.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, getattr(np, f"arc{name[1:]}")(x), rtol=2e-15)


def test_gradients_of_gamma_functions() -> None:
    x = jitgrad.tensor([0.3, 1.7, 4.0], dtype=jitgrad.float64, requires_grad=True)
    for function in (jitgrad.digamma, lambda v: jitgrad.polygamma(2, v), jitgrad.erfinv):
        at = x if function is not jitgrad.erfinv else x.detach().div(5).requires_grad_()
        assert jitgrad.autograd.gradcheck(function, (at,))
        assert jitgrad.autograd.gradgradcheck(function, (at,))
