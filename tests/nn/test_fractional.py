"""Fractional pooling, distances of pairs, and layers under other names, against PyTorch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails, same_module


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


SHAPES = {2: (2, 3, 8, 7), 3: (2, 3, 6, 5, 7)}


def samples(n: int, batch: int = 2, dtype: str = "float64") -> np.ndarray[Any, Any]:
    return np.random.default_rng(n).random((batch, 3, n)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(
    ("kernel", "size", "ratio"),
    [
        (2, 3, None),
        ((2, 3, 1), (4, 2, 3), None),
        (2, None, (0.5,) * 3),
        (3, None, (0.4, 0.5, 0.6)),
        (1, 1, None),
    ],
)
def test_function(
    torch: ModuleType, n: int, kernel: Any, size: Any, ratio: Any, dtype: str
) -> None:
    def few(value: Any) -> Any:
        return value[:n] if isinstance(value, tuple) else value

    def program(T: Any) -> Any:
        x = T.tensor(normal(*SHAPES[n]).astype(dtype)).requires_grad_()
        pool = getattr(T.nn.functional, f"fractional_max_pool{n}d")
        y, places = pool(
            x, few(kernel), few(size), few(ratio), True, T.tensor(samples(n, dtype=dtype))
        )
        (y * y).sum().backward()
        return [y, places, x.grad]

    check(torch, program)


@pytest.mark.parametrize("n", [2, 3])
def test_one_sample_and_no_indices(torch: ModuleType, n: int) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(normal(*SHAPES[n][1:]))
        layer = getattr(T.nn, f"FractionalMaxPool{n}d")
        m = layer(2, output_size=3, _random_samples=T.tensor(samples(n, 1)))
        return [m(x), repr(m), list(m.state_dict()), layer(2, output_ratio=0.5)(x).shape]

    check(torch, program)


def test_windows_are_drawn_anew() -> None:
    m, x = jitgrad.nn.FractionalMaxPool2d(2, 5), jitgrad.arange(81.0).reshape(1, 1, 9, 9)
    assert len({str(m(x).tolist()) for _ in range(30)}) > 3


def test_gradients_of_higher_order() -> None:
    x = jitgrad.tensor(normal(1, 3, 5, 5)).requires_grad_()
    drawn = jitgrad.tensor(samples(2, 1))
    pool = jitgrad.nn.functional.fractional_max_pool2d
    assert jitgrad.autograd.gradgradcheck(lambda x: pool(x, 2, 3, _random_samples=drawn) ** 3, (x,))


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.FractionalMaxPool2d(2),
        lambda T: T.nn.FractionalMaxPool3d(2, 3, 0.5),
        lambda T: T.nn.FractionalMaxPool2d(2, output_ratio=1.5),
        lambda T: T.nn.functional.fractional_max_pool2d(T.ones(1, 1, 4, 4), 2),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


def test_windows_that_do_not_fit(torch: ModuleType) -> None:
    fails(torch, lambda T: T.nn.FractionalMaxPool2d(2, 9)(T.ones(1, 1, 4, 4)), "too large relative")


# ---------------------------------------------------------------- pairs
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (2, 1)])
def test_distances_of_pairs(torch: ModuleType, p: float, shape: tuple[int, int]) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(normal(*shape)).requires_grad_()
        y = T.nn.functional.pdist(x, p)
        (y * y).sum().backward()
        return [y, x.grad]

    check(torch, program, rtol=1e-9)


def test_equal_rows_have_no_slope(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = T.zeros(3, 2).requires_grad_()
        T.nn.functional.pdist(x).sum().backward()
        return x.grad

    check(torch, program)


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.functional.pdist(T.ones(2, 1, 3)),
        lambda T: T.nn.functional.pdist(T.ones(2, 3), -1.0),
    ],
)
def test_errors_of_pairs(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


def test_no_rows_at_all() -> None:
    x = jitgrad.zeros(0, 3).requires_grad_()
    y = jitgrad.nn.functional.pdist(x)
    y.sum().backward()
    assert y.shape == (0,)
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dim", [0, 1])
def test_cosines_are_of_the_broadcast_vectors(torch: ModuleType, dim: int) -> None:
    def program(T: Any) -> Any:
        a, b = (T.tensor(normal(n, 4)).requires_grad_() for n in (3, 1))
        y = T.nn.functional.cosine_similarity(a, b, dim=dim)
        (y * y).sum().backward()
        return [y, a.grad, b.grad]

    check(torch, program, rtol=1e-9)


# ---------------------------------------------------------------- under other names
@pytest.mark.parametrize("train", [True, False])
def test_batches_of_several_processes(torch: ModuleType, train: bool) -> None:
    same_module(torch, lambda T: T.nn.SyncBatchNorm(3, momentum=0.3), normal(4, 3, 2), train=train)

    def program(T: Any) -> Any:
        net = T.nn.Sequential(T.nn.Conv2d(2, 3, 3), T.nn.BatchNorm2d(3, momentum=0.3))
        weight = net[1].weight
        net = T.nn.SyncBatchNorm.convert_sync_batchnorm(net.train(train))
        return [repr(net), net[1].weight is weight, net[1].training, list(net.state_dict())]

    check(torch, program)


def test_data_parallel_without_gpus(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        inner = T.nn.Linear(2, 1)
        m = T.nn.DataParallel(inner)
        x = T.ones(3, 2)
        return [repr(m), list(m.state_dict()), T.equal(m(input=x), inner(x)), m.module is inner]

    check(torch, program)


def test_too_few_dims_for_several_processes(torch: ModuleType) -> None:
    fails(torch, lambda T: T.nn.SyncBatchNorm(3)(T.ones(3)))


@pytest.mark.filterwarnings("ignore:`NLLLoss2d`")
def test_small_things(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        F = T.nn.functional
        x = T.tensor(normal(1, 2, 4))
        found = [list(F.adaptive_max_pool1d_with_indices(x, 2))]
        return [*found, T.nn.NLLLoss2d()(x.unsqueeze(2), T.zeros(1, 1, 4, dtype=T.int64))]

    check(torch, program)
    fails(torch, lambda T: T.nn.functional.interpolate(T.ones(1, 1, 4), 2.5), "")
