"""Matrix products against NumPy: shapes, layouts, dtypes; gradients against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]

#: name -> (a call on Tensors, NumPy's, shapes of the operands)
PRODUCTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Shapes]] = {
    "mm": (jitgrad.mm, np.matmul, ((3, 4), (4, 5))),
    "bmm": (jitgrad.bmm, np.matmul, ((2, 3, 4), (2, 4, 5))),
    "mv": (jitgrad.mv, np.matmul, ((3, 4), (4,))),
    "dot": (jitgrad.dot, np.dot, ((4,), (4,))),
    "outer": (jitgrad.outer, np.outer, ((3,), (4,))),
    "addmm": (
        lambda c, a, b: jitgrad.addmm(c, a, b, beta=0.5, alpha=2),
        lambda c, a, b: 0.5 * c + 2 * (a @ b),
        ((3, 5), (3, 4), (4, 5)),
    ),
    "addmm row": (jitgrad.addmm, lambda c, a, b: c + a @ b, ((5,), (3, 4), (4, 5))),
    "addmm column": (jitgrad.addmm, lambda c, a, b: c + a @ b, ((3, 1), (3, 4), (4, 5))),
    "linear": (jitgrad.nn.functional.linear, lambda x, w, c: x @ w.T + c, ((3, 4), (5, 4), (5,))),
    "linear of a batch": (
        jitgrad.nn.functional.linear,
        lambda x, w, c: x @ w.T + c,
        ((2, 3, 4), (5, 4), (5,)),
    ),
    "linear of a vector": (
        jitgrad.nn.functional.linear,
        lambda x, w, c: x @ w.T + c,
        ((4,), (5, 4), (5,)),
    ),
    "linear without bias": (jitgrad.nn.functional.linear, lambda x, w: x @ w.T, ((3, 4), (5, 4))),
    "matmul of batches": (jitgrad.matmul, np.matmul, ((2, 1, 3, 4), (3, 4, 5))),
    "matmul batch by vector": (jitgrad.matmul, np.matmul, ((2, 3, 4), (4,))),
    "matmul vector by batch": (jitgrad.matmul, np.matmul, ((4,), (2, 4, 3))),
    "matmul batch by matrix": (jitgrad.matmul, np.matmul, ((2, 3, 4), (4, 5))),
    "matmul matrix by batch": (jitgrad.matmul, np.matmul, ((3, 4), (2, 4, 5))),
}


def data(shapes: Shapes, dtype: str = "float64") -> list[Array]:
    rng = np.random.default_rng(4)
    return [rng.normal(size=s).astype(dtype) for s in shapes]


def transposed(a: Array) -> Array:
    return np.ascontiguousarray(a.T).T


def strided(a: Array) -> Array:
    room = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    part = room[tuple(slice(None, None, 2) for _ in a.shape)]
    part[...] = a
    return part


def column_padded(a: Array) -> Array:
    """Rows further apart than they are long: a leading dimension that BLAS takes."""
    room = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    room[..., : a.shape[-1]] = a
    return room[..., : a.shape[-1]]


def swapped(a: Array) -> Array:
    """The last two dims the other way round in memory."""
    return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2) if a.ndim > 1 else a


LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": transposed,
    "swapped": swapped,
    "strided": strided,
    "padded": column_padded,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_value_in_every_layout(name: str, dtype: str) -> None:
    mine, reference, shapes = PRODUCTS[name]
    arrays = data(shapes, dtype)
    wanted = reference(*(a.astype(np.float64) for a in arrays))
    for layouts in itertools.product(LAYOUTS, repeat=len(arrays)):
        operands = [LAYOUTS[w](a) for w, a in zip(layouts, arrays, strict=True)]
        found = mine(*(jitgrad.from_numpy(a) for a in operands))
        assert found.dtype.name == dtype
        assert found.shape == np.shape(wanted)
        np.testing.assert_allclose(
            found.numpy(),
            wanted,
            rtol=1e-5 if dtype == "float32" else 1e-13,
            atol=1e-5 if dtype == "float32" else 1e-14,
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_gradient(name: str, layout: str) -> None:
    mine, reference, shapes = PRODUCTS[name]
    arrays = data(shapes)
    leaves = [jitgrad.from_numpy(LAYOUTS[layout](a.copy())).requires_grad_() for a in arrays]
    y = mine(*leaves)
    weight = np.random.default_rng(2).normal(size=y.shape)
    y.backward(jitgrad.from_numpy(weight))
    step = 1e-3  # the products are linear in each operand: differences are exact
    for i, leaf in enumerate(leaves):
        wanted = np.empty(leaf.shape)
        for k in np.ndindex(*leaf.shape):
            moved = [a.copy() for a in arrays]
            moved[i][k] += step
            up = reference(*moved)
            moved[i][k] -= 2 * step
            wanted[k] = (weight * (up - reference(*moved))).sum() / (2 * step)
        np.testing.assert_allclose(leaf.grad.numpy(), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", PRODUCTS)
def test_gradient_in_float32(name: str) -> None:
    mine, _, shapes = PRODUCTS[name]
    found = []
    for dtype in ("float32", "float64"):
        leaves = [
            jitgrad.from_numpy(a.astype(dtype)).requires_grad_() for a in data(shapes, "float32")
        ]
        mine(*leaves).exp().sum().backward()
        found.append([x.grad.numpy() for x in leaves])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PRODUCTS)
def test_gradient_of_one_operand(name: str) -> None:
    """Only the gradients that are asked for are computed, whichever they are."""
    mine, _, shapes = PRODUCTS[name]
    whole = [jitgrad.from_numpy(a).requires_grad_() for a in data(shapes)]
    mine(*whole).sum().backward()
    for i in range(len(shapes)):
        some = [jitgrad.from_numpy(a) for a in data(shapes)]
        some[i].requires_grad_()
        mine(*some).sum().backward()
        np.testing.assert_allclose(some[i].grad.numpy(), whole[i].grad.numpy(), rtol=1e-13)


SIZES = [
    (1, 1, 1),
    (1, 7, 1),
    (5, 1, 6),
    (2, 3, 2),
    (4, 4, 4),
    (17, 33, 9),
    (64, 64, 64),
    (100, 3, 130),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: tuple[int, int, int], dtype: str) -> None:
    """Around the limit between the engine's own loops and BLAS."""
    n, k, m = size
    a, b = data(((n, k), (k, m)), dtype)
    x, z = (jitgrad.from_numpy(v).requires_grad_() for v in (a, b))
    y = x @ z
    tolerance = (
        {"rtol": 2e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    )
    wide = [v.astype(np.float64) for v in (a, b)]
    np.testing.assert_allclose(y.detach().numpy(), wide[0] @ wide[1], **tolerance)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.ones((n, m)) @ wide[1].T, **tolerance)
    np.testing.assert_allclose(z.grad.numpy(), wide[0].T @ np.ones((n, m)), **tolerance)
    np.testing.assert_allclose(
        jitgrad.mv(x, z[:, 0]).detach().numpy(), wide[0] @ wide[1][:, 0], **tolerance
    )


@pytest.mark.parametrize(
    "shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 0), (0, 0))]
)
def test_nothing(shapes: Shapes) -> None:
    x, z = (jitgrad.from_numpy(a).requires_grad_() for a in data(shapes))
    y = x @ z
    np.testing.assert_array_equal(y.detach().numpy(), np.zeros((shapes[0][0], shapes[1][1])))
    y.sum().backward()
    assert x.grad.shape == shapes[0]
    np.testing.assert_array_equal(x.grad.numpy(), 0)
    np.testing.assert_array_equal(z.grad.numpy(), 0)


def test_nothing_in_other_products() -> None:
    none = jitgrad.zeros(0)
    assert jitgrad.dot(none, none).item() == 0
    assert jitgrad.mv(jitgrad.zeros(3, 0), none).tolist() == [0, 0, 0]
    assert jitgrad.bmm(jitgrad.zeros(0, 2, 3), jitgrad.zeros(0, 3, 4)).shape == (0, 2, 4)
    assert (
        jitgrad.bmm(jitgrad.zeros(2, 2, 0), jitgrad.zeros(2, 0, 4)).tolist()
        == np.zeros((2, 2, 4)).tolist()
    )
    assert jitgrad.outer(none, jitgrad.zeros(3)).shape == (0, 3)
    assert (
        jitgrad.addmm(jitgrad.ones(2), jitgrad.zeros(3, 0), jitgrad.zeros(0, 2)).tolist()
        == [[1.0, 1.0]] * 3
    )
    bias = jitgrad.tensor([1.0, 2.0])
    assert jitgrad.nn.functional.linear(
        jitgrad.zeros(1, 0), jitgrad.zeros(2, 0), bias
    ).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers(dtype: str) -> None:
    a = np.arange(12).reshape(3, 4).astype(dtype)
    b = np.arange(20).reshape(4, 5).astype(dtype)
    found = jitgrad.from_numpy(a) @ jitgrad.from_numpy(b)
    assert found.dtype.name == dtype
    np.testing.assert_array_equal(found.numpy(), a @ b)


def test_scaled_integers() -> None:
    c, a, b = jitgrad.tensor([[10]]), jitgrad.tensor([[2, 3]]), jitgrad.tensor([[4], [5]])
    assert jitgrad.addmm(c, a, b, beta=2, alpha=3).tolist() == [[89]]


def test_large_integers_are_exact() -> None:
    big = (1 << 53) + 1
    assert jitgrad.tensor([big]).dot(jitgrad.tensor([1])).item() == big
    assert (jitgrad.tensor([[big]]) @ jitgrad.tensor([[1]])).item() == big


def test_nan_and_infinity(torch: Any) -> None:
    """A zero beside a NaN or infinity gives NaN: no product is left out."""
    a = [[0.0, 1.0], [np.inf, 0.0]]
    b = [[np.nan, 1.0], [0.0, np.inf]]
    x, z = (jitgrad.tensor(v, requires_grad=True) for v in (a, b))
    u, v = (torch.tensor(v, requires_grad=True) for v in (a, b))
    np.testing.assert_array_equal((x @ z).detach().numpy(), (u @ v).detach().numpy())
    (x @ z).sum().backward()
    (u @ v).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), u.grad.numpy())
    np.testing.assert_array_equal(z.grad.numpy(), v.grad.numpy())


def test_beta_zero_ignores_the_input() -> None:
    """As BLAS defines it, and PyTorch: NaN in what is not used does not show."""
    c = jitgrad.full((1, 1), float("nan"))
    assert jitgrad.addmm(c, jitgrad.ones(1, 1), jitgrad.ones(1, 1), beta=0).tolist() == [[1.0]]


def test_a_matrix_with_itself() -> None:
    x = jitgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x @ x).sum().backward()
    a = x.detach().numpy()
    one = np.ones((2, 2))
    np.testing.assert_allclose(x.grad.numpy(), one @ a.T + a.T @ one)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.mm(t.ones(2, 3), t.ones(2, 3)), "2x3 and 2x3"),
        (lambda t: t.mm(t.ones(3), t.ones(3, 2)), "must be a matrix"),
        (lambda t: t.ones(2, 3) @ t.ones(2), r"size mismatch|2x3"),
        (lambda t: t.dot(t.ones(2), t.ones(3)), r"2.*3"),
        (lambda t: t.dot(t.ones(2, 2), t.ones(2)), "1D tensors expected"),
        (lambda t: t.bmm(t.ones(2, 3, 4), t.ones(3, 4, 5)), r"Expected size"),
        (lambda t: t.bmm(t.ones(3, 4), t.ones(4, 5)), "3D"),
        (lambda t: t.ones(2, 3, 4) @ t.ones(3, 4, 5), r"must match|Expected size"),
        (lambda t: t.tensor(1.0) @ t.ones(2), "at least 1D"),
        (lambda t: t.mm(t.ones(2, 2), t.ones(2, 2, dtype=t.float64)), "dtype"),
        (lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(4, 2)), r"2x3 and 2x4"),
        (lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(4, 3), t.ones(5)), r"5|shape"),
        (lambda t: t.addmm(t.ones(4), t.ones(2, 3), t.ones(3, 5)), r"size"),
        (lambda t: t.outer(t.ones(2, 2), t.ones(2)), "1-D|1D"),
    ],
)
def test_errors(call: Callable[[Any], Any], words: str, torch: Any) -> None:
    with pytest.raises(RuntimeError):
        call(torch)
    with pytest.raises(RuntimeError, match=words):
        call(jitgrad)
