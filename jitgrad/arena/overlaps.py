"""Gradients of views whose elements share memory: added up where they lie.  Jitted."""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    H_PLAN,
    INPUT,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    OFFSET,
    P_NDIM,
    P_SHAPE,
    P_STRIDES,
    S_DATA,
    SHAPE,
    STRIDE,
    VIEW_KIND,
    VIEW_OVERLAP,
    X_MEMORY,
)
from jitgrad.arena.contexts import N_GRAD, N_ROW, N_UNIFORM
from jitgrad.arena.driver import collapse, drive, plan_begin, plan_dense, plan_strided
from jitgrad.arena.gradients import give, node_at
from jitgrad.arena.python import no_memory
from jitgrad.arena.regions import GRAD_OFFSET, GRAD_STRIDE, may_overlap, reach
from jitgrad.arena.rows import itemsize, row_at
from jitgrad.arena.shapes import FLOAT32
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import FIRST_HALF
from jitgrad.dtypes import float64 as _float64
from jitgrad.kernels.halves import narrow, widened
from jitgrad.kernels.lowlevel import at, float32s, float64s, jit, uint16s, words

FLOAT64 = _float64.code


@jit
def add_up(H, dtype, dst, n, first, counts, src, uniform, numel, ndim, shape, stride):
    """Write to ``dst``, ``n`` contiguous elements, the sums of those of ``src`` that lie there.

    ``src`` has ``numel`` contiguous elements of that shape, or one when ``uniform``; they lie ``stride``
    apart from ``dst[first]`` on.  The sums are divided by the float64 at ``counts``, unless that is 0.
    Returns 0, or X_MEMORY.
    """
    wide = storage_new(H, n * 8)
    if wide == NONE:
        return X_MEMORY
    acc = store(H, wide)[S_DATA]
    sums = float64s(acc)
    for i in range(n):
        sums[i] = 0.0
    if numel > 0:
        add_runs(H, dtype, acc + first * 8, src, uniform, numel, ndim, shape, stride)
    if counts != 0:
        by = float64s(counts)
        for i in range(n):
            sums[i] /= max(by[i], 1.0)
    put_sums(dtype, dst, acc, n)
    storage_release(H, wide)
    return 0


@jit
def put_sums(dtype, dst, acc, n):
    """Write ``n`` float64, which are lost, as elements of a floating-point dtype."""
    sums = float64s(acc)
    if dtype == FLOAT64:
        doubles = float64s(dst)
        for i in range(n):
            doubles[i] = sums[i]
        return
    singles = float32s(dst if dtype == FLOAT32 else acc)
    for i in range(n):
        singles[i] = sums[i]
    if dtype >= FIRST_HALF:
        narrow(dtype, acc, dst, n)


@jit
def add_runs(H, dtype, acc, src, uniform, numel, ndim, shape, stride):
    """Add the elements of ``src`` to the float64 at ``acc`` that they belong to."""
    size = itemsize(dtype)
    plan_begin(H, 0, numel, 1, ndim, shape)
    if uniform:
        plan_strided(H, 0, src, size, 0, shape, shape)
    else:
        plan_dense(H, 0, src, size)
    plan_strided(H, 1, acc, 8, ndim, shape, stride)
    collapse(H)
    plan = words(H + H_PLAN * 8)
    nd = plan[P_NDIM]
    # The longest dim is walked in the inner loop: windows can be short.
    longest = 0
    for d in range(nd):
        if plan[P_SHAPE + d] >= plan[P_SHAPE + longest]:
            longest = d
    from_ = at(plan, P_STRIDES)
    to = at(plan, P_STRIDES + MAX_DIMS)
    inner = plan[P_SHAPE + longest]
    for k in range(numel // inner):
        rest = k
        a = src
        b = acc
        for e in range(nd):
            d = nd - 1 - e
            if d != longest:
                up = rest // plan[P_SHAPE + d]
                i = rest - up * plan[P_SHAPE + d]
                a += i * from_[d]
                b += i * to[d]
                rest = up
        add_run(dtype, b, to[longest] // 8, a, from_[longest] // size, inner)


@jit
def add_run(dtype, acc, step, src, by, n):
    """Add ``n`` elements, ``by`` apart, to float64 that lie ``step`` apart."""
    to = float64s(acc)
    if dtype == FLOAT32:
        singles = float32s(src)
        for i in range(n):
            to[i * step] += singles[i * by]
    elif dtype == FLOAT64:
        doubles = float64s(src)
        for i in range(n):
            to[i * step] += doubles[i * by]
    else:
        halves = uint16s(src)
        for i in range(n):
            to[i * step] += widened(dtype, halves[i * by])


@jit
def overlap_vjp(H, ctx, k):
    """Send the gradient of a view of kind VIEW_OVERLAP or VIEW_MEMORY to its input; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    q = row_at(H, p[INPUT])
    s = storage_new(H, q[NUMEL] * itemsize(p[DTYPE]))
    if s == NONE:
        return no_memory(H)
    g = store(H, node[N_GRAD])[S_DATA]
    dst = store(H, s)[S_DATA]
    uniform = node[N_UNIFORM] != 0
    n, m, d = q[NUMEL], p[NUMEL], p[NDIM]
    status = 0
    if p[ATTR + VIEW_KIND] == VIEW_OVERLAP:
        first, shape, stride = p[GRAD_OFFSET], at(p, SHAPE), at(p, GRAD_STRIDE)
        status = add_up(H, p[DTYPE], dst, n, first, 0, g, uniform, m, d, shape, stride)
    elif n > 0:
        status = through_memory(H, p, q, dst, g, uniform)
    if status != 0:
        storage_release(H, s)
        return no_memory(H)
    return give(H, ctx, p[INPUT], s, 0)


@jit
def through_memory(H, p, q, dst, g, uniform):
    """Write to ``dst`` the gradient of row ``q`` whose memory view ``p`` shows in its own way; 0 or X_MEMORY.

    It is added up element by element of the memory.  What several elements of ``q`` show is shared out
    among them, and what none shows is lost.
    """
    size = itemsize(p[DTYPE])
    ndim = q[NDIM]
    shape, stride = at(q, SHAPE), at(p, GRAD_STRIDE)
    seen, step = at(p, SHAPE), at(p, STRIDE)
    low = p[GRAD_OFFSET]
    high = low + reach(ndim, shape, stride)
    if p[NUMEL] > 0:
        low = min(low, p[OFFSET])
        high = max(high, p[OFFSET] + reach(p[NDIM], seen, step))
    n = high - low + 1
    first = p[GRAD_OFFSET] - low
    counts = NONE
    many = 0
    if may_overlap(ndim, shape, stride):
        counts = storage_new(H, (n + 1) * 8)
        if counts == NONE:
            return X_MEMORY
        many = store(H, counts)[S_DATA]
        float64s(many)[n] = 1.0
        one = many + n * 8
        status = add_up(H, FLOAT64, many, n, first, 0, one, True, q[NUMEL], ndim, shape, stride)
        if status != 0:
            storage_release(H, counts)
            return status
    whole = storage_new(H, n * size)
    status = X_MEMORY
    if whole != NONE:
        data = store(H, whole)[S_DATA]
        at_ = p[OFFSET] - low
        status = add_up(H, p[DTYPE], data, n, at_, many, g, uniform, p[NUMEL], p[NDIM], seen, step)
        if status == 0:
            plan_begin(H, 0, q[NUMEL], 1, ndim, shape)
            plan_dense(H, 0, dst, size)
            plan_strided(H, 1, data + first * size, size, ndim, shape, stride)
            drive(H)
        storage_release(H, whole)
    if counts != NONE:
        storage_release(H, counts)
    return status
