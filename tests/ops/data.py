"""What the tests of pointwise ops know about each row: where to sample it, and what NumPy makes of it.

A row of the op table without an entry here fails `test_pointwise.test_every_row_has_data`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]
Domain = tuple[float, float]

ANY: Domain = (-2.5, 2.5)
POSITIVE: Domain = (0.1, 4.0)
UNIT: Domain = (-0.9, 0.9)


@dataclass(frozen=True)
class Data:
    """How to test a row.

    Attributes
    ----------
    reference : callable
        The op in NumPy or SciPy, on arrays of one dtype.
    domains : tuple of (float, float)
        For each operand where samples lie.  For integers they are rounded.
    ulps32, ulps : float
        How far the result may be from the reference, in units of the last place (of float32, float64).
    gap : float
        Samples keep this distance from the integers and from one another, where the op has kinks: the
        gradient is compared with finite differences.
    integers : bool
        Defined for integers only.
    masks : tuple of int
        Operands that are bool.
    scale : float
        Results are compared as if they were at least this large: terms that cancel leave the error of
        the larger one.
    """

    reference: Callable[..., Any]
    domains: tuple[Domain, ...] = (ANY,)
    ulps32: float = 3
    ulps: float = 5
    gap: float = 0.0
    integers: bool = False
    masks: tuple[int, ...] = ()
    scale: float = 0.0


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


_SELU = 1.7580993408473766
TWO = (ANY, ANY)
KINKS = {"gap": 0.05}

DATA: dict[str, Data] = {
    # copies
    "clone": Data(lambda x: x, ulps32=0, ulps=0),
    "copy": Data(lambda x, z: z, TWO, ulps32=0, ulps=0),
    # arithmetic
    "add": Data(np.add, TWO, 0.5, 0.5),
    "add_scaled": Data(lambda x, z, u: x + u * z, (ANY, ANY, ANY), 1, 1, scale=4),
    "sub": Data(np.subtract, TWO, 0.5, 0.5),
    "sub_scaled": Data(lambda x, z, u: x - u * z, (ANY, ANY, ANY), 1, 1, scale=4),
    "mul": Data(np.multiply, TWO, 0.5, 0.5),
    "div": Data(np.divide, (ANY, POSITIVE), 0.5, 0.5),
    "div_floor": Data(np.floor_divide, (ANY, (1.0, 1.2)), 0, 0, **KINKS),
    "div_trunc": Data(lambda x, z: np.trunc(x / z), (ANY, (1.0, 1.2)), 0, 0, **KINKS),
    "remainder": Data(np.remainder, (ANY, (1.0, 1.2)), 2, 2, **KINKS),
    "fmod": Data(np.fmod, (ANY, (1.0, 1.2)), 0.5, 0.5, **KINKS),
    "neg": Data(np.negative, ulps32=0, ulps=0),
    "reciprocal": Data(np.reciprocal, (POSITIVE,), 0.5, 0.5),
    "square": Data(np.square, ulps32=0.5, ulps=0.5),
    "cube": Data(lambda x: x * x * x, ulps32=2),
    "pow": Data(np.power, (POSITIVE, ANY), 3, 5),
    "pow_int": Data(np.power, ((-5, 6), (0, 6)), integers=True),
    "pow_tensor": Data(np.power, (POSITIVE, ANY), 3, 5),
    "pow_half": Data(np.sqrt, (POSITIVE,), 0.5, 0.5),
    "pow_inverse": Data(np.reciprocal, (POSITIVE,), 0.5, 0.5),
    "sqrt": Data(np.sqrt, (POSITIVE,), 0.5, 0.5),
    "rsqrt": Data(lambda x: 1 / np.sqrt(x), (POSITIVE,), 1.5, 1.5),
    "abs": Data(np.abs, ulps32=0, ulps=0, **KINKS),
    "sign": Data(np.sign, ulps32=0, ulps=0, **KINKS),
    "lerp": Data(lambda x, z, u: x + u * (z - x), (ANY, ANY, (0.05, 0.95)), 2, 2, scale=4),
    "addcmul": Data(lambda x, z, u, v: x + v * z * u, (ANY,) * 4, 2, 2, scale=16),
    "addcdiv": Data(lambda x, z, u, v: x + v * (z / u), (ANY, ANY, POSITIVE, ANY), 2, 2, scale=64),
    # exponentials and logarithms
    "exp": Data(np.exp),
    "exp2": Data(np.exp2),
    "expm1": Data(np.expm1),
    "log": Data(np.log, (POSITIVE,)),
    "log2": Data(np.log2, (POSITIVE,)),
    "log10": Data(np.log10, (POSITIVE,)),
    "log1p": Data(np.log1p, ((-0.9, 4.0),)),
    # trigonometric and hyperbolic
    "sin": Data(np.sin),
    "cos": Data(np.cos),
    "tan": Data(np.tan, ((-1.2, 1.2),)),
    "asin": Data(np.arcsin, (UNIT,)),
    "acos": Data(np.arccos, (UNIT,)),
    "atan": Data(np.arctan),
    "sinh": Data(np.sinh),
    "cosh": Data(np.cosh),
    "tanh": Data(np.tanh),
    "asinh": Data(np.arcsinh),
    "acosh": Data(np.arccosh, ((1.1, 9.0),), ulps=6),
    "atanh": Data(np.arctanh, (UNIT,)),
    "atan2": Data(np.arctan2, TWO, **KINKS),
    "hypot": Data(np.hypot, TWO),
    "sinc": Data(np.sinc, scale=0.5, **KINKS),
    "deg2rad": Data(np.deg2rad, ulps32=1, ulps=1),
    "rad2deg": Data(np.rad2deg, ulps32=1, ulps=1),
    "logaddexp": Data(np.logaddexp, TWO, scale=1, **KINKS),
    "logaddexp2": Data(np.logaddexp2, TWO, scale=1, **KINKS),
    "xlogy": Data(special.xlogy, (ANY, POSITIVE), scale=1),
    "logit": Data(
        lambda x, z: special.logit(np.clip(x, z, 1 - z)),
        ((0.02, 0.98), (0.1, 0.2)),
        scale=2,
        **KINKS,
    ),
    # activations
    "sigmoid": Data(_sigmoid),
    "relu": Data(lambda x: np.maximum(x, 0), ulps32=0, ulps=0, **KINKS),
    "elu": Data(lambda x, z: np.where(x <= 0, z * np.expm1(x), x), (ANY, POSITIVE), **KINKS),
    "selu": Data(lambda x: np.where(x <= 0, _SELU * np.expm1(x), 1.0507009873554805 * x), **KINKS),
    "celu": Data(lambda x, z: np.where(x <= 0, z * np.expm1(x / z), x), (ANY, POSITIVE), **KINKS),
    "gelu": Data(lambda x: x * special.ndtr(x), ulps32=16, ulps=40),
    "gelu_tanh": Data(
        lambda x: x * _sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)), ulps32=16, ulps=24
    ),
    "silu": Data(lambda x: x * _sigmoid(x), ulps32=5),
    "mish": Data(lambda x: x * np.tanh(np.log1p(np.exp(x))), ulps32=6, ulps=8),
    "hardtanh": Data(
        lambda x, z, u: np.minimum(np.maximum(x, z), u),
        (ANY, (-1.5, -0.2), (0.3, 1.5)),
        0,
        0,
        **KINKS,
    ),
    "hardswish": Data(lambda x: x * np.clip(x + 3, 0, 6) / 6, ((-4.0, 4.0),), 2, 2, **KINKS),
    "hardsigmoid": Data(lambda x: np.clip(x + 3, 0, 6) / 6, ((-4.0, 4.0),), 2, 2, **KINKS),
    "leaky_relu": Data(lambda x, z: np.where(x > 0, x, x * z), TWO, 0.5, 0.5, **KINKS),
    "rrelu": Data(lambda x, z: np.where(x > 0, x, x * z), TWO, 0.5, 0.5, **KINKS),
    "prelu": Data(lambda x, z: np.where(x > 0, x, x * z), TWO, 0.5, 0.5, **KINKS),
    "softplus": Data(
        lambda x, z, u: np.where(x * z > u, x, np.log1p(np.exp(x * z)) / z),
        (ANY, POSITIVE, (15.0, 25.0)),
        ulps32=6,
        ulps=8,
    ),
    "softshrink": Data(
        lambda x, z: np.where(np.abs(x) <= z, 0, x - np.copysign(z, x)),
        (ANY, POSITIVE),
        1,
        1,
        **KINKS,
    ),
    "hardshrink": Data(lambda x, z: np.where(np.abs(x) <= z, 0, x), (ANY, POSITIVE), 0, 0, **KINKS),
    "logsigmoid": Data(lambda x: -np.log1p(np.exp(-x)), ulps32=4),
    "threshold": Data(lambda x, z, u: np.where(x <= z, u, x), (ANY,) * 3, 0, 0, **KINKS),
    "glu": Data(lambda x, z: x * _sigmoid(z), TWO, ulps32=4, ulps=6),
    "erf": Data(special.erf),
    "erfc": Data(special.erfc, ulps=8),
    # rounding
    "ceil": Data(np.ceil, ulps32=0, ulps=0, **KINKS),
    "floor": Data(np.floor, ulps32=0, ulps=0, **KINKS),
    "round": Data(np.rint, ulps32=0, ulps=0, gap=0.02),
    "trunc": Data(np.trunc, ulps32=0, ulps=0, **KINKS),
    "frac": Data(lambda x: x - np.trunc(x), ulps32=0, ulps=0, **KINKS),
    # selection
    **dict.fromkeys(
        ("clamp", "clamp_tensor"),
        Data(
            lambda x, z, u: np.minimum(np.maximum(x, z), u),
            (ANY, (-1.5, -0.2), (0.3, 1.5)),
            0,
            0,
            **KINKS,
        ),
    ),
    **dict.fromkeys(("clamp_min", "clamp_low"), Data(np.maximum, TWO, 0, 0, **KINKS)),
    **dict.fromkeys(("clamp_max", "clamp_high"), Data(np.minimum, TWO, 0, 0, **KINKS)),
    "maximum": Data(np.maximum, TWO, 0, 0, **KINKS),
    "minimum": Data(np.minimum, TWO, 0, 0, **KINKS),
    "fmax": Data(np.fmax, TWO, 0, 0, **KINKS),
    "fmin": Data(np.fmin, TWO, 0, 0, **KINKS),
    "nan_to_num": Data(lambda x, z, u, v: np.nan_to_num(x), (ANY,) * 4, 0, 0),
    "copysign": Data(np.copysign, TWO, 0, 0, **KINKS),
    "sgn": Data(np.sign, ulps32=0, ulps=0, **KINKS),
    "heaviside": Data(np.heaviside, TWO, 0, 0),
    "signbit": Data(np.signbit),
    "where": Data(np.where, ((0, 1), ANY, ANY), 0, 0, masks=(0,)),
    "masked_fill": Data(lambda x, z, u: np.where(z, u, x), (ANY, (0, 1), ANY), 0, 0, masks=(1,)),
    "dropout": Data(
        lambda x, z, u: x * np.where(z < u, 1 / u, 0), (ANY, (0.0, 1.0), (0.2, 0.8)), 2, 2, **KINKS
    ),
    # recurrent cells
    "lstm_cell": Data(
        lambda x, z, u, v: _sigmoid(x) * np.tanh(u) + _sigmoid(z) * v, (ANY,) * 4, 5, 8, scale=1
    ),
    "lstm_hidden": Data(lambda x, z: _sigmoid(x) * np.tanh(z), TWO, 5, 8),
    "gru_candidate": Data(lambda x, z, u: np.tanh(x + _sigmoid(z) * u), (ANY,) * 3, 6, 8, scale=1),
    "gru_hidden": Data(lambda x, z, u: z + _sigmoid(x) * (u - z), (ANY,) * 3, 6, 8, scale=4),
    # comparisons and logic
    "eq": Data(np.equal, TWO),
    "ne": Data(np.not_equal, TWO),
    "lt": Data(np.less, TWO),
    "le": Data(np.less_equal, TWO),
    "gt": Data(np.greater, TWO),
    "ge": Data(np.greater_equal, TWO),
    "logical_and": Data(np.logical_and, TWO),
    "logical_or": Data(np.logical_or, TWO),
    "logical_xor": Data(np.logical_xor, TWO),
    "logical_not": Data(np.logical_not),
    "isnan": Data(np.isnan),
    "isinf": Data(np.isinf),
    "isfinite": Data(np.isfinite),
    "bitwise_and": Data(np.bitwise_and, ((-9, 9), (-9, 9)), integers=True),
    "bitwise_or": Data(np.bitwise_or, ((-9, 9), (-9, 9)), integers=True),
    "bitwise_xor": Data(np.bitwise_xor, ((-9, 9), (-9, 9)), integers=True),
    "bitwise_not": Data(np.bitwise_not, ((-9, 9),), integers=True),
    "bitwise_left_shift": Data(np.left_shift, ((-9, 9), (0, 9)), integers=True),
    "bitwise_right_shift": Data(np.right_shift, ((-99, 99), (0, 9)), integers=True),
    # casts
    **{
        f"to_{name}": Data(lambda x, t=name: x.astype(t), ulps32=0, ulps=0)
        for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
    },
}


def samples(name: str, shape: tuple[int, ...], dtype: str, seed: int = 0) -> list[Array]:
    """Operands for a row, of one shape: floats in ``dtype``, integers in int64, masks in bool."""
    data = DATA[name]
    rng = np.random.default_rng([seed, *name.encode()])
    found: list[Array] = []
    for i, (low, high) in enumerate(data.domains):
        if i in data.masks:
            found.append(np.asarray(rng.random(shape) < 0.5))
        elif data.integers or np.dtype(dtype).kind in "iu":
            found.append(np.asarray(rng.integers(int(low), int(high) + 1, shape)).astype(dtype))
        else:
            x = rng.uniform(low, high, shape)
            if data.gap:
                # Away from the kinks: cells of 0.25, each operand in its own part of every cell.
                width = 0.25 / (len(data.domains) + 1)
                cells = np.floor(x / 0.25) * 0.25
                x = cells + (i + 0.6) * width + (x - cells) * width
            found.append(np.asarray(x).astype(dtype))
    return found
