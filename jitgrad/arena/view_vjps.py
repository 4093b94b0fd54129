"""The gradient of a view, sent on to the part of its input that it shows.  Jitted; a part of its own."""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    H_DEVICE,
    INPUT,
    LOCAL,
    NDIM,
    NONE,
    NUMEL,
    S_DATA,
    SHAPE,
    VIEW_ALIAS,
    VIEW_EXPAND,
    VIEW_KIND,
    VIEW_MEMORY,
    VIEW_OFFSET,
    VIEW_OVERLAP,
    VIEW_SLICES,
    VIEW_STRIDE,
    VIEW_WHOLE,
)
from jitgrad.arena.contexts import N_GRAD, N_ROW, N_UNIFORM
from jitgrad.arena.driver import drive, plan_begin, plan_dense, plan_strided
from jitgrad.arena.gradients import (
    NUMEL_SCRATCH,
    addition,
    copy_dense,
    fill_dense,
    give,
    node_at,
    settle,
    share,
)
from jitgrad.arena.overlaps import overlap_vjp
from jitgrad.arena.python import no_memory
from jitgrad.arena.rows import itemsize, row_at
from jitgrad.arena.shapes import reduce_to
from jitgrad.arena.storage import storage_new, store
from jitgrad.arena.vjps import wants
from jitgrad.kernels.lowlevel import at, jit, words


def view_vjp(H, ctx, k):
    """Send the gradient of a view to the part of its input that it shows; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    kind = p[ATTR + VIEW_KIND]
    if kind >= VIEW_SLICES:
        return slices_vjp(H, ctx, k)
    if not wants(H, p, 0):
        return 0
    j = p[INPUT]
    q = row_at(H, j)
    dtype = p[DTYPE]
    size = itemsize(dtype)
    if kind == VIEW_OVERLAP or kind == VIEW_MEMORY:
        return overlap_vjp(H, ctx, k)
    if kind == VIEW_ALIAS:
        return give(H, ctx, j, share(H, node[N_GRAD]), node[N_UNIFORM])
    if kind == VIEW_EXPAND:
        src = store(H, node[N_GRAD])[S_DATA]
        t = reduce_to(H, src, node[N_UNIFORM] != 0, dtype, p[NUMEL], p[NDIM], at(p, SHAPE), j)
        if t == NONE:
            return no_memory(H)
        return give(H, ctx, j, t, 0)
    # A region: write or add into the input's own gradient, which needs no buffer of zeros per view.
    to = node_at(ctx, q[LOCAL])
    add = to[N_GRAD] != NONE
    if add:
        s = settle(H, ctx, q[LOCAL])
        if s == NONE:
            return NONE
    else:
        s = storage_new(H, q[NUMEL] * size)
        if s == NONE:
            return no_memory(H)
        if q[NUMEL] != p[NUMEL] and words(H)[H_DEVICE] != 0:
            fill_dense(H, dtype, store(H, s)[S_DATA], 0.0, q[NUMEL])
        elif q[NUMEL] != p[NUMEL]:
            data = words(store(H, s)[S_DATA])
            for w in range((q[NUMEL] * size + 7) // 8):
                data[w] = 0
        to[N_GRAD] = s
        to[N_UNIFORM] = 0
    kernel = addition(H, dtype) if add else 0
    region = store(H, s)[S_DATA] + p[ATTR + VIEW_OFFSET] * size
    plan_begin(H, kernel, p[NUMEL], 2 if add else 1, p[NDIM], at(p, SHAPE))
    plan_strided(H, 0, region, size, p[NDIM], at(p, SHAPE), at(p, ATTR + VIEW_STRIDE))
    g = store(H, node[N_GRAD])[S_DATA]
    if node[N_UNIFORM] != 0:
        plan_strided(H, 1, g, size, 0, at(p, SHAPE), at(p, SHAPE))
    else:
        plan_dense(H, 1, g, size)
    if add:
        plan_strided(H, 2, region, size, p[NDIM], at(p, SHAPE), at(p, ATTR + VIEW_STRIDE))
    drive(H)
    return 0


@jit
def slices_vjp(H, ctx, k):
    """Send the gradient of a changed base: its region to what replaced that, the rest to the old base."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    size = itemsize(p[DTYPE])
    whole = p[ATTR + VIEW_KIND] == VIEW_WHOLE
    shape = words(H + NUMEL_SCRATCH)
    if wants(H, p, 0):
        n = 1 if whole else p[NUMEL]
        s = storage_new(H, n * size)
        if s == NONE:
            return no_memory(H)
        data = store(H, s)[S_DATA]
        part = row_at(H, p[INPUT + 1])
        region = data
        if not whole:
            g = store(H, node[N_GRAD])[S_DATA]
            copy_dense(H, p[DTYPE], data, g, node[N_UNIFORM], n)
            region += p[ATTR + VIEW_OFFSET] * size
            shape[0] = 0
            plan_begin(H, 0, part[NUMEL], 1, part[NDIM], at(part, SHAPE))
            plan_strided(H, 0, region, size, part[NDIM], at(part, SHAPE), at(p, ATTR + VIEW_STRIDE))
            plan_strided(H, 1, H + NUMEL_SCRATCH, size, 0, shape, shape)
            drive(H)
        else:
            # The old base shows nowhere any more.
            fill_dense(H, p[DTYPE], data, 0.0, 1)
        if give(H, ctx, p[INPUT], s, 1 if whole else 0) == NONE:
            return NONE
    if not wants(H, p, 1):
        return 0
    j = p[INPUT + 1]
    if whole:
        return give(H, ctx, j, share(H, node[N_GRAD]), node[N_UNIFORM])
    if node[N_UNIFORM] != 0:
        return give(H, ctx, j, share(H, node[N_GRAD]), 1)
    part = row_at(H, j)
    s = storage_new(H, part[NUMEL] * size)
    if s == NONE:
        return no_memory(H)
    region = store(H, node[N_GRAD])[S_DATA] + p[ATTR + VIEW_OFFSET] * size
    plan_begin(H, 0, part[NUMEL], 1, part[NDIM], at(part, SHAPE))
    plan_dense(H, 0, store(H, s)[S_DATA], size)
    plan_strided(H, 1, region, size, part[NDIM], at(part, SHAPE), at(p, ATTR + VIEW_STRIDE))
    drive(H)
    return give(H, ctx, j, s, 0)
