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
    H_ARGS,
    INPUT,
    MADE,
    MAX_DIMS,
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
    VIEW_ALIAS,
    VIEW_EXPAND,
    VIEW_KIND,
    VIEW_OFFSET,
    VIEW_REGION,
    VIEW_SLICES,
    VIEW_STRIDE,
    VIEW_WHOLE,
    X_VIEW_INPLACE,
)
from jitgrad.arena.families import join_family
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.rows import drop, is_contiguous, renumber, row_at, row_new
from jitgrad.arena.storage import store
from jitgrad.kernels.lowlevel import at, jit, words
from jitgrad.ops import views as ops

GRAD_STRIDE = ATTR + VIEW_STRIDE
GRAD_OFFSET = ATTR + VIEW_OFFSET
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


# ---------------------------------------------------------------- where a part lies
@jit
def base_dims(p, size, stride, step):
    """The dims of row ``p`` by falling stride, neighbours that lie as one merged; how many, or NONE.

    ``step`` is a dim's stride in a contiguous gradient.  NONE: elements share memory.
    """
    n = 0
    g = 1
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        if p[SHAPE + d] == 1:
            continue
        if p[STRIDE + d] == 0:
            return NONE
        if n > 0 and p[STRIDE + d] == size[n - 1] * stride[n - 1]:
            size[n - 1] *= p[SHAPE + d]
        else:
            size[n] = p[SHAPE + d]
            stride[n] = p[STRIDE + d]
            step[n] = g
            n += 1
        g *= p[SHAPE + d]
    for i in range(1, n):
        for k in range(i):
            j = i - k
            if stride[j - 1] < stride[j]:
                exchange(size, j)
                exchange(stride, j)
                exchange(step, j)
    return n


@jit
def exchange(numbers, j):
    """Exchange word ``j`` with the one before it."""
    one = numbers[j]
    numbers[j] = numbers[j - 1]
    numbers[j - 1] = one


@jit
def find_region(H, b, r, q):
    """Note in row ``q`` where the elements of row ``r`` lie in a contiguous gradient of row ``b``.

    ``q`` has the dims of ``r``; those repeated by `expand` count as one element.  False if ``r`` shows
    something that no strides describe there.
    """
    p = row_at(H, b)
    v = row_at(H, r)
    q[ATTR + VIEW_KIND] = VIEW_REGION
    q[GRAD_OFFSET] = 0
    for d in range(v[NDIM]):
        q[GRAD_STRIDE + d] = 0
    if v[NUMEL] == 0:
        return True
    if p[FLAGS] & F_CONTIGUOUS:
        for d in range(v[NDIM]):
            q[GRAD_STRIDE + d] = v[STRIDE + d]
        q[GRAD_OFFSET] = v[OFFSET] - p[OFFSET]
        if v[FLAGS] & F_CONTIGUOUS and v[NUMEL] == p[NUMEL]:
            q[ATTR + VIEW_KIND] = VIEW_ALIAS
        return True
    # The base's own strides have gaps or another order: take the part's strides apart into steps along
    # the base's dims.  H_ARGS is free: no kernel is being prepared.
    size = words(H + H_ARGS * 8)
    stride = at(size, MAX_DIMS)
    step = at(size, 2 * MAX_DIMS)
    last = at(size, 3 * MAX_DIMS)
    n = base_dims(p, size, stride, step)
    rest = v[OFFSET] - p[OFFSET]
    if n == NONE or rest < 0:
        return False
    for i in range(n):
        c = rest // stride[i]
        rest -= c * stride[i]
        q[GRAD_OFFSET] += c * step[i]
        last[i] = c
    if rest != 0:
        return False
    for d in range(v[NDIM]):
        if v[SHAPE + d] > 1:
            rest = v[STRIDE + d]
            for i in range(n):
                c = rest // stride[i]
                rest -= c * stride[i]
                q[GRAD_STRIDE + d] += c * step[i]
                last[i] += c * (v[SHAPE + d] - 1)
            if rest != 0:
                return False
    # A part that runs from one dim of the base into the next is no part by strides in its gradient.
    for i in range(n):
        if last[i] >= size[i]:
            return False
    return True


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
        if not cut(H, source, b, source):
            drop(H, source)
            drop(H, v)
            return NONE
        cut_from(H, v, source)
        row_at(H, v)[ATTR + VIEW_KIND] = VIEW_EXPAND
        drop(H, source)
    elif not cut(H, v, b, v):
        drop(H, v)
        return NONE
    return v


@jit
def cut(H, v, b, r):
    """Give row ``v`` its history: the part of base ``b`` that row ``r`` shows.  False after a fault."""
    if not find_region(H, b, r, row_at(H, v)):
        fault(H, X_VIEW_INPLACE, r, b, 0)
        return False
    cut_from(H, v, b)
    return True


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
