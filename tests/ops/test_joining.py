"""cat, stack, flip, roll, repeat, tril, triu: against NumPy, finite sums, and PyTorch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.ops.joining import tile
from tests.ops.both import check

Array = np.ndarray[Any, Any]
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]
LAYOUTS = ["contiguous", "transposed", "sliced", "expanded"]


def data(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    """Random elements."""
    values = np.random.default_rng(seed).uniform(-3, 3, shape)
    return np.asarray(values > 0 if dtype == "bool" else np.round(values * 10)).astype(dtype)


def laid_out(layout: str, *shape: int) -> tuple[Any, Array]:
    """A Tensor of a shape in some layout, and its elements."""
    if layout == "transposed":
        x = jitgrad.tensor(data(*shape[::-1])).permute(*range(len(shape) - 1, -1, -1))
    elif layout == "sliced":
        x = jitgrad.tensor(data(*(2 * n + 1 for n in shape)))[
            tuple(slice(1, None, 2) for _ in shape)
        ]
    elif layout == "expanded":
        x = jitgrad.tensor(data(*shape[1:])).expand(shape)
    else:
        x = jitgrad.tensor(data(*shape))
    return x, x.numpy().copy()


#: name -> (on Tensors, on arrays); the operand has shape (2, 3, 4).
MOVES = {
    "flip 0": (lambda x: x.flip(0), lambda a: np.flip(a, 0)),
    "flip 1 2": (lambda x: x.flip(1, -1), lambda a: np.flip(a, (1, 2))),
    "flip none": (lambda x: x.flip(()), lambda a: a),
    "roll": (lambda x: x.roll(5), lambda a: np.roll(a, 5)),
    "roll back": (lambda x: x.roll(-1, 2), lambda a: np.roll(a, -1, 2)),
    "roll dims": (lambda x: x.roll((1, 7), (0, 1)), lambda a: np.roll(a, (1, 7), (0, 1))),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
    "repeat more dims": (lambda x: x.repeat(2, 2, 1, 1), lambda a: np.tile(a, (2, 2, 1, 1))),
    "repeat never": (lambda x: x.repeat(1, 0, 1), lambda a: np.tile(a, (1, 0, 1))),
    "tile": (lambda x: tile(x, (2,)), lambda a: np.tile(a, 2)),
    "tril": (lambda x: x.tril(), np.tril),
    "tril above": (lambda x: x.tril(2), lambda a: np.tril(a, 2)),
    "tril far below": (lambda x: x.tril(-99), lambda a: np.tril(a, -99)),
    "triu": (lambda x: x.triu(), np.triu),
    "triu below": (lambda x: x.triu(-1), lambda a: np.triu(a, -1)),
    "triu far above": (lambda x: x.triu(10**30), lambda a: np.zeros_like(a)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MOVES)
def test_moves_and_their_gradients(name: str, layout: str) -> None:
    ours, theirs = MOVES[name]
    x, a = laid_out(layout, 2, 3, 4)
    x = x.detach().requires_grad_()
    y = ours(x)
    np.testing.assert_array_equal(y.detach().numpy(), theirs(a))
    w = data(*y.shape, seed=1)
    (y * jitgrad.tensor(w)).sum().backward()
    # Each element of x goes to known places: a move of positions says which.
    places = theirs(np.arange(1.0, a.size + 1).reshape(a.shape)).astype(int).ravel()
    expected = np.bincount(places, w.ravel(), a.size + 1)[1:].reshape(a.shape)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moves_of_every_dtype(name: str, dtype: str) -> None:
    ours, theirs = MOVES[name]
    a = data(2, 3, 4, dtype=dtype)
    y = ours(jitgrad.tensor(a))
    assert y.dtype.name == dtype
    np.testing.assert_array_equal(y.numpy(), theirs(a))


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (1, 1, 1)])
@pytest.mark.parametrize("name", MOVES)
def test_moves_of_nothing(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs = MOVES[name]
    x = jitgrad.tensor(data(*shape), requires_grad=True)
    y = ours(x)
    np.testing.assert_array_equal(y.detach().numpy(), theirs(data(*shape)))
    y.sum().backward()
    assert x.grad.shape == shape


# ---------------------------------------------------------------- cat and stack
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cat(dim: int, layout: str) -> None:
    pairs = []
    for n in (2, 1, 0, 4):
        shape = [2, 3, 4]
        shape[dim] = n
        pairs.append(laid_out(layout, *shape))
    tensors = [x.detach().requires_grad_() for x, _ in pairs]
    y = jitgrad.cat(tensors, dim)
    expected = np.concatenate([a for _, a in pairs], dim)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    w = data(*expected.shape, seed=2)
    (y * jitgrad.tensor(w)).sum().backward()
    cuts = np.cumsum([a.shape[dim] for _, a in pairs])[:-1]
    for x, part in zip(tensors, np.split(w, cuts, dim), strict=True):
        np.testing.assert_array_equal(x.grad.numpy(), part)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_stack(dim: int, layout: str) -> None:
    x, a = laid_out(layout, 3, 4)
    x = x.detach().requires_grad_()
    z = jitgrad.tensor(data(3, 4, seed=5), requires_grad=True)
    y = jitgrad.stack([x, z, x], dim)
    expected = np.stack([a, z.detach().numpy(), a], dim)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    w = data(*expected.shape, seed=3)
    (y * jitgrad.tensor(w)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), w.take(0, dim) + w.take(2, dim), rtol=1e-15)
    np.testing.assert_array_equal(z.grad.numpy(), w.take(1, dim))


def test_stack_of_numbers() -> None:
    x = [jitgrad.tensor(float(k), requires_grad=True) for k in range(6)]
    y = jitgrad.stack(x)
    (y * jitgrad.arange(6.0)).sum().backward()
    assert [v.grad.item() for v in x] == [0, 1, 2, 3, 4, 5]


def test_only_some_inputs_require_grad() -> None:
    x = [jitgrad.ones(2, requires_grad=k % 2 == 1) for k in range(7)]
    y = jitgrad.cat(x)
    (y * jitgrad.arange(14.0)).sum().backward()
    for k, v in enumerate(x):
        assert (v.grad.tolist() if k % 2 else v.grad) == ([2 * k, 2 * k + 1] if k % 2 else None)


def test_cat_of_a_thousand_and_twice_backward() -> None:
    x = [jitgrad.full((k % 3,), float(k), requires_grad=True) for k in range(1000)]
    y = jitgrad.cat(x)
    w = jitgrad.arange(float(y.numel()))
    for _ in range(2):
        (y * w).sum().backward(retain_graph=True)
    start = 0
    for v in x:
        n = v.numel()
        assert v.grad.tolist() == [2.0 * k for k in range(start, start + n)]
        start += n


def test_cat_promotes_and_casts_the_gradient_back() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    z = jitgrad.ones(1, dtype=jitgrad.float64, requires_grad=True)
    y = jitgrad.cat([x, jitgrad.tensor([1]), z])
    assert y.dtype is jitgrad.float64
    y.sum().backward()
    assert (x.grad.dtype, z.grad.dtype) == (jitgrad.float32, jitgrad.float64)


def test_a_view_of_the_result_is_no_view_of_the_inputs() -> None:
    x = jitgrad.ones(2)
    y = jitgrad.cat([x])
    y[0] = 5
    assert x.tolist() == [1, 1]


def test_repeat_sums_its_gradient_in_float64() -> None:
    x = jitgrad.ones(1, requires_grad=True)
    y = x.repeat(3_000_000)
    y.backward(jitgrad.full((3_000_000,), 0.1))
    assert x.grad.item() == pytest.approx(300_000.004, rel=1e-7)


ERRORS = """
T.cat([])
T.cat([L(1.), L(2.)])
T.cat([T.ones(2, 3), T.ones(2, 4)])
T.cat([T.ones(2, 3), T.ones(3)])
T.cat([T.empty(0, 3), T.ones(2, 2)], 1)
T.cat([x, x], 2)
T.cat([x, x], -3)
T.cat([x, 1])
T.cat(x)
T.stack([])
T.stack([T.ones(2), T.ones(3)])
T.stack([T.ones(2), T.ones(2)], 2)
T.stack([T.ones(2), T.ones(2)], -3)
x.flip(2)
x.flip(0, 0)
x.flip()
x.repeat(2)
x.repeat(2, -1)
x.repeat()
T.ones(3).tril()
T.ones(3).triu()
x.roll((1, 2), 0)
x.roll((1, 2))
x.roll(1, 5)
"""
VALUES = """
T.cat([x, T.empty(0)])
T.cat([T.empty(0), x], 1)
T.cat([g, T.empty(0, requires_grad=True), h], 1)
T.cat([T.empty(0, dtype=T.float64), x])
T.cat([T.empty(0), T.empty(0)], 1)
T.cat([g, h, g], 1)
T.cat((g, h), dim=-2)
T.cat([g, g.t().t(), g[:, :1].expand(2, 3)])
T.cat([T.ones(1, dtype=T.uint8), T.ones(1, dtype=T.int8)])
T.cat([T.ones(1, dtype=T.bool), T.ones(1, dtype=T.int32), g.view(-1)])
T.concat([g, h]), T.concatenate([x, x], 1)
T.stack([g, h], -1)
T.stack([T.ones(2), T.ones(2, dtype=T.int64)], dim=-1)
T.stack([L(1), L(2.)])
g.flip(0)
g.flip([0, -1])
T.flip(g, [1])
L(1.).flip(0)
g.roll(4)
g.roll((1, -2), (0, 1))
L(1.).roll(1)
g.repeat(2, 1)
g.repeat([2, 1, 2])
g.repeat(0, 1)
g.sum().repeat(3)
g.tril(1)
g.triu(-1)
"""


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("source", VALUES.strip().splitlines())
def test_values_nodes_and_gradients_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)
