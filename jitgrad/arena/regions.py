"""Where the elements of one row lie in another's memory, and in a contiguous gradient of it.  Jitted."""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    F_CONTIGUOUS,
    FLAGS,
    H_ARGS,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    OFFSET,
    SHAPE,
    STRIDE,
    VIEW_ALIAS,
    VIEW_KIND,
    VIEW_MEMORY,
    VIEW_OFFSET,
    VIEW_OVERLAP,
    VIEW_REGION,
    VIEW_STRIDE,
)
from jitgrad.arena.rows import row_at
from jitgrad.kernels.lowlevel import at, jit, words

GRAD_STRIDE = ATTR + VIEW_STRIDE
GRAD_OFFSET = ATTR + VIEW_OFFSET


@jit
def reach(ndim, shape, stride):
    """How far the last element of a geometry with elements lies from its first."""
    last = 0
    for d in range(ndim):
        last += (shape[d] - 1) * stride[d]
    return last


@jit
def next_dim(ndim, shape, stride, seen):
    """The dim of more than one element with the smallest stride that is not in ``seen`` (bits), or NONE."""
    found = NONE
    for d in range(ndim):
        if shape[d] > 1 and seen & (1 << d) == 0 and (found == NONE or stride[d] < stride[found]):
            found = d
    return found


@jit
def may_overlap(ndim, shape, stride):
    """Whether two elements may share memory; of odd interleaved strides also where none do."""
    for d in range(ndim):
        if shape[d] == 0:
            return False
    last = 0
    seen = 0
    d = next_dim(ndim, shape, stride, seen)
    while d != NONE:
        if stride[d] <= last:
            return True
        last += (shape[d] - 1) * stride[d]
        seen |= 1 << d
        d = next_dim(ndim, shape, stride, seen)
    return False


@jit
def is_dense(p):
    """Whether the elements of row ``p`` fill a stretch of memory, in whatever order."""
    if p[FLAGS] & F_CONTIGUOUS:
        return True
    expected = 1
    seen = 0
    ndim = p[NDIM]
    d = next_dim(ndim, at(p, SHAPE), at(p, STRIDE), seen)
    while d != NONE:
        if p[STRIDE + d] != expected:
            return False
        expected *= p[SHAPE + d]
        seen |= 1 << d
        d = next_dim(ndim, at(p, SHAPE), at(p, STRIDE), seen)
    return True


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
        last = reach(v[NDIM], at(v, SHAPE), at(v, STRIDE))
        if q[GRAD_OFFSET] < 0 or q[GRAD_OFFSET] + last >= p[NUMEL]:
            return False
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


@jit
def lay(H, b, r, q):
    """Note in row ``q``, a view of row ``b`` with the geometry of row ``r``, how its gradient gets there.

    A region of the gradient of ``b`` where there is one, and by the memory that both show where not.
    """
    if find_region(H, b, r, q):
        v = row_at(H, r)
        if q[ATTR + VIEW_KIND] == VIEW_REGION and may_overlap(v[NDIM], at(v, SHAPE), at(v, STRIDE)):
            q[ATTR + VIEW_KIND] = VIEW_OVERLAP
        return
    p = row_at(H, b)
    q[ATTR + VIEW_KIND] = VIEW_MEMORY
    for d in range(p[NDIM]):
        q[GRAD_STRIDE + d] = p[STRIDE + d]
    q[GRAD_OFFSET] = p[OFFSET]
