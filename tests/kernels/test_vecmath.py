"""Vector math: measured error, special values, and that the loops vectorise.

Truth is mpmath for float64, and float64 NumPy and SciPy for float32.  The errors measured with many
more points than a test can afford are in the docstring of `jitgrad.kernels.vecmath`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
import scipy.special

from jitgrad.kernels import vecmath, vecmath32, vecmath64
from jitgrad.kernels.vecmath import FIXUP, NAMES, VECTOR

OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
BOUND = {"float32": 2.0, "float64": 4.0}
UNARY = [name for name in NAMES if name != "pow"]
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])

INF, NAN = float("inf"), float("nan")


@functools.cache
def compiled(name: str, dtype: str) -> Any:
    """Loop over contiguous arrays around one function, compiled as a kernel would be."""
    function = numba.njit(forceinline=True, **OPTIONS)(VECTOR[name, dtype])
    if name == "pow":

        def loop(x, y, out):
            for i in range(out.size):
                out[i] = function(x[i], y[i])
    else:

        def loop(x, out):
            for i in range(out.size):
                out[i] = function(x[i])

    array = numba.types.Array(getattr(numba.types, dtype), 1, "C")
    loop = numba.njit(**OPTIONS)(loop)
    loop.compile((array,) * (3 if name == "pow" else 2))
    return loop


def apply(name: str, *arguments: np.ndarray) -> np.ndarray:
    """Values of the compiled function."""
    out = np.empty_like(arguments[0])
    compiled(name, str(out.dtype))(*arguments, out)
    return out


def scipy_truth(name: str, *arguments: np.ndarray) -> np.ndarray:
    """Function values in float64, for float32 arguments."""
    special = {"erf": scipy.special.erf, "erfc": scipy.special.erfc, "sigmoid": scipy.special.expit}
    function = special.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        return function(*(a.astype(np.float64) for a in arguments))


MPMATH: dict[str, Callable[..., Any]] = {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "pow": lambda x, y: x**y,
}


def mpmath_error(name: str, arguments: tuple[float, ...], got: float) -> float:
    """Error in ulp of one float64 result that should be a real number."""
    function = MPMATH.get(name) or getattr(mpmath, name)
    with mpmath.workprec(150):
        # log1p, expm1, erfc and the like lose bits where the argument is tiny
        truth = function(*map(mpmath.mpf, arguments))
        if mpmath.isinf(got):
            # as if the exponent range had no end
            got_mp = mpmath.sign(truth) * mpmath.mpf(2) ** 1024
            if abs(truth) >= abs(got_mp):
                return 0.0
        else:
            got_mp = mpmath.mpf(got)
        exponent = max(mpmath.frexp(truth)[1] - 53, -1074) if truth else -1074
        return float(abs(got_mp - truth) / mpmath.mpf(2) ** exponent)


def domain(name: str, x: np.ndarray) -> np.ndarray:
    """The finite points of `x` where the function is a real number."""
    x = x[np.isfinite(x)]
    if name in ("asin", "acos"):
        return x[np.abs(x) <= 1]
    if name in ("sin", "cos", "tan"):
        return x[np.abs(x) <= vecmath64.TRIG_LIMIT]
    if name in ("log", "log2", "log10"):
        return x[x > 0]
    return x[x > -1] if name == "log1p" else x


def points(dtype: str, n: int) -> np.ndarray:
    """Arguments everywhere: all bit patterns, each magnitude where something changes, neighbours."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    largest = {"float32": 105.0, "float64": 750.0}[dtype]
    sign = rng.choice([-1.0, 1.0], n)
    edges = np.array(
        [0.0, 0.25, 0.35, 0.5, 0.5625, 0.6, 2**-0.5, 1.0, 2**0.5, 2.0, np.pi / 4, np.pi / 2, np.pi]
        + [2.0**-13, 2.0**-25, 2.0**-28, 2.0**-54, 0.41421356237309503, 2.414213562373095]
        + [3.92, 4.0, 5.95, 6.0, 10.0, 10.06, 17.33, 20.0, 26.5, 27.3]
        + [np.log(float(info.max)), np.log(float(info.tiny)), np.log2(float(info.tiny))]
        + [float(info.tiny), float(info.smallest_subnormal), float(info.max)]
    )
    edges = edges.astype(dtype)
    edges = np.concatenate([np.nextafter(edges, dtype(d)) for dtype, d in
                            ((edges.dtype.type, -INF), (edges.dtype.type, INF))] + [edges])  # fmt: skip
    parts = [
        rng.integers(0, np.iinfo(integer).max, n, dtype=integer, endpoint=True).view(dtype),
        rng.uniform(-1, 1, n),
        rng.uniform(-30, 30, n),
        rng.uniform(-largest, largest, n),
        sign * (1 + rng.uniform(-1, 1, n) * 2.0 ** -rng.integers(0, info.nmant, n)),
        sign * 2.0 ** rng.uniform(-40, 40, n),
        sign * float(info.tiny) * 2.0 ** -rng.uniform(0, info.nmant, n),
        np.rint(rng.uniform(-1e5, 1e5, n)) * (np.pi / 2),
        edges,
        -edges,
    ]
    return np.concatenate([part.astype(dtype) for part in parts])


def pow_points(dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Arguments of pow: results over the whole range, bases near 1, integral exponents."""
    rng = np.random.default_rng(1)
    largest = {"float32": 88.0, "float64": 709.0}[dtype]
    near_one = 1 + rng.uniform(-0.9, 1, n) * 2.0 ** -rng.integers(1, np.finfo(dtype).nmant, n)
    x = np.concatenate([np.exp(rng.uniform(-largest, largest, n)), near_one, rng.uniform(0.1, 9, n)])
    x = x.astype(dtype)
    with np.errstate(all="ignore"):
        y = rng.uniform(-1.05 * largest, largest, x.size) / np.log(x.astype(np.float64))
    whole = rng.uniform(-10, 10, n).astype(dtype)
    x, y = np.append(x, whole), np.append(y, np.rint(rng.uniform(-30, 30, n))).astype(dtype)
    return x[np.isfinite(y)], y[np.isfinite(y)]


@pytest.mark.parametrize("name", NAMES)
def test_float32_error(name: str) -> None:
    if name == "pow":
        arguments = pow_points("float32", 50_000)
    else:
        arguments = (domain(name, points("float32", 40_000)),)
    got, truth = apply(name, *arguments), scipy_truth(name, *arguments)
    with np.errstate(over="ignore"):
        rounded = truth.astype(np.float32)
    # at the very edge of overflow either neighbour is within half an ulp
    infinite = np.isinf(got) | np.isinf(rounded)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    ulp = np.ldexp(1.0, np.maximum(np.frexp(truth)[1] - 24, -149))[~infinite]
    error = np.abs(got.astype(np.float64) - truth)[~infinite] / ulp
    worst = np.argmax(error)
    print(f"{name} float32 {error[worst]:.3f} ulp at {[a[~infinite][worst] for a in arguments]}")
    assert error[worst] <= BOUND["float32"]


@pytest.mark.parametrize("name", NAMES)
def test_float64_error(name: str) -> None:
    if name == "pow":
        arguments = pow_points("float64", 400)
    else:
        arguments = (domain(name, points("float64", 300)),)
        if name in ("erf", "erfc"):  # mpmath takes long where the result is 1 or 0
            arguments = (arguments[0][np.abs(arguments[0]) < 30],)
        if name in ("exp", "expm1", "exp2", "sinh", "cosh", "tanh", "sigmoid"):
            arguments = (arguments[0][np.abs(arguments[0]) < 1e4],)
    got = apply(name, *arguments).tolist()
    rows = list(zip(*(a.tolist() for a in arguments), strict=True))
    error = [mpmath_error(name, row, value) for row, value in zip(rows, got, strict=True)]
    worst = int(np.argmax(error))
    print(f"{name} float64 {error[worst]:.3f} ulp at {rows[worst]}")
    assert error[worst] <= BOUND["float64"]


#: name: (x, result) pairs that hold exactly, the sign of zero included.
SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "expm1": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e4, INF), (-1e4, -1)],
    "exp2": [(0, 1), (10, 1024), (-3, 0.125), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "log": [(1, 0), (0, -INF), (-0.0, -INF), (INF, INF), (-1, NAN), (-INF, NAN)],
    "log2": [(1, 0), (8, 3), (0.25, -2), (0, -INF), (-0.0, -INF), (INF, INF), (-1, NAN)],
    "log10": [(1, 0), (0, -INF), (-0.0, -INF), (INF, INF), (-1, NAN), (-INF, NAN)],
    "log1p": [(0, 0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-2, NAN), (-INF, NAN)],
    "sin": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0, 0), (-0.0, -0.0), (1, np.pi / 2), (-1, -np.pi / 2), (1.1, NAN), (-INF, NAN)],
    "acos": [(1, 0), (0, np.pi / 2), (-1, np.pi), (1.1, NAN), (-1.1, NAN), (INF, NAN)],
    "atan": [(0, 0), (-0.0, -0.0), (INF, np.pi / 2), (-INF, -np.pi / 2), (1, np.pi / 4)],
    "sinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e4, INF), (-1e4, -INF)],
    "cosh": [(0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (1e4, INF)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (50, 1), (-50, -1)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (-1e4, 0), (1e4, 1)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (7, 1), (-7, -1)],
    "erfc": [(0, 1), (-0.0, 1), (INF, 0), (-INF, 2), (40, 0), (-7, 2)],
}


@BOTH
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str, dtype: str) -> None:
    x, want = np.array([*SPECIAL[name], (NAN, NAN)], dtype).T.copy()
    got = apply(name, x)
    np.testing.assert_array_equal(got, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))


@BOTH
def test_subnormal_arguments_come_back(dtype: str) -> None:
    """f(x) = x where f has slope 1 at 0, down to the smallest subnormal."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = (np.array([1, 2, 3, 1001, -1, -7], dtype) * tiny).astype(dtype)
    for name in ("expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh"):
        np.testing.assert_array_equal(apply(name, x), x, name)


@BOTH
def test_pow_special_values(dtype: str) -> None:
    """All pairs of the values that C99 (F.9.4.4) and IEEE 754 treat; NumPy follows both."""
    big = 2.0 ** np.finfo(dtype).nmant
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e30, big, 2 * big - 1, 4 * big, INF]
    values += [float(np.finfo(dtype).smallest_subnormal)]
    values = np.array([s * v for v in values for s in (1, -1)] + [NAN], dtype)
    x, y = (a.ravel().copy() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = scipy_truth("pow", x, y).astype(dtype)
    got = apply("pow", x, y)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))
    exact = [(0, 0, 1), (-2, 3, -8), (-2, -2, 0.25), (1, NAN, 1), (NAN, 0, 1), (-1, INF, 1)]
    exact += [(-8, 1 / 3, NAN), (-0.0, -3, -INF), (-0.0, 2, 0), (-INF, 3, -INF), (4, 0.5, 2)]
    x, y, want = np.array(exact, dtype).T.copy()
    np.testing.assert_array_equal(apply("pow", x, y), want)


@BOTH
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_fixup_is_right_for_huge_arguments(name: str, dtype: str) -> None:
    limit, function = FIXUP[name, dtype]
    function = numba.njit(**OPTIONS)(function)
    rng = np.random.default_rng(2)
    top = float(np.log2(np.finfo(dtype).max)) - 0.01
    x = (2.0 ** rng.uniform(np.log2(float(limit)), top, 200)).astype(dtype)
    got = [function(v) for v in x]
    assert all(isinstance(function(v), float) for v in x[:1])
    for argument, value in zip(x.tolist(), got, strict=True):
        with mpmath.workprec(1200):
            truth = getattr(mpmath, name)(mpmath.mpf(argument))
            assert abs(value - truth) <= 1.01 * float(np.spacing(np.dtype(dtype).type(abs(truth))))
    assert np.isnan(function(x.dtype.type(INF)))


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_loop_vectorises(name: str, dtype: str) -> None:
    loop = compiled(name, dtype)
    (code,) = loop.inspect_llvm().values()
    if "x86_64" in code:
        assert re.search(r"[yz]mm\d", *loop.inspect_asm().values())
    # any function of libm would be declared by its C name
    declared = set(re.findall(r"^declare [^@]*@([\w.]+)\(", code, flags=re.M))
    assert not {d for d in declared if not d.startswith(("llvm.", "NRT_", "Py", "numba_"))}


def test_float32_stays_float32() -> None:
    """No silent widening in what a network spends its time in."""
    for name in ("exp", "log", "tanh", "sigmoid", "erf"):
        (code,) = compiled(name, "float32").inspect_llvm().values()
        assert "double" not in code, name


def test_table_is_complete() -> None:
    assert set(VECTOR) == {(name, dtype) for name in NAMES for dtype in BOUND}
    assert all(limit >= 2.0**40 for limit, _ in FIXUP.values())
    assert vecmath.__all__ == ["FIXUP", "VECTOR"]


def minimax(
    function: Callable[[Any], Any],
    low: Any,
    high: Any,
    degree: int,
    weight: Callable[[Any], Any],
) -> tuple[list[float], float]:
    """Polynomial of least maximal weighted error (Remez exchange), and that error.

    Returns its coefficients, lowest power first, and max abs(weight(x) * (p(x) - function(x))).
    This made every table of `vecmath32` and `vecmath64`.
    """
    count = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    grid = [middle - half * mpmath.cos(mpmath.pi * j / (24 * count)) for j in range(24 * count + 1)]
    values = [function(x) for x in grid]
    weights = [weight(x) for x in grid]
    chosen = [24 * j * count // (count - 1) for j in range(count)]
    for _ in range(20):
        rows = [
            [*(((grid[j] - middle) / half) ** k for k in range(degree + 1)), (-1) ** i / weights[j]]
            for i, j in enumerate(chosen)
        ]
        *p, level = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([values[j] for j in chosen]))
        error = [
            w * (mpmath.polyval(p[::-1], (x - middle) / half) - f)
            for x, w, f in zip(grid, weights, values, strict=True)
        ]
        # the largest error of each sign run is the next alternating set
        cuts = [j for j in range(1, len(grid)) if (error[j] > 0) != (error[j - 1] > 0)]
        runs = [range(a, b) for a, b in zip([0, *cuts], [*cuts, len(grid)], strict=True)]
        chosen = [max(run, key=lambda j: abs(error[j])) for run in runs]
        while len(chosen) > count:
            del chosen[0 if abs(error[chosen[0]]) < abs(error[chosen[-1]]) else -1]
        worst = max(abs(e) for e in error)
        if worst < 1.02 * abs(level):
            break
    # from (x - middle) / half back to x
    shifted = mpmath.taylor(lambda x: mpmath.polyval(p[::-1], (x - middle) / half), 0, degree)
    return [float(c) for c in shifted], float(worst)


def test_coefficients_are_minimax() -> None:
    """Samples of the tables: what they lose to the best polynomial is their rounding alone."""
    eps = mpmath.mpf("1e-6")
    with mpmath.workdps(50):
        exp_q = (lambda r: (mpmath.expm1(r) - r) / r**2 if r else mpmath.mpf(0.5)), (
            -mpmath.log(2) / 2, mpmath.log(2) / 2), (lambda r: abs(r) + eps)  # fmt: skip
        cos_q = (lambda z: (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2 if z else 1 / mpmath.mpf(24)), (
            mpmath.mpf(0), (mpmath.pi / 4 + 0.02) ** 2), (lambda z: z * z + eps)  # fmt: skip
        for table, (function, (low, high), weight), slack in (
            (vecmath32.EXP_Q, exp_q, 2.0**-25),
            (vecmath64.EXP_Q, exp_q, 2.0**-54),
            (vecmath32.COS_Q, cos_q, 2.0**-25),
            (vecmath64.COS_Q, cos_q, 2.0**-54),
        ):
            best, level = minimax(function, low, high, len(table) - 1, weight)
            xs = [low + (high - low) * j / 300 for j in range(301)]
            ours = [mpmath.polyval([mpmath.mpf(float(c)) for c in table[::-1]], x) for x in xs]
            rounding = slack * abs(float(table[0]))
            for x, value in zip(xs, ours, strict=True):
                assert abs(value - function(x)) * weight(x) <= 1.05 * level + rounding * weight(x)
