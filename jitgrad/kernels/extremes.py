"""The largest and the smallest, along dims: kernels for each dtype.

Each function here makes a kernel for a dtype code; `jitgrad.arena.lanes` says what a kernel gets.  Where
B is 1 the elements of a lane are neighbours and each lane is one loop; otherwise B lanes advance together,
row by row, so that memory is still read in order.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import X_MEMORY
from jitgrad.arena.lanes import L_A, L_B, L_DST, L_G, L_R, L_X, L_Y
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, raw_free, raw_malloc, words
from jitgrad.kernels.scalars import environment

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)
#: Lanes that advance together: their best so far stay in the L1 cache.
TILE = 512


def _extreme(dtype: int, largest: bool) -> Kernel:
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    name = "maximum" if largest else "minimum"
    best_of = environment(dtype, {name})[name]

    @jit
    def lane(x, n):
        best = x[0]
        for i in range(n):
            best = best_of(best, x[i])
        return best

    @jit
    def row(x, n, y):
        for b in range(n):
            y[b] = best_of(y[b], x[b])

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = pointer(args[L_DST])
        for a in range(A):
            if B == 1:
                y[a] = ty(lane(pointer(args[L_X] + a * R * size), R))
            else:
                for b in range(B):
                    y[a * B + b] = x[a * R * B + b]
                out = pointer(args[L_DST] + a * B * size)
                for r in range(1, R):
                    row(pointer(args[L_X] + (a * R + r) * B * size), B, out)
        return 0

    return kernel


def amax(dtype: int) -> Kernel:
    """Largest element."""
    return _extreme(dtype, True)


def amin(dtype: int) -> Kernel:
    """Smallest element."""
    return _extreme(dtype, False)


def extreme_dx(dtype: int) -> Kernel:
    """Gradient of amax and amin: shared evenly by all elements that equal the result."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = pointer(args[L_Y])
        g = pointer(args[L_G])
        dx = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                best = y[a * B + b]
                count = 0
                for r in range(R):
                    v = x[(a * R + r) * B + b]
                    count += (v == best) | ((v != v) & (best != best))
                share = g[a * B + b] / count
                for r in range(R):
                    i = (a * R + r) * B + b
                    same = (x[i] == best) | ((x[i] != x[i]) & (best != best))
                    dx[i] = ty(share if same else 0.0)
        return 0

    return kernel


def _arg_extreme(dtype: int, largest: bool) -> Kernel:
    pointer, size = POINTERS[dtype], ITEM[dtype]
    name = "maximum" if largest else "minimum"
    best_of = environment(dtype, {name})[name]

    @jit
    def lane(x, n):
        """Where the extreme is: found by a loop that is vectorised, then looked for."""
        best = x[0]
        for i in range(n):
            best = best_of(best, x[i])
        i = 0
        while x[i] != best and (x[i] == x[i] or best == best):
            i += 1
        return i

    @jit
    def row(x, n, r, best, y):
        for b in range(n):
            v, m = x[b], best[b]
            wins = ((v > m) if largest else (v < m)) | ((v != v) & (m == m))
            best[b] = v if wins else m
            y[b] = r if wins else y[b]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        y = words(args[L_DST])
        if B == 1:
            for a in range(A):
                y[a] = lane(pointer(args[L_X] + a * R * size), R)
            return 0
        block = raw_malloc(TILE * size)
        if block == 0:
            return X_MEMORY
        best = pointer(block)
        for a in range(A):
            for first in range(0, B, TILE):
                n = min(B - first, TILE)
                x = args[L_X] + (a * R * B + first) * size
                out = at(y, a * B + first)
                for b in range(n):
                    best[b] = pointer(x)[b]
                    out[b] = 0
                for r in range(1, R):
                    row(pointer(x + r * B * size), n, r, best, out)
        raw_free(block)
        return 0

    return kernel


def argmax(dtype: int) -> Kernel:
    """Position of the first largest element."""
    return _arg_extreme(dtype, True)


def argmin(dtype: int) -> Kernel:
    """Position of the first smallest element."""
    return _arg_extreme(dtype, False)
