"""Exponentials: logsumexp, softmax, log_softmax, along dims: kernels for each dtype.

Each function here makes a kernel for a dtype code; `jitgrad.arena.lanes` says what a kernel gets.  Where
B is 1 the elements of a lane are neighbours and each lane is one loop; otherwise B lanes advance together,
row by row, so that memory is still read in order.  Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jitgrad.arena.lanes import L_A, L_B, L_DST, L_G, L_R, L_X, L_Y
from jitgrad.arena.shapes import sum32, sum64
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, jit, jit_sum, words
from jitgrad.kernels.scalars import environment, larger

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)
FLOAT64 = TYPES[7]


def _exponentials(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted: largest of a lane; ``sum(exp(x - m))`` of it; the same, with ``out = exp(x - m)``."""
    ty = TYPES[dtype]
    exp = environment(dtype, {"exp"})["exp"]
    wide = TYPES[7]

    @jit
    def peak(x, n):
        best = x[0]
        for i in range(n):
            best = larger(best, x[i])
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


def logsumexp(dtype: int) -> Kernel:
    """``log(sum(exp(x)))`` without overflow."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    peak, total, _ = _exponentials(dtype)
    exp = environment(dtype, {"exp"})["exp"]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                if R == 0:
                    y[a * B + b] = ty(-math.inf)
                    continue
                if B == 1:
                    lane = pointer(args[L_X] + a * R * size)
                    m = peak(lane, R)
                    m = m if abs(m) != math.inf else ty(0)
                    y[a] = ty(math.log(total(lane, R, m)) + m)
                    continue
                m = x[a * R * B + b]
                for r in range(1, R):
                    v = x[(a * R + r) * B + b]
                    m = v if (v > m) | (v != v) else m
                m = m if abs(m) != math.inf else ty(0)
                s = 0.0
                for r in range(R):
                    s += exp(x[(a * R + r) * B + b] - m)
                y[a * B + b] = ty(math.log(s) + m)
        return 0

    return kernel


def _softmax(dtype: int, logarithm: bool) -> Kernel:
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    peak, total, fill = _exponentials(dtype)
    exp = environment(dtype, {"exp"})["exp"]

    @jit
    def scale(y, n, factor):
        for i in range(n):
            y[i] = y[i] * factor

    @jit
    def shift(x, n, by, more, y):
        for i in range(n):
            y[i] = (x[i] - by) - more

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = pointer(args[L_DST])
        if R == 0:
            return 0
        if B == 1:
            for a in range(A):
                lane = pointer(args[L_X] + a * R * size)
                out = pointer(args[L_DST] + a * R * size)
                m = peak(lane, R)
                if logarithm:
                    shift(lane, R, m, ty(math.log(total(lane, R, m))), out)
                else:
                    scale(out, R, ty(1.0 / fill(lane, R, m, out)))
            return 0
        for a in range(A):
            for b in range(B):
                m = x[a * R * B + b]
                for r in range(1, R):
                    v = x[(a * R + r) * B + b]
                    m = v if (v > m) | (v != v) else m
                s = 0.0
                for r in range(R):
                    i = (a * R + r) * B + b
                    e = exp(x[i] - m)
                    s += e
                    y[i] = ty(x[i] - m) if logarithm else e
                if logarithm:
                    s = math.log(s)
                for r in range(R):
                    i = (a * R + r) * B + b
                    y[i] = ty(y[i] - s) if logarithm else ty(y[i] / s)
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

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        g = pointer(args[L_G])
        y = pointer(args[L_Y])
        dx = pointer(args[L_DST])
        for a in range(A):
            if B == 1:
                o = a * R * size
                yl, gl = pointer(args[L_Y] + o), pointer(args[L_G] + o)
                row(pointer(args[L_DST] + o), gl, yl, R, ty(dot(gl, yl, R)))
                continue
            for b in range(B):
                s = 0.0
                for r in range(R):
                    i = (a * R + r) * B + b
                    s += g[i] * y[i]
                for r in range(R):
                    i = (a * R + r) * B + b
                    dx[i] = ty(y[i] * (g[i] - s))
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

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        g = pointer(args[L_G])
        y = pointer(args[L_Y])
        dx = pointer(args[L_DST])
        for a in range(A):
            if B == 1:
                o = a * R * size
                s = ty(run_sum(args[L_G] + o, R))
                row(pointer(args[L_DST] + o), pointer(args[L_G] + o), pointer(args[L_Y] + o), R, s)
                continue
            for b in range(B):
                t = 0.0
                for r in range(R):
                    t += g[(a * R + r) * B + b]
                for r in range(R):
                    i = (a * R + r) * B + b
                    dx[i] = ty(g[i] - exp(y[i]) * t)
        return 0

    return kernel
