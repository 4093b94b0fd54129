"""Elementary functions that LLVM vectorises, since the PyPI builds of llvmlite have no SVML.

``VECTOR[name, dtype]`` is a plain Python function to be jitted into the caller's loop (see
`vecmath32`, `vecmath64`), for any argument, special values included.  sin, cos and tan are the
exception: they need the fix-up below for huge ones.

``FIXUP[name, dtype]`` is ``(limit, function)``: where ``abs(x) > limit``, the result must be
replaced by ``function(x)``, a scalar call of libm, in a second pass over the block.  The limit of
2^40 (1e12) makes that pass a formality, but reduction of arguments beyond it needs more bits of pi
than a vectorised loop can afford.

Greatest error in ulp, and ns an element (65,536 of them, one thread of a Zen 4 with AVX-512, the
best of three runs, which differ by 20 %; with AVX2 alone 1.2 to 2.2 times as long).

======== ===== ======== ====== ======  ====== ======== ====== ======
float32    ulp  jitgrad  NumPy  torch  ulp 64  jitgrad  NumPy  torch
======== ===== ======== ====== ======  ====== ======== ====== ======
exp       1.04     0.19   0.46   0.85    1.04     0.66   0.85   1.69
expm1     1.44     0.24   0.35   1.26    2.15     0.64   1.21   2.53
exp2      0.91     0.29   0.38   0.36    0.98     0.58   0.72   0.87
log       0.87     0.38   0.39   1.05    0.87     0.89   0.81   2.34
log1p     1.43     0.40   0.45   0.89    1.26     0.99   1.06   2.10
log2      1.18     0.36   0.25   1.03    1.46     0.80   0.91   2.39
log10     1.05     0.39   0.23   1.11    1.64     0.90   0.91   2.55
sin       1.49     0.46   0.53   1.27    1.49     0.86  16.41   3.37
cos       1.50     0.46   0.56   1.47    1.48     0.82  16.27   2.94
tan       1.71     0.66   0.41   1.77    3.01     1.01   1.79   7.85
asin      1.34     0.26   0.41   1.71    2.19     0.75   1.27   3.96
acos      1.07     0.30   0.41   1.66    1.17     0.79   1.37   4.43
atan      1.95     0.30   0.41   2.55    2.08     0.83   1.28   5.98
sinh      1.77     0.42   0.36   1.41    2.16     0.99   1.18   2.93
cosh      1.45     0.29   0.33   1.43    1.42     0.74   0.97   2.80
tanh      1.86     0.35   0.37   2.64    1.96     0.91   1.71   5.20
sigmoid   1.65     0.28      -   0.41    1.57     1.06      -   1.46
erf       1.61     0.48      -   1.35    1.98     1.76      -   3.27
erfc      0.60     0.94      -   1.97    3.12     2.15      -   6.78
pow       0.57     1.71   0.68   2.59    1.20     3.90   2.28   5.62
======== ===== ======== ====== ======  ====== ======== ====== ======

float32 errors: of every float32 in the domain (of either sign where the function is neither even
nor odd), against libm in float64; pow: 6 million pairs.  float64: of 3 to 10 million points that
include all magnitudes, against 80-bit libm.  NumPy's wheel has Intel's SVML.

Jit them with ``forceinline=True``.  LLVM leaves the longer ones (float64 pow) as calls otherwise,
7 times slower, and puts their Python wrappers into the object code.  On a CPU without FMA the
accuracy is the same, but each ``fma`` is a call of libm and nothing vectorises.
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
