"""``x[index]`` and ``x[index] = value`` against NumPy; beside PyTorch in `test_indexing_parity`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jitgrad
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
    # At least one dim: positions without any are an int to NumPy.
    broadcast = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
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


def test_writing_what_is_read_from_the_same_memory_is_refused() -> None:
    x = jitgrad.arange(5.0)
    i = jitgrad.tensor([1, 2, 0])
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input"):
        x[jitgrad.tensor([1, 2, 3, 4])] = x[:-1]
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input"):
        i[i] = i.clone()
    assert x.tolist() == [0, 1, 2, 3, 4]
    assert i.tolist() == [1, 2, 0]


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
