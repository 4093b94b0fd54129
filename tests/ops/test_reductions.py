"""Ops along dims: every dim set and layout against NumPy, gradients against finite differences, kinks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special

import jitgrad
from jitgrad.arena import columns as col
from jitgrad.arena.header import header
from jitgrad.ops.table import LANES, OPS

Array = np.ndarray[Any, Any]


def _softmax(x: Array, axis: Any) -> Array:
    return special.softmax(x, axis=axis)


#: row -> (a call with dim and keepdim, NumPy's with axis and keepdims, whether it takes many dims)
REDUCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], bool]] = {
    "sum": (jitgrad.sum, np.sum, True),
    "mean": (jitgrad.mean, np.mean, True),
    "prod": (jitgrad.prod, np.prod, False),
    "amax": (jitgrad.amax, np.max, True),
    "amin": (jitgrad.amin, np.min, True),
    "max": (lambda x, d, keepdim: jitgrad.max(x, d, keepdim).values, np.max, False),
    "min": (lambda x, d, keepdim: jitgrad.min(x, d, keepdim).values, np.min, False),
    "argmax": (jitgrad.argmax, np.argmax, False),
    "argmin": (jitgrad.argmin, np.argmin, False),
    "all": (jitgrad.all, np.all, True),
    "any": (jitgrad.any, np.any, True),
    "var": (
        lambda x, d, keepdim: jitgrad.var(x, d, keepdim=keepdim),
        lambda x, axis, keepdims: np.var(x, axis=axis, ddof=1, keepdims=keepdims),
        True,
    ),
    "std": (
        lambda x, d, keepdim: jitgrad.std(x, d, keepdim=keepdim),
        lambda x, axis, keepdims: np.std(x, axis=axis, ddof=1, keepdims=keepdims),
        True,
    ),
    "norm": (
        lambda x, d, keepdim: jitgrad.norm(x, 2, d, keepdim),
        lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
        True,
    ),
    "logsumexp": (
        jitgrad.logsumexp,
        lambda x, axis, keepdims: special.logsumexp(x, axis=axis, keepdims=keepdims),
        True,
    ),
}
#: rows whose result has the shape of the input
ALONG: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softmax": (jitgrad.softmax, _softmax),
    "log_softmax": (jitgrad.log_softmax, lambda x, axis: special.log_softmax(x, axis=axis)),
    "cumsum": (jitgrad.cumsum, lambda x, axis: np.cumsum(x, axis=axis)),
}
SMOOTH = [n for n in REDUCTIONS if n not in ("argmax", "argmin", "all", "any")]


def test_every_row_is_tested() -> None:
    assert {op.name for op in OPS if op.family == LANES} == set(REDUCTIONS) | set(ALONG)


SHAPE = (3, 4, 5)
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "permuted": lambda x: x.permute(1, 2, 0),
    "sliced": lambda x: x[:, 1::2, ::3],
    "expanded": lambda x: x[:1].expand(3, 4, 5),
}
DIM_SETS = [
    *itertools.combinations(range(3), 1),
    *itertools.combinations(range(3), 2),
    (0, 1, 2),
    (-1, 0),
]


def cases(many: bool) -> Iterator[Any]:
    """Dims as Python gives them: numbers, and sets of them where the op takes many."""
    for dims in DIM_SETS:
        if len(dims) == 1:
            yield dims[0]
            yield dims[0] - 3
        elif many:
            yield dims


def data(dtype: str = "float64", shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(5).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, dtype: str, layout: str) -> None:
    mine, reference, many = REDUCTIONS[name]
    x = LAYOUTS[layout](jitgrad.from_numpy(data(dtype)))
    a = x.numpy().astype(np.float64)
    if name in ("all", "any"):
        x, a = x > 0.5, a > 0.5
    for dim in cases(many):
        for keepdim in (False, True):
            found = mine(x, dim, keepdim=keepdim).numpy()
            wanted = reference(a, axis=dim, keepdims=keepdim)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(
                found, wanted, rtol=4e-6 if dtype == "float32" else 1e-13, atol=1e-6
            )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ALONG)
def test_along_a_dim(name: str, dtype: str, layout: str) -> None:
    mine, reference = ALONG[name]
    x = LAYOUTS[layout](jitgrad.from_numpy(data(dtype)))
    for dim in (0, 1, 2, -1, -3):
        wanted = reference(x.numpy().astype(np.float64), axis=dim)
        np.testing.assert_allclose(
            mine(x, dim).numpy(), wanted, rtol=4e-6 if dtype == "float32" else 1e-13, atol=1e-6
        )


def slopes(function: Callable[[Array], Array], x: Array, weight: Array) -> Array:
    """Gradient of ``(weight * f(x)).sum()`` by central differences."""
    found = np.empty(x.shape)
    step = 1e-5
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        found[i] = (weight * (function(up) - function(down))).sum() / (2 * step)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SMOOTH + list(ALONG))
def test_gradient(name: str, layout: str) -> None:
    if name in ALONG:
        mine, reference = ALONG[name]
        dims: list[Any] = [0, 2]
        options: list[dict[str, Any]] = [{}]
    else:
        mine, reference, many = REDUCTIONS[name]
        dims = [0, 1, 2] + ([(0, 2), (1, 2)] if many else [])
        options = [{"keepdim": False}, {"keepdim": True}]
    for dim, option in itertools.product(dims, options):
        if (name, layout, dim) == ("std", "expanded", 0):
            continue  # no spread at all: test_no_spread
        leaf = jitgrad.from_numpy(data()).requires_grad_()
        y = mine(LAYOUTS[layout](leaf), dim, **option)
        weight = np.random.default_rng(2).normal(size=y.shape)
        y.backward(jitgrad.from_numpy(weight))

        def whole(a: Array, dim: Any = dim, option: dict[str, Any] = option) -> Array:
            shown = LAYOUTS[layout](jitgrad.from_numpy(a)).numpy()
            keep = {"keepdims": option["keepdim"]} if option else {}
            return np.asarray(reference(shown, axis=dim, **keep))

        np.testing.assert_allclose(
            leaf.grad.numpy(), slopes(whole, data(), weight), rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("name", SMOOTH + list(ALONG))
def test_gradient_in_float32(name: str) -> None:
    mine = (ALONG.get(name) or REDUCTIONS[name])[0]
    option = {} if name in ALONG else {"keepdim": False}
    found = []
    for dtype in ("float32", "float64"):
        for dim in (0, 2):
            x = jitgrad.from_numpy(data("float32").astype(dtype)).requires_grad_()
            y = mine(x, dim, **option)
            y.backward((jitgrad.arange(y.numel()).reshape(y.shape) % 7).to(y.dtype))
            assert x.grad.dtype is x.dtype
            found.append(x.grad.numpy())
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], found[3], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- lengths
# Around the unrolled loops, the blocks that are summed pairwise, and long lanes.
LENGTHS = [1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 255, 256, 257, 1023, 1024, 1025, 4099]


@pytest.mark.parametrize("name", [n for n in SMOOTH if n != "prod"] + list(ALONG))
def test_lengths(name: str) -> None:
    """Each length as a lane of neighbours and as lanes side by side."""
    along = name in ALONG
    mine, reference = (ALONG.get(name) or REDUCTIONS[name])[:2]
    for n in LENGTHS:
        if n == 1 and name in ("var", "std"):
            continue
        a = data("float32", (2, n, 3))
        for dim, shown in ((1, a), (1, a[:, :, :1]), (0, np.ascontiguousarray(a[0].T[:1].T))):
            x = jitgrad.from_numpy(shown)
            found = mine(x, dim) if along else mine(x, dim, keepdim=False)
            wide = shown.astype(np.float64)
            wanted = (
                reference(wide, axis=dim) if along else reference(wide, axis=dim, keepdims=False)
            )
            np.testing.assert_allclose(found.numpy(), wanted, rtol=3e-6, atol=2e-5)


def test_all_elements(torch: Any) -> None:
    x = jitgrad.from_numpy(data())
    u = torch.from_numpy(data())
    for name in "sum mean prod max min argmax argmin amax amin var std norm".split():
        np.testing.assert_allclose(getattr(x, name)().item(), getattr(u, name)().item(), rtol=1e-12)


def test_two_threads() -> None:
    """Reductions on both sides of the parallel threshold, on two threads."""
    before = jitgrad.get_num_threads()
    limit = int(header[col.H_PARALLEL_FROM])
    jitgrad.set_num_threads(2)
    try:
        for n in (limit - 1, limit, 3 * limit + 5):
            a = np.random.default_rng(1).normal(size=(2, n)).astype(np.float32)
            x = jitgrad.from_numpy(a).requires_grad_()
            np.testing.assert_allclose(
                x.sum().item(), a.sum(dtype=np.float64), rtol=1e-6, atol=1e-4
            )
            np.testing.assert_allclose(
                x.mean(1).detach().numpy(), a.mean(1, dtype=np.float64), atol=1e-6
            )
            np.testing.assert_array_equal(x.amax(0).detach().numpy(), a.max(0))
            x.softmax(1).sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), 0, atol=1e-9)
    finally:
        jitgrad.set_num_threads(before)


# ---------------------------------------------------------------- accuracy
@pytest.mark.parametrize("shape", [(10**7,), (10, 10**6), (10**6, 10)])
def test_a_float32_sum_is_as_good_as_a_float64_one(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(0).random(shape, np.float32)
    x = jitgrad.from_numpy(a)
    exact = a.sum(dtype=np.float64)
    assert abs(x.sum().item() - exact) <= 2 * np.spacing(np.float32(exact))
    for dim in range(len(shape)):
        exact = a.sum(dim, dtype=np.float64)
        gap = np.spacing(exact.astype(np.float32)).astype(np.float64)
        assert np.max(np.abs(x.sum(dim).numpy() - exact) / gap) <= 2
        gap /= shape[dim]
        assert np.max(np.abs(x.mean(dim).numpy() - exact / shape[dim]) / gap) <= 4


def test_variance_of_numbers_far_from_zero() -> None:
    a = (np.random.default_rng(0).normal(size=10**5) + 1e4).astype(np.float32)
    found = jitgrad.from_numpy(a).var().item()
    np.testing.assert_allclose(found, a.astype(np.float64).var(ddof=1), rtol=1e-5)


def test_exponentials_do_not_overflow() -> None:
    x = jitgrad.tensor([[1000.0, 1000.0], [-1000.0, -1001.0]], requires_grad=True)
    np.testing.assert_allclose(
        jitgrad.logsumexp(x, 1).detach().numpy(), [1000 + math.log(2), -999.68674], rtol=1e-6
    )
    np.testing.assert_allclose(x.softmax(1).detach().numpy()[0], 0.5)
    np.testing.assert_allclose(x.log_softmax(1).detach().numpy()[0], -math.log(2), rtol=1e-6)
    jitgrad.logsumexp(x, 1).sum().backward()
    # exp(x - y) with y rounded to float32 at 1000, as in PyTorch
    np.testing.assert_allclose(x.grad.numpy().sum(1), 1, rtol=1e-4)


# ---------------------------------------------------------------- special values
INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    "values",
    [
        [1.0, NAN, 2.0],
        [NAN, 1.0, INF],
        [INF, 1.0, 2.0],
        [-INF, 1.0, 2.0],
        [INF, -INF, 0.0],
        [-INF, -INF, -INF],
        [INF, INF, 1.0],
        [0.0, -0.0, 0.0],
        [NAN, NAN, NAN],
    ],
)
@pytest.mark.parametrize("name", SMOOTH + list(ALONG) + ["argmax", "argmin"])
def test_special_values(name: str, values: list[float], torch: Any) -> None:
    """As PyTorch, on a lane of neighbours and on lanes side by side; gradients too."""
    for columns in (1, 2):
        a = np.repeat(np.array(values)[:, None], columns, 1)
        x, u = (
            jitgrad.tensor(a.T.copy()).T.requires_grad_(),
            torch.tensor(a.T.copy()).T.requires_grad_(),
        )
        mine, theirs = getattr(jitgrad, name)(x, dim=0), getattr(torch, name)(u, dim=0)
        if name in ("max", "min"):
            assert mine.indices.tolist() == theirs.indices.tolist()
            mine, theirs = mine.values, theirs.values
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
        # PyTorch divides by the factor or by the number of ties, so a NaN or infinity spoils the gradient
        # of its neighbours; here they share as numbers do.
        if mine.requires_grad and name not in ("prod", "amax", "amin"):
            mine.backward(jitgrad.ones_like(mine))
            theirs.backward(torch.ones_like(theirs))
            np.testing.assert_allclose(x.grad.numpy(), u.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("n", [3, 70, 300])
def test_a_nan_anywhere_is_the_maximum(n: int) -> None:
    for i in range(0, n, max(n // 7, 1)):
        a = np.arange(n, dtype=np.float32)
        a[i] = NAN
        for shape in ((n,), (n, 1)):
            x = jitgrad.from_numpy(a.reshape(shape).repeat(2, 1) if len(shape) == 2 else a)
            assert np.isnan(x.amax(0).numpy()).all()
            assert np.isnan(x.amin(0).numpy()).all()
            assert x.argmax(0).numpy().max() == i
            assert np.isnan(x.softmax(0).numpy()).all()


def test_nothing_to_reduce(torch: Any) -> None:
    for shape, dim in (((0,), 0), ((0, 3), 0), ((2, 0), 1), ((3, 0), 0), ((0, 0), 1)):
        x, u = jitgrad.zeros(shape), torch.zeros(shape)
        for name in "sum mean prod logsumexp softmax log_softmax cumsum all any norm".split():
            mine, theirs = getattr(x, name)(dim=dim), getattr(u, name)(dim=dim)
            assert tuple(mine.shape) == tuple(theirs.shape)
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert math.isnan(jitgrad.zeros(0).mean().item())
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert math.isnan(jitgrad.zeros(0).var().item())
    assert jitgrad.zeros(0, 3).sum().item() == 0
    x = jitgrad.zeros(0, 3, requires_grad=True)
    x.sum(0).sum().backward()
    assert x.grad.shape == (0, 3)


def test_nothing_but_lanes() -> None:
    x = jitgrad.zeros(3, 0, requires_grad=True)
    for y in (x.amax(0), x.max(0).values, x.var(0), x.argmin(0)):
        assert y.shape == (0,)
    x.amax(0).sum().backward()
    assert x.grad.shape == (3, 0)


# ---------------------------------------------------------------- conventions
def gradient(function: Callable[[Any], Any], values: Any) -> Any:
    x = jitgrad.tensor(values, dtype=jitgrad.float64, requires_grad=True)
    function(x).backward()
    return x.grad.tolist()


def test_ties() -> None:
    third = 1 / 3
    for function in (jitgrad.amax, jitgrad.max):
        assert gradient(function, [1.0, 2.0, 2.0, 2.0]) == [0, third, third, third]
    for function in (jitgrad.amin, jitgrad.min):
        assert gradient(function, [1.0, 1.0, 2.0]) == [0.5, 0.5, 0]
    assert gradient(lambda x: jitgrad.max(x, 0).values, [1.0, 2.0, 2.0]) == [0, 1, 0]
    assert gradient(lambda x: jitgrad.min(x, 0).values, [2.0, 1.0, 1.0]) == [0, 1, 0]
    assert jitgrad.tensor([1, 3, 3]).max(0).indices.item() == 1
    assert jitgrad.tensor([1, 3, 3]).argmax().item() == 1
    assert jitgrad.tensor([[1, 3], [3, 1]]).argmax().item() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("width", [1, 511, 512, 513, 1100])
def test_positions_of_many_lanes(width: int, dtype: str) -> None:
    """Ties, zeros of both signs and NaN, in lanes that advance together and in lanes of neighbours."""
    data = np.random.default_rng(width).integers(0, 4, (2, 7, width)).astype(dtype)
    if data.dtype.kind == "f":
        data[data == 3] = -0.0
        data[:, 3, ::3] = np.nan
    for array in (data, data.swapaxes(1, 2)):
        x = jitgrad.from_numpy(array.copy())
        for axis in range(3):
            np.testing.assert_array_equal(x.argmax(axis).numpy(), array.argmax(axis))
            np.testing.assert_array_equal(x.argmin(axis).numpy(), array.argmin(axis))


def test_products_with_zeros() -> None:
    assert gradient(jitgrad.prod, [2.0, 3.0, 4.0]) == [12, 8, 6]
    assert gradient(jitgrad.prod, [2.0, 0.0, 4.0]) == [0, 8, 0]
    assert gradient(jitgrad.prod, [0.0, 0.0, 4.0]) == [0, 0, 0]


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, INF])
def test_norm_at_zero(p: float) -> None:
    assert gradient(lambda x: x.norm(p), [0.0, 0.0]) == [0, 0]


def test_ties_of_nan() -> None:
    for function in (jitgrad.amax, jitgrad.max, jitgrad.amin, jitgrad.min):
        assert gradient(function, [1.0, NAN, NAN]) == [0, 0.5, 0.5]


def test_norm_beside_zero() -> None:
    assert gradient(lambda x: x.norm(), [3.0, 0.0, 4.0]) == [0.6, 0, 0.8]
    assert gradient(lambda x: x.norm(1), [3.0, 0.0, -4.0]) == [1, 0, -1]
    assert gradient(lambda x: x.norm(INF), [4.0, 0.0, -4.0]) == [0.5, 0, -0.5]


def test_no_spread() -> None:
    assert gradient(lambda x: x.std(), [2.0, 2.0]) == [0, 0]
    assert gradient(lambda x: x.var(), [2.0, 2.0]) == [0, 0]


def test_softmax_of_minus_infinity() -> None:
    assert np.isnan(jitgrad.full((2,), -INF).softmax(0).numpy()).all()
    assert jitgrad.tensor([-INF, 0.0]).softmax(0).tolist() == [0, 1]


# ---------------------------------------------------------------- dtypes
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers(dtype: str, torch: Any) -> None:
    values = [[1, 0, 100], [2, 1, 100]]
    x = jitgrad.tensor(values).to(getattr(jitgrad, dtype))
    u = torch.tensor(values).to(getattr(torch, dtype))
    for name in "sum prod cumsum amax amin argmax argmin all any max min".split():
        if dtype == "bool" and name in ("argmax", "argmin"):
            continue
        mine, theirs = getattr(x, name)(dim=0), getattr(u, name)(dim=0)
        if name in ("max", "min"):
            mine, theirs = mine.values, theirs.values
        assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
        assert mine.tolist() == theirs.tolist()


def test_large_integers_are_exact() -> None:
    big = (1 << 53) + 1
    x = jitgrad.tensor([big, 0])
    assert x.sum().item() == big
    assert x.cumsum(0).tolist() == [big, big]
    assert jitgrad.tensor([big, 1]).prod().item() == big
    assert x.amax().item() == big


# ---------------------------------------------------------------- lanes side by side
SIDE_BY_SIDE = {
    "softmax": lambda t, x: t.softmax(x, 1),
    "log_softmax": lambda t, x: t.log_softmax(x, 1),
    "logsumexp": lambda t, x: t.logsumexp(x, 1),
    "var": lambda t, x: t.var(x, 1),
    "std": lambda t, x: t.std(x, 1),
    "norm": lambda t, x: t.norm(x, dim=1),
}


@pytest.mark.parametrize("lanes", [7, 1024, 1100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_lanes_side_by_side(name: str, dtype: str, lanes: int, torch: Any) -> None:
    """Two blocks of lanes, one that is full, and one of a few; with infinities and NaN among them."""
    data = np.random.default_rng(lanes).normal(size=(2, 5, lanes)).astype(dtype)
    data[0, 2, 1], data[1, 3, 2], data[0, 0, lanes - 1] = INF, -INF, math.nan
    data[1, :, 4] = -INF if name != "norm" else 0.0
    found = []
    for t in (jitgrad, torch):
        x = t.tensor(data).requires_grad_()
        y = SIDE_BY_SIDE[name](t, x)
        (y * t.tensor(np.cos(np.arange(y.numel(), dtype=dtype)).reshape(y.shape))).sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    rtol = 1e-12 if dtype == "float64" else 2e-5
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_products(dtype: str, torch: Any) -> None:
    """As a quotient, and where the product of all is too small or too large for one."""
    rng = np.random.default_rng(3)
    for scale in (1.0, 1e-3, 1e3):
        data = (rng.choice([-1, 1], 300) * np.exp(rng.normal(size=300) * 0.1) * scale).astype(dtype)
        x = jitgrad.tensor(data).requires_grad_()
        y = x.prod()
        y.backward()
        with np.errstate(all="ignore"):
            wide = data.astype(np.longdouble)
            expected, slope = np.prod(wide), np.prod(wide) / wide
            np.testing.assert_allclose(y.item(), float(expected.astype(dtype)), rtol=1e-4)
            assert x.grad is not None
            np.testing.assert_allclose(x.grad.numpy(), slope.astype(dtype), rtol=1e-4)
