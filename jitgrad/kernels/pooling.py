"""Kernels of max_pool and adaptive_max_pool: the largest element of each window, and where it stands.

Inputs: x, whose last dims (attribute 0: how many, 1 to 3) are pooled; positions (int64, of the result's
shape), which forward writes: of each window's largest element among those of the last dims; windows
(int64): for three dims, the missing ones in front with one window, where each begins and how many elements
it has, one list after the other.  Attributes 1 to 3: how far a window's elements lie apart.  Imported by the
compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NDIM, NONE, NUMEL, S_DATA, SHAPE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, words
from jitgrad.kernels.reading import clear, dense, done
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

_DIMS, _APART = ATTR, ATTR + 1

# The words of a job; sizes have 3 words.
_X, _Y, _WHERE, _WINDOWS, _PLANES, _PARTS, _IN, _OUT, _STEP = 0, 1, 2, 3, 4, 5, 6, 9, 12
_WORDS = 15

#: Elements that are worth a thread.
_THREAD = 1 << 14


@cache
def _scan(dtype: int) -> Any:
    """Jitted: one line of windows, whose rows and planes are given."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    lowest = -math.inf if dtype >= FIRST_FLOAT else 0
    if ALL[dtype].name.startswith("int"):
        lowest = -(1 << (8 * ALL[dtype].itemsize - 1))

    @jit
    def scan(y, where, plane, job, begin, length, d0, n0, h0, n1):
        H1, W = job[_IN + 1], job[_IN + 2]
        sd, sh, sw = job[_STEP], job[_STEP + 1], job[_STEP + 2]
        for j in range(job[_OUT + 2]):
            w0 = begin[j]
            # Widely spaced elements may all miss the input: nothing is read then.
            best = ty(lowest)
            place = -1
            if n0 > 0 and n1 > 0 and length[j] > 0:
                place = (d0 * H1 + h0) * W + w0
                best = plane[place]
            for a in range(n0):
                for b in range(n1):
                    line = ((d0 + a * sd) * H1 + h0 + b * sh) * W + w0
                    for c in range(length[j]):
                        v = plane[line + c * sw]
                        if (v > best) | (v != v):
                            best = v
                            place = line + c * sw
            y[j] = best
            where[j] = place

    @jit
    def part(job_, k):
        job = words(job_)
        o0, o1, o2 = job[_OUT], job[_OUT + 1], job[_OUT + 2]
        windows = words(job[_WINDOWS])
        second = at(windows, 2 * o0)
        third = at(second, 2 * o1)
        each = job[_IN] * job[_IN + 1] * job[_IN + 2]
        for i in range(job[_PLANES] * k // job[_PARTS], job[_PLANES] * (k + 1) // job[_PARTS]):
            plane = at(pointer(job[_X]), i * each)
            for a in range(o0):
                for b in range(o1):
                    start = ((i * o0 + a) * o1 + b) * o2
                    scan(
                        at(pointer(job[_Y]), start),
                        at(words(job[_WHERE]), start),
                        plane,
                        job,
                        third,
                        at(third, o2),
                        windows[a],
                        windows[o0 + a],
                        second[b],
                        second[o1 + b],
                    )
        return 0

    return part


def max_pool(dtype: int) -> Kernel:
    """The largest elements; the first of equal ones counts, and the last NaN."""
    run = side_by_side(_scan(dtype))

    def kernel(H, out):
        p = row_at(H, out)
        q = row_at(H, input_at(p, 0))
        if p[NUMEL] == 0:
            return 0
        x, spare = dense(H, input_at(p, 0))
        s = storage_new(H, _WORDS * 8)
        if x == 0 or s == NONE:
            done(H, spare)
            done(H, s)
            return X_MEMORY
        job = words(store(H, s)[S_DATA])
        job[_X] = x
        job[_Y] = data_of(H, out)
        job[_WHERE] = data_of(H, input_at(p, 1))
        job[_WINDOWS] = data_of(H, input_at(p, 2))
        each = 1
        for d in range(3):
            e = SHAPE + p[NDIM] - 3 + d
            there = d >= 3 - p[_DIMS]
            job[_IN + d] = q[e] if there else 1
            job[_OUT + d] = p[e] if there else 1
            job[_STEP + d] = p[_APART + d]
            each *= job[_OUT + d]
        job[_PLANES] = p[NUMEL] // each
        job[_PARTS] = max(min(threads(H, q[NUMEL], _THREAD), job[_PLANES]), 1)
        run(H, store(H, s)[S_DATA], job[_PARTS])
        done(H, s)
        done(H, spare)
        return 0

    return kernel


def max_pool_dx(dtype: int) -> Kernel:
    """``g`` at the positions of the largest elements, added up where windows share one."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        q = row_at(H, input_at(p, 0))
        dx = pointer(args[2])
        clear(dx, q[NUMEL], ty(0))
        if p[NUMEL] == 0:
            return 0
        planes = 1
        for d in range(p[NDIM] - p[_DIMS]):
            planes *= p[SHAPE + d]
        n = p[NUMEL] // planes
        each = q[NUMEL] // planes
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        g = pointer(args[3])
        where = words(source)
        for i in range(planes):
            to = at(dx, i * each)
            for j in range(n):
                # Out of range only if a user wrote into the positions that were given out.
                k = where[i * n + j]
                if k >= 0 and k < each:
                    to[k] += g[i * n + j]
        done(H, spare)
        return 0

    return kernel
