"""Indexing and its relatives: against NumPy, and PyTorch's values, gradients and errors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jitgrad
from jitgrad.ops import indexing
from tests.ops.both import check
from tests.ops.test_joining import DTYPES, LAYOUTS, data, laid_out

Array = np.ndarray[Any, Any]
SHAPE = (4, 3, 5, 2)


def to_tensors(index: Any) -> Any:
    """An index for arrays as one for Tensors."""
    if isinstance(index, tuple):
        return tuple(to_tensors(i) for i in index)
    return jitgrad.tensor(index) if isinstance(index, np.ndarray) else index


def gradient(shape: tuple[int, ...], index: Any, w: Array) -> Array:
    """The gradient of ``(x[index] * w).sum()``."""
    found = np.zeros(shape)
    np.add.at(found, index, w)
    return found


def check_index(x: Any, a: Array, index: Any) -> None:
    """Read, differentiate and write at an index, beside NumPy."""
    ours = to_tensors(index)
    x = x.detach().requires_grad_()
    y = x[ours]
    expected = a[index]
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    w = data(*expected.shape, seed=1)
    (y * jitgrad.tensor(w)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), gradient(a.shape, index, w), rtol=1e-13)
    z, b = jitgrad.tensor(a), a.copy()
    z[ours] = 7.5
    b[index] = 7.5
    np.testing.assert_array_equal(z.numpy(), b)


_rng = np.random.default_rng(3)


def ints(size: int, *shape: int) -> Array:
    """Positions of a dim, negative ones among them."""
    return _rng.integers(-size, size, shape)


#: Indices of an array of SHAPE that NumPy understands as PyTorch does.
INDICES: dict[str, Any] = {
    "int": 2,
    "negative int": -1,
    "ints": (1, -2),
    "all ints": (3, 0, -1, 1),
    "numpy int": np.int32(1),
    "slice": slice(1, 3),
    "slice with step": (slice(None), slice(None), slice(-4, None, 2)),
    "empty slice": slice(3, 1),
    "slice beyond": slice(-99, 99, 3),
    "giant step": slice(None, None, 2**62),
    "none": None,
    "nones": (None, 1, None, slice(1, 2), ..., None),
    "ellipsis": ...,
    "ellipsis then int": (..., 1),
    "int ellipsis int": (1, ..., 0),
    "no index": (),
    "positions": ints(4, 6),
    "positions 2d": ints(4, 2, 3),
    "list": [3, 0, 0],
    "tuple with list": ([0, 1], [2, 2]),
    "positions in the middle": (slice(None), ints(3, 4)),
    "positions at the end": (..., ints(2, 3)),
    "adjacent": (slice(None), ints(3, 4), ints(5, 4)),
    "adjacent, broadcast": (slice(None), ints(3, 2, 1), ints(5, 3)),
    "apart": (ints(4, 3), slice(None), ints(5, 3)),
    "apart, broadcast": (ints(4, 2, 1), slice(None), slice(None), ints(2, 3)),
    "apart at the end": (slice(None), ints(3, 2), slice(1, 4), ints(2, 2)),
    "apart by none": (ints(4, 2), None, ints(3, 2)),
    "none before": (None, ints(4, 2), ints(3, 2)),
    "all dims": (ints(4, 3), ints(3, 3), ints(5, 3), ints(2, 3)),
    "no positions": ints(4, 0),
    "empty list": [],
    "mask": _rng.random(4) < 0.5,
    "mask of two dims": _rng.random((4, 3)) < 0.5,
    "mask of all dims": _rng.random(SHAPE) < 0.5,
    "mask in the middle": (slice(None), _rng.random((3, 5)) < 0.5),
    "mask and positions": (_rng.random((4, 3)) < 0.5, 2),
    "mask with one": (np.arange(4) == 2, ints(3, 5)),
    "empty mask": np.zeros(4, bool),
    "full mask": np.ones(SHAPE, bool),
    "two masks": (np.arange(4) > 1, slice(None), np.arange(5) % 3 == 0),
    "list mask": [True, False, True, False],
    "True": True,
    "False": False,
    "True and positions": (True, ints(4, 3)),
    "range": range(3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", INDICES)
def test_index(name: str, layout: str) -> None:
    check_index(*laid_out(layout, *SHAPE), INDICES[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_index_of_every_dtype(dtype: str) -> None:
    a = data(3, 4, dtype=dtype)
    x = jitgrad.tensor(a)
    positions = np.array([2, 0, -1])
    assert x[to_tensors(positions)].dtype.name == dtype
    np.testing.assert_array_equal(x[to_tensors(positions)].numpy(), a[positions])
    x[x == x[0, 0]] = x[1, 1]
    a[a == a[0, 0]] = a[1, 1]
    np.testing.assert_array_equal(x.numpy(), a)


@st.composite
def programs(draw: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and an index for it, in which no int stands beside positions (NumPy differs there)."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    broadcast = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    advanced = draw(st.booleans())
    index: list[Any] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from("psnm" if advanced else "isn"))
        if kind == "i":
            index.append(draw(st.integers(-size, size - 1)))
        elif kind == "s":
            bound = st.none() | st.integers(-size - 1, size + 1)
            index.append(slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
        elif kind == "p":
            n = int(np.prod(broadcast, dtype=int))
            chosen = draw(st.lists(st.integers(-size, size - 1), min_size=n, max_size=n))
            index.append(np.array(chosen, np.int64).reshape(broadcast))
        elif kind == "m":
            # One True broadcasts with anything.
            index.append(np.arange(size) == draw(st.integers(0, size - 1)))
        else:
            index += [None, slice(None)]
    if draw(st.booleans()):
        index.append(...)
    return shape, tuple(index)


@given(programs(), st.sampled_from(LAYOUTS))
def test_any_index(program: tuple[tuple[int, ...], tuple[Any, ...]], layout: str) -> None:
    shape, index = program
    check_index(*laid_out(layout, *shape), index)


def test_basic_indices_make_views_and_others_copies() -> None:
    x = jitgrad.zeros(3, 4)
    for index in (0, slice(1), (slice(None), 1), ..., None, (), (1, 2)):
        assert x[index]._is_view(), index
    for index in ([0], x == 0, jitgrad.tensor([1]), True):
        assert not x[index]._is_view(), index
    x[1:][0][2] = 5
    assert x[1, 2].item() == 5


def test_the_index_is_copied_or_guarded() -> None:
    x = jitgrad.arange(4.0).requires_grad_()
    positions = np.array([1, 2])
    y = x[positions]
    positions[:] = 0
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    i = jitgrad.tensor([1, 2])
    y = x[i]
    i[0] = 3
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_index_spoilt_behind_our_back_does_not_crash() -> None:
    x = jitgrad.ones(4, requires_grad=True)
    positions = np.array([1, 2])
    y = x[jitgrad.from_numpy(positions)]
    positions[:] = 10**12
    with pytest.raises(RuntimeError):
        y.sum().backward()


def test_a_strided_index_and_int32() -> None:
    x = jitgrad.arange(10.0).requires_grad_()
    i = jitgrad.arange(10)[::3]
    assert x[i].tolist() == x[i.int()].tolist() == [0, 3, 6, 9]
    x[i].sum().backward()
    assert x.grad.tolist() == [1, 0, 0] * 3 + [1]


def test_many_duplicates_add_up() -> None:
    x = jitgrad.zeros(3, requires_grad=True)
    i = jitgrad.tensor(np.arange(30_000) % 3)
    x[i].sum().backward()
    assert x.grad.tolist() == [10_000] * 3


# ---------------------------------------------------------------- writing
@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("name", INDICES)
def test_assignment_of_a_tensor(name: str, layout: str) -> None:
    index = INDICES[name]
    x, a = laid_out(layout, *SHAPE)
    b = a.copy()
    values = np.arange(float(b[index].size)).reshape(b[index].shape)
    x[to_tensors(index)] = jitgrad.tensor(values)
    b[index] = values  # where positions repeat the last value stays, as in NumPy
    np.testing.assert_array_equal(x.numpy(), b)


def test_values_broadcast() -> None:
    x = jitgrad.zeros(2, 3, 4)
    i = jitgrad.tensor([0, 2])
    x[:, i] = jitgrad.arange(4.0)
    assert x[1, 2].tolist() == [0, 1, 2, 3]
    x[:, i] = jitgrad.tensor([[[5.0]], [[6.0]]])
    assert (x[0, 0].tolist(), x[1, 2].tolist()) == ([5] * 4, [6] * 4)
    x[1, 1:] = jitgrad.ones(1, 1, 2, 1)
    assert x[1, 1:].sum().item() == 8
    assert x[:, 1].sum().item() == 4


def test_writing_what_is_read_from_the_same_memory() -> None:
    x = jitgrad.arange(5.0)
    x[jitgrad.tensor([1, 2, 3, 4])] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]
    i = jitgrad.tensor([1, 2, 0])
    i[i] = i.clone()
    assert i.tolist() == [0, 1, 2]


def test_augmented_assignment() -> None:
    x = jitgrad.arange(6.0).view(2, 3)
    x[1] *= 2
    x[:, 0] += 1
    x[[0, 0], [1, 1]] += 5
    x[x > 9] -= 100
    assert x.tolist() == [[1, 6, 2], [7, 8, -90]]


def test_writing_counts_as_a_change() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    y = x.exp()
    z = y.detach()
    z[[0]] = 5.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_masked_assignment_under_grad() -> None:
    x = jitgrad.tensor([1.0, -2.0, -3.0], requires_grad=True)
    z = jitgrad.tensor([10.0, 20.0], requires_grad=True)
    y = x * 1
    y[x < 0] = z * 2
    assert y.tolist() == [1, 20, 40]
    assert y.grad_fn.name() == "IndexPutBackward0"
    (y * jitgrad.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert (x.grad.tolist(), z.grad.tolist()) == ([1, 0, 0], [4, 6])


def test_a_plain_tensor_requires_grad_after_assignment() -> None:
    z = jitgrad.tensor(2.0, requires_grad=True)
    y = jitgrad.zeros(2, 2)
    y[jitgrad.tensor([0, 1]), jitgrad.tensor([1, 0])] = z
    assert y.requires_grad
    (y * jitgrad.arange(4.0).view(2, 2)).sum().backward()
    assert z.grad.item() == 3


def test_without_grad_nothing_is_recorded() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    with jitgrad.no_grad():
        x[x > 0] = 2.0
    assert x.is_leaf
    assert x.tolist() == [2, 2, 2]


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


# ---------------------------------------------------------------- like PyTorch
READS = """
g[0]
g[:]
g[...]
g[0:2]
g[::2]
g[:, 0]
g[:, :]
g[None]
g[..., None]
g[0, 1]
g[:, 1:, None]
g[()]
g[True]
g[False]
g[True, False]
g[None, True]
g[L(True)]
g[L(1)]
g[L(1, dtype=T.int16)]
g[L([1, 0], dtype=T.uint8)]
g[np.array([1], dtype=np.int16)]
g[np.array([True, False])]
g[np.int64(1)]
g[np.array(1)]
g[[0, 1]]
g[[[0, 1], [1, 0]]]
g[[[0, 1], [1, 0]],]
g[[True, False]]
g[[0, slice(None)]]
g[[i, i]]
g[[L(0), L(1)]]
g[[]]
g[range(2)]
g[range(1),]
g[0, [1, 2]]
g[[0, 1], [1, 2]]
g[i, L([[0], [1]])]
g[L([], dtype=T.int64)]
g[L(0):L(1)]
g[g > 0]
g[:, L([True, False, True])]
g[g > 100]
L(1.)[...], L(1.)[None], L(1.)[True], L(1.)[L(True)], L(1.)[()]
y[i, :, i]
y[:, i, i]
y[0, :, i]
y[i, None, i]
y[i, ..., 0]
y[..., i, 0]
y[0, ..., i]
y[:, 0, i]
y[T.ones(2, 3, dtype=T.bool), i[:1]]
y[True, i], y[i, True], y[:, True, i]
y[:, i, None, i]
g.gather(1, L([[0, 2, 2], [1, 1, 0]]))
g.gather(1, L([[0, 1, 2, 2, 2]]))
g.gather(1, L([[0]], dtype=T.int32))
g.gather(1, T.empty(0, 7, dtype=T.int64))
L(1.).gather(0, L([0, 0])), T.ones(3).gather(0, L(1))
g.scatter(1, L([[0, 1]]), 1.)
g.scatter(1, L([[0, 1, 1], [2, 0, 0]]), h)
g.scatter(0, L([[0, 1, 0], [1, 0, 1]]), h)
g.scatter_add(1, L([[0, 0, 1], [1, 0, 1]]), h)
g.index_select(0, L([1, 1, 0]))
g.index_select(1, L(0)), L(1.).index_select(0, L([0]))
g.index_add(0, i, h, alpha=2)
g.index_add(1, L([2, 2]), h[:, :2])
x.index_add(0, L(0), T.ones(1, 3))
g.index_put((i, i), h[0, :2])
g.index_put((i,), h[0], accumulate=True)
g.index_put((g > 1,), h[0, 0])
T.take_along_dim(g, L([[0]]), 1)
T.take_along_dim(g, L([5, 0]))
g.masked_select(g > 0)
g.masked_select(L([True, False, True]))
L(1.).masked_select(L([True, False]))
x.nonzero(), x.nonzero(as_tuple=True), L(0.).nonzero(), L(1.).nonzero(as_tuple=True)
T.take(g, L([[0, -1], [3, 3]]))
"""
WRITES = """
T.zeros(2, 3), 0, T.ones(1, 1, 3)
T.zeros(2, 3), 0, T.ones(2)
T.zeros(2, 3), slice(None), T.ones(1, 1, 1, 3)
T.zeros(2, 3), (0, 0), T.ones(1)
T.zeros(2, 3), T.zeros(2, 3) > 5, T.ones(2)
T.zeros(2, 3), T.zeros(2, 3) > 5, T.ones(1)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.ones(2)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.arange(6.)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.ones(2, 3)
T.zeros(2, 3), i, T.ones(2)
T.zeros(2, 3), i, T.arange(3.)
T.zeros(2, 3), i, T.ones(1, 1, 2, 3)
T.zeros(2, 3, dtype=T.int64), i, 3.7
T.zeros(2, 3, dtype=T.int64), 0, T.ones(3) * 1.5
T.zeros(2, 3, dtype=T.int64), i, T.ones(3)
T.zeros(2, 3), i, L(3, dtype=T.float64)
T.zeros(2, 3), i, [1., 2., 3.]
T.zeros(2, 3), 0, (1, 2, 3)
T.zeros(2, 3), 0, np.ones(3)
T.zeros(2, 3), 0, None
T.zeros(2, 3), 5, 1
T.zeros(2, 3), L([5]), 1
T.zeros(2, 3), True, 1
T.zeros(2, 3), False, 1
T.zeros(2, 3), ..., 1
T.zeros(2, 3), None, 1
L(0.), True, 1
L(0.), ..., 1
L(0.), 0, 1
L(0.), L(True), 1
T.ones(2, 3, requires_grad=True), i, 1.
T.ones(2, 3, requires_grad=True), (0, i), 1.
T.ones(2, 3, requires_grad=True), 0, 1.
T.ones(2, 3, requires_grad=True), ..., 1.
g * 1, i, 2.
g * 1, g > 0, h[0, 0]
T.zeros(2, 3), i, h
T.zeros(2, 3), (i, L([2, 0])), h[:, 1]
T.zeros(2, 3), (slice(None), i), h[:, :2]
T.zeros(2, 3), T.zeros(0, dtype=T.int64), T.zeros(5)
T.zeros(2, 3, dtype=T.bool), i, 2
T.zeros(2, 3, dtype=T.uint8), i, -1
T.zeros(2, 3, 4, 5), (slice(None), i, slice(1, 3), i), T.arange(4.).view(2, 2, 1)
T.zeros(5, 4).t(), (i,), T.arange(5.)
T.zeros(5, 4).t(), (slice(1, None, 2), i), T.arange(2.)
"""
ERRORS = """
x[2]
x[-3]
x[0, -4]
x[0, 0, 0]
x[i, i, i]
x[:, :, :]
x[:, :, None, 0]
x[::-1]
x[::0]
x[0:1:-1]
x[1.5]
x[1.,]
x[L([0.5])]
x[T.empty(0)]
x[L([1], dtype=T.int16)]
x[[0, 1], [1, 2, 0]]
x[L([True, False, True])]
x[:, L([True, False])]
x[T.ones(3, 2, dtype=T.bool)]
x[T.ones(2, 3, 1, dtype=T.bool)]
x[L([0, 5])]
x[:, L([0, 5])]
x[i, L([0, 5])]
x[None, :, L([0, -5])]
x[{}]
x[object()]
x[slice("a")]
x[slice(1.5)]
x[i:]
L(1.)[0]
L(1.)[0, 0]
L(1.)[:]
L(1.)[L([0])]
L(1.)[L(0)]
y[:, True, i, False]
y[:, i, :, None, 0]
x.gather(1, L([[5]]))
x.gather(1, L([[-1]]))
x.gather(0, L([0]))
x.gather(2, L([[0]]))
x.gather(1, L([[0.]]))
x.gather(1, L([[0], [1], [2]]))
x.scatter(1, L([[5]]), 1.)
x.scatter(1, L([[0, 1]]), T.ones(1, 1))
x.scatter(1, L([[0, 1], [0, 1], [0, 1]]), T.ones(3, 3))
x.scatter(1, L([0, 1]), T.ones(2, 3))
x.scatter(1, L([[0, 1]]), T.ones(2, 3, dtype=T.float64))
x.scatter(1, L([[0, 1]]), T.ones(2, 3, 1))
x.scatter(1, L([[0., 1]]), 1)
x.scatter_add(1, L([[0, 1]]), 1.)
x.scatter_add(1, L([[0, 5]]), T.ones(2, 3))
x.index_select(0, L([0, 5]))
x.index_select(1, L([0.]))
x.index_select(1, L([[0]]))
x.index_select(2, L([0]))
L(1.).index_select(0, L([0, 0]))
x.index_add(0, i, T.ones(3, 3))
x.index_add(0, i, T.ones(2, 2))
x.index_add(0, L([0, 5]), T.ones(2, 3))
x.index_add(0, L([[0, 1]]), T.ones(2, 3))
x.index_add(0, L([0., 1]), T.ones(2, 3))
x.index_add(0, i, T.ones(2, 3, dtype=T.float64))
x.index_put((i, i), T.ones(3))
x.index_put((i,), 1.)
x.index_put(i, L(1.))
x.index_put((0,), L(1.))
x.index_put((i,), L(1))
T.take_along_dim(x, L([0]), 1)
T.take_along_dim(x, L([0., 1]))
x.masked_select(L([True, False]))
x.masked_select(L([1, 0, 1]))
T.take(x, L([6]))
T.take(x, L([-7]))
T.take(x, L([0.]))
"""


@pytest.mark.parametrize("source", READS.strip().splitlines())
def test_reads_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("source", WRITES.strip().splitlines())
def test_writes_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, f"(lambda a, k, v: (a.__setitem__(k, v), a)[1])({source})")


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


EMBEDDING_ERRORS = """
embedding(x, L([2]))
embedding(x, L([-1]))
embedding(x, L([0.]))
embedding(x, L([0], dtype=T.int16))
embedding(T.ones(3), L([0]))
"""


@pytest.mark.parametrize("source", EMBEDDING_ERRORS.strip().splitlines())
def test_embedding_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    raised = []
    for T, embedding in ((jitgrad, indexing.embedding), (torch, torch.embedding)):  # noqa: N806
        space = {"T": T, "L": T.tensor, "x": T.ones(2, 3), "embedding": embedding}
        with pytest.raises((IndexError, RuntimeError)) as error:
            eval(source, space)
        raised.append((error.type, str(error.value)))
    assert raised[0] == raised[1]
