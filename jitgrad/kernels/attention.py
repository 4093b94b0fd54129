"""Kernels of attention: softmax of the scores times the values, some queries at a time.

Inputs: queries (..., L, E), what is kept of each query's softmax (..., L), keys (..., S, E), values
(..., S, V).  Attributes besides those of `statistics`: the factor of the scores (float64 bits), whether a
query sees only the keys up to its own place.  Forward keeps the logarithm of each query's sum of
exponentials, from which backward makes the weights anew: nothing of size L x S outlives a kernel.
Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    NDIM,
    NONE,
    NUMEL,
    S_DATA,
    SHAPE,
    STRIDE,
    X_MEMORY,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.gemm import gemm_of
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, from_bits, jit, jit_sum, words
from jitgrad.kernels.reading import done
from jitgrad.kernels.scalars import environment
from jitgrad.kernels.statistics import STASH, stashed
from jitgrad.kernels.tiles import lanes, peak_lanes

Kernel = Callable[[Any, Any], Any]

_FACTOR, _CAUSAL = ATTR + 2, ATTR + 3
_Q, _STATS, _K, _V = 0, 1, 2, 3

#: Queries whose scores are computed together.
_TOGETHER = 64
#: Elements of the widest vector.
_VECTOR = 16


@jit
def matrices(p):
    """How many matrices a row has: the product of its sizes but for the last two."""
    n = 1
    for d in range(p[NDIM] - 2):
        n *= p[SHAPE + d]
    return n


@jit
def matrix(p, z):
    """Where matrix ``z`` of a row begins, in elements from the row's first."""
    offset = 0
    for e in range(p[NDIM] - 2):
        d = p[NDIM] - 3 - e
        up = z // p[SHAPE + d]
        offset += (z - up * p[SHAPE + d]) * p[STRIDE + d]
        z = up
    return offset


@jit
def sizes(H, p):
    """(L, E, S, V) of an attention's row."""
    q, v = row_at(H, input_at(p, _Q)), row_at(H, input_at(p, _V))
    last = SHAPE + p[NDIM] - 1
    return p[last - 1], q[last], v[last - 1], v[last]


@jit
def seen(causal, i, S):
    """How many keys query ``i`` sees."""
    return min(i + 1, S) if causal != 0 else S


@jit
def whole(n, keys):
    """``n`` up to full vectors: the exponentials of a remainder are taken one by one, and cost more."""
    return min((n + _VECTOR - 1) // _VECTOR * _VECTOR, keys)


@cache
def _exponentials(dtype: int) -> tuple[Any, Any]:
    """Jitted: ``x = exp(x - m)``, and the sum of that; the same without the sum."""
    ty = TYPES[dtype]
    exp = environment(dtype, {"exp"})["exp"]

    @jit_sum
    def fill(x, n, m):
        total = 0.0
        for k in range((n + 255) // 256):
            s = ty(0)
            for i in range(k * 256, min(n, k * 256 + 256)):
                e = exp(x[i] - m)
                x[i] = e
                s += e
            total += s
        return total

    @jit
    def apart(x, n, m):
        for i in range(n):
            x[i] = exp(x[i] - m)

    return fill, apart


def attention(dtype: int) -> Kernel:
    """``softmax(factor * q @ k^T) @ v``."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    gemm = gemm_of(dtype)
    fill, _ = _exponentials(dtype)

    vectors = peak_lanes(dtype)
    v_ = lanes(dtype)

    @jit
    def peak(x_, n):
        """The largest of n elements; a NaN shows in the sum of exponentials anyway."""
        full = n // v_
        best = vectors(x_, full)
        x = pointer(x_)
        for i in range(full * v_, n):
            best = max(best, x[i])
        return best

    @jit
    def scale(x, n, by):
        for i in range(n):
            x[i] *= by

    def kernel(H, out):
        p = row_at(H, out)
        L, E, S, V = sizes(H, p)
        rq, rk, rv = input_at(p, _Q), input_at(p, _K), input_at(p, _V)
        q, k, v = row_at(H, rq), row_at(H, rk), row_at(H, rv)
        last = STRIDE + p[NDIM] - 1
        factor, causal = from_bits(p[_FACTOR]), p[_CAUSAL]
        count = matrices(p)
        aq, ak, av = data_of(H, rq), data_of(H, rk), data_of(H, rv)
        y, kept = data_of(H, out), pointer(data_of(H, input_at(p, _STATS)))
        s = storage_new(H, _TOGETHER * (8 + S * size))
        if s == NONE:
            return X_MEMORY
        by = float64s(store(H, s)[S_DATA])
        scores = store(H, s)[S_DATA] + _TOGETHER * 8
        status = 0
        for z in range(count):
            qz = aq + matrix(q, z) * size
            kz = ak + matrix(k, z) * size
            vz = av + matrix(v, z) * size
            for first in range(0, L, _TOGETHER):
                rows = min(L - first, _TOGETHER)
                keys = seen(causal, first + rows - 1, S)
                status |= gemm(
                    H, rows, keys, E, factor, qz + first * q[last - 1] * size, q[last - 1], q[last],
                    kz, k[last], k[last - 1], 0.0, scores,
                )  # fmt: skip
                for i in range(rows):
                    x = pointer(scores + i * keys * size)
                    n = seen(causal, first + i, S)
                    end = whole(n, keys)
                    for j in range(n, end):
                        x[j] = ty(-math.inf)
                    m = peak(scores + i * keys * size, end)
                    m = m if abs(m) != math.inf else ty(0)
                    total = fill(x, end, m)
                    for j in range(n, keys):
                        x[j] = ty(0)
                    by[i] = 1.0 / total if total != 0.0 else math.nan
                    kept[z * L + first + i] = (
                        ty(math.log(total) + m) if total > 0.0 else ty(math.nan)
                    )
                status |= gemm(
                    H, rows, V, keys, 1.0, scores, keys, 1, vz, v[last - 1], v[last], 0.0,
                    y + (z * L + first) * V * size,
                )  # fmt: skip
                for i in range(rows):
                    scale(pointer(y + (z * L + first + i) * V * size), V, ty(by[i]))
        done(H, s)
        return status

    return kernel


@cache
def _gradients(dtype: int) -> Any:
    """Jitted ``gradients(H, row, g, dq)``: a storage of the keys' and the values' gradients, or NONE.

    The queries' gradient is written unless the address is 0.
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    gemm = gemm_of(dtype)
    _, apart = _exponentials(dtype)

    @jit_sum
    def product(x, y, n):
        total = ty(0)
        for i in range(n):
            total += x[i] * y[i]
        return total

    @jit
    def slope(d, x, n, mean, factor):
        for i in range(n):
            d[i] = x[i] * (d[i] - mean) * factor

    @jit
    def gradients(H, row, g, dq):
        p = row_at(H, row)
        L, E, S, V = sizes(H, p)
        rq, rk, rv = input_at(p, _Q), input_at(p, _K), input_at(p, _V)
        count = matrices(p)
        kept = pointer(data_of(H, input_at(p, _STATS)))
        found = storage_new(H, max(count * S * (E + V), 1) * size)
        spare = storage_new(H, max(2 * _TOGETHER * S, 1) * size)
        if found == NONE or spare == NONE:
            done(H, found)
            done(H, spare)
            return NONE
        q, k, v = row_at(H, rq), row_at(H, rk), row_at(H, rv)
        aq, ak, av = data_of(H, rq), data_of(H, rk), data_of(H, rv)
        last = STRIDE + p[NDIM] - 1
        factor, causal = from_bits(p[_FACTOR]), p[_CAUSAL]
        dk = store(H, found)[S_DATA]
        dv = dk + count * S * E * size
        sums = pointer(dk)
        for i in range(count * S * (E + V)):
            sums[i] = ty(0)
        weights = store(H, spare)[S_DATA]
        slopes = weights + _TOGETHER * S * size
        status = 0
        for z in range(count):
            qz = aq + matrix(q, z) * size
            kz = ak + matrix(k, z) * size
            vz = av + matrix(v, z) * size
            for first in range(0, L, _TOGETHER):
                rows = min(L - first, _TOGETHER)
                keys = seen(causal, first + rows - 1, S)
                qb = qz + first * q[last - 1] * size
                gb = g + (z * L + first) * V * size
                status |= gemm(
                    H, rows, keys, E, factor, qb, q[last - 1], q[last],
                    kz, k[last], k[last - 1], 0.0, weights,
                )  # fmt: skip
                status |= gemm(
                    H, rows, keys, V, 1.0, gb, V, 1, vz, v[last], v[last - 1], 0.0, slopes
                )
                for i in range(rows):
                    x, d = pointer(weights + i * keys * size), pointer(slopes + i * keys * size)
                    n = seen(causal, first + i, S)
                    for j in range(n, whole(n, keys)):
                        x[j] = ty(-math.inf)
                        d[j] = ty(0)
                    end = whole(n, keys)
                    apart(x, end, kept[z * L + first + i])
                    slope(d, x, end, product(x, d, end), ty(factor))
                    for j in range(n, keys):
                        x[j] = ty(0)
                        d[j] = ty(0)
                status |= gemm(
                    H, keys, V, rows, 1.0, weights, 1, keys, gb, V, 1, 1.0, dv + z * S * V * size
                )
                status |= gemm(
                    H, keys, E, rows, 1.0, slopes, 1, keys, qb, q[last - 1], q[last], 1.0,
                    dk + z * S * E * size,
                )  # fmt: skip
                if dq != 0:
                    status |= gemm(
                        H, rows, E, keys, 1.0, slopes, keys, 1, kz, k[last - 1], k[last], 0.0,
                        dq + (z * L + first) * E * size,
                    )  # fmt: skip
        done(H, spare)
        if status != 0:
            done(H, found)
            return NONE
        return found

    return gradients


def attention_dq(dtype: int) -> Kernel:
    """``factor * (p * (g @ v^T - sum(p * g @ v^T))) @ k`` with the weights ``p``."""
    gradients = _gradients(dtype)

    def kernel(H, args_):
        args = words(args_)
        s = gradients(H, args[0], args[3], args[2])
        if s == NONE:
            return X_MEMORY
        stashed(H, row_at(H, args[0]), args[1], s)
        return 0

    return kernel


def attention_dkv(dtype: int) -> Kernel:
    """The gradients of keys and values, which the queries' left behind if it was asked for."""
    gradients = _gradients(dtype)
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        s = p[ATTR + STASH]
        if s == NONE:
            s = gradients(H, args[0], args[3], 0)
            if s == NONE:
                return X_MEMORY
            p = row_at(H, args[0])
        n = row_at(H, input_at(p, args[1]))[NUMEL]
        first = 0 if args[1] == _K else row_at(H, input_at(p, _K))[NUMEL]
        of = at(pointer(store(H, s)[S_DATA]), first)
        to = pointer(args[2])
        for i in range(n):
            to[i] = of[i]
        stashed(H, p, args[1], s)
        return 0

    return kernel
