"""Variance and norms, along dims: kernels for each dtype.

Each function here makes a kernel for a dtype code; `jitgrad.arena.lanes` says what a kernel gets.  Where
B is 1 the elements of a lane are neighbours and each lane is one loop; otherwise B lanes advance together,
row by row, so that memory is still read in order.  Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA, X_MEMORY
from jitgrad.arena.lanes import L_A, L_ATTR, L_B, L_DST, L_G, L_R, L_X, L_Y
from jitgrad.arena.shapes import sum32, sum64
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, from_bits, jit, jit_sum, words
from jitgrad.kernels.scalars import environment

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)
FLOAT64 = TYPES[7]


def var(dtype: int) -> Kernel:
    """Variance with attribute 0 as correction; attribute 1 set: its root.  Two passes, in float64."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    is64 = ALL[dtype].name == "float64"

    @jit_sum
    def squares(x, n, mean):
        total = 0.0
        for i in range(n):
            d = x[i] - mean
            total += d * d
        return total

    @jit
    def add_row(acc, x, n):
        for b in range(n):
            acc[b] += x[b]

    @jit
    def add_squares(acc, mean, x, n):
        for b in range(n):
            d = x[b] - mean[b]
            acc[b] += d * d

    @jit
    def finish(total, n, correction, root):
        free = n - correction
        v = total / free if free > 0 else (math.nan if total == 0 else total / 0.0)
        return math.sqrt(v) if root else v

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        correction = from_bits(args[L_ATTR])
        root = args[L_ATTR + 1] == 1
        y = pointer(args[L_DST])
        if B == 1:
            for a in range(A):
                lane = args[L_X] + a * R * size
                mean = (sum64(lane, R) if is64 else sum32(lane, R)) / R
                y[a] = ty(finish(squares(pointer(lane), R, mean), R, correction, root))
            return 0
        s = storage_new(H, 2 * B * 8)
        if s == NONE:
            return X_MEMORY
        mean_of = float64s(store(H, s)[S_DATA])
        total = float64s(store(H, s)[S_DATA] + B * 8)
        for a in range(A):
            for b in range(B):
                mean_of[b] = 0.0
                total[b] = 0.0
            for r in range(R):
                add_row(mean_of, pointer(args[L_X] + (a * R + r) * B * size), B)
            for b in range(B):
                mean_of[b] /= R
            for r in range(R):
                add_squares(total, mean_of, pointer(args[L_X] + (a * R + r) * B * size), B)
            for b in range(B):
                y[a * B + b] = ty(finish(total[b], R, correction, root))
        storage_release(H, s)
        return 0

    return kernel


def var_dx(dtype: int) -> Kernel:
    """Gradient of `var`, ``g * 2 (x - mean) / (R - c)``, and of its root, ``g (x - mean) / (y (R - c))``."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    is64 = ALL[dtype].name == "float64"

    @jit
    def row(dx, x, n, mean, scale):
        for i in range(n):
            dx[i] = (x[i] - mean) * scale

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        free = R - from_bits(args[L_ATTR])
        root = args[L_ATTR + 1] == 1
        x = pointer(args[L_X])
        g = pointer(args[L_G])
        y = pointer(args[L_Y])
        dx = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                k = a * B + b
                if root:
                    # At zero spread the slope is taken as 0, not 0/0.
                    scale = g[k] / (y[k] * free) if y[k] != 0 else 0.0
                else:
                    scale = g[k] * (2.0 / free) if free > 0 else g[k] * math.nan
                if B == 1:
                    lane = args[L_X] + a * R * size
                    mean = (sum64(lane, R) if is64 else sum32(lane, R)) / R
                    row(pointer(args[L_DST] + a * R * size), pointer(lane), R, ty(mean), ty(scale))
                else:
                    mean = 0.0
                    for r in range(R):
                        mean += x[(a * R + r) * B + b]
                    mean /= R
                    for r in range(R):
                        i = (a * R + r) * B + b
                        dx[i] = ty((x[i] - mean) * scale)
        return 0

    return kernel


def norm(dtype: int) -> Kernel:
    """p-norm with attribute 0 as p (2, 1, inf, -inf, 0 or any other)."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    power = environment(7, {"pow"})["pow"]

    @jit_sum
    def squares(x, n):
        total = 0.0
        for i in range(n):
            total += FLOAT64(x[i]) * FLOAT64(x[i])
        return total

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        p = from_bits(args[L_ATTR])
        x = pointer(args[L_X])
        y = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                if p == 2.0 and B == 1:
                    y[a] = ty(math.sqrt(squares(pointer(args[L_X] + a * R * size), R)))
                    continue
                total = 0.0
                if p == -math.inf:
                    total = math.inf
                for r in range(R):
                    v = abs(FLOAT64(x[(a * R + r) * B + b]))
                    if p == 2.0:
                        total += v * v
                    elif p == 1.0:
                        total += v
                    elif p == math.inf:
                        total = v if (v > total) | (v != v) else total
                    elif p == -math.inf:
                        total = v if (v < total) | (v != v) else total
                    elif p == 0.0:
                        total += 1.0 if v != 0 else 0.0
                    else:
                        total += power(v, p)
                if p == 2.0:
                    total = math.sqrt(total)
                elif p != 1.0 and p != 0.0 and abs(p) != math.inf:
                    total = power(total, 1.0 / p)
                y[a * B + b] = ty(total)
        return 0

    return kernel


def norm_dx(dtype: int) -> Kernel:
    """Gradient of `norm`; 0 where the norm is 0.  The infinity norms share it among the extremes."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    power = environment(7, {"pow"})["pow"]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        p = from_bits(args[L_ATTR])
        x = pointer(args[L_X])
        y = pointer(args[L_Y])
        g = pointer(args[L_G])
        dx = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                n = FLOAT64(y[a * B + b])
                c = FLOAT64(g[a * B + b])
                ties = 0
                if abs(p) == math.inf:
                    for r in range(R):
                        ties += abs(FLOAT64(x[(a * R + r) * B + b])) == n
                for r in range(R):
                    i = (a * R + r) * B + b
                    v = FLOAT64(x[i])
                    sign = 1.0 if v > 0 else (-1.0 if v < 0 else (0.0 if v == 0 else v))
                    d = 0.0
                    if p == 0.0:
                        d = 0.0
                    elif p == 1.0:
                        d = c * sign
                    elif abs(p) == math.inf:
                        d = c * sign / ties if abs(v) == n else 0.0
                    elif n == 0.0:
                        d = 0.0
                    elif p == 2.0:
                        d = c * (v / n)
                    elif p < 1.0 and v == 0.0:
                        d = 0.0
                    else:
                        d = c * sign * power(abs(v), p - 1.0) / power(n, p - 1.0)
                    dx[i] = ty(d)
        return 0

    return kernel
