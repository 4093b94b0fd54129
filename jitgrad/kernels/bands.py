"""Sums over a window along one dim, each place with its own window and weights: a banded matrix.

Averages over windows and interpolation between neighbours are such sums, one dim after another.  Imported by
the compiler only.

Inputs: x, seen as (A, K, B); a plan (int64) and weights (float64), which hold the band and then its
transpose: of each, where the window of a place begins and how long it is (one after the other), and rows of
weights.  Attributes: A, places in, places out, B, the length of the rows of weights of the band and of the
transpose, and whether the transpose is what is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NONE, S_DATA, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, jit, words
from jitgrad.kernels.reading import dense, done
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

_A, _IN, _OUT, _B, _WIDTH, _OTHER, _TRANSPOSED = range(ATTR, ATTR + 7)

# The words of a job.
_X, _Y, _BEGIN, _LENGTH, _WEIGHTS, _ROW, _K, _N, _EACH, _COUNT, _PARTS = range(11)
_WORDS = 11

#: Elements that are worth a thread.
_THREAD = 1 << 14


@cache
def _apply(dtype: int) -> Any:
    """Jitted ``apply(H, row, x, y, transposed)``; a status."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit
    def add(y, x, w, n):
        for b in range(n):
            y[b] += w * x[b]

    @jit
    def part(job_, k):
        job = words(job_)
        begin, length, weights = words(job[_BEGIN]), words(job[_LENGTH]), float64s(job[_WEIGHTS])
        n, K, B = job[_N], job[_K], job[_EACH]
        for u in range(job[_COUNT] * k // job[_PARTS], job[_COUNT] * (k + 1) // job[_PARTS]):
            a = u // n
            j = u - a * n
            w = at(weights, j * job[_ROW])
            x = at(pointer(job[_X]), (a * K + begin[j]) * B)
            y = at(pointer(job[_Y]), u * B)
            if B == 1:
                total = 0.0
                for t in range(length[j]):
                    total += w[t] * x[t]
                y[0] = ty(total)
            else:
                for b in range(B):
                    y[b] = ty(0)
                for t in range(length[j]):
                    add(y, at(x, t * B), ty(w[t]), B)
        return 0

    run = side_by_side(part)

    @jit
    def apply(H, row, x, y, transposed):
        p = row_at(H, row)
        s = storage_new(H, _WORDS * 8)
        if s == NONE:
            return X_MEMORY
        plan = data_of(H, input_at(p, 1))
        weights = data_of(H, input_at(p, 2))
        # The band itself, whichever way the row applies it, has so many places:
        n, K = p[_OUT], p[_IN]
        if p[_TRANSPOSED] != 0:
            n = p[_IN]
            K = p[_OUT]
        job = words(store(H, s)[S_DATA])
        job[_X] = x
        job[_Y] = y
        if transposed:
            job[_BEGIN] = plan + 2 * n * 8
            job[_LENGTH] = job[_BEGIN] + K * 8
            job[_WEIGHTS] = weights + n * p[_WIDTH] * 8
            job[_ROW] = p[_OTHER]
            job[_K] = n
            job[_N] = K
        else:
            job[_BEGIN] = plan
            job[_LENGTH] = plan + n * 8
            job[_WEIGHTS] = weights
            job[_ROW] = p[_WIDTH]
            job[_K] = K
            job[_N] = n
        job[_EACH] = p[_B]
        job[_COUNT] = p[_A] * job[_N]
        if p[_B] > 0:
            job[_PARTS] = max(min(threads(H, job[_COUNT] * p[_B], _THREAD), job[_COUNT]), 1)
            run(H, store(H, s)[S_DATA], job[_PARTS])
        done(H, s)
        return 0

    return apply


def band(dtype: int) -> Kernel:
    """The sums."""
    apply = _apply(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        x, spare = dense(H, input_at(p, 0))
        if x == 0:
            return X_MEMORY
        status = apply(H, out, x, data_of(H, out), p[_TRANSPOSED] != 0)
        done(H, spare)
        return status

    return kernel


def band_dx(dtype: int) -> Kernel:
    """The transposed band applied to ``g``."""
    apply = _apply(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        return apply(H, args[0], args[3], args[2], p[_TRANSPOSED] == 0)

    return kernel
