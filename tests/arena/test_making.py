"""Tensors of lists and of one number, and arrays over a Tensor's memory, made without Python."""

from __future__ import annotations

import gc
import math
import sys
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header

SIMPLE: list[Any] = [
    1.5,
    -3,
    [1.0, -2.5],
    (1, 2, 3),
    [[1.0, 2], (3.0, 4)],
    [[[1], [2]], [[3], [4]]],
    [math.inf, -math.inf, math.nan, 1e300, -0.0],
    [2**62, -(2**63)],
    [[[[[[[[7.0]]]]]]]],
]
LEFT_TO_PYTHON: list[Any] = [
    [],
    [[]],
    [[1.0], []],
    [[1, 2], [3]],
    [1, 2.0],
    [True, False],
    [True, 1],
    [1.0, True],
    [[1.0], 2.0],
    [1.0, [2.0]],
    ["a"],
    None,
    [None],
    2**63,
    [1.0, 10**400],
    [[[[[[[[[7.0]]]]]]]]],
    np.float32(1),
    range(3),
    {1: 2},
]


@pytest.mark.parametrize("data", SIMPLE)
@pytest.mark.parametrize("dtype", [None, dtypes.float32, dtypes.float64])
def test_simple_lists_are_read_as_numpy_does(data: Any, dtype: Any) -> None:
    made = entry.literal(data, -1 if dtype is None else dtype.code, jitgrad.Tensor)
    array = np.asarray(data)
    expected = dtype or (dtypes.int64 if array.dtype.kind == "i" else dtypes.float32)
    assert made.dtype is expected
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(made.numpy(), array.astype(expected.numpy))
    assert np.signbit(made.numpy().ravel()[-1]) == np.signbit(array.ravel()[-1])


@pytest.mark.parametrize("data", LEFT_TO_PYTHON, ids=[str(i) for i in range(len(LEFT_TO_PYTHON))])
def test_all_else_is_left_to_python_and_nothing_leaks(data: Any) -> None:
    before = int(header[col.H_ROW_LIVE])
    for _ in range(5):
        assert entry.literal(data, -1, jitgrad.Tensor) is None
    assert int(header[col.H_ROW_LIVE]) == before


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.code < 5 or d.code > 7])
def test_other_dtypes_are_left_to_python(dtype: Any) -> None:
    assert entry.literal([1.0], dtype.code, jitgrad.Tensor) is None


def test_floats_do_not_become_integers_without_python() -> None:
    assert entry.literal([1.5], dtypes.int64.code, jitgrad.Tensor) is None


def test_a_list_that_holds_itself_is_left_to_python() -> None:
    data: list[Any] = []
    data.append(data)
    assert entry.literal(data, -1, jitgrad.Tensor) is None


def test_items_of_subclasses_are_left_to_python() -> None:
    class Number(float):
        pass

    class Numbers(list):
        pass

    for data in ([1.0, Number(2)], [Number(1)], [Numbers([1.0])], Numbers([1.0])):
        assert entry.literal(data, -1, jitgrad.Tensor) is None


@pytest.mark.parametrize("dtype", dtypes.ALL)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 9, 64, 65])
def test_every_element_is_filled(dtype: Any, n: int) -> None:
    value = 1 if dtype is dtypes.bool else 120 if not dtype.is_signed else -7
    made = jitgrad.full((n,), value, dtype=dtype)
    assert made.dtype is dtype
    assert made.tolist() == [value] * n


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RuntimeError, match="without overflow"):
        jitgrad.full_like(jitgrad.zeros(2, dtype=jitgrad.uint8), 300)
    with pytest.raises(OverflowError):
        entry.filled(dtypes.int64.code, jitgrad.Tensor, 2**70, 2)
    with pytest.raises(TypeError):
        entry.filled(dtypes.float32.code, jitgrad.Tensor, "1", 2)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d is not dtypes.bfloat16])
def test_an_array_shows_the_memory(dtype: Any) -> None:
    x = jitgrad.ones(3, 4, dtype=dtype)
    for view in (x, x.t(), x[1:, ::2], x[0, 0], x[:0], x.expand(2, 3, 4)):
        array = view.numpy()
        assert array.dtype == dtype.numpy
        assert array.shape == tuple(view.shape)
        if view.numel():
            assert array.strides == tuple(s * dtype.itemsize for s in view.stride())
            assert array.ctypes.data == view.data_ptr()
        assert array.flags.writeable
        assert array.flags.aligned
        np.testing.assert_array_equal(array, np.ones(view.shape, dtype.numpy))
    x.numpy()[1, 1] = 0
    assert x[1, 1].item() == 0


def test_an_array_outlives_its_tensor_and_gives_its_memory_back() -> None:
    gc.collect()
    before = int(header[col.H_STORE_LIVE])
    x = jitgrad.arange(1000)
    array = x.numpy()
    part = array[10:20]
    x.data = jitgrad.zeros(3, dtype=jitgrad.int64)
    del x, array
    jitgrad.full((1000,), 7)
    assert part.tolist() == list(range(10, 20))
    del part
    gc.collect()
    assert int(header[col.H_STORE_LIVE]) == before


def test_making_an_array_counts_no_reference_too_many() -> None:
    kind = dtypes.float32.numpy
    x = jitgrad.zeros(2)
    before = sys.getrefcount(kind)
    for _ in range(100):
        x.numpy()
    assert sys.getrefcount(kind) - before < 10


def _arrays() -> list[Any]:
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return [
        a,
        a.T,
        a[:, ::2],
        a[1:, :, 1],
        a[..., None],
        np.array(3.0),
        np.zeros((0, 3)),
        np.zeros((0, 3))[:, ::-1],
        np.broadcast_to(a[0], (5, 3, 4)),
        np.frombuffer(b"12345678", np.int32),
        np.ones((1,) * 8, np.int8),
    ]


@pytest.mark.parametrize("array", _arrays(), ids=range(len(_arrays())))
def test_a_tensor_shows_an_arrays_memory(array: Any) -> None:
    before = sys.getrefcount(array)
    x = jitgrad.from_numpy(array)
    assert tuple(x.shape) == array.shape
    np.testing.assert_array_equal(x.numpy(), array)
    if array.flags.writeable and array.size:
        assert x.data_ptr() == array.ctypes.data
        assert tuple(s * array.itemsize for s in x.stride()) == array.strides
        assert sys.getrefcount(array) == before + 1
        assert x.is_contiguous() == array.flags.c_contiguous
    del x
    assert sys.getrefcount(array) == before


_BYTES = bytearray(64)


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.arange(3.0)[::-1], ValueError, "stride in the given numpy array is negative"),
        (np.arange(3, dtype=">f4"), ValueError, "byte order"),
        (np.arange(3, dtype=np.uint32), TypeError, "can't convert np.ndarray of type uint32"),
        (np.zeros((1,) * 9), RuntimeError, "at most 8 dims"),
        (np.ndarray((3,), np.float32, _BYTES, 1), ValueError, "multiple of the element"),
        (np.ndarray((3,), np.float32, _BYTES, 0, (6,)), ValueError, "multiple of the element"),
        ([1.0], TypeError, "expected np.ndarray"),
    ],
)
def test_an_array_that_no_tensor_can_show_is_refused(
    array: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        jitgrad.from_numpy(array)
