"""The sums of `correlation` where a group has few maps, as in depthwise convolutions: plain loops over lines.

A register tile would be mostly empty there.  The jobs are the same, but for all groups at once.  Imported
by the compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.correlation import (
    BIAS,
    CHANNEL_STEP,
    CHANNELS,
    COUNT_TAPS,
    DST,
    DST_C,
    DST_N,
    DST_Q,
    GROUPS,
    IMAGES,
    MAP_STEP,
    MAPS,
    PARTS,
    PLACES,
    SPARE,
    SPARE_BYTES,
    SRC,
    SRC_C,
    SRC_N,
    SRC_Q,
    TAP_LIST,
    TAP_PICK,
    THREAD,
    WEIGHTS,
    WHOLE,
    places,
)
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, jit_sum, words
from jitgrad.kernels.tasks import side_by_side, threads


@cache
def direct_correlator(dtype: int) -> Any:
    """Jitted ``correlate(H, job)`` for all groups; 0, or 1 if memory is out."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize

    @jit
    def add(y, x, w, n):
        for j in range(n):
            y[j] += w * x[j]

    @jit
    def part(job_, k):
        job = words(job_)
        nt = job[COUNT_TAPS]
        tap, pick = words(job[TAP_LIST]), words(job[TAP_PICK])
        line = pointer(job[SPARE] + k * job[SPARE_BYTES])
        bias = pointer(job[BIAS])
        maps = job[MAPS] * job[GROUPS]
        n = job[PLACES + 2]
        count = job[IMAGES] * maps
        for i in range(count * k // job[PARTS], count * (k + 1) // job[PARTS]):
            image = i // maps
            m = i - image * maps
            group = m // job[MAPS]
            w = pointer(job[WEIGHTS])
            start = (
                group * job[MAPS] * job[CHANNELS] * job[WHOLE]
                + (m - group * job[MAPS]) * job[MAP_STEP]
            )
            src = image * job[SRC_N] + group * job[CHANNELS] * job[SRC_C]
            dst = image * job[DST_N] + m * job[DST_C]
            for a in range(job[PLACES]):
                for b in range(job[PLACES + 1]):
                    to = pointer(job[DST] + (dst + a * job[DST_Q] + b * job[DST_Q + 1]) * size)
                    y = to if job[DST_Q + 2] == 1 else line
                    first = bias[m] if job[BIAS] != 0 else ty(0)
                    for j in range(n):
                        y[j] = first
                    for c in range(job[CHANNELS]):
                        x = pointer(
                            job[SRC]
                            + (src + c * job[SRC_C] + a * job[SRC_Q] + b * job[SRC_Q + 1]) * size
                        )
                        for t in range(nt):
                            add(y, at(x, tap[t]), w[start + c * job[CHANNEL_STEP] + pick[t]], n)
                    if job[DST_Q + 2] != 1:
                        for j in range(n):
                            to[j * job[DST_Q + 2]] = y[j]
        return 0

    run = side_by_side(part)

    @jit
    def correlate(H, job_):
        job = words(job_)
        maps = job[MAPS] * job[GROUPS]
        total = job[IMAGES] * places(job) * maps
        if total == 0:
            return 0
        terms = max(job[CHANNELS] * job[COUNT_TAPS], 1)
        parts = min(threads(H, total * terms, THREAD), job[IMAGES] * maps)
        each = (job[PLACES + 2] * size + 63) // 64 * 64
        own = storage_new(H, parts * each)
        if own == NONE:
            return 1
        job[SPARE] = store(H, own)[S_DATA]
        job[SPARE_BYTES] = each
        job[PARTS] = parts
        run(H, job_, parts)
        storage_release(H, own)
        return 0

    return correlate


@cache
def direct_weights(dtype: int) -> Any:
    """Jitted ``correlate_weights(H, job)`` for all groups; 0.  Sums of lines are added in float64."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize

    @jit_sum
    def dot(x, g, n):
        total = ty(0)
        for j in range(n):
            total += x[j] * g[j]
        return total

    @jit
    def part(job_, k):
        job = words(job_)
        tap, pick = words(job[TAP_LIST]), words(job[TAP_PICK])
        maps = job[MAPS] * job[GROUPS]
        terms = job[CHANNELS] * job[COUNT_TAPS]
        count = maps * terms
        n = job[PLACES + 2]
        for i in range(count * k // job[PARTS], count * (k + 1) // job[PARTS]):
            m = i // terms
            c = (i - m * terms) // job[COUNT_TAPS]
            t = i % job[COUNT_TAPS]
            group = m // job[MAPS]
            total = 0.0
            for image in range(job[IMAGES]):
                src = image * job[SRC_N] + (group * job[CHANNELS] + c) * job[SRC_C] + tap[t]
                dst = image * job[DST_N] + m * job[DST_C]
                for a in range(job[PLACES]):
                    for b in range(job[PLACES + 1]):
                        x = job[SRC] + (src + a * job[SRC_Q] + b * job[SRC_Q + 1]) * size
                        g = job[DST] + (dst + a * job[DST_Q] + b * job[DST_Q + 1]) * size
                        total += dot(pointer(x), pointer(g), n)
            at_ = group * job[MAPS] * job[CHANNELS] * job[WHOLE]
            at_ += (m - group * job[MAPS]) * job[MAP_STEP] + c * job[CHANNEL_STEP] + pick[t]
            pointer(job[WEIGHTS])[at_] = ty(total)
        return 0

    run = side_by_side(part)

    @jit
    def correlate_weights(H, job_):
        job = words(job_)
        count = job[MAPS] * job[GROUPS] * job[CHANNELS] * job[COUNT_TAPS]
        if count > 0:
            job[PARTS] = min(threads(H, count * job[IMAGES] * places(job), THREAD), count)
            run(H, job_, job[PARTS])
        return 0

    return correlate_weights
