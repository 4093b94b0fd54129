"""Order, quantiles and counting: NaN and ties against PyTorch, large sizes against NumPy, errors."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import jitgrad
from tests.ops.both import check

ERRORS = """
T.ones(2).sort(3)
T.ones(1).topk(2)
T.ones(1).topk(-1)
T.ones(3, dtype=T.bool).topk(1)
T.ones(1).kthvalue(2)
T.ones(1).kthvalue(0)
T.zeros(0).kthvalue(1)
T.zeros(0).median(0)
T.ones(3, dtype=T.bool).median()
T.ones(3, dtype=T.bool).kthvalue(1)
T.zeros(0, 3).mode(0)
x.cummax(2)
T.quantile(T.zeros(0), 0.5)
T.quantile(x, 2.0)
T.quantile(x.long(), 0.5)
T.quantile(x, T.ones(2, 2))
T.quantile(x, T.ones(2, dtype=T.float64))
T.quantile(x, 0.5, interpolation='x')
T.aminmax(T.zeros(0))
T.unique(T.zeros(2, 0), dim=0)
T.searchsorted(T.ones(2, 3), T.ones(3, 2))
T.searchsorted(T.ones(3), T.ones(2), side='left', right=True)
T.searchsorted(T.ones(3), T.ones(2), side='x')
T.bucketize(x, x)
T.bincount(x)
T.bincount(L([-1]))
T.bincount(x.long())
T.bincount(i, T.ones(3))
T.bincount(i, minlength=-1)
T.histc(i, 4)
T.histc(x, 0)
T.histc(x, 3, 3, 1)
T.histogram(i, 3)
T.histogram(x, 0)
T.histogram(x, i)
T.histogram(x, 3, weight=T.ones(2))
T.histogram(x, 3, range=(2.0, 1.0))
T.histogram(L([1.0, float('nan')]), 3)
"""
#: NaN, ties, numbers without dims, empty tensors, and how results nest.
VALUES = """
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).sort())
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).sort(descending=True, stable=True))
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).topk(2))
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).cummax(0))
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).cummin(0))
tuple(L([float('nan'), 1.0, float('nan'), 3.0]).nanmedian(0))
L([float('nan'), 1.0]).median(), L([float('nan'), 1.0]).nanmedian()
tuple(L([[1.0, float('nan'), float('nan')]]).median(1))
tuple(L([2, 2, 1]).median(0)), tuple(L([1, 2, 2, 2, 3]).median(0))
tuple(L([1, 2, 2, 1, 3]).mode()), tuple(L([[3, 3, 3, 1]]).mode(1))
tuple(L(3.0).sort()), tuple(L(3.0).median(0)), tuple(L(3.0).mode())
T.zeros(0).median(), T.zeros(0, dtype=T.int64).median()
tuple(T.zeros(3, 0).median(0)), tuple(T.zeros(3, 0).mode(0))
g.sort(0)[0]
g.sort(1, True).values
g.topk(2).values
g.topk(2, 0, largest=False, sorted=True).values
g.cummax(1)[0]
g.cummin(0).values
g.median(1, keepdim=True).values
T.unique(L([float('nan'), float('nan'), 1.0]))
T.unique(T.zeros(0), return_counts=True)
T.unique(L(3), return_inverse=True)
T.unique_consecutive(T.zeros(0), return_inverse=True, return_counts=True)
T.searchsorted(L([1.0, 2.0, float('nan')]), L([float('nan'), 2.0]))
T.searchsorted(L([3, 1, 2]), L([2]), sorter=L([1, 2, 0]))
T.searchsorted(L([1.0, 3.0]), 2.0, out_int32=True)
T.bucketize(3, L([1, 2, 3])), T.bucketize(L(3), L([1, 2, 3]), right=True)
T.bincount(T.zeros(0, dtype=T.int64), minlength=2)
T.bincount(L([1, 2]), L([1, 2]))
T.histc(L([1.0, 1.0]), 4), T.histc(T.zeros(0), 3)
tuple(T.histogram(L([1.0, 2.0, 1.0, 3.0, -1.0]), 4)), tuple(x.histogram(2))
tuple(T.histogram(x, 4, range=(0.0, 3.0))), tuple(T.histogram(x, 4, range=(0.0, 3.0), density=True))
tuple(T.histogram(x, L([0.0, 1.0, 2.5, 4.0]), weight=x * 0.5))
tuple(T.histogram(T.ones(3), 3)), tuple(T.histogram(T.zeros(0), 3))
tuple(T.histogram(x, bins=2, range=(0.0, 0.0))), T.histogram(x, 2).bin_edges
tuple(T.histogram(T.arange(1000.0) * 0.1, 7))
T.isin(1, L([1, 2])), T.isin(L([float('nan')]), L([float('nan')]))
T.isin(L([1, 2]), L([2.5, 2.0]))
T.quantile(L([1.0, float('nan')]), 0.5), T.nanquantile(L([1.0, float('nan')]), 0.5)
T.nanquantile(L([float('nan')]), 0.5)
"""


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source, but=("message",))


@pytest.mark.parametrize("source", VALUES.strip().splitlines())
def test_values_nodes_and_gradients_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [0, 1, 12, 13, 100])
def test_topk_on_both_ways(k: int, largest: bool) -> None:
    a = np.random.default_rng(k).permutation(300).reshape(3, 100)
    found = jitgrad.topk(jitgrad.from_numpy(a), k, largest=largest)
    wanted = np.sort(a, axis=1)[:, ::-1][:, :k] if largest else np.sort(a, axis=1)[:, :k]
    np.testing.assert_array_equal(found.values.numpy(), wanted)
    np.testing.assert_array_equal(np.take_along_axis(a, found.indices.numpy(), 1), wanted)


@pytest.mark.parametrize("k", [2, 40])
def test_topk_keeps_the_order_of_equals(k: int) -> None:
    assert np.diff(jitgrad.topk(jitgrad.ones(100), k).indices.numpy()).min() > 0


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_sort_of_a_permuted_view(dtype: str) -> None:
    a = np.random.default_rng(0).integers(0, 50, (4, 5, 6)).astype(dtype)
    x = jitgrad.from_numpy(a).permute(2, 0, 1)
    values, indices = x.sort(1)
    wanted = np.sort(a.transpose(2, 0, 1), axis=1)
    np.testing.assert_array_equal(values.numpy(), wanted)
    np.testing.assert_array_equal(x.gather(1, indices).numpy(), wanted)


def test_results_have_names() -> None:
    x = jitgrad.tensor([3.0, 1.0])
    assert x.sort().values.tolist() == [1.0, 3.0]
    low, high = x.aminmax()
    assert x.aminmax().min.item() == low.item() == 1.0
    assert high.item() == 3.0


def test_median_of_equals_shares_the_gradient() -> None:
    x = jitgrad.tensor([2.0, 2.0, 1.0, 2.0], requires_grad=True)
    x.median().backward()
    np.testing.assert_allclose(x.grad.numpy(), [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)
