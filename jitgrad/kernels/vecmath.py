"""Elementary functions that LLVM vectorises, since the PyPI builds of llvmlite have no SVML.

``VECTOR[name, dtype]`` is a plain Python function to be jitted into the caller's loop (see
`vecmath32`, `vecmath64`), for any argument, special values included.  sin, cos and tan are the
exception: they need the fix-up below for huge ones.

``FIXUP[name, dtype]`` is ``(limit, function)``: where ``abs(x) > limit``, the result must be
replaced by ``function(x)``, a scalar call of libm, in a second pass over the block.  The limit of 2^40
(1e12) makes that pass a formality, but reduction of arguments beyond it needs more bits of pi than a
vectorised loop can afford.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.kernels import vecmath32, vecmath64

__all__ = ["FIXUP", "VECTOR"]

NAMES = (
    "exp", "expm1", "exp2", "log", "log1p", "log2", "log10",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "sigmoid", "erf", "erfc", "pow",
)  # fmt: skip

VECTOR: dict[tuple[str, str], Callable[..., Any]] = {
    (name, dtype): getattr(module, f"{name}_{suffix}")
    for dtype, suffix, module in (("float32", "f32", vecmath32), ("float64", "f64", vecmath64))
    for name in NAMES
}


def sin_libm_f32(x):
    """sin of a float32 by libm, correct for any argument."""
    return np.float32(math.sin(np.float64(x)))


def cos_libm_f32(x):
    """cos of a float32 by libm, correct for any argument."""
    return np.float32(math.cos(np.float64(x)))


def tan_libm_f32(x):
    """tan of a float32 by libm, correct for any argument."""
    return np.float32(math.tan(np.float64(x)))


def sin_libm_f64(x):
    """sin by libm, correct for any argument."""
    return math.sin(x)


def cos_libm_f64(x):
    """cos by libm, correct for any argument."""
    return math.cos(x)


def tan_libm_f64(x):
    """tan by libm, correct for any argument."""
    return math.tan(x)


FIXUP: dict[tuple[str, str], tuple[float, Callable[..., Any]]] = {
    ("sin", "float32"): (vecmath32.TRIG_LIMIT, sin_libm_f32),
    ("cos", "float32"): (vecmath32.TRIG_LIMIT, cos_libm_f32),
    ("tan", "float32"): (vecmath32.TRIG_LIMIT, tan_libm_f32),
    ("sin", "float64"): (vecmath64.TRIG_LIMIT, sin_libm_f64),
    ("cos", "float64"): (vecmath64.TRIG_LIMIT, cos_libm_f64),
    ("tan", "float64"): (vecmath64.TRIG_LIMIT, tan_libm_f64),
}
