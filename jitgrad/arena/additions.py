"""The kernels that gradients are accumulated with, one a dtype, always loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.dtypes import bfloat16, float16, float32, float64
from jitgrad.dtypes import dtype as DType  # noqa: N812
from jitgrad.kernels.pointwise import kernel


def _addition(dtype: DType, computed: DType) -> Callable[[Any, Any], Any]:
    operands = [(name, dtype.code) for name in ("x", "z")]
    return kernel("x + z", operands, computed.code, dtype.code, f"add_{dtype.name}")


add_float32 = _addition(float32, float32)
add_float64 = _addition(float64, float64)
add_float16 = _addition(float16, float32)
add_bfloat16 = _addition(bfloat16, float32)
