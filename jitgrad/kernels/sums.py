"""Sums, products, running totals and whether elements are zero, along dims: kernels for each dtype.

Each function here makes a kernel for a dtype code; `jitgrad.arena.lanes` says what a kernel gets.  Where
B is 1 the elements of a lane are neighbours and each lane is one loop; otherwise B lanes advance together,
row by row, so that memory is still read in order.  Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA, X_MEMORY
from jitgrad.arena.lanes import L_A, L_ATTR, L_B, L_DST, L_G, L_R, L_X
from jitgrad.arena.shapes import sum32, sum64
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, jit, jit_sum, words

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)


# ---------------------------------------------------------------- sums
def sum_(dtype: int) -> Kernel:
    """Sum (or, with attribute 0 set, mean): float32 in float64, integers in int64."""
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]
    floating = dtype >= FIRST_FLOAT
    is64 = ALL[dtype].name == "float64"
    out, out_ty = (pointer, ty) if floating else (words, TYPES[5])
    wide, zero = (float64s, 0.0) if floating else (words, 0)
    truth = ALL[dtype].name == "bool"
    size = ITEM[dtype]

    # Not one function with both: its result would be a float64, in which large integers are rounded.
    @jit
    def whole(a, n):
        total = 0
        p = pointer(a)
        for i in range(n):
            total += (p[i] != 0) if truth else p[i]
        return total

    run = (sum64 if is64 else sum32) if floating else whole

    @jit
    def add_row(acc, a, n):
        t = wide(acc)
        p = pointer(a)
        for i in range(n):
            t[i] += (p[i] != 0) if truth else p[i]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        scale = 1.0 / R if args[L_ATTR] == 1 else 1.0
        if R == 0 and args[L_ATTR] == 1:
            scale = math.nan
        y = out(args[L_DST])
        if B == 1:
            for a in range(A):
                total = run(args[L_X] + a * R * size, R)
                if floating:
                    y[a] = out_ty(total * scale)
                else:
                    y[a] = out_ty(total)
            return 0
        s = storage_new(H, B * 8)
        if s == NONE:
            return X_MEMORY
        acc = store(H, s)[S_DATA]
        t = wide(acc)
        for a in range(A):
            for b in range(B):
                t[b] = zero
            for r in range(R):
                add_row(acc, args[L_X] + (a * R + r) * B * size, B)
            for b in range(B):
                if floating:
                    y[a * B + b] = out_ty(t[b] * scale)
                else:
                    y[a * B + b] = out_ty(t[b])
        storage_release(H, s)
        return 0

    return kernel


def prod(dtype: int) -> Kernel:
    """Product; integers in int64."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    out, out_ty = (pointer, ty) if dtype >= FIRST_FLOAT else (words, TYPES[5])
    wide_one = TYPES[7](1) if dtype >= FIRST_FLOAT else TYPES[5](1)
    size = ITEM[dtype]

    @jit_sum
    def product(x, n):
        total = wide_one
        for i in range(n):
            total = total * x[i]
        return total

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = out(args[L_DST])
        for a in range(A):
            if B == 1:
                y[a] = out_ty(product(pointer(args[L_X] + a * R * size), R))
                continue
            for b in range(B):
                total = wide_one
                for r in range(R):
                    total = total * x[(a * R + r) * B + b]
                y[a * B + b] = out_ty(total)
        return 0

    return kernel


def prod_dx(dtype: int) -> Kernel:
    """Gradient of `prod`: the product of the others, from both sides, so that zeros need no division.

    Where the product of all is far from zero and infinity, a quotient.
    """
    pointer, ty, size = POINTERS[dtype], TYPES[dtype], ITEM[dtype]

    @jit_sum
    def product(x, n):
        total = 1.0
        for i in range(n):
            total = total * x[i]
        return total

    @jit
    def quotients(dx, x, total, g, n):
        for i in range(n):
            dx[i] = ty(total / x[i] * g)

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        g = pointer(args[L_G])
        dx = pointer(args[L_DST])
        for a in range(A):
            if B == 1:
                lane = pointer(args[L_X] + a * R * size)
                total = product(lane, R)
                if abs(total) > 1e-280 and abs(total) < 1e280:
                    quotients(pointer(args[L_DST] + a * R * size), lane, total, g[a] * 1.0, R)
                    continue
            for b in range(B):
                left = 1.0
                for r in range(R):
                    i = (a * R + r) * B + b
                    dx[i] = ty(left)
                    left *= x[i]
                right = g[a * B + b] * 1.0
                for k in range(R):
                    i = (a * R + R - 1 - k) * B + b
                    dx[i] = ty(dx[i] * right)
                    right *= x[i]
        return 0

    return kernel


# ---------------------------------------------------------------- running totals
def cumsum(dtype: int) -> Kernel:
    """Running sum; integers in int64."""
    pointer = POINTERS[dtype]
    floating = dtype >= FIRST_FLOAT
    out, out_ty = (pointer, TYPES[dtype]) if floating else (words, TYPES[5])
    zero = 0.0 if floating else 0

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = out(args[L_DST])
        for a in range(A):
            for b in range(B):
                t = zero
                for r in range(R):
                    i = (a * R + r) * B + b
                    t += x[i]
                    y[i] = out_ty(t)
        return 0

    return kernel


def cumsum_dx(dtype: int) -> Kernel:
    """The running sum from the other end."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        g = pointer(args[L_G])
        dx = pointer(args[L_DST])
        for a in range(A):
            for b in range(B):
                t = 0.0
                for k in range(R):
                    i = (a * R + R - 1 - k) * B + b
                    t += g[i]
                    dx[i] = ty(t)
        return 0

    return kernel


# ---------------------------------------------------------------- truth
def _truth(dtype: int, every: bool) -> Kernel:
    pointer = POINTERS[dtype]
    out = POINTERS[1]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = out(args[L_DST])
        for a in range(A):
            for b in range(B):
                found = 0
                for r in range(R):
                    found += (x[(a * R + r) * B + b] != 0) != every
                if every:
                    y[a * B + b] = 1 if found == 0 else 0
                else:
                    y[a * B + b] = 1 if found > 0 else 0
        return 0

    return kernel


def all_(dtype: int) -> Kernel:
    """Whether no element is zero."""
    return _truth(dtype, True)


def any_(dtype: int) -> Kernel:
    """Whether some element is not zero."""
    return _truth(dtype, False)
