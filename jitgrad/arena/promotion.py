"""The dtype that an op computes in, as PyTorch defines it.  Jitted."""

from __future__ import annotations

from jitgrad.arena.columns import DTYPE, H_DEFAULT_DTYPE, NDIM, NONE, R_INDEX, R_SUM, R_TRUTH
from jitgrad.arena.rows import C_KIND, C_ROW, KIND_FLOAT, KIND_INT, KIND_TENSOR, row_at
from jitgrad.dtypes import ALL, FIRST_FLOAT, PROMOTION
from jitgrad.kernels.lowlevel import jit, words

N_DTYPES = len(ALL)

BOOL = 0

UINT8 = 1

INT64 = 5

# The promotion table, 4 bits an entry, a word a dtype.
_PROMOTION = tuple(sum(b << (4 * j) for j, b in enumerate(row)) for row in PROMOTION)

(_p0, _p1, _p2, _p3, _p4, _p5, _p6, _p7, _p8, _p9) = _PROMOTION


@jit
def promote(a, b):
    """The dtype that holds both."""
    if a == b:
        return a
    row = _p9
    if a == 0:
        row = _p0
    elif a == 1:
        row = _p1
    elif a == 2:
        row = _p2
    elif a == 3:
        row = _p3
    elif a == 4:
        row = _p4
    elif a == 5:
        row = _p5
    elif a == 6:
        row = _p6
    elif a == 7:
        row = _p7
    elif a == 8:
        row = _p8
    return (row >> (4 * b)) & 15


@jit
def category(dtype):
    return 0 if dtype == 0 else 2 if dtype >= FIRST_FLOAT else 1


@jit
def higher(a, b):
    """Combine two priority groups: ``b`` counts only if its category is above ``a``'s."""
    if a == NONE:
        return b
    if b == NONE or category(b) <= category(a):
        return a
    return promote(a, b)


@jit
def common_dtype(H, n, masks):
    """PyTorch's result type: tensors with dims first, then 0-dim tensors, then numbers."""
    h = words(H)
    dims = NONE
    zero = NONE
    number = NONE
    for i in range(n):
        if masks & (1 << i):
            continue
        kind = h[C_KIND + i]
        if kind == KIND_TENSOR:
            p = row_at(H, h[C_ROW + i])
            d = p[DTYPE]
            if p[NDIM] > 0:
                dims = d if dims == NONE else promote(dims, d)
            else:
                zero = d if zero == NONE else promote(zero, d)
        else:
            d = BOOL
            if kind == KIND_FLOAT:
                d = h[H_DEFAULT_DTYPE]
            elif kind == KIND_INT:
                d = INT64
            number = d if number == NONE else promote(number, d)
    return higher(higher(dims, zero), number)


# ---------------------------------------------------------------- along dims
@jit
def lanes_dtype(rule, dtype):
    """The result's dtype of an op along dims."""
    if rule == R_SUM:
        return dtype if dtype >= FIRST_FLOAT else INT64
    if rule == R_INDEX:
        return INT64
    if rule == R_TRUTH:
        return UINT8 if dtype == UINT8 else BOOL
    return dtype
