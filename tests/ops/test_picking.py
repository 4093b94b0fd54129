"""Gather, scatter and their relatives: against NumPy and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.ops import indexing
from tests.ops.test_joining import DTYPES, LAYOUTS, data, laid_out

Array = np.ndarray[Any, Any]


# ---------------------------------------------------------------- finite differences
def finite_differences(f: Any, *arrays: Array) -> None:
    """Compare the gradients of a function that is linear in each array with its differences."""
    tensors = [jitgrad.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    w = data(*y.shape, seed=7)
    (y * jitgrad.tensor(w)).sum().backward()
    for k, (x, a) in enumerate(zip(tensors, arrays, strict=True)):
        for place in np.ndindex(*a.shape):
            moved = [b.copy() for b in arrays]
            moved[k][place] += 1.0
            with jitgrad.no_grad():
                difference = f(*(jitgrad.tensor(b) for b in moved)) - y.detach()
            expected = (difference.numpy() * w).sum()
            assert x.grad.numpy()[place] == pytest.approx(expected, rel=1e-10, abs=1e-10)


I = jitgrad.tensor  # noqa: E741
LINEAR = {
    "index_put": (
        lambda x, v: x.index_put((I([0, 2]), I([1, 0])), v),
        [(3, 2), (2,)],
    ),
    "index_put accumulate": (
        lambda x, v: x.index_put((I([0, 0, -1]),), v, accumulate=True),
        [(3, 2), (3, 2)],
    ),
    "index_put one": (
        lambda x, v: x.index_put((I([[True, False], [True, True]]),), v),
        [(2, 2), ()],
    ),
    "index_put row": (lambda x, v: x.index_put((I([2, 0]),), v), [(3, 2), (2,)]),
    "index_put apart": (
        lambda x, v: x.index_put((I([0, 1]), None, I([1, 0])), v),
        [(2, 3, 2), (2, 3)],
    ),
    "gather": (lambda x: x.gather(1, I([[0, 0], [2, 1]])), [(2, 3)]),
    "gather smaller": (lambda x: x.gather(0, I([[1, 1]])), [(2, 3)]),
    "gather no dims": (lambda x: x.gather(0, I([0, 0])), [()]),
    "scatter": (lambda x, s: x.scatter(0, I([[1, 0, 1]]), s), [(3, 3), (2, 4)]),
    "scatter number": (lambda x: x.scatter(1, I([[0], [2]]), 3.0), [(2, 3)]),
    "scatter_add": (lambda x, s: x.scatter_add(1, I([[0, 0, 1]]), s), [(2, 2), (1, 3)]),
    "index_select": (lambda x: x.index_select(1, I([2, 2, 0])), [(2, 3)]),
    "index_add": (lambda x, s: x.index_add(1, I([1, 1]), s, alpha=-2.5), [(2, 3), (2, 2)]),
    "index_copy": (lambda x, s: indexing.index_copy(x, 0, I([2, 0]), s), [(3, 2), (2, 2)]),
    "index_fill": (lambda x, v: indexing.index_fill(x, 1, I([0, 2]), v), [(2, 3), ()]),
    "take": (lambda x: x.take(I([[0, -1], [3, 3]])), [(2, 3)]),
    "take_along_dim": (lambda x: x.take_along_dim(I([[1], [0]]), 1), [(1, 3)]),
    "masked_select": (
        lambda x: x.masked_select(I([[True, False, True], [True, True, True]])),
        [(3,)],
    ),
    "embedding": (lambda x: indexing.embedding(x, I([[1, 1], [0, 2]])), [(3, 2)]),
    "repeat_interleave": (lambda x: indexing.repeat_interleave(x, I([2, 0, 1]), 1), [(2, 3)]),
    "max": (lambda x: x.max(1).values, [(2, 3)]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_gradients(name: str) -> None:
    f, shapes = LINEAR[name]
    arrays = [
        np.asarray(100.0 * k + np.arange(np.prod(s, dtype=int)).reshape(s))
        for k, s in enumerate(shapes)
    ]
    # Steps of 0.01 between elements, differences of 1: for max alone the order must survive.
    scale = 10.0 if name == "max" else 0.01
    finite_differences(f, *(np.asarray(a * scale) for a in arrays))


# ---------------------------------------------------------------- the relatives, against NumPy
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gather_and_scatter_of_any_layout(layout: str) -> None:
    x, a = laid_out(layout, 3, 4, 5)
    i, _ = laid_out(layout, 3, 4, 5)
    for d in range(3):
        index = (i.abs().long() % a.shape[d]).transpose(0, 1).contiguous().transpose(0, 1)
        n = index.numpy()
        np.testing.assert_array_equal(x.gather(d, index).numpy(), np.take_along_axis(a, n, d))
        b = np.zeros_like(a)
        places = list(np.indices(n.shape))
        places[d] = n
        np.add.at(b, tuple(places), a)
        y = jitgrad.zeros(3, 4, 5, dtype=jitgrad.float64).scatter_add(d, index, x)
        np.testing.assert_allclose(y.numpy(), b, rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nonzero(dtype: str) -> None:
    a = data(3, 4, 2, dtype=dtype)
    a[a == a[0, 0, 0]] = 0
    x = jitgrad.tensor(a)
    np.testing.assert_array_equal(x.nonzero().numpy(), np.argwhere(a))
    np.testing.assert_array_equal(
        x.permute(2, 0, 1).nonzero().numpy(), np.argwhere(a.transpose(2, 0, 1))
    )
    for ours, theirs in zip(x.nonzero(as_tuple=True), a.nonzero(), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    np.testing.assert_array_equal(x[x.nonzero(as_tuple=True)].numpy(), a[a.nonzero()])


def test_nan_is_not_zero() -> None:
    x = jitgrad.tensor([0.0, -0.0, float("nan"), float("inf")])
    assert x.nonzero().tolist() == [[2], [3]]


@pytest.mark.parametrize("dtype", ["bool", "int16", "float32"])
def test_index_add_and_accumulate_in_every_kind(dtype: str) -> None:
    x = jitgrad.tensor(np.array([1, 0, 0]).astype(dtype))
    i = jitgrad.tensor([1, 1, 0])
    ones = jitgrad.tensor(np.ones(3, dtype))
    expected = [True, True, False] if dtype == "bool" else [2, 2, 0]
    assert x.index_put((i,), ones, accumulate=True).tolist() == expected
    assert x.scatter_add(0, i, ones).tolist() == expected
    if dtype != "bool":
        assert x.index_add(0, i, ones, alpha=3).tolist() == [4, 6, 0]


def test_embedding_padding_and_frequency() -> None:
    w = jitgrad.arange(6.0).view(3, 2).requires_grad_()
    i = jitgrad.tensor([[0, 1, 1], [2, 1, 0]])
    indexing.embedding(w, i, padding_idx=0).sum().backward()
    assert w.grad.tolist() == [[0, 0], [3, 3], [1, 1]]
    w.grad = None
    indexing.embedding(w, i, scale_grad_by_freq=True).sum().backward()
    assert w.grad.tolist() == [[1, 1]] * 3


def test_in_place_methods() -> None:
    i = jitgrad.tensor([[0], [2]])
    x = jitgrad.zeros(2, 3)
    assert indexing.scatter_(x, 1, i, 1.0) is x
    assert x.tolist() == [[1, 0, 0], [0, 0, 1]]
    indexing.scatter_add_(x, 1, i, jitgrad.ones(2, 1))
    indexing.index_add_(x, 0, jitgrad.tensor([0]), jitgrad.ones(1, 3))
    indexing.index_fill_(x, 1, jitgrad.tensor([1]), 9)
    indexing.index_copy_(x, 0, jitgrad.tensor([1]), jitgrad.zeros(1, 3))
    assert x.tolist() == [[3, 9, 1], [0, 0, 0]]
    x.index_put_((jitgrad.tensor([1]),), jitgrad.tensor(4.0))
    assert x[1].tolist() == [4, 4, 4]
    leaf = jitgrad.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable"):
        indexing.scatter_(leaf, 1, i, 1.0)
    y = leaf * 2
    indexing.scatter_(y, 1, i, 1.0)
    y.sum().backward()
    assert leaf.grad.tolist() == [[0, 2, 2], [2, 2, 0]]
