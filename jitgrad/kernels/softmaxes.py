"""Exponentials: logsumexp, softmax, log_softmax, along dims: kernels for each dtype.

Each function here makes a kernel for a dtype code; `jitgrad.arena.lanes` says what a kernel gets.  Where
B is 1 the elements of a lane are neighbours and each lane is one loop; otherwise B lanes advance together,
row by row, so that memory is still read in order.  Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA, X_MEMORY
from jitgrad.arena.lanes import L_A, L_B, L_DST, L_G, L_R, L_X, L_Y
from jitgrad.arena.shapes import sum32, sum64
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, jit, jit_sum, words
from jitgrad.kernels.scalars import environment, larger_or_zero

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)
FLOAT64 = TYPES[7]


@cache
def _exponentials(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted: largest of a lane; ``sum(exp(x - m))`` of it; the same, with ``out = exp(x - m)``."""
    ty = TYPES[dtype]
    exp = environment(dtype, {"exp"})["exp"]
    wide = TYPES[7]

    @jit
    def peak(x, n):
        best = x[0]
        for i in range(n):
            best = larger_or_zero(best, x[i])
        return best

    @jit_sum
    def total(x, n, m):
        s = ty(0)
        whole = wide(0)
        # Blocks: each is summed in the lane's own dtype, their totals in float64.
        for k in range((n + 255) // 256):
            s = ty(0)
            for i in range(k * 256, min(n, k * 256 + 256)):
                s += exp(x[i] - m)
            whole += wide(s)
        return whole

    @jit_sum
    def fill(x, n, m, out):
        whole = wide(0)
        for k in range((n + 255) // 256):
            s = ty(0)
            for i in range(k * 256, min(n, k * 256 + 256)):
                e = exp(x[i] - m)
                out[i] = e
                s += e
            whole += wide(s)
        return whole

    return peak, total, fill


#: Lanes side by side that advance together: what is noted of them stays in the first cache.
TOGETHER = 1024


@cache
def _columns(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted loops over a row of lanes that lie side by side: their largest, and sums of exponentials."""
    exp = environment(dtype, {"exp"})["exp"]

    @jit
    def first(m, s, x, n):
        for b in range(n):
            m[b] = x[b]
            s[b] = 0.0

    @jit
    def peaks(m, x, n):
        for b in range(n):
            m[b] = larger_or_zero(m[b], x[b])

    @jit
    def totals(s, m, x, n):
        for b in range(n):
            s[b] += FLOAT64(exp(x[b] - m[b]))

    return first, peaks, totals


def logsumexp(dtype: int) -> Kernel:
    """``log(sum(exp(x)))`` without overflow."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    peak, total, _ = _exponentials(dtype)
    first, peaks, totals = _columns(dtype)

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        y = pointer(args[L_DST])
        if R == 0:
            for k in range(A * B):
                y[k] = ty(-math.inf)
            return 0
        if B == 1:
            for a in range(A):
                lane = pointer(args[L_X] + a * R * size)
                m = peak(lane, R)
                m = m if abs(m) != math.inf else ty(0)
                y[a] = ty(math.log(total(lane, R, m)) + m)
            return 0
        notes = storage_new(H, TOGETHER * 2 * 8)
        if notes == NONE:
            return X_MEMORY
        s = float64s(store(H, notes)[S_DATA])
        m = pointer(store(H, notes)[S_DATA] + TOGETHER * 8)
        for a in range(A):
            for start in range(0, B, TOGETHER):
                n = min(TOGETHER, B - start)
                x = args[L_X] + (a * R * B + start) * size
                first(m, s, pointer(x), n)
                for r in range(1, R):
                    peaks(m, pointer(x + r * B * size), n)
                for b in range(n):
                    m[b] = m[b] if abs(m[b]) != math.inf else ty(0)
                for r in range(R):
                    totals(s, m, pointer(x + r * B * size), n)
                for b in range(n):
                    y[a * B + start + b] = ty(math.log(s[b]) + m[b])
        storage_release(H, notes)
        return 0

    return kernel


def _softmax(dtype: int, logarithm: bool) -> Kernel:
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    peak, total, fill = _exponentials(dtype)
    first, peaks, totals = _columns(dtype)
    exp = environment(dtype, {"exp"})["exp"]

    @jit
    def scale(y, n, factor):
        for i in range(n):
            y[i] = y[i] * factor

    @jit
    def shift(x, n, by, more, y):
        for i in range(n):
            y[i] = (x[i] - by) - more

    @jit
    def fill_row(y, s, m, x, n):
        for b in range(n):
            e = exp(x[b] - m[b])
            y[b] = e
            s[b] += FLOAT64(e)

    @jit
    def scale_row(y, factor, n):
        for b in range(n):
            y[b] = y[b] * factor[b]

    @jit
    def shift_row(y, x, by, more, n):
        for b in range(n):
            y[b] = (x[b] - by[b]) - more[b]

    @jit
    def lanes(args, A, R):
        for a in range(A):
            lane = pointer(args[L_X] + a * R * size)
            out = pointer(args[L_DST] + a * R * size)
            m = peak(lane, R)
            if logarithm:
                shift(lane, R, m, ty(math.log(total(lane, R, m))), out)
            else:
                scale(out, R, ty(1.0 / fill(lane, R, m, out)))

    @jit
    def columns(s, m, last, x, y, R, step, n):
        """``last`` is what is done to each row in the end: an address with room for n elements."""
        first(m, s, pointer(x), n)
        for r in range(1, R):
            peaks(m, pointer(x + r * step), n)
        if logarithm:
            for r in range(R):
                totals(s, m, pointer(x + r * step), n)
            for b in range(n):
                last[b] = ty(math.log(s[b]))
            for r in range(R):
                shift_row(pointer(y + r * step), pointer(x + r * step), m, last, n)
        else:
            for r in range(R):
                fill_row(pointer(y + r * step), s, m, pointer(x + r * step), n)
            for b in range(n):
                last[b] = ty(1.0 / s[b])
            for r in range(R):
                scale_row(pointer(y + r * step), last, n)

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        if R == 0:
            return 0
        if B == 1:
            lanes(args, A, R)
            return 0
        notes = storage_new(H, TOGETHER * 3 * 8)
        if notes == NONE:
            return X_MEMORY
        at = store(H, notes)[S_DATA]
        s, m, last = float64s(at), pointer(at + TOGETHER * 8), pointer(at + TOGETHER * 16)
        for a in range(A):
            for start in range(0, B, TOGETHER):
                o = (a * R * B + start) * size
                n = min(TOGETHER, B - start)
                columns(s, m, last, args[L_X] + o, args[L_DST] + o, R, B * size, n)
        storage_release(H, notes)
        return 0

    return kernel


def softmax(dtype: int) -> Kernel:
    """``exp(x) / sum(exp(x))``."""
    return _softmax(dtype, False)


def log_softmax(dtype: int) -> Kernel:
    """``x - logsumexp(x)``."""
    return _softmax(dtype, True)


def softmax_dx(dtype: int) -> Kernel:
    """``y (g - sum(g y))``."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]

    @jit_sum
    def dot(g, y, n):
        whole = FLOAT64(0)
        for k in range((n + 255) // 256):
            s = ty(0)
            for i in range(k * 256, min(n, k * 256 + 256)):
                s += g[i] * y[i]
            whole += FLOAT64(s)
        return whole

    @jit
    def row(dx, g, y, n, s):
        for i in range(n):
            dx[i] = y[i] * (g[i] - s)

    @jit
    def add(s, g, y, n):
        for b in range(n):
            s[b] += FLOAT64(g[b] * y[b])

    @jit
    def beside(dx, g, y, s, n):
        for b in range(n):
            dx[b] = y[b] * (g[b] - ty(s[b]))

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        dx, g, y = args[L_DST], args[L_G], args[L_Y]
        if B == 1:
            for a in range(A):
                o = a * R * size
                s = ty(dot(pointer(g + o), pointer(y + o), R))
                row(pointer(dx + o), pointer(g + o), pointer(y + o), R, s)
            return 0
        notes = storage_new(H, TOGETHER * 8)
        if notes == NONE:
            return X_MEMORY
        sums = float64s(store(H, notes)[S_DATA])
        for a in range(A):
            for start in range(0, B, TOGETHER):
                n = min(TOGETHER, B - start)
                for b in range(n):
                    sums[b] = 0.0
                for r in range(R):
                    o = ((a * R + r) * B + start) * size
                    add(sums, pointer(g + o), pointer(y + o), n)
                for r in range(R):
                    o = ((a * R + r) * B + start) * size
                    beside(pointer(dx + o), pointer(g + o), pointer(y + o), sums, n)
        storage_release(H, notes)
        return 0

    return kernel


def log_softmax_dx(dtype: int) -> Kernel:
    """``g - exp(y) sum(g)``."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    exp = environment(dtype, {"exp"})["exp"]
    run_sum = sum64 if ALL[dtype].name == "float64" else sum32

    @jit
    def row(dx, g, y, n, s):
        for i in range(n):
            dx[i] = g[i] - exp(y[i]) * s

    @jit
    def add(s, g, n):
        for b in range(n):
            s[b] += FLOAT64(g[b])

    @jit
    def beside(dx, g, y, s, n):
        for b in range(n):
            dx[b] = g[b] - exp(y[b]) * ty(s[b])

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        dx, g, y = args[L_DST], args[L_G], args[L_Y]
        if B == 1:
            for a in range(A):
                o = a * R * size
                row(pointer(dx + o), pointer(g + o), pointer(y + o), R, ty(run_sum(g + o, R)))
            return 0
        notes = storage_new(H, TOGETHER * 8)
        if notes == NONE:
            return X_MEMORY
        sums = float64s(store(H, notes)[S_DATA])
        for a in range(A):
            for start in range(0, B, TOGETHER):
                n = min(TOGETHER, B - start)
                for b in range(n):
                    sums[b] = 0.0
                for r in range(R):
                    add(sums, pointer(g + ((a * R + r) * B + start) * size), n)
                for r in range(R):
                    o = ((a * R + r) * B + start) * size
                    beside(pointer(dx + o), pointer(g + o), pointer(y + o), sums, n)
        storage_release(H, notes)
        return 0

    return kernel
