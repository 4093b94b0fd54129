"""Convolutions as products of matrices: every window written out as a column, BLAS does the rest.

For few places, where tiles would spend their time on bringing the weights into their order.  The columns
are (channel, tap) by (image, place); a plan's job says where their elements lie in the source, which stands
in zeros.  Imported by the compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import NONE, S_DATA, X_MEMORY
from jitgrad.arena.storage import storage_new, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.correlation import (
    CHANNELS,
    COUNT_TAPS,
    DST,
    DST_C,
    DST_N,
    GROUPS,
    MAPS,
    PACKED,
    PARTS,
    SPARE,
    SRC,
    SRC_C,
    SRC_N,
    SRC_Q,
    TAP_LIST,
    THREAD,
    WEIGHTS,
)
from jitgrad.kernels.gemm import gemm_of
from jitgrad.kernels.lowlevel import POINTERS, TYPES, jit, words
from jitgrad.kernels.plans import (
    BEFORE,
    C_,
    EXTENT,
    I_,
    LINE,
    N_,
    O_,
    PLANE,
    S_,
    frame,
    steps,
    volume,
)
from jitgrad.kernels.reading import done
from jitgrad.kernels.tasks import side_by_side, threads
from jitgrad.kernels.tiles import copy_lanes, lanes

#: Columns of a product, at most; the least of its rows and terms.
MOST_PLACES = 1024
LEAST_MAPS = 8


@cache
def column_operations(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted `convolve`, `spread` and `weigh` of `convolution`, for a plan whose windows are staged."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    v = lanes(dtype)
    gemm = gemm_of(dtype)
    copy, add = copy_lanes(dtype), copy_lanes(dtype, adding=True)

    @jit
    def lines(plan, list_):
        """The places as runs of neighbours, at most a vector long: where each starts, and its length."""
        found = 0
        for n in range(plan[N_]):
            for a in range(plan[O_]):
                for b in range(plan[O_ + 1]):
                    start = n * plan[SRC_N] + a * plan[SRC_Q] + b * plan[SRC_Q + 1]
                    for c in range(0, plan[O_ + 2], v):
                        list_[2 * found] = start + c
                        list_[2 * found + 1] = min(plan[O_ + 2] - c, v)
                        found += 1
        return found

    @jit
    def unfold(job_, k):
        """Write the columns' rows of some channels."""
        plan = words(job_)
        nt = plan[COUNT_TAPS]
        tap = words(plan[TAP_LIST])
        begin, end = plan[CHANNELS] * k // plan[PARTS], plan[CHANNELS] * (k + 1) // plan[PARTS]
        total = plan[N_] * volume(plan, O_)
        list_ = words(plan[SPARE] + k * total * 16)
        count = lines(plan, list_)
        at = plan[PACKED] + begin * nt * total * size
        for c in range(begin, end):
            for t in range(nt):
                src = plan[SRC] + (c * plan[SRC_C] + tap[t]) * size
                for i in range(count):
                    length = list_[2 * i + 1]
                    x = src + list_[2 * i] * size
                    if length == v:
                        copy(at, x, v)
                    else:
                        copy(at, x, length)
                    at += length * size
        return 0

    @jit
    def fold(job_, k):
        """Add the columns' rows of some channels to where their elements lie."""
        plan = words(job_)
        nt = plan[COUNT_TAPS]
        tap = words(plan[TAP_LIST])
        begin, end = plan[CHANNELS] * k // plan[PARTS], plan[CHANNELS] * (k + 1) // plan[PARTS]
        total = plan[N_] * volume(plan, O_)
        list_ = words(plan[SPARE] + k * total * 16)
        count = lines(plan, list_)
        at = plan[PACKED] + begin * nt * total * size
        for c in range(begin, end):
            for t in range(nt):
                src = plan[SRC] + (c * plan[SRC_C] + tap[t]) * size
                for i in range(count):
                    length = list_[2 * i + 1]
                    x = src + list_[2 * i] * size
                    if length == v:
                        add(x, at, v)
                    else:
                        add(x, at, length)
                    at += length * size
        return 0

    unfold_all, fold_all = side_by_side(unfold), side_by_side(fold)

    @jit
    def staged(H, plan):
        """Room for a group's columns, for its places map by map, and for lists: 3 storages, or NONE."""
        terms = plan[CHANNELS] * plan[COUNT_TAPS]
        total = plan[N_] * volume(plan, O_)
        plan[PARTS] = max(min(threads(H, terms * total, THREAD), plan[CHANNELS]), 1)
        columns = storage_new(H, max(terms * total, 1) * size)
        turned = storage_new(H, max(plan[MAPS] * total, 1) * size)
        spare = storage_new(H, max(plan[PARTS] * total, 1) * 16)
        if columns != NONE and turned != NONE and spare != NONE:
            plan[PACKED] = store(H, columns)[S_DATA]
            plan[SPARE] = store(H, spare)[S_DATA]
            return columns, turned, spare
        done(H, columns)
        done(H, turned)
        done(H, spare)
        return NONE, NONE, NONE

    @jit
    def by_map(plan, whole, turned, back):
        """A group's places (image, map, place) to (map, image, place), or back."""
        each = plan[DST_C]
        for n in range(plan[N_]):
            for m in range(plan[MAPS]):
                a = pointer(whole + (n * plan[DST_N] + m * each) * size)
                b = pointer(turned + (m * plan[N_] + n) * each * size)
                if back:
                    for q in range(each):
                        a[q] = b[q]
                else:
                    for q in range(each):
                        b[q] = a[q]

    @jit
    def convolve(H, plan_, bias):
        plan = words(plan_)
        columns, turned, spare = staged(H, plan)
        if columns == NONE:
            return X_MEMORY
        maps = plan[MAPS]
        terms, total = plan[CHANNELS] * plan[COUNT_TAPS], plan[N_] * plan[DST_C]
        packed, to = plan[PACKED], store(H, turned)[S_DATA]
        src, w, dst = plan[SRC], plan[WEIGHTS], plan[DST]
        status = 0
        for g in range(plan[GROUPS]):
            plan[SRC] = src + g * plan[CHANNELS] * plan[SRC_C] * size
            unfold_all(H, plan_, plan[PARTS])
            beta = 0.0
            if bias != 0:
                beta = 1.0
                values = pointer(to)
                for m in range(maps):
                    value = pointer(bias)[g * maps + m]
                    for q in range(total):
                        values[m * total + q] = value
            weight = w + g * maps * terms * size
            status |= gemm(H, maps, total, terms, 1.0, weight, terms, 1, packed, total, 1, beta, to)
            by_map(plan, dst + g * maps * plan[DST_C] * size, to, True)
        done(H, columns)
        done(H, turned)
        done(H, spare)
        return status

    @jit
    def weigh(H, plan_):
        plan = words(plan_)
        columns, turned, spare = staged(H, plan)
        if columns == NONE:
            return X_MEMORY
        maps = plan[MAPS]
        terms, total = plan[CHANNELS] * plan[COUNT_TAPS], plan[N_] * plan[DST_C]
        packed, to = plan[PACKED], store(H, turned)[S_DATA]
        src, w, dst = plan[SRC], plan[WEIGHTS], plan[DST]
        status = 0
        for g in range(plan[GROUPS]):
            plan[SRC] = src + g * plan[CHANNELS] * plan[SRC_C] * size
            unfold_all(H, plan_, plan[PARTS])
            by_map(plan, dst + g * maps * plan[DST_C] * size, to, False)
            sums = w + g * maps * terms * size
            status |= gemm(H, maps, terms, total, 1.0, to, total, 1, packed, 1, total, 0.0, sums)
        done(H, columns)
        done(H, turned)
        done(H, spare)
        return status

    @jit
    def cut(plan, y, x, start):
        """A channel of an image out of its rim: places that no window saw have the start only."""
        phases = plan[S_ + 2]
        width = plan[LINE] // phases
        for a in range(plan[I_]):
            d = a + plan[BEFORE]
            for b in range(plan[I_ + 1]):
                h = b + plan[BEFORE + 1]
                to = (a * plan[I_ + 1] + b) * plan[I_ + 2]
                seen = 0
                if d < plan[EXTENT] and h < plan[EXTENT + 1]:
                    seen = max(min(plan[EXTENT + 2] - plan[BEFORE + 2], plan[I_ + 2]), 0)
                row = d * plan[PLANE] + h * plan[LINE]
                if phases == 1:
                    for c in range(seen):
                        y[to + c] = x[row + plan[BEFORE + 2] + c] + start
                else:
                    for c in range(seen):
                        at = c + plan[BEFORE + 2]
                        y[to + c] = x[row + at % phases * width + at // phases] + start
                for c in range(seen, plan[I_ + 2]):
                    y[to + c] = start

    @jit
    def spread(H, plan_, dy, w, bias, dx):
        plan = words(plan_)
        frame(plan)
        plan[LINE] = (plan[EXTENT + 2] + plan[S_ + 2] - 1) // plan[S_ + 2] * plan[S_ + 2]
        plan[PLANE] = plan[LINE] * plan[EXTENT + 1]
        plan[SRC_C] = plan[PLANE] * plan[EXTENT]
        steps(plan)
        columns, turned, spare = staged(H, plan)
        count = plan[N_] * plan[SRC_N]
        whole = storage_new(H, max(count, 1) * size)
        if columns == NONE or whole == NONE:
            done(H, columns)
            done(H, turned)
            done(H, spare)
            done(H, whole)
            return X_MEMORY
        src = store(H, whole)[S_DATA]
        sums = pointer(src)
        for i in range(count):
            sums[i] = ty(0)
        maps = plan[MAPS]
        terms, total = plan[CHANNELS] * plan[COUNT_TAPS], plan[N_] * plan[DST_C]
        packed, to = plan[PACKED], store(H, turned)[S_DATA]
        status = 0
        for g in range(plan[GROUPS]):
            by_map(plan, dy + g * maps * plan[DST_C] * size, to, False)
            weight = w + g * maps * terms * size
            status |= gemm(H, terms, total, maps, 1.0, weight, 1, terms, to, total, 1, 0.0, packed)
            plan[SRC] = src + g * plan[CHANNELS] * plan[SRC_C] * size
            fold_all(H, plan_, plan[PARTS])
        for i in range(plan[N_] * plan[C_]):
            start = pointer(bias)[i % plan[C_]] if bias != 0 else ty(0)
            plane = pointer(dx + i * volume(plan, I_) * size)
            cut(plan, plane, pointer(src + i * plan[SRC_C] * size), start)
        done(H, columns)
        done(H, turned)
        done(H, spare)
        done(H, whole)
        return status

    return convolve, spread, weigh
