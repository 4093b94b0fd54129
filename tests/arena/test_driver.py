"""Operands of every layout through a pointwise kernel: dense, along long lines, in blocks that repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena.columns import BLOCK
from jitgrad.arena.driver import LONG_LINE

#: Last dims on both sides of what is gone through line by line, and of a block; the widest are more elements
#: than one thread computes alone.
WIDTHS = (1, 7, LONG_LINE - 1, LONG_LINE, LONG_LINE + 1, BLOCK - 1, BLOCK, BLOCK + 5)
#: What an operand shows of a dense (5, 8, width), by name.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "dense": lambda x: x,
    "row": lambda x: x[0, 0],
    "rows": lambda x: x[0],
    "column": lambda x: x[:, :, :1],
    "columns": lambda x: x[:1, :, :1],
    "a row of each": lambda x: x[:, :1],
    "element": lambda x: x[0, 0, :1],
    "part": lambda x: x[..., : max(1, x.shape[-1] - 1)],
    "every other": lambda x: x[..., ::2],
}
PAIRS = (
    ("dense", "row"),
    ("dense", "rows"),
    ("dense", "column"),
    ("dense", "columns"),
    ("dense", "a row of each"),
    ("row", "column"),
    ("rows", "a row of each"),
    ("columns", "a row of each"),
    ("column", "a row of each"),
    ("element", "dense"),
    ("part", "part"),
    ("every other", "every other"),
)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = jitgrad.get_num_threads()
    jitgrad.set_num_threads(request.param)
    yield request.param
    jitgrad.set_num_threads(before)


def data(width: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(5, 8, width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_operands(pair: tuple[str, str], width: int, threads: int) -> None:
    shown = [LAYOUTS[name] for name in pair]
    arrays = [data(width, seed) for seed in (0, 1)]
    a, b = (show(array) for show, array in zip(shown, arrays, strict=True))
    x, y = (show(jitgrad.tensor(array)) for show, array in zip(shown, arrays, strict=True))
    np.testing.assert_array_equal((x * y).numpy(), a * b)
    # Three operands, of which one repeats in another rhythm.
    z, c = jitgrad.tensor(arrays[0])[0, :, :1], arrays[0][0, :, :1]
    np.testing.assert_array_equal(jitgrad.where(x > z, y, z).numpy(), np.where(a > c, b, c))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_copies(name: str, width: int, threads: int) -> None:
    array = data(width, 0)
    shown = LAYOUTS[name](array)
    shape = np.broadcast_shapes((5, 8, 1), shown.shape)
    found = LAYOUTS[name](jitgrad.tensor(array)).broadcast_to(shape).contiguous()
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), np.broadcast_to(shown, shape))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("source", list(LAYOUTS)[:7])
@pytest.mark.parametrize("target", ["dense", "rows", "part", "every other"])
def test_in_place(target: str, source: str, width: int, threads: int) -> None:
    array, x = data(width, 0), jitgrad.tensor(data(width, 0))
    shown, x_shown = LAYOUTS[target](array), LAYOUTS[target](x)
    # The other operand has the target's last dim, and at most its dims.
    other = data(shown.shape[-1], 1)
    b, y = LAYOUTS[source](other), LAYOUTS[source](jitgrad.tensor(other))
    if b.ndim > shown.ndim:
        b, y = b[0], y[0]
    shown *= b
    x_shown.mul_(y)
    np.testing.assert_array_equal(x.numpy(), array)
    shown[...] = b
    x_shown.copy_(y)
    np.testing.assert_array_equal(x.numpy(), array)
