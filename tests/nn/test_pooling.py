"""Pooling: PyTorch's values, positions, gradients and errors over grids of options."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.compare import agree, data

F = jitgrad.nn.functional
SPACE = (9, 8, 7)
WINDOWS = list(itertools.product((2, 3), (None, 1, 2), (0, 1), (False, True)))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_pool(torch: ModuleType, n: int) -> None:
    """Values, positions and gradients, with a batch and without."""
    x = data(2, 3, *SPACE[:n])
    for (k, s, p, up), d in itertools.product(WINDOWS, (1, 2)):
        agree(
            torch,
            lambda f, T, t, o=(k, s, p, d, up, True): getattr(f, f"max_pool{n}d")(t, *o),
            x[0] if up else x,
            both=d == 1,
            note=(k, s, p, d, up),
        )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_averages(torch: ModuleType, n: int) -> None:
    """What is counted: the zeros at the sides or not, or a number of one's own."""
    x = data(2, 3, *SPACE[:n])
    pool = f"avg_pool{n}d"
    for (k, s, p, up), inside in itertools.product(WINDOWS, (False, True)):
        options = (k, s, p, up, inside)
        agree(torch, lambda f, T, t, o=options: getattr(f, pool)(t, *o), x, both=up, note=options)
        if n > 1 and inside:
            agree(torch, lambda f, T, t, o=options: getattr(f, pool)(t, *o, 5), x[0], both=False)
        if p == 0 and inside:
            agree(
                torch,
                lambda f, T, t, o=(3.0, k, s, up): getattr(f, f"lp_pool{n}d")(t, *o),
                np.abs(x),
                both=False,
            )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_adaptive(torch: ModuleType, n: int) -> None:
    """Fewer, as many and more windows than elements."""
    x = data(2, 3, *SPACE[:n])
    for out in (1, 3, 9, 12, (4, None, 2)[:n]):
        agree(torch, lambda f, T, t, o=out: getattr(f, f"adaptive_avg_pool{n}d")(t, o), x, note=out)
        agree(
            torch,
            lambda f, T, t, o=out: getattr(f, f"adaptive_max_pool{n}d")(t, o, True),
            x[0],
            note=out,
        )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpool(torch: ModuleType, n: int) -> None:
    """Max pooling undone, to the usual size and another one."""
    x = data(2, 3, *SPACE[:n])

    def there_and_back(f: Any, t: Any, size: Any) -> Any:
        y, where = getattr(f, f"max_pool{n}d")(t, 2, return_indices=True)
        return getattr(f, f"max_unpool{n}d")(y, where, 2, output_size=size)

    for size in (None, SPACE[:n], (20,) * n):
        agree(torch, lambda f, T, t, s=size: there_and_back(f, t, s), x)


def test_local_response_norm(torch: ModuleType) -> None:
    """Odd and even numbers of neighbours, more than there are channels too."""
    for shape, size in itertools.product(((2, 5, 4), (2, 3, 4, 3), (0, 3, 2)), (1, 2, 3, 9)):
        agree(
            torch, lambda f, T, t, n=size: f.local_response_norm(t, n, 0.1, 0.7, 1.5), data(*shape)
        )


def test_special_values(torch: ModuleType) -> None:
    """NaN wins, infinity is an element like others, of equal elements the first counts."""
    x = data(1, 2, 6, 6)
    x[0, 0, 2, 3], x[0, 1, 1, 1], x[0, 1, 4, 4] = np.nan, np.inf, -np.inf
    agree(torch, lambda f, T, t: f.max_pool2d(t, 3, 2, 1, return_indices=True), x)
    agree(torch, lambda f, T, t: f.avg_pool2d(t, 3, 2, 1), x)
    ties = np.ones((1, 1, 6, 6))
    agree(torch, lambda f, T, t: f.max_pool2d(t, 3, 1, 1, return_indices=True), ties)
    agree(torch, lambda f, T, t: f.max_pool2d(t, 3, 2), np.full((1, 1, 6, 6), -np.inf))


def test_other_inputs(torch: ModuleType) -> None:
    """Integers, an empty batch, strides, threads."""
    integers = np.random.default_rng(0).integers(-5, 5, (1, 2, 6, 6))
    agree(torch, lambda f, T, t: f.max_pool2d(t, 2, return_indices=True), integers)
    for pool in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"):
        agree(torch, lambda f, T, t, p=pool: getattr(f, p)(t, 2), data(0, 3, 6, 6))
        agree(
            torch, lambda f, T, t, p=pool: getattr(f, p)(t.permute(3, 2, 0, 1), 2), data(6, 7, 3, 2)
        )
    jitgrad.set_num_threads(2)
    big = data(8, 16, 20, 21)
    for pool in ("max_pool2d", "avg_pool2d"):
        agree(torch, lambda f, T, t, p=pool: getattr(f, p)(t, 3, 2, 1), big, both=False)


def test_windows_without_elements(torch: ModuleType) -> None:
    """Elements so far apart that a window misses the input: it has no largest one, and no gradient."""
    found = []
    for T in (jitgrad, torch):
        x = T.ones(1, 1, 2)
        found.append(T.nn.functional.max_pool1d(x, 2, 1, 1, 3).tolist())
    assert found[0] == found[1] == [[[-np.inf]]]
    x = jitgrad.ones(1, 1, 2, requires_grad=True)
    F.max_pool1d(x, 2, 1, 1, 3).sum().backward()
    assert x.grad.tolist() == [[[0.0, 0.0]]]
    integers = jitgrad.ones(1, 1, 2, dtype=jitgrad.int8)
    assert F.max_pool1d(integers, 2, 1, 1, 3).tolist() == [[[-128]]]


def test_positions_that_were_changed() -> None:
    """Positions out of range, written by a user, lose their gradient and nothing else."""
    x = jitgrad.ones(1, 4, 4, requires_grad=True)
    y, where = F.max_pool2d(x, 2, return_indices=True)
    where.numpy()[:] = 10**9
    y.sum().backward()
    assert x.grad.sum().item() == 0


@pytest.mark.parametrize(
    "source",
    [
        "f.max_pool2d(t, 0)",
        "f.max_pool2d(t, 2, 0)",
        "f.max_pool2d(t, 2, padding=2)",
        "f.max_pool2d(t, 2, padding=-1)",
        "f.max_pool2d(t, 7)",
        "f.max_pool2d(t[0, 0], 2)",
        "f.max_pool2d(t, (2, 2, 2))",
        "f.max_pool2d(t, 2.5)",
        "f.avg_pool2d(t, 0)",
        "f.avg_pool2d(t, 2, padding=2)",
        "f.avg_pool2d(t, 7)",
        "f.avg_pool2d(t, 2, divisor_override=0)",
        "f.adaptive_avg_pool2d(t, (1, 2, 3))",
        "f.adaptive_avg_pool2d(t, -1)",
        "f.local_response_norm(t[0, 0], 2)",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """Errors of PyTorch's types."""
    found = agree(torch, lambda f, T, t: eval(source), data(1, 2, 6, 6), both=False)
    assert isinstance(found, type)
