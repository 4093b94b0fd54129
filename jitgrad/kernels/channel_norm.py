"""Kernels of batch_norm and group_norm: a channel of an image is a *run* of neighbours.

A *set* of runs is normalized together: for batch_norm a channel's runs of all images, for group_norm the
runs of some channels of one image.  Inputs: x (N, C, ...), statistics (3, sets: mean, 1 / deviation,
variance), perhaps weight and bias (C).  Attributes besides those of `statistics`: eps (float64 bits), sets
of an image (0: batch_norm), whether the statistics are given and forward only reads them.  Imported by the
compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NIN, NONE, NUMEL, S_DATA, SHAPE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, from_bits, jit, words
from jitgrad.kernels.reading import dense, done
from jitgrad.kernels.statistics import AFFINE, affine_gradient, stashed, summer
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

_EPS, _SETS, _GIVEN = ATTR + 2, ATTR + 3, ATTR + 4

# The words of a job.
_X, _G, _Y, _W, _B, _STATS, _N, _C, _S, _COUNT, _RUNS, _FIRST, _NEXT = range(13)
_EPSILON, _FIXED, _PARTS, _SUMS = range(13, 17)
_WORDS = 17

#: Elements that are worth a thread.
_THREAD = 1 << 15


@jit
def staged(H, p, x, w, b):
    """A job for the row ``p``, as a storage; NONE when memory is out."""
    s = storage_new(H, _WORDS * 8)
    if s == NONE:
        return NONE
    job = words(store(H, s)[S_DATA])
    N, C = p[SHAPE], p[SHAPE + 1]
    job[_X] = x
    job[_G] = 0
    job[_Y] = 0
    job[_W] = w
    job[_B] = b
    job[_STATS] = data_of(H, input_at(p, 1))
    job[_N] = N
    job[_C] = C
    job[_S] = p[NUMEL] // (N * C) if N * C > 0 else 0
    if p[_SETS] == 0:
        job[_COUNT] = C
        job[_RUNS] = N
        job[_FIRST] = 1
        job[_NEXT] = C
    else:
        job[_COUNT] = N * p[_SETS]
        job[_RUNS] = C // p[_SETS]
        job[_FIRST] = job[_RUNS]
        job[_NEXT] = 1
    job[_EPSILON] = p[_EPS]
    job[_FIXED] = p[_GIVEN]
    job[_PARTS] = max(min(threads(H, p[NUMEL], _THREAD), job[_COUNT]), 1)
    return s


def channel_norm(dtype: int) -> Kernel:
    """``(x - mean) / sqrt(variance + eps) * weight + bias``; writes the statistics unless they are given."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    total, squares, _ = summer(dtype)

    @jit
    def apply(y, x, n, mean, scale, shift):
        for i in range(n):
            y[i] = (x[i] - mean) * scale + shift

    @jit
    def measure(job, a):
        """Mean and variance of a set, run by run: each is read while it is in the cache."""
        S = job[_S]
        count = 0.0
        mean = 0.0
        spread = 0.0
        for i in range(job[_RUNS]):
            x = at(pointer(job[_X]), (a * job[_FIRST] + i * job[_NEXT]) * S)
            own = total(x, S) / S
            far = own - mean
            more = count + S
            spread += squares(x, S, ty(own)) + far * far * (count * S / more)
            mean += far * (S / more)
            count = more
        return mean, spread / count

    @jit
    def part(job_, k):
        job = words(job_)
        count, parts, S = job[_COUNT], job[_PARTS], job[_S]
        w, b, stats = pointer(job[_W]), pointer(job[_B]), pointer(job[_STATS])
        for a in range(count * k // parts, count * (k + 1) // parts):
            if job[_FIXED] == 0:
                mean, variance = measure(job, a)
                stats[a] = ty(mean)
                stats[count + a] = ty(1.0 / math.sqrt(variance + from_bits(job[_EPSILON])))
                stats[2 * count + a] = ty(variance)
            for i in range(job[_RUNS]):
                r = a * job[_FIRST] + i * job[_NEXT]
                c = r % job[_C]
                scale = stats[count + a]
                shift = ty(0)
                if job[_W] != 0:
                    scale *= w[c]
                if job[_B] != 0:
                    shift = b[c]
                x = at(pointer(job[_X]), r * S)
                apply(at(pointer(job[_Y]), r * S), x, S, stats[a], scale, shift)
        return 0

    run = side_by_side(part)

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] == 0:
            return 0
        ax, sx = dense(H, input_at(p, 0))
        aw, sw, ab, sb = 0, NONE, 0, NONE
        status = 0
        if p[ATTR + AFFINE] & 1:
            aw, sw = dense(H, input_at(p, 2))
            status |= aw == 0
        if p[ATTR + AFFINE] & 2:
            ab, sb = dense(H, input_at(p, p[NIN] - 1))
            status |= ab == 0
        s = staged(H, p, ax, aw, ab)
        if ax == 0 or status != 0 or s == NONE:
            status = X_MEMORY
        else:
            job = words(store(H, s)[S_DATA])
            job[_Y] = data_of(H, out)
            run(H, store(H, s)[S_DATA], job[_PARTS])
        done(H, s)
        done(H, sx)
        done(H, sw)
        done(H, sb)
        return status

    return kernel


@cache
def _gradients(dtype: int) -> Any:
    """Jitted ``gradients(H, row, g, dx)``: the stash, and dx unless its address is 0; NONE without memory."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    total, _, moment = summer(dtype)

    @jit
    def slope(dx, g, x, n, mean, by_g, by_x, all_):
        for i in range(n):
            dx[i] = g[i] * by_g + (x[i] - mean) * by_x + all_

    @jit
    def scaled(dx, g, n, by_g):
        for i in range(n):
            dx[i] = g[i] * by_g

    @jit
    def part(job_, k):
        job = words(job_)
        count, parts, S = job[_COUNT], job[_PARTS], job[_S]
        w, stats = pointer(job[_W]), pointer(job[_STATS])
        sums = float64s(job[_SUMS])
        for a in range(count * k // parts, count * (k + 1) // parts):
            mean, scale = stats[a], stats[count + a]
            both = 0.0
            alone = 0.0
            for i in range(job[_RUNS]):
                r = a * job[_FIRST] + i * job[_NEXT]
                g = at(pointer(job[_G]), r * S)
                sums[2 * r] = moment(g, at(pointer(job[_X]), r * S), S, mean) * scale
                sums[2 * r + 1] = total(g, S)
                weight = w[r % job[_C]] * 1.0 if job[_W] != 0 else 1.0
                both += sums[2 * r] * weight
                alone += sums[2 * r + 1] * weight
            if job[_Y] == 0:
                continue
            by_x = ty(-both * scale * scale / (job[_RUNS] * S))
            all_ = ty(-alone * scale / (job[_RUNS] * S))
            for i in range(job[_RUNS]):
                r = a * job[_FIRST] + i * job[_NEXT]
                by_g = scale * w[r % job[_C]] if job[_W] != 0 else scale
                dx = at(pointer(job[_Y]), r * S)
                g = at(pointer(job[_G]), r * S)
                if job[_FIXED] != 0:
                    scaled(dx, g, S, by_g)
                else:
                    slope(dx, g, at(pointer(job[_X]), r * S), S, mean, by_g, by_x, all_)
        return 0

    run = side_by_side(part)

    @jit
    def gradients(H, row, g, dx):
        p = row_at(H, row)
        N, C = p[SHAPE], p[SHAPE + 1]
        ax, sx = dense(H, input_at(p, 0))
        aw, sw = 0, NONE
        status = 0
        if p[ATTR + AFFINE] & 1:
            aw, sw = dense(H, input_at(p, 2))
            status |= aw == 0
        s = staged(H, p, ax, aw, 0)
        stash = storage_new(H, max(2 * C, 1) * 8)
        each = storage_new(H, max(2 * N * C, 1) * 8)
        if ax != 0 and status == 0 and s != NONE and stash != NONE and each != NONE:
            to = float64s(store(H, stash)[S_DATA])
            sums = float64s(store(H, each)[S_DATA])
            if p[NUMEL] > 0:
                job = words(store(H, s)[S_DATA])
                job[_G] = g
                job[_Y] = dx
                job[_SUMS] = store(H, each)[S_DATA]
                run(H, store(H, s)[S_DATA], job[_PARTS])
            else:
                N = 0
            for c in range(C):
                to[c] = 0.0
                to[C + c] = 0.0
                for n in range(N):
                    to[c] += sums[2 * (n * C + c)]
                    to[C + c] += sums[2 * (n * C + c) + 1]
        else:
            done(H, stash)
            stash = NONE
        done(H, each)
        done(H, s)
        done(H, sx)
        done(H, sw)
        return stash

    return gradients


def channel_norm_dx(dtype: int) -> Kernel:
    """As that of layer_norm, over a set; with given statistics ``g * weight / deviation``."""
    gradients = _gradients(dtype)

    def kernel(H, args_):
        args = words(args_)
        s = gradients(H, args[0], args[3], args[2])
        if s == NONE:
            return X_MEMORY
        stashed(H, row_at(H, args[0]), 0, s)
        return 0

    return kernel


def channel_norm_daffine(dtype: int) -> Kernel:
    """Of the weight ``g * y`` and of the bias ``g``, summed over a channel."""
    return affine_gradient(dtype, _gradients(dtype))
