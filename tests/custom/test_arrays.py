"""Ops made of a user's Numba functions on arrays."""

from __future__ import annotations

import threading

import numba
import numpy as np
import pytest

import jitgrad
from jitgrad import custom
from jitgrad.autograd import gradcheck


@numba.njit
def scan(x, decay, y):
    total = 0.0
    for i in range(x.size):
        total = decay * total + x.flat[i]
        y.flat[i] = total


@numba.njit
def scan_dx(g, decay, dx):
    total = 0.0
    for i in range(g.size - 1, -1, -1):
        total = decay * total + g.flat[i]
        dx.flat[i] = total


@numba.njit
def outer(x, z, y):
    for i in range(x.size):
        for j in range(z.size):
            y[i, j] = x[i] * z[j]


@numba.njit
def outer_dx(g, x, z, dx):
    for i in range(x.size):
        dx[i] = 0.0
        for j in range(z.size):
            dx[i] += g[i, j] * z[j]


@numba.njit
def outer_dz(g, x, z, dz):
    for j in range(z.size):
        dz[j] = 0.0
        for i in range(x.size):
            dz[j] += g[i, j] * x[i]


@numba.njit
def scaled(x, w, y):
    for i in range(x.size):
        y.flat[i] = x.flat[i] * w.flat[i]


@numba.njit
def scaled_dx(g, x, w, y, dx):
    for i in range(x.size):
        dx.flat[i] = g.flat[i] * w.flat[i]


@numba.njit
def scaled_dw(g, x, w, y, dw):
    for i in range(x.size):
        dw.flat[i] = g.flat[i] * x.flat[i]


@numba.njit
def failing(x, y):
    if x[0] > 0:
        raise ValueError("no")
    y[0] = x[0]


@numba.njit
def failing_dx(g, x, y, dx):
    raise ValueError("no")


SCAN = custom.arrays(scan, scan_dx, reads=())
OUTER = custom.arrays(outer, (outer_dx, outer_dz), shape=lambda a, b: (*a, *b), reads=("x0", "x1"))
FAILING = custom.arrays(failing, failing_dx)


def data(*shape: int) -> jitgrad.Tensor:
    """Random float64 data that requires grad."""
    made = np.random.default_rng(3).uniform(-2, 2, shape)
    return jitgrad.from_numpy(np.asarray(made)).requires_grad_()


def test_gradients_agree_with_finite_differences() -> None:
    assert gradcheck(lambda x: SCAN(x, 0.5), (data(7),))
    assert gradcheck(lambda x: SCAN(x.t(), 0.5), (data(3, 4),))
    assert gradcheck(lambda x: SCAN(x, 0.5) * 2, (data(),))
    assert gradcheck(OUTER, (data(3), data(4)))
    assert OUTER(data(0), data(2)).shape == (0, 2)
    assert SCAN(data(3), 0.5).grad_fn.name() == "ScanBackward0"


def test_float32_and_partial_gradients() -> None:
    x, z = data(3).detach().float().requires_grad_(), data(4).detach().float()
    y = OUTER(x, z)
    assert y.dtype is jitgrad.float32
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full(3, z.sum().item()), rtol=1e-6)
    assert z.grad is None


def test_only_what_is_read_is_kept() -> None:
    x = data(3) * 1
    y = SCAN(x, 0.5)
    x.zero_()
    y.sum().backward()
    w = data(3) * 1
    y = OUTER(w, data(2))
    w.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_exceptions_in_compiled_code_are_reported_and_leak_nothing() -> None:
    before = jitgrad.memory_stats()["live_rows"]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="failing raised an exception"):
            FAILING(jitgrad.ones(1))
        y = FAILING(-jitgrad.ones(1, requires_grad=True))
        with pytest.raises(RuntimeError, match="failing raised an exception"):
            y.sum().backward()
        del y
    assert jitgrad.memory_stats()["live_rows"] == before


def test_wrong_use() -> None:
    with pytest.raises(TypeError, match=r"numba\.njit"):
        custom.arrays(lambda x, y: None)
    with pytest.raises(TypeError, match="2 Tensors"):
        custom.arrays(outer, outer_dx, shape=lambda a, b: (*a, *b))(data(2), data(2))
    with pytest.raises(TypeError, match="Tensors, then numbers"):
        SCAN(0.5, data(2))
    with pytest.raises(ValueError, match="reads"):
        custom.arrays(scan, scan_dx, reads=("z",))(data(2), 0.5)
    x = data(2)
    with pytest.raises(RuntimeError, match="second order"):
        jitgrad.autograd.grad(SCAN(x, 0.5).sum(), x, create_graph=True)


def test_without_a_backward_there_is_no_gradient() -> None:
    assert not custom.arrays(scan)(data(3), 0.5).requires_grad


def test_the_quick_call_sees_what_has_changed() -> None:
    """The second call of a kind is one jitted call, which may not take it for another kind."""
    op = custom.arrays(scaled, (scaled_dx, scaled_dw), name="quick_scaled")
    rng = np.random.default_rng(0)
    for shape in ((3,), (3,), (5,), (2, 3), (3,), (0,), (4, 2)):
        for dtype in (jitgrad.float64, jitgrad.float32)[: 3 - len(shape)]:
            x = jitgrad.tensor(rng.uniform(0.5, 1.5, shape), dtype=dtype, requires_grad=True)
            w = jitgrad.tensor(rng.uniform(0.5, 1.5, shape), dtype=jitgrad.float64).requires_grad_()
            y = op(x, w)
            assert y.dtype is dtype
            assert y.shape == x.shape
            y.sum().backward()
            tolerance = {"rtol": 1e-6 if dtype is jitgrad.float32 else 1e-14}
            np.testing.assert_allclose(y.detach().numpy(), (x * w).detach().numpy(), **tolerance)
            np.testing.assert_allclose(x.grad.numpy(), w.detach().numpy(), **tolerance)
            np.testing.assert_allclose(w.grad.numpy(), x.detach().numpy(), **tolerance)
    x = jitgrad.ones(2, requires_grad=True)
    w = jitgrad.ones(2, dtype=jitgrad.float64)
    assert op(x[:1], w[1:]).tolist() == [1.0]
    with pytest.raises(TypeError, match="takes Tensors, then numbers"):
        op(2.0, x)
    with pytest.raises(TypeError):
        op(x, 2.0)
    assert op(x, w).requires_grad
    with jitgrad.no_grad():
        assert not op(x, w).requires_grad
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(op(x, w).requires_grad))
    with jitgrad.no_grad():
        thread.start()
        thread.join()
    assert found == [True]
