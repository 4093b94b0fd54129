"""The kernels that gradients are accumulated with, always loaded."""

from __future__ import annotations

from jitgrad.dtypes import float32, float64
from jitgrad.kernels.pointwise import kernel

_OPERANDS = ("x", "z")
add32 = kernel("x + z", [(o, float32.code) for o in _OPERANDS], float32.code, float32.code, "add32")
add64 = kernel("x + z", [(o, float64.code) for o in _OPERANDS], float64.code, float64.code, "add64")
