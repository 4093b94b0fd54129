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

    @jit
    def add_row(mean, x, n):
        for b in range(n):
            mean[b] += x[b]

    @jit
    def beside(dx, x, mean, scale, n):
        for b in range(n):
            dx[b] = ty((x[b] - mean[b]) * scale[b])

    @jit
    def slope(g, y, free, root):
        if root:
            # At zero spread the slope is taken as 0, not 0/0.
            return g / (y * free) if y != 0 else 0.0
        return g * (2.0 / free) if free > 0 else g * math.nan

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        free = R - from_bits(args[L_ATTR])
        root = args[L_ATTR + 1] == 1
        g, y = pointer(args[L_G]), pointer(args[L_Y])
        if B == 1:
            for a in range(A):
                lane = args[L_X] + a * R * size
                mean = (sum64(lane, R) if is64 else sum32(lane, R)) / R
                scale = ty(slope(g[a], y[a] if root else ty(0), free, root))
                row(pointer(args[L_DST] + a * R * size), pointer(lane), R, ty(mean), scale)
            return 0
        s = storage_new(H, 2 * B * 8)
        if s == NONE:
            return X_MEMORY
        means = float64s(store(H, s)[S_DATA])
        scales = float64s(store(H, s)[S_DATA] + B * 8)
        for a in range(A):
            for b in range(B):
                means[b] = 0.0
                k = a * B + b
                scales[b] = slope(g[k], y[k] if root else ty(0), free, root)
            for r in range(R):
                add_row(means, pointer(args[L_X] + (a * R + r) * B * size), B)
            for b in range(B):
                means[b] /= R
            for r in range(R):
                o = (a * R + r) * B * size
                beside(pointer(args[L_DST] + o), pointer(args[L_X] + o), means, scales, B)
        storage_release(H, s)
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

    @jit
    def add_squares(total, x, n):
        for b in range(n):
            total[b] += FLOAT64(x[b]) * FLOAT64(x[b])

    @jit
    def euclidean(H, args):
        A, R, B = args[L_A], args[L_R], args[L_B]
        y = pointer(args[L_DST])
        if B == 1:
            for a in range(A):
                y[a] = ty(math.sqrt(squares(pointer(args[L_X] + a * R * size), R)))
            return 0
        s = storage_new(H, B * 8)
        if s == NONE:
            return X_MEMORY
        total = float64s(store(H, s)[S_DATA])
        for a in range(A):
            for b in range(B):
                total[b] = 0.0
            for r in range(R):
                add_squares(total, pointer(args[L_X] + (a * R + r) * B * size), B)
            for b in range(B):
                y[a * B + b] = ty(math.sqrt(total[b]))
        storage_release(H, s)
        return 0

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        p = from_bits(args[L_ATTR])
        if p == 2.0:
            return euclidean(H, args)
        x = pointer(args[L_X])
        y = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                total = 0.0
                if p == -math.inf:
                    total = math.inf
                for r in range(R):
                    v = abs(FLOAT64(x[(a * R + r) * B + b]))
                    if p == 1.0:
                        total += v
                    elif p == math.inf:
                        total = v if (v > total) | (v != v) else total
                    elif p == -math.inf:
                        total = v if (v < total) | (v != v) else total
                    elif p == 0.0:
                        total += 1.0 if v != 0 else 0.0
                    else:
                        total += power(v, p)
                if p != 1.0 and p != 0.0 and abs(p) != math.inf:
                    total = power(total, 1.0 / p)
                y[a * B + b] = ty(total)
        return 0

    return kernel


def norm_dx(dtype: int) -> Kernel:
    """Gradient of `norm`; 0 where the norm is 0.  The infinity norms share it among the extremes."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    power = environment(7, {"pow"})["pow"]
    where, zero = environment(dtype, {"where"})["where"], ty(0)

    @jit
    def along(dx, x, g, y, n):
        for i in range(n):
            dx[i] = g * (x[i] / y)

    @jit
    def beside(dx, x, g, y, n):
        for b in range(n):
            dx[b] = where(y[b] == zero, zero, g[b] * (x[b] / y[b]))

    @jit
    def euclidean(args):
        A, R, B = args[L_A], args[L_R], args[L_B]
        for a in range(A):
            g, y = pointer(args[L_G] + a * B * size), pointer(args[L_Y] + a * B * size)
            if B == 1 and y[0] != zero:
                o = a * R * size
                along(pointer(args[L_DST] + o), pointer(args[L_X] + o), g[0], y[0], R)
                continue
            for r in range(R):
                o = (a * R + r) * B * size
                beside(pointer(args[L_DST] + o), pointer(args[L_X] + o), g, y, B)
        return 0

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        p = from_bits(args[L_ATTR])
        if p == 2.0:
            return euclidean(args)
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
                    elif p < 1.0 and v == 0.0:
                        d = 0.0
                    else:
                        d = c * sign * power(abs(v), p - 1.0) / power(n, p - 1.0)
                    dx[i] = ty(d)
        return 0

    return kernel
