"""Kernels along dims, for each dtype: reductions, softmax, cumulative sums.

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
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import POINTERS, TYPES, float64s, from_bits, jit, jit_sum, words
from jitgrad.kernels.scalars import environment, larger

Kernel = Callable[[Any, Any], Any]
ITEM = tuple(d.itemsize for d in ALL)
FLOAT64 = TYPES[7]


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

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = out(args[L_DST])
        for a in range(A):
            for b in range(B):
                total = wide_one
                for r in range(R):
                    total = total * x[(a * R + r) * B + b]
                y[a * B + b] = out_ty(total)
        return 0

    return kernel


def prod_dx(dtype: int) -> Kernel:
    """Gradient of `prod`: the product of the others, from both sides, so that zeros need no division."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        g = pointer(args[L_G])
        dx = pointer(args[L_DST])
        for a in range(A):
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


# ---------------------------------------------------------------- extremes
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
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        A, R, B = args[L_A], args[L_R], args[L_B]
        x = pointer(args[L_X])
        y = words(args[L_DST])
        for a in range(A):
            for b in range(B):
                best = x[a * R * B + b]
                where = 0
                for r in range(1, R):
                    v = x[(a * R + r) * B + b]
                    wins = (v > best) if largest else (v < best)
                    if wins | ((v != v) & (best == best)):
                        best = v
                        where = r
                y[a * B + b] = where
        return 0

    return kernel


def argmax(dtype: int) -> Kernel:
    """Position of the first largest element."""
    return _arg_extreme(dtype, True)


def argmin(dtype: int) -> Kernel:
    """Position of the first smallest element."""
    return _arg_extreme(dtype, False)


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


# ---------------------------------------------------------------- variance, norm
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


# ---------------------------------------------------------------- exponentials along a dim
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
