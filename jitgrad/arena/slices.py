"""Rows for the parts of a base: what a view shows of it, and the base with a part that was changed.  Jitted.

A view that was taken before its base was changed in place gets a new history: it is cut out of the base's
new row by its strides (PyTorch's AsStrided).  A base whose view was changed gets a row of two inputs: its
old self, and what the view shows now (PyTorch's CopySlices).  Both know where the part lies in a contiguous
gradient of the base, as every view row does.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    F_CONTIGUOUS,
    F_IMPLICIT,
    F_REQUIRES_GRAD,
    F_VIEW,
    FLAGS,
    INPUT,
    MADE,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    OFFSET,
    OP,
    REFS,
    S_REFS,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    VIEW_EXPAND,
    VIEW_KIND,
    VIEW_REGION,
    VIEW_SLICES,
    VIEW_WHOLE,
    X_VIEW_INPLACE,
)
from jitgrad.arena.families import join_family
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.regions import find_region, lay
from jitgrad.arena.rows import drop, is_contiguous, renumber, row_at, row_new
from jitgrad.arena.storage import store
from jitgrad.kernels.lowlevel import jit
from jitgrad.ops import views as ops

OP_AS_STRIDED = ops.AS_STRIDED.number
OP_COPY_SLICES = ops.COPY_SLICES.number


@jit
def alias_row(H, r):
    """A row without history that shows what row ``r`` shows; NONE when memory is out."""
    a = row_new(H)
    if a == NONE:
        return no_memory(H)
    p = row_at(H, r)
    q = row_at(H, a)
    q[DTYPE] = p[DTYPE]
    q[NUMEL] = p[NUMEL]
    show_memory(H, q, p)
    return a


@jit
def show_memory(H, q, p):
    """Have row ``q``, which has no storage, show the memory that row ``p`` shows."""
    q[NDIM] = p[NDIM]
    q[OFFSET] = p[OFFSET]
    for d in range(p[NDIM]):
        q[SHAPE + d] = p[SHAPE + d]
        q[STRIDE + d] = p[STRIDE + d]
    q[FLAGS] = (q[FLAGS] & ~F_CONTIGUOUS) | (p[FLAGS] & F_CONTIGUOUS)
    q[STORAGE] = p[STORAGE]
    store(H, p[STORAGE])[S_REFS] += 1


# ---------------------------------------------------------------- the rows
@jit
def strided_row(H, b, r):
    """A view of base ``b`` that shows what row ``r`` shows, in its family; NONE after a fault."""
    v = alias_row(H, r)
    if v == NONE:
        return NONE
    q = row_at(H, v)
    q[FLAGS] |= F_VIEW
    q[MADE] = store(H, q[STORAGE])[S_VERSION]
    if not join_family(H, v, b):
        drop(H, v)
        return no_memory(H)
    if row_at(H, b)[FLAGS] & F_REQUIRES_GRAD == 0:
        return v
    source = b
    repeated = False
    for d in range(q[NDIM]):
        if q[SHAPE + d] > 1 and q[STRIDE + d] == 0:
            repeated = True
    if repeated:
        # The gradient of what is repeated is summed by a row of its own.
        source = alias_row(H, r)
        if source == NONE:
            drop(H, v)
            return NONE
        once = row_at(H, source)
        for d in range(once[NDIM]):
            if once[STRIDE + d] == 0:
                once[SHAPE + d] = 1
        numel = 1
        for d in range(once[NDIM]):
            numel *= once[SHAPE + d]
        once[NUMEL] = numel
        once[FLAGS] = F_IMPLICIT | (F_CONTIGUOUS if is_contiguous(once) else 0)
        cut(H, source, b)
        cut_from(H, v, source)
        row_at(H, v)[ATTR + VIEW_KIND] = VIEW_EXPAND
        drop(H, source)
    else:
        cut(H, v, b)
    return v


@jit
def cut(H, v, b):
    """Give row ``v``, which shows a part of base ``b``, its history."""
    lay(H, b, v, row_at(H, v))
    cut_from(H, v, b)


@jit
def cut_from(H, v, source):
    """Make row ``source`` the input of view ``v``."""
    q = row_at(H, v)
    renumber(H, q)
    q[OP] = OP_AS_STRIDED
    q[NIN] = 1
    q[INPUT] = source
    q[FLAGS] |= F_REQUIRES_GRAD
    row_at(H, source)[REFS] += 1


@jit
def slices_row(H, b, r):
    """The row of base ``b`` after its part ``r`` was changed, without inputs yet; NONE after a fault."""
    c = alias_row(H, b)
    if c == NONE:
        return NONE
    q = row_at(H, c)
    if not find_region(H, b, r, q):
        drop(H, c)
        return fault(H, X_VIEW_INPLACE, r, b, 0)
    if q[ATTR + VIEW_KIND] == VIEW_REGION:
        q[ATTR + VIEW_KIND] = VIEW_SLICES
    else:
        q[ATTR + VIEW_KIND] = VIEW_WHOLE
    return c


@jit
def link_slices(H, c, b, w):
    """Make base ``b`` and the changed part ``w`` the inputs of row ``c``."""
    q = row_at(H, c)
    p = row_at(H, b)
    renumber(H, q)
    q[OP] = OP_COPY_SLICES
    q[NIN] = 2
    q[INPUT] = NONE
    if p[FLAGS] & F_REQUIRES_GRAD:
        q[INPUT] = b
        p[REFS] += 1
    q[INPUT + 1] = w
    row_at(H, w)[REFS] += 1
    q[FLAGS] |= F_REQUIRES_GRAD
