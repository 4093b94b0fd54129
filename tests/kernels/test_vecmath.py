"""Vector math: measured error, special values, and that the loops vectorise.

Truth is mpmath for float64, and float64 NumPy and SciPy for float32.  The errors measured with many
more points than a test can afford are in the docstring of `jitgrad.kernels.vecmath`.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import mpmath
import numba
import numpy as np
import pytest
import scipy.special

from jitgrad.kernels import vecmath, vecmath32, vecmath64, vecmath_bits
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
    """Arguments everywhere: random bit patterns, all magnitudes, both sides of every threshold."""
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
    with np.errstate(over="ignore"):
        above = np.nextafter(edges, edges.dtype.type(INF))
    edges = np.concatenate([edges, above, np.nextafter(edges, edges.dtype.type(-INF))])
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
    any_size = np.exp(rng.uniform(-largest, largest, n))
    x = np.concatenate([any_size, near_one, rng.uniform(0.1, 9, n)]).astype(dtype)
    with np.errstate(all="ignore"):
        y = rng.uniform(-1.05 * largest, largest, x.size) / np.log(x.astype(np.float64))
    whole = rng.uniform(-10, 10, n).astype(dtype)
    x, y = np.append(x, whole), np.append(y, np.rint(rng.uniform(-30, 30, n))).astype(dtype)
    return x[np.isfinite(y)], y[np.isfinite(y)]


@pytest.mark.parametrize("name", NAMES)
def test_float32_error(name: str) -> None:
    if name == "pow":
        arguments = pow_points("float32", 200_000)
    else:
        arguments = (domain(name, points("float32", 60_000)),)
    got, truth = apply(name, *arguments), scipy_truth(name, *arguments)
    with np.errstate(over="ignore"):
        rounded = truth.astype(np.float32)
    # at the very edge of overflow either neighbour is within half an ulp
    infinite = np.isinf(got) | np.isinf(rounded)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    got, truth = got[~infinite].astype(np.float64), truth[~infinite]
    error = np.abs(got - truth) / np.ldexp(1.0, np.maximum(np.frexp(truth)[1] - 24, -149))
    worst = np.argmax(error)
    print(f"{name} float32 {error[worst]:.3f} ulp at {[a[~infinite][worst] for a in arguments]}")
    assert error[worst] <= BOUND["float32"]


@pytest.mark.parametrize("name", NAMES)
def test_float64_error(name: str) -> None:
    if name == "pow":
        arguments = pow_points("float64", 1000)
    else:
        arguments = (domain(name, points("float64", 500)),)
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
    if not llvmlite.binding.get_host_cpu_features().get("fma", True):
        pytest.skip("without an instruction for it, LLVM calls libm for fma")
    (code,) = compiled(name, dtype).inspect_llvm().values()
    assert re.search(r"call .*@llvm\.fma\.v\d+f(32|64)", code)
    # a function of libm would be declared by its C name, or by LLVM's name for it
    declared = set(re.findall(r"^declare [^@]*@([\w.]+)\(", code, flags=re.M))
    libm = re.compile(r"llvm\.(sin|cos|tan|exp|log|pow)")
    allowed = ("llvm.", "NRT_", "Py", "numba_")
    assert not {d for d in declared if libm.match(d) or not d.startswith(allowed)}


@BOTH
def test_scaling_is_the_same_without_an_instruction(dtype: str) -> None:
    """p 2^n by two products, as on processors without one for it, down to subnormal results."""
    module = {"float32": vecmath32, "float64": vecmath64}[dtype]
    kind = np.dtype(dtype).type
    most = {"float32": 151, "float64": 1076}[dtype]
    made = []
    for scales in (True, False):
        source = module._scale.py_func
        made.append(
            vecmath_bits.helper(
                types.FunctionType(source.__code__, {**vars(module), "SCALES": scales})
            )
        )
    rng = np.random.default_rng(5)
    for n in range(-most, most // 2):
        p = kind(rng.uniform(0.7, 1.42))
        t = kind(module.ROUND + kind(n))
        want = kind(np.ldexp(np.longdouble(p), n))
        got = [made[k](p, t) for k in range(2) if k or vecmath_bits.SCALES]
        assert got == [want] * len(got), (n, p)


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


def with_limit(function: Callable[[Any], Any], at_zero: Any) -> Callable[[Any], Any]:
    """The function, with its limit at 0, where its digits cancel."""
    return lambda x: function(x) if abs(x) > 1e-20 else mpmath.mpf(at_zero)


def fits() -> dict[str, tuple[Any, ...]]:
    """By table: function, low end, high end, weight; as the comments above the tables say."""
    mp, eps = mpmath, mpmath.mpf("1e-6")
    root, ln2 = mp.sqrt(2), mp.log(2)
    wide = (mp.pi / 4 + mp.mpf("0.02")) ** 2
    s_max = mp.mpf("0.1716") ** 2

    def odd(f, sign):
        return lambda z: sign * (f(mp.sqrt(z)) - mp.sqrt(z)) / (z * mp.sqrt(z))

    def log(c):
        return (
            with_limit(lambda f: (mp.log1p(f) - f) * c / f**2, -c / 2),
            1 / root - 1,
            root - 1,
            (lambda f: (abs(f) + eps) / c),
        )

    def erfc(k, top, slope):
        def function(t):
            x = k * (1 + t) / (1 - t)
            return (1 + slope * x) * mp.exp(x * x) * mp.erfc(x)

        return function, mp.mpf(-1), (top - k) / (top + k), lambda t: 1 / function(t)

    exp = with_limit(lambda r: (mp.expm1(r) - r) / r**2, 0.5)
    exp2 = with_limit(lambda r: (mp.expm1(r * ln2) - r * ln2) / r**2, ln2**2 / 2)
    cos = with_limit(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 1 / mp.mpf(24))
    third = 1 / mp.mpf(3)
    sin = with_limit(odd(mp.sin, 1), -third / 2)
    tan = with_limit(odd(mp.tan, 1), third)
    asin = with_limit(odd(mp.asin, 1), third / 2)
    atan = with_limit(odd(mp.atan, 1), -third)
    atanh = with_limit(odd(mp.atanh, 2), 2 * third)
    atanh5 = with_limit(lambda z: (atanh(z) - 2 * third) / z, mp.mpf(2) / 5)
    erf = with_limit(lambda a: -mp.log(mp.erfc(a)) / a, 2 / mp.sqrt(mp.pi))
    erf_weight = with_limit(lambda a: a * mp.erfc(a) / mp.erf(a), mp.sqrt(mp.pi) / 2)
    log3 = with_limit(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, third)
    pow_log2 = with_limit(lambda f: mp.log1p(f) / f / ln2, 1 / ln2)

    def to_z(z):
        return z + eps

    both = {
        "EXP_Q": (exp, -ln2 / 2, ln2 / 2, lambda r: abs(r) + eps),
        "EXP2_Q": (exp2, -0.5, 0.5, lambda r: r * r + eps),
        "SIN_Q": (sin, 0, wide, to_z),
        "COS_Q": (cos, 0, wide, lambda z: z * z + eps),
        "TAN_Q": (tan, 0, wide, to_z),
    }
    return {
        **{f"{bits}.{name}": fit for bits in (32, 64) for name, fit in both.items()},
        "32.EXP_ONLY_Q": (exp, -ln2 / 2, ln2 / 2, lambda r: (r * r + eps) / mp.exp(r)),
        "32.LOG_Q": (log3, 1 / root - 1, root - 1, lambda f: f * f + eps),
        "32.LOG2_Q": log(1 / ln2),
        "32.LOG10_Q": log(1 / mp.log(10)),
        "32.POW_LOG2_Q": (pow_log2, 1 / root - 1, root - 1, lambda f: 1 / pow_log2(f)),
        "32.POW_EXP2_Q": both["EXP2_Q"],
        "32.ASIN_Q": (asin, 0, mp.mpf("0.3165"), to_z),
        "32.ATAN_Q": (atan, 0, 1, to_z),
        "32.ERF_Q": (erf, 0, mp.mpf("3.95"), erf_weight),
        "32.ERFC_Q": erfc(mp.mpf("2.5"), mp.mpf("10.1"), 0),
        "64.LOG_Q": (atanh, 0, s_max, to_z),
        "64.POW_LOG_Q": (atanh5, 0, s_max, lambda z: z * z / 2 + eps / 10),
        "64.ASIN_Q": (asin, 0, mp.mpf("0.25"), to_z),
        "64.ATAN_Q": (atan, 0, mp.mpf("0.4143") ** 2, to_z),
        "64.ERF_Q": (erf, 0, mp.mpf("5.95"), erf_weight),
        "64.ERFC_Q": erfc(mp.mpf("3.5"), mp.mpf("27.3"), 1),
    }


@pytest.mark.parametrize("key", fits())
def test_coefficients_are_minimax(key: str) -> None:
    """No table is worse than the best polynomial by more than the rounding of its coefficients."""
    bits, name = key.split(".")
    module = {"32": vecmath32, "64": vecmath64}[bits]
    table = getattr(module, name)
    eps = float(np.finfo(type(table[0])).eps) / 2
    exact = [mpmath.mpf(float(c)) for c in table]
    if name == "ERF_Q":
        exact[0] += float(module.ERF_Q0)
    if key == "64.ERFC_Q":
        exact.insert(0, mpmath.mpf(module.ERFC_Q0))
    with mpmath.workdps(50):
        function, low, high, weight = fits()[key]
        low, high = mpmath.mpf(low), mpmath.mpf(high)
        _, level = minimax(function, low, high, len(exact) - 1, weight)
        print(f"{key} error 2^{float(mpmath.log(level, 2)):.1f}")
        for j in range(101):
            x = low + (high - low) * j / 100
            error = abs(mpmath.polyval(exact[::-1], x) - function(x))
            rounding = eps * mpmath.polyval([abs(c) for c in exact[::-1]], abs(x))
            assert error * weight(x) <= 1.1 * level + rounding * weight(x)
