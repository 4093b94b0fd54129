"""Conversions between dtypes: one op a target dtype, so that the cast's gradient is a cast back."""

from __future__ import annotations

from jitgrad.dtypes import ALL
from jitgrad.ops.pointwise import pointwise

_OPS = [pointwise(f"to_{d.name}", "ToCopy", "x", "g", result=d.code) for d in ALL]

#: Number of the cast to dtype code 0; the cast to code ``d`` is ``FIRST_CAST + d``.
FIRST_CAST = _OPS[0].number
