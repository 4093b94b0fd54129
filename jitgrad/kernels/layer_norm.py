"""Kernels of layer_norm and rms_norm: lines of neighbours, each normalized by itself.

Inputs: x, statistics (2, lines: mean, 1 / deviation), perhaps weight and bias of a line's size.  Attributes
besides those of `statistics`: eps (float64 bits), whether the mean is taken off, elements of a line.
Imported by the compiler only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NIN, NONE, NUMEL, S_DATA, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, from_bits, jit, jit_sum, words
from jitgrad.kernels.reading import dense, done
from jitgrad.kernels.statistics import AFFINE, affine_gradient, stashed, summer
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

_EPS, _CENTRED, _LINE = ATTR + 2, ATTR + 3, ATTR + 4

# The words of a job.
_X, _G, _Y, _W, _B, _STATS, _LINES, _R, _EPSILON, _MEAN, _PARTS, _SUMS = range(12)
_WORDS = 12

#: Elements that are worth a thread, and lines whose gradients are added up in the dtype.
_THREAD = 1 << 15
_TOGETHER = 16


@jit
def staged(H, p, x, w, b):
    """A job for the row ``p``, as a storage; NONE when memory is out."""
    s = storage_new(H, _WORDS * 8)
    if s == NONE:
        return NONE
    job = words(store(H, s)[S_DATA])
    job[_X] = x
    job[_G] = 0
    job[_Y] = 0
    job[_W] = w
    job[_B] = b
    job[_STATS] = data_of(H, input_at(p, 1))
    job[_R] = p[_LINE]
    job[_LINES] = p[NUMEL] // p[_LINE] if p[_LINE] > 0 else 0
    job[_EPSILON] = p[_EPS]
    job[_MEAN] = p[_CENTRED]
    job[_PARTS] = max(min(threads(H, p[NUMEL], _THREAD), job[_LINES]), 1)
    return s


def layer_norm(dtype: int) -> Kernel:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` of each line; writes the statistics."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    total, squares, _ = summer(dtype)

    @jit
    def apply(y, x, w, b, n, mean, scale, has_w, has_b):
        for i in range(n):
            v = (x[i] - mean) * scale
            if has_w:
                v *= w[i]
            if has_b:
                v += b[i]
            y[i] = v

    @jit
    def part(job_, k):
        job = words(job_)
        R, lines, parts = job[_R], job[_LINES], job[_PARTS]
        w, b = pointer(job[_W]), pointer(job[_B])
        stats = pointer(job[_STATS])
        eps = from_bits(job[_EPSILON])
        for a in range(lines * k // parts, lines * (k + 1) // parts):
            x = at(pointer(job[_X]), a * R)
            mean = total(x, R) / R if job[_MEAN] != 0 else 0.0
            scale = 1.0 / math.sqrt(squares(x, R, ty(mean)) / R + eps)
            stats[a] = ty(mean)
            stats[lines + a] = ty(scale)
            y = at(pointer(job[_Y]), a * R)
            apply(y, x, w, b, R, ty(mean), ty(scale), job[_W] != 0, job[_B] != 0)
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
    size = ALL[dtype].itemsize

    @jit_sum
    def sums_of(g, w, x, n, mean, has_w):
        """Of a line the sums of h and of h times the distance from the mean, where h is g times weight."""
        alone = ty(0)
        both = ty(0)
        for i in range(n):
            h = g[i] * w[i] if has_w else g[i]
            alone += h
            both += h * (x[i] - mean)
        return alone, both

    @jit
    def slope(dx, g, w, x, n, mean, scale, by_x, all_, has_w):
        for i in range(n):
            d = g[i] * w[i] if has_w else g[i]
            dx[i] = d * scale + (x[i] - mean) * by_x + all_

    @jit
    def add(dw, db, g, x, n, mean, scale):
        for i in range(n):
            dw[i] += g[i] * ((x[i] - mean) * scale)
            db[i] += g[i]

    @jit
    def move(to, of, n):
        """Add to float64 what was added up in the dtype, and begin anew there."""
        for i in range(n):
            to[i] += of[i]
        for i in range(n):
            of[i] = ty(0)

    @jit
    def part(job_, k):
        job = words(job_)
        R, lines, parts = job[_R], job[_LINES], job[_PARTS]
        w = pointer(job[_W])
        has_w = job[_W] != 0
        stats = pointer(job[_STATS])
        # Of each part: float64 sums of weight and bias, then the same in the dtype.
        own = job[_SUMS] + k * 2 * R * (8 + size)
        wide = float64s(own)
        dw, db = pointer(own + 2 * R * 8), pointer(own + 2 * R * 8 + R * size)
        for i in range(2 * R):
            wide[i] = 0.0
            dw[i] = ty(0)
        waiting = 0
        for a in range(lines * k // parts, lines * (k + 1) // parts):
            x = at(pointer(job[_X]), a * R)
            g = at(pointer(job[_G]), a * R)
            mean, scale = stats[a], stats[lines + a]
            if job[_Y] != 0:
                wide_scale = scale * 1.0
                alone, both = sums_of(g, w, x, R, mean, has_w)
                first = -wide_scale * wide_scale * wide_scale / R * both
                rest = -wide_scale / R * alone if job[_MEAN] != 0 else 0.0
                dx = at(pointer(job[_Y]), a * R)
                slope(dx, g, w, x, R, mean, scale, ty(first), ty(rest), has_w)
            add(dw, db, g, x, R, mean, scale)
            waiting += 1
            if waiting == _TOGETHER:
                move(wide, dw, 2 * R)
                waiting = 0
        move(wide, dw, 2 * R)
        return 0

    run = side_by_side(part)

    @jit
    def gradients(H, row, g, dx):
        p = row_at(H, row)
        R = p[_LINE]
        ax, sx = dense(H, input_at(p, 0))
        aw, sw = 0, NONE
        status = 0
        if p[ATTR + AFFINE] & 1:
            aw, sw = dense(H, input_at(p, 2))
            status |= aw == 0
        s = staged(H, p, ax, aw, 0)
        sums = NONE
        if ax != 0 and status == 0 and s != NONE:
            parts = words(store(H, s)[S_DATA])[_PARTS]
            sums = storage_new(H, max(parts * 2 * R * (8 + size), 1))
        if sums != NONE:
            job = words(store(H, s)[S_DATA])
            job[_G] = g
            job[_Y] = dx
            job[_SUMS] = store(H, sums)[S_DATA]
            run(H, store(H, s)[S_DATA], job[_PARTS])
            to = float64s(job[_SUMS])
            for k in range(1, job[_PARTS]):
                of = float64s(job[_SUMS] + k * 2 * R * (8 + size))
                for i in range(2 * R):
                    to[i] += of[i]
        done(H, s)
        done(H, sx)
        done(H, sw)
        return sums

    return gradients


def layer_norm_dx(dtype: int) -> Kernel:
    """``(h - mean(h) - y * mean(h * y)) / deviation`` with ``h = g * weight``; y before weight and bias."""
    gradients = _gradients(dtype)

    def kernel(H, args_):
        args = words(args_)
        s = gradients(H, args[0], args[3], args[2])
        if s == NONE:
            return X_MEMORY
        stashed(H, row_at(H, args[0]), 0, s)
        return 0

    return kernel


def layer_norm_daffine(dtype: int) -> Kernel:
    """Of the weight ``g * y`` and of the bias ``g``, summed over the lines."""
    return affine_gradient(dtype, _gradients(dtype))
