"""Two threads compute what one does: products, which they share by rows or columns, and ops along dims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import blas
from jitgrad.arena.header import header


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = jitgrad.get_num_threads()
    jitgrad.set_num_threads(2)
    jitgrad.zeros(1 << 17).exp()  # launches them
    yield
    jitgrad.set_num_threads(before)


#: Rows, columns and terms of a product: small, on both sides of what pays for a second thread, with more rows
#: and with more columns, and sides that are no multiple of what a part is.
SIZES = [
    (3, 5, 7), (64, 64, 64), (64, 128, 63), (64, 128, 64), (64, 128, 65), (1, 4000, 300), (4000, 1, 300),
    (31, 3000, 40), (3000, 31, 40), (129, 257, 100), (700, 33, 65),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products(sizes: tuple[int, int, int], dtype: str) -> None:
    rows, columns, terms = sizes
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, terms)), rng.normal(size=(terms, columns))
    expected = a @ b
    rtol, atol = (1e-4, 1e-4) if dtype == "float32" else (1e-10, 1e-10)
    for order_a in "CF":
        for order_b in "CF":
            x = jitgrad.from_numpy(np.asarray(a, dtype, order=order_a)).requires_grad_()
            y = jitgrad.from_numpy(np.asarray(b, dtype, order=order_b)).requires_grad_()
            z = x @ y
            np.testing.assert_allclose(z.detach().numpy(), expected, rtol=rtol, atol=atol)
            z.backward(z.detach())
            np.testing.assert_allclose(
                x.grad.numpy(), expected @ b.T, rtol=10 * rtol, atol=50 * atol
            )
            np.testing.assert_allclose(
                y.grad.numpy(), a.T @ expected, rtol=10 * rtol, atol=50 * atol
            )


def test_linear_adds_its_bias_once() -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=shape) for shape in ((300, 90), (200, 90), (200,)))
    y = jitgrad.nn.functional.linear(*(jitgrad.from_numpy(v) for v in (x, w, b)))
    np.testing.assert_allclose(y.numpy(), x @ w.T + b, rtol=1e-10)


def test_blas_has_its_threads_back() -> None:
    tell = blas._threads("get")
    if tell is None:
        assert header[jitgrad.arena.columns.H_BLAS_LIMIT] == 0
        return
    before = tell()
    x = jitgrad.ones(300, 300)
    assert (x @ x).sum().item() == 300.0**3
    assert tell() == before


LANES: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(-1),
    "prod": lambda x: (x * 0.01 + 1).prod(-1),
    "amax": lambda x: x.amax(-1),
    "var": lambda x: x.var(-1, correction=0),
    "std": lambda x: x.std(-1, correction=0),
    "norm": lambda x: x.norm(dim=-1),
    "norm of order 3": lambda x: x.norm(3, -1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "cumsum": lambda x: x.cumsum(-1),
    "max": lambda x: x.max(-1).values,
    "sum of several dims": lambda x: x.sum((0, -1)),
    "softmax of columns": lambda x: x.softmax(0),
}
POSITIONS: dict[str, Callable[[Any], Any]] = {
    "argmax": lambda x: x.argmax(-1),
    "all": lambda x: (x > -2).all(-1),
    "any": lambda x: (x > 2).any(-1),
    "integers": lambda x: (x * 100).to(jitgrad.int32).sum(-1),
}


def lanes(shape: tuple[int, ...], dtype: str, call: Callable[[Any], Any]) -> list[Any]:
    x = jitgrad.tensor(np.sin(np.arange(np.prod(shape)) * 1.7).reshape(shape).astype(dtype) * 3)
    x.requires_grad_()
    y = call(x)
    if not y.requires_grad:
        return [y.numpy()]
    weight = np.cos(np.arange(y.numel()) * 0.3).reshape(tuple(y.shape))
    y.backward(jitgrad.tensor(weight.astype(dtype)))
    return [y.detach().numpy(), x.grad.numpy()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 200), (3, 40000), (70000, 1), (2, 5, 7000)], ids=str)
@pytest.mark.parametrize("name", [*LANES, *POSITIONS])
def test_along_dims(name: str, shape: tuple[int, ...], dtype: str) -> None:
    """To the last bit: a lane is one thread's."""
    call = (LANES | POSITIONS)[name]
    found = lanes(shape, dtype, call)
    jitgrad.set_num_threads(1)
    for mine, alone in zip(found, lanes(shape, dtype, call), strict=True):
        np.testing.assert_array_equal(mine, alone)
