"""For kernels that want the elements of a row in row-major order, whatever its strides.  Jitted."""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import F_CONTIGUOUS, FLAGS, NDIM, NONE, NUMEL, S_DATA, SHAPE, STRIDE
from jitgrad.arena.rows import data_of, row_at
from jitgrad.arena.shapes import dense_copy
from jitgrad.arena.storage import storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import TYPES, jit


@jit
def dense(H, r):
    """(address of a row's elements in row-major order, storage of the copy that took or NONE).

    The address is 0 if memory is out; the storage goes to `done` after use.
    """
    p = row_at(H, r)
    if p[NUMEL] == 0:
        return 64, NONE  # any address but 0: nothing is read there
    if p[FLAGS] & F_CONTIGUOUS:
        return data_of(H, r), NONE
    s = dense_copy(H, r)
    if s == NONE:
        return 0, NONE
    return store(H, s)[S_DATA], s


@jit
def done(H, s):
    """Let go of the copy that `dense` made, if any."""
    if s != NONE:
        storage_release(H, s)


@jit
def place(p, position):
    """Where element ``position`` of a row, in row-major order, lies: elements from its first."""
    offset = 0
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        up = position // p[SHAPE + d]
        offset += (position - up * p[SHAPE + d]) * p[STRIDE + d]
        position = up
    return offset


@jit
def sizes_before(p, d):
    """Product of the sizes of the dims before ``d``."""
    n = 1
    for e in range(d):
        n *= p[SHAPE + e]
    return n


@jit
def copy(dst, src, n):
    """Copy ``n`` elements between typed pointers."""
    for i in range(n):
        dst[i] = src[i]


@jit
def clear(dst, n, zero):
    """Set ``n`` elements to ``zero``, which is of their type."""
    for i in range(n):
        dst[i] = zero


@cache
def adder(dtype: int) -> Any:
    """Jitted: the sum of two elements, which for bool is whether either is set."""
    ty = TYPES[dtype]

    @jit
    def plus(a, b):
        return ty(a + b)

    @jit
    def either(a, b):
        return ty(a | b)

    return either if ALL[dtype].name == "bool" else plus
