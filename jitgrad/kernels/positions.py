"""Kernels that make positions: where elements are not zero, and several index tensors as one.

Forward only, ``kernel(H, row)``: positions are integers.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    H_DETAIL,
    NDIM,
    NIN,
    NUMEL,
    SHAPE,
    STRIDE,
    X_INDEX,
    X_MEMORY,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.kernels.lowlevel import POINTERS, TYPES, jit, jit_sum, words
from jitgrad.kernels.reading import dense, done

Kernel = Callable[[Any, Any], Any]


def count_nonzero(dtype: int) -> Kernel:
    """How many elements of the input are not zero (int64)."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit_sum
    def count(x, n):
        found = 0
        for i in range(n):
            found += x[i] != ty(0)
        return found

    def kernel(H, out):
        r = input_at(row_at(H, out), 0)
        source, spare = dense(H, r)
        if source == 0:
            return X_MEMORY
        words(data_of(H, out))[0] = count(pointer(source), row_at(H, r)[NUMEL])
        done(H, spare)
        return 0

    return kernel


def nonzero(dtype: int) -> Kernel:
    """Where they are: flat positions (n), or coordinates (n, dims) if attribute 0 is set.

    The result has as many rows as `count_nonzero` has counted.  Should the memory have changed since,
    there are too many or too few: none is written beyond the end, and zeros fill the rest.
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit
    def flat(y, x, size, n):
        """Write where ``x`` is not zero; how many were written."""
        found = 0
        i = 0
        # Every position is written and only those that count are kept: a branch on random data costs
        # more than it saves.
        while i < size and found < n:
            y[found] = i
            found += x[i] != ty(0)
            i += 1
        return found

    @jit
    def coordinates(y, q, n):
        """Turn ``n`` flat positions into as many rows of coordinates, from the last to the first."""
        for r in range(n):
            k = n - 1 - r
            i = y[k]
            for e in range(q[NDIM]):
                d = q[NDIM] - 1 - e
                up = i // q[SHAPE + d]
                y[k * q[NDIM] + d] = i - up * q[SHAPE + d]
                i = up

    def kernel(H, out):
        p = row_at(H, out)
        r = input_at(p, 0)
        q = row_at(H, r)
        if p[NUMEL] == 0:
            return 0
        source, spare = dense(H, r)
        if source == 0:
            return X_MEMORY
        y = words(data_of(H, out))
        n = p[SHAPE]
        found = flat(y, pointer(source), q[NUMEL], n)
        for i in range(found, n):
            y[i] = 0
        if p[ATTR] != 0:
            coordinates(y, q, n)
        done(H, spare)
        return 0

    return kernel


def combine(dtype: int) -> Kernel:
    """Index tensors, broadcast, as one: the sum of each times its stride.

    Attributes: for each input the size of what it indexes and the stride.  Negative indices are wrapped.
    """

    @jit
    def row_offset(p, q, row):
        """Where row ``row`` of the result starts in an input that is broadcast to it."""
        lead = p[NDIM] - q[NDIM]
        offset = 0
        for k in range(1, p[NDIM]):
            d = p[NDIM] - 1 - k
            up = row // p[SHAPE + d]
            if d >= lead and q[SHAPE + d - lead] != 1:
                offset += (row - up * p[SHAPE + d]) * q[STRIDE + d - lead]
            row = up
        return offset

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] == 0:
            return 0
        y = words(data_of(H, out))
        width = p[SHAPE + p[NDIM] - 1] if p[NDIM] > 0 else 1
        for j in range(p[NIN]):
            r = input_at(p, j)
            q = row_at(H, r)
            size, stride = p[ATTR + 2 * j], p[ATTR + 2 * j + 1]
            x = words(data_of(H, r))
            last = q[NDIM] - 1
            step = q[STRIDE + last] if last >= 0 and q[SHAPE + last] != 1 else 0
            for row in range(p[NUMEL] // width):
                first = row_offset(p, q, row)
                for c in range(width):
                    i = x[first + c * step]
                    if i < -size or i >= size:
                        h = words(H)
                        h[H_DETAIL] = j
                        h[H_DETAIL + 1] = i
                        h[H_DETAIL + 2] = size
                        return X_INDEX
                    part = (i + size if i < 0 else i) * stride
                    k = row * width + c
                    y[k] = part if j == 0 else y[k] + part
        return 0

    return kernel
