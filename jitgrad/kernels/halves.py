"""float16 and bfloat16: stored as 16 bits, computed with as float32, rounded to nearest even.

Branch-free on 32-bit integers, so that loops vectorise on any processor.  A float64 or an integer becomes a
float32 first, as in PyTorch.  Jitted.
"""

from __future__ import annotations

from jitgrad.dtypes import FIRST_HALF, float32, int32
from jitgrad.kernels.lowlevel import TYPES, float32s, jit, uint16s
from jitgrad.kernels.vecmath_bits import bits32, float32_from_bits, helper, low32, select

FLOAT16 = FIRST_HALF
_f32, _i32, _u16 = TYPES[float32.code], TYPES[int32.code], TYPES[FLOAT16]
_SCALE_UP = 2.0**112  # moves float16's exponents to float32's, subnormal numbers included
_SCALE_DOWN = 2.0**-112


@helper
def from_float16(h):
    """The float32 that a float16 stands for."""
    i = _i32(h)
    magnitude = float32_from_bits(low32((i & 0x7FFF) << 13)) * _f32(_SCALE_UP)
    # Infinity and NaN have the largest exponent in both.
    special = select((i & 0x7C00) == 0x7C00, _i32(0x7F800000), _i32(0))
    return float32_from_bits(low32(bits32(magnitude) | special | ((i & 0x8000) << 16)))


@helper
def to_float16(x):
    """The bits of the float16 nearest to a float32."""
    b = bits32(x)
    sign = (b >> 16) & 0x8000
    a = low32(b & 0x7FFFFFFF)
    # Normal results: the exponent moved, half a unit (less a bit, if the last kept one is 0) added.
    normal = low32((a - (112 << 23) + 0xFFF + ((a >> 13) & 1)) >> 13)
    # Subnormal ones: adding 0.5 leaves the result's bits, rounded by the hardware, in the last places.
    small = low32(bits32(float32_from_bits(a) + _f32(0.5)) - 0x3F000000)
    h = select(a < 0x38800000, small, normal)
    h = select(a >= 0x477FF000, _i32(0x7C00), h)
    # A NaN stays one, made quiet, with the first of its bits.
    h = select(a > 0x7F800000, low32(0x7E00 | ((a >> 13) & 0x1FF)), h)
    return _u16(h | sign)


@helper
def from_bfloat16(h):
    """The float32 that a bfloat16 stands for: its upper half."""
    return float32_from_bits(low32(_i32(h) << 16))


@helper
def to_bfloat16(x):
    """The bits of the bfloat16 nearest to a float32."""
    b = bits32(x)
    rounded = low32((b + 0x7FFF + ((b >> 16) & 1)) >> 16)
    return _u16(select((b & 0x7FFFFFFF) > 0x7F800000, _i32(0x7FC0), rounded))


@jit
def widened(dtype, h):
    """The float32 of the bits of a 16-bit float."""
    return from_float16(h) if dtype == FLOAT16 else from_bfloat16(h)


@jit
def narrowed(dtype, x):
    """The bits of a float32 as a 16-bit float."""
    return to_float16(x) if dtype == FLOAT16 else to_bfloat16(x)


@jit
def widen(dtype, src, dst, n):
    """Turn ``n`` 16-bit floats at ``src`` into float32."""
    p, q = uint16s(src), float32s(dst)
    if dtype == FLOAT16:
        for i in range(n):
            q[i] = from_float16(p[i])
    else:
        for i in range(n):
            q[i] = from_bfloat16(p[i])


@jit
def narrow(dtype, src, dst, n):
    """Turn ``n`` float32 at ``src`` into 16-bit floats."""
    p, q = float32s(src), uint16s(dst)
    if dtype == FLOAT16:
        for i in range(n):
            q[i] = to_float16(p[i])
    else:
        for i in range(n):
            q[i] = to_bfloat16(p[i])


#: From the bits of a 16-bit float to float32 and back, by dtype code.
WIDENED = {FLOAT16: from_float16, FLOAT16 + 1: from_bfloat16}
NARROWED = {FLOAT16: to_float16, FLOAT16 + 1: to_bfloat16}
