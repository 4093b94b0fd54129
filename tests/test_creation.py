"""Making tensors: values, dtypes and errors as PyTorch's; memory shared with NumPy stays alive."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad

CALLS: list[Callable[[Any], Any]] = [
    lambda t: t.tensor(1),
    lambda t: t.tensor(1.5),
    lambda t: t.tensor(True),
    lambda t: t.tensor([]),
    lambda t: t.tensor([[]]),
    lambda t: t.tensor([1, 2, 3]),
    lambda t: t.tensor([1, 2.5]),
    lambda t: t.tensor([True, False]),
    lambda t: t.tensor([True, 2]),
    lambda t: t.tensor([[1, 2], [3, 4]]),
    lambda t: t.tensor([[1.0], [2.0]], dtype=t.float64),
    lambda t: t.tensor((1, 2)),
    lambda t: t.tensor([1.7, -1.7], dtype=t.int64),
    lambda t: t.tensor([0.0, 2.0], dtype=t.bool),
    lambda t: t.tensor(range(4)),
    lambda t: t.tensor(np.arange(3)),
    lambda t: t.tensor(np.ones(3)),
    lambda t: t.tensor(np.float64(2)),
    lambda t: t.tensor(np.float32(2)),
    lambda t: t.tensor(np.int16(2)),
    lambda t: t.tensor([np.float64(2), np.float64(3)]),
    lambda t: t.tensor([t.tensor(1), t.tensor(2)]),
    lambda t: t.tensor([math.inf, -math.inf, math.nan]),
    lambda t: t.tensor([1 << 62, -(1 << 63)]),
    lambda t: t.tensor(float(1 << 62)),
    lambda t: t.zeros(2, 3),
    lambda t: t.zeros((2, 3)),
    lambda t: t.zeros([2, 0]),
    lambda t: t.zeros(()),
    lambda t: t.zeros(2, dtype=t.int8),
    lambda t: t.zeros(t.ones(2, 3).shape),
    lambda t: t.ones(2, 3, dtype=t.bool),
    lambda t: t.ones(3, dtype=t.float64),
    lambda t: t.full((2, 2), 7),
    lambda t: t.full((2,), 7.5),
    lambda t: t.full((2,), True),
    lambda t: t.full((), 2.0, dtype=t.int64),
    lambda t: t.eye(3),
    lambda t: t.eye(2, 4),
    lambda t: t.eye(3, 2, dtype=t.int64),
    lambda t: t.eye(0),
    lambda t: t.arange(5),
    lambda t: t.arange(5.0),
    lambda t: t.arange(1, 5),
    lambda t: t.arange(1, 10, 3),
    lambda t: t.arange(5, 1, -2),
    lambda t: t.arange(0, 1, 0.1),
    lambda t: t.arange(0, 0.3, 0.1, dtype=t.float64),
    lambda t: t.arange(3, dtype=t.float64),
    lambda t: t.arange(0),
    lambda t: t.arange(1, 1),
    lambda t: t.arange(start=1, end=4),
    lambda t: t.linspace(0, 1, 5),
    lambda t: t.logspace(0, 2, 5),
    lambda t: t.logspace(1, -1, 3, base=2, dtype=t.float64),
    lambda t: t.logspace(0, 2, 0),
    lambda t: t.linspace(-1, 1, 4, dtype=t.float64),
    lambda t: t.linspace(3, -2, 6),
    lambda t: t.linspace(0, 1, 1),
    lambda t: t.linspace(0, 1, 0),
    lambda t: t.zeros_like(t.ones(2, 3, dtype=t.int16)),
    lambda t: t.ones_like(t.zeros(2), dtype=t.bool),
    lambda t: t.full_like(t.zeros(2, dtype=t.int64), 3),
    lambda t: t.empty_like(t.zeros(2, 3)).shape,
    lambda t: t.empty(2, 0),
    lambda t: t.ones(2, dtype=t.int8).new_zeros(3),
    lambda t: t.ones(2).new_ones((2, 2)),
    lambda t: t.ones(2, dtype=t.float64).new_full((2,), 3),
    lambda t: t.ones(2, dtype=t.int64).new_tensor([1.5, 2.5]),
    lambda t: t.ones(2).new_empty(3).shape,
    lambda t: t.as_tensor([1.0, 2.0]),
    lambda t: t.as_tensor(np.arange(3.0)),
    lambda t: t.as_tensor(np.arange(3.0), dtype=t.float32),
    lambda t: t.as_tensor(3),
    lambda t: t.from_numpy(np.arange(6).reshape(2, 3).T),
    lambda t: t.Tensor([1, 2]),
    lambda t: t.Tensor(),
    lambda t: t.zeros(2, dtype=float),
    lambda t: t.arange(3, dtype=int),
    lambda t: t.tensor([0, 2], dtype=bool),
    lambda t: t.tensor([1, 2]).to(float),
]


@pytest.mark.parametrize("call", CALLS, ids=[str(i) for i in range(len(CALLS))])
def test_values_and_dtypes(call: Callable[[Any], Any], torch: Any) -> None:
    mine, theirs = call(jitgrad), call(torch)
    if isinstance(mine, tuple):
        assert tuple(mine) == tuple(theirs)
        return
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert mine.stride() == theirs.stride()
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.tensor([[1, 2], [3]]), ValueError, "length"),
        (lambda t: t.tensor([1, [2]]), (TypeError, ValueError), "."),
        (lambda t: t.tensor("a"), (TypeError, ValueError), "."),
        (lambda t: t.tensor(["a"]), (TypeError, ValueError), "."),
        (lambda t: t.tensor(None), (TypeError, RuntimeError), "."),
        (lambda t: t.tensor([None]), (TypeError, RuntimeError), "."),
        (lambda t: t.tensor(np.array(["a"])), TypeError, "can't convert np.ndarray"),
        (
            lambda t: t.tensor([1, 2], requires_grad=True),
            RuntimeError,
            "Only Tensors of floating point",
        ),
        (lambda t: t.tensor(1 << 70), ValueError, "Overflow"),
        (lambda t: t.zeros(-1), RuntimeError, "negative dimension -1"),
        (lambda t: t.zeros(2, 2.5), TypeError, "."),
        (lambda t: t.zeros("a"), TypeError, "."),
        (lambda t: t.zeros(2, dtype="float32"), TypeError, "dtype"),
        (lambda t: t.tensor([1], dtype=3), TypeError, "dtype"),
        (lambda t: t.tensor([1]).to(str), TypeError, "dtype"),
        (lambda t: t.full((2, -3), 1), RuntimeError, "negative dimension -3"),
        (lambda t: t.eye(-1), RuntimeError, "."),
        (lambda t: t.arange(0, 5, 0), RuntimeError, "step must be nonzero"),
        (lambda t: t.arange(5, 0), RuntimeError, "inconsistent with step sign"),
        (lambda t: t.arange(0, math.inf), RuntimeError, "."),
        (lambda t: t.arange(0, math.nan), RuntimeError, "."),
        (lambda t: t.linspace(0, 1, -1), RuntimeError, "non-negative"),
        (lambda t: t.from_numpy([1, 2]), TypeError, r"expected np.ndarray \(got list\)"),
        (lambda t: t.from_numpy(np.array(["a"])), TypeError, "can't convert np.ndarray"),
        (lambda t: t.from_numpy(np.arange(4)[::-1]), ValueError, "negative"),
        (lambda t: t.from_numpy(np.arange(4, dtype=">i4")), ValueError, "byte order"),
        (lambda t: t.zeros(2, device="tpu"), RuntimeError, "."),
        (lambda t: t.zeros(2, dtype=t.int64, requires_grad=True), RuntimeError, "floating point"),
        (lambda t: t.ones(2, dtype=t.bool).requires_grad_(), RuntimeError, "floating point"),
        (lambda t: t.set_default_dtype(t.int64), TypeError, "floating-point"),
    ],
)
def test_errors(call: Callable[[Any], Any], error: Any, words: str, torch: Any) -> None:
    with pytest.raises(error):
        call(torch)
    with pytest.raises(error, match=words):
        call(jitgrad)


def test_too_many_dims_names_the_limit() -> None:
    for call in (
        lambda: jitgrad.zeros((1,) * 9),
        lambda: jitgrad.tensor(np.zeros((1,) * 9)),
        lambda: jitgrad.from_numpy(np.zeros((1,) * 9)),
        lambda: jitgrad.zeros((1,) * 8).unsqueeze(0),
        lambda: jitgrad.zeros(1).view((1,) * 9),
        lambda: jitgrad.zeros(1).expand((1,) * 9),
        lambda: jitgrad.stack([jitgrad.zeros((1,) * 8)]),
    ):
        with pytest.raises(RuntimeError, match="at most 8 dims"):
            call()


def test_out_of_memory() -> None:
    x = jitgrad.ones(3)
    for sizes in ((1 << 50,), (1 << 31, 1 << 31), (1 << 62, 1 << 62), (1 << 63,)):
        with pytest.raises((MemoryError, RuntimeError, OverflowError)):
            jitgrad.zeros(sizes)
    with pytest.raises(MemoryError):
        jitgrad.zeros(1, 1).expand(1 << 25, 1 << 25).exp()
    with pytest.raises(MemoryError):
        jitgrad.zeros(1).expand(1 << 29, 1 << 30).sum(0)
    with pytest.raises(RuntimeError, match="overflow"):
        jitgrad.zeros(1).expand(1 << 62, 1 << 62)
    assert (x + 1).tolist() == [2, 2, 2]
    assert jitgrad.zeros(1 << 62, 0).shape == (1 << 62, 0)


def test_requires_grad() -> None:
    for make in (
        lambda **k: jitgrad.tensor([1.0], **k),
        lambda **k: jitgrad.zeros(1, **k),
        lambda **k: jitgrad.ones(1, **k),
        lambda **k: jitgrad.full((1,), 2.0, **k),
        lambda **k: jitgrad.eye(1, **k),
        lambda **k: jitgrad.arange(2.0, **k),
        lambda **k: jitgrad.linspace(0, 1, 2, **k),
        lambda **k: jitgrad.zeros_like(jitgrad.ones(1), **k),
        lambda **k: jitgrad.rand(1, **k),
    ):
        x = make(requires_grad=True)
        assert x.requires_grad
        assert x.is_leaf
        assert not make().requires_grad


def test_tensor_copies() -> None:
    a = np.zeros(3)
    x = jitgrad.tensor(a)
    a[0] = 1
    assert x.tolist() == [0, 0, 0]
    y = jitgrad.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="recommended to use sourceTensor"):
        z = jitgrad.tensor(y)
    assert not z.requires_grad
    assert z.data_ptr() != y.data_ptr()


def test_as_tensor_shares() -> None:
    a = np.zeros(3)
    assert np.shares_memory(jitgrad.as_tensor(a).numpy(), a)
    x = jitgrad.ones(2)
    assert jitgrad.as_tensor(x) is x
    assert jitgrad.as_tensor(x, dtype=jitgrad.float64).dtype is jitgrad.float64


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(24.0).reshape(4, 6)[1::2, ::3],
        np.arange(3, dtype=np.uint8),
        np.array(5.0),
        np.zeros((0, 3)),
        np.array([True, False]),
    ],
    ids=str,
)
def test_from_numpy_shares_both_ways(array: Any) -> None:
    x = jitgrad.from_numpy(array)
    assert x.shape == array.shape
    np.testing.assert_array_equal(x.numpy(), array)
    if array.size:
        assert np.shares_memory(x.numpy(), array)
        array[...] = 1
        assert (x.numpy() == 1).all()
        x.zero_()
        assert (array == 0).all()


def test_from_numpy_keeps_the_array_alive() -> None:
    x = jitgrad.from_numpy(np.full(1000, 3.0))
    gc.collect()
    rest = [np.zeros(1000) for _ in range(10)]
    assert x.sum().item() == 3000
    assert len(rest) == 10
    y = x[10:20]
    del x
    gc.collect()
    assert y.tolist() == [3.0] * 10


def test_a_read_only_array_is_copied() -> None:
    a = np.zeros(3)
    a.setflags(write=False)
    x = jitgrad.from_numpy(a)
    x += 1
    assert a.tolist() == [0, 0, 0]


def test_a_misaligned_array_is_refused_or_copied() -> None:
    a = np.zeros(17, np.uint8)[1:].view(np.float64)
    with pytest.raises(ValueError, match="multiple of the element"):
        jitgrad.from_numpy(a)
    assert jitgrad.tensor(a).tolist() == [0.0, 0.0]
    b = np.zeros(3, [("a", "f4"), ("b", "u1")])["a"]
    with pytest.raises(ValueError, match="multiple of the element"):
        jitgrad.from_numpy(b)


def test_default_dtype() -> None:
    assert jitgrad.get_default_dtype() is jitgrad.float32
    jitgrad.set_default_dtype(jitgrad.float64)
    try:
        assert jitgrad.tensor(1.5).dtype is jitgrad.float64
        assert jitgrad.zeros(1).dtype is jitgrad.float64
        assert jitgrad.arange(1.0).dtype is jitgrad.float64
        assert jitgrad.full((1,), 1.0).dtype is jitgrad.float64
        assert jitgrad.rand(1).dtype is jitgrad.float64
        assert jitgrad.tensor(1).dtype is jitgrad.int64
    finally:
        jitgrad.set_default_dtype(jitgrad.float32)


def test_empty_cache_gives_memory_back() -> None:
    jitgrad.zeros(1 << 20)
    assert jitgrad.memory_stats()["pool_bytes"] >= 4 << 20
    jitgrad.empty_cache()
    assert jitgrad.memory_stats()["pool_bytes"] == 0


BAD_DATA = [
    "[[1, 2], [3]]",
    "[[[1]], [[2, 3]]]",
    '["a"]',
    '"a"',
    '[1, "a"]',
    "None",
    "[1, None]",
    "{1, 2}",
    "[1, [2]]",
    "[1.0, [2]]",
    "[[1], 2]",
    "[2**63]",
    "object()",
]


@pytest.mark.parametrize("data", BAD_DATA)
def test_data_that_are_no_tensor(data: str, torch: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        torch.tensor(eval(data))
    with pytest.raises(type(theirs.value)) as mine:
        jitgrad.tensor(eval(data))
    assert str(mine.value) == str(theirs.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.tensor([300], dtype=t.uint8),
        lambda t: t.tensor([-300], dtype=t.uint8),
        lambda t: t.tensor([-1], dtype=t.uint8),
        lambda t: t.tensor([200], dtype=t.int8),
        lambda t: t.tensor([3e9], dtype=t.int32),
        lambda t: t.tensor([math.nan], dtype=t.int32),
        lambda t: t.tensor([1e39]),
        lambda t: t.full((2,), 300, dtype=t.uint8),
        lambda t: t.full((2,), 1e40),
        lambda t: t.full((2,), math.inf),
        lambda t: t.zeros(1, dtype=t.int8).fill_(-129),
        lambda t: t.zeros(1).fill_(1e40),
        lambda t: t.full(2, 3),
        lambda t: t.zeros("a"),
        lambda t: t.ones(2.5),
        lambda t: t.empty((2, "a")),
        lambda t: t.eye(-1),
        lambda t: t.arange(1e20),
        lambda t: t.arange(end=3),
    ],
)
def test_numbers_that_do_not_fit(call: Any, torch: Any) -> None:
    def found(module: Any) -> Any:
        try:
            return call(module).tolist()
        except Exception as error:
            return type(error), str(error)

    assert found(jitgrad) == found(torch)
