"""The functions that a formula may call, jitted for each dtype.

`environment` gives the namespace in which a formula of `jitgrad.kernels.formula` is compiled: vector
math of our own (`vecmath`), instructions that LLVM vectorises (sqrt, floor, ...), and small selections.
Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import OPTIONS, TYPES, jit
from jitgrad.kernels.vecmath import FIXUP, VECTOR
from jitgrad.kernels.vecmath_bits import select


def _instruction(name: str) -> Any:
    """The LLVM instruction of that name on one floating-point argument."""

    @intrinsic
    def call(typingctx: Any, value: Any) -> Any:
        if not isinstance(value, types.Float):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            ty = args[0].type
            fn = builder.module.declare_intrinsic(name, [ty], ir.FunctionType(ty, [ty]))
            return builder.call(fn, args)

        return value(value), codegen

    return call


def _of_two(name: str, flags: tuple[str, ...] = ()) -> Any:
    """The LLVM instruction ``name`` on two floats of one type, with fast-math flags of its own."""

    @intrinsic
    def call(typingctx: Any, x: Any, y: Any) -> Any:
        if not isinstance(x, types.Float) or x != y:
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            ty = args[0].type
            fn = builder.module.declare_intrinsic(name, [ty], ir.FunctionType(ty, [ty, ty]))
            return builder.call(fn, args, fastmath=flags)

        return x(x, y), codegen

    return call


# The larger and the smaller of two; a NaN in either is the answer, as in PyTorch.  A loop that keeps the
# largest is vectorised with these, and not with a comparison.
larger = _of_two("llvm.maximum")
smaller = _of_two("llvm.minimum")
# `larger` where it does not matter which of 0.0 and -0.0 it takes: half the time.
larger_or_zero = _of_two("llvm.maximum", ("nsz",))
_copysign = _of_two("llvm.copysign")
_floor = _instruction("llvm.floor")
_ceil = _instruction("llvm.ceil")
_trunc = _instruction("llvm.trunc")
_rint = _instruction("llvm.rint")  # halves to even, as torch.round
_fabs = _instruction("llvm.fabs")
_sqrt = _instruction("llvm.sqrt")


@intrinsic
def _fmod(typingctx: Any, a: Any, b: Any) -> Any:
    """The remainder with the sign of ``a``: C's fmod, which Numba does not offer."""
    if not isinstance(a, types.Float) or a != b:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.frem(args[0], args[1])

    return a(a, a), codegen


@jit
def _isnan(x):
    return x != x


@jit
def _isinf(x):
    return (_fabs(x) == math.inf) & (x == x)


@jit
def _isfinite(x):
    return _fabs(x) < math.inf


@jit
def _iminimum(a, b):
    return select(a < b, a, b)


@jit
def _imaximum(a, b):
    return select(a > b, a, b)


@jit
def _sign(x):
    return (x > 0) * 1 - (x < 0) * 1


@jit
def _remainder(a, b):
    m = _fmod(a, b)
    return m + b if (m != 0) & ((b < 0) != (m < 0)) else m


@jit
def _floordiv(a, b):
    # The quotient is corrected to the nearest integer: (a - m) / b can be off by a rounding.
    m = _fmod(a, b)
    q = (a - m) / b
    q = q - 1 if (m != 0) & ((b < 0) != (m < 0)) else q
    f = _floor(q)
    f = f + 1 if q - f > 0.5 else f
    zero = 0.0 if a / b >= 0 else -0.0
    return a / b if b == 0 else (f if q != 0 else zero)


@jit
def _truncdiv(a, b):
    return _trunc(a / b)


# Integer division: a zero divisor is caught by the kernel's status, here it only must not trap.  Nor must
# the smallest integer by -1, whose quotient does not fit: it wraps around, as in PyTorch.
@jit
def _ifloordiv(a, b):
    return a * -1 if b == -1 else a // (b if b != 0 else 1)


@jit
def _iremainder(a, b):
    d = b if b != 0 else 1
    return a - _ifloordiv(a, d) * d


@jit
def _itruncdiv(a, b):
    d = b if b != 0 else 1
    q = _ifloordiv(a, d)
    return q + 1 if (q < 0) & (q * d != a) else q


@jit
def _ifmod(a, b):
    d = b if b != 0 else 1
    return a - _itruncdiv(a, d) * d


def _shifts(dtype: int) -> dict[str, Any]:
    """``<<`` and ``>>``; a shift that is negative or too far leaves nothing but the sign."""
    width = 8 * ALL[dtype].itemsize

    @jit
    def lshift(a, b):
        return (a * 1) << b if (b >= 0) & (b < width) else 0

    @jit
    def rshift(a, b):
        return (a * 1) >> (b if (b >= 0) & (b < width) else 63)

    return {"lshift": lshift, "rshift": rshift}


@jit
def _ipow(a, b):
    if b < 0:
        # What is left of 1 / a**-b.
        return 1 if a == 1 else (0 if a != -1 else (1 if b & 1 == 0 else -1))
    # Square and multiply, in int64 (Numba would join int64 and uint64 to float64).
    result = 1
    base = a * 1
    e = b * 1
    while e > 0:
        if e & 1:
            result = result * base
        base = base * base
        e = e >> 1
    return result


@jit
def _same(x):
    return x


@jit
def _false(x):
    return False


@jit
def _true(x):
    return True


@jit
def _iabs(x):
    return x if x >= 0 else x * -1


_COMMON: dict[str, Any] = {"where": select, "sign": _sign}
_FLOAT: dict[str, Any] = {
    "minimum": smaller,
    "maximum": larger,
    "copysign": _copysign,
    "abs": _fabs,
    "sqrt": _sqrt,
    "floor": _floor,
    "ceil": _ceil,
    "trunc": _trunc,
    "round": _rint,
    "isnan": _isnan,
    "isinf": _isinf,
    "isfinite": _isfinite,
    "fmod": _fmod,
    "remainder": _remainder,
    "floordiv": _floordiv,
    "truncdiv": _truncdiv,
}
_INTEGER: dict[str, Any] = {
    "minimum": _iminimum,
    "maximum": _imaximum,
    "abs": _iabs,
    "floor": _same,
    "ceil": _same,
    "trunc": _same,
    "round": _same,
    "isnan": _false,
    "isinf": _false,
    "isfinite": _true,
    "fmod": _ifmod,
    "remainder": _iremainder,
    "floordiv": _ifloordiv,
    "truncdiv": _itruncdiv,
    "ipow": _ipow,
}
_MATH: dict[tuple[str, str], Any] = {}


def _vector(name: str, dtype_name: str) -> Callable[..., Any]:
    key = (name, dtype_name)
    if key not in _MATH:
        # Inlined by force: LLVM would leave float64 pow as a call, which keeps the loop scalar.
        _MATH[key] = numba.njit(forceinline=True, **OPTIONS)(VECTOR[key])
    return _MATH[key]


def environment(dtype: int, used: set[str]) -> dict[str, Any]:
    """The functions named in ``used`` for a dtype code, and ``_T``, the dtype itself as a cast."""
    table = _COMMON | (_FLOAT if dtype >= FIRST_FLOAT else _INTEGER | _shifts(dtype))
    space: dict[str, Any] = {"_T": TYPES[dtype]}
    for name in used:
        if name in table:
            space[name] = table[name]
        elif dtype >= FIRST_FLOAT and (name, ALL[dtype].name) in VECTOR:
            space[name] = _vector(name, ALL[dtype].name)
    return space


def far_functions(dtype: int, used: set[str]) -> tuple[float, dict[str, Any]]:
    """libm's versions of those functions whose vector version holds only for small arguments.

    Returns the limit of ``abs(x)`` and the functions; none if the formula uses no such function.
    """
    found = {
        name: FIXUP[name, ALL[dtype].name] for name in used if (name, ALL[dtype].name) in FIXUP
    }
    limit = min((bound for bound, _ in found.values()), default=0.0)
    return limit, {name: numba.njit(**OPTIONS)(function) for name, (_, function) in found.items()}
