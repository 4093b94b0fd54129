"""Rows: how they are made, kept alive, and given back without recursion.

A row lives while ``REFS`` > 0 and its value while ``USES`` > 0: a graph keeps its nodes, but only those
values that some backward kernel will read.  Jitted; a pointer from `row_at` is valid until the next
`row_new`, which may move the rows.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    F_CONTIGUOUS,
    F_VIEW,
    F_WAS_ELSEWHERE,
    FAMILY,
    FLAGS,
    GEN,
    GRAD,
    GROUP,
    H_BORROWED_BYTES,
    H_CALL,
    H_FAMILIES,
    H_FAMILY_FREE,
    H_FLUSHING,
    H_LIST,
    H_LIST_CAP,
    H_PENDING,
    H_PENDING_ROWS,
    H_RECORDED,
    H_ROW_CAP,
    H_ROW_FREE,
    H_ROW_LIVE,
    H_ROW_TOP,
    H_ROWS,
    H_SEQ,
    HANDLES,
    HELD,
    INPUT,
    LEAF,
    M_BASE,
    M_VIEWS,
    MAX_INPUTS,
    MORE,
    NDIM,
    NEXT,
    NEXT_GROUP,
    NIN,
    NONE,
    NUMEL,
    OFFSET,
    OP,
    OUTNR,
    OWNER,
    PASS,
    REFS,
    ROW_WORDS,
    S_BYTES,
    S_DATA,
    S_NEXT,
    S_OWNER,
    SAVED,
    SAVED_OUT,
    SEQ,
    SHAPE,
    STORAGE,
    STRIDE,
    USES,
)
from jitgrad.arena.devices import elsewhere, use_device
from jitgrad.arena.storage import slot_free, storage_new, storage_release, store, table_doubled
from jitgrad.kernels.lowlevel import decref, jit, jit_seldom, raw_free, raw_realloc, words

# The call in progress, in H_CALL: operands first, then the shape of the result.
C_ROW = H_CALL  # row of operand i, or NONE for a number
C_BITS = H_CALL + 8  # the number: float64 bits, or the integer itself
C_KIND = H_CALL + 16  # 0 tensor, 1 bool, 2 int, 3 float
C_TEMP = H_CALL + 24  # 1 if the operand is a temporary that the call must release
C_N = H_CALL + 32  # number of operands
C_NDIM = H_CALL + 33
C_SHAPE = H_CALL + 34  # 8 words
C_ATTR = H_CALL + 42  # 16 words: attributes of the op
C_WORK = H_CALL + 58  # 6 words that a shape rule hands to what follows it

KIND_TENSOR = 0
KIND_BOOL = 1
KIND_INT = 2
KIND_FLOAT = 3


@jit
def row_at(H, r):
    """The words of row ``r``."""
    return words(words(H)[H_ROWS] + r * (ROW_WORDS * 8))


@jit
def itemsize(dtype):
    """Bytes of an element: bool, uint8, int8, int16, int32, int64, float32, float64, float16, bfloat16."""
    return (0x2_2_8_4_8_4_2_1_1_1 >> (dtype * 4)) & 15


@jit
def data_of(H, r):
    """Address of a row's first element; the row's value must be alive."""
    p = row_at(H, r)
    return store(H, p[STORAGE])[S_DATA] + p[OFFSET] * itemsize(p[DTYPE])


@jit
def device_of(H, r):
    """The device of row ``r``: where its value is, or was."""
    p = row_at(H, r)
    if p[STORAGE] == NONE:
        return 1 if p[FLAGS] & F_WAS_ELSEWHERE else 0
    return elsewhere(store(H, p[STORAGE])[S_DATA])


@jit_seldom
def row_never_used(H):
    """The number of a row that was never used, or NONE when memory is out."""
    h = words(H)
    if h[H_ROW_TOP] == h[H_ROW_CAP] and not table_doubled(H, H_ROWS, H_ROW_CAP, ROW_WORDS):
        return NONE
    r = h[H_ROW_TOP]
    h[H_ROW_TOP] = r + 1
    if (r + 1) % NEXT_GROUP == GROUP:
        h[H_ROW_TOP] = r + 1 - GROUP + NEXT_GROUP
    row_at(H, r)[GEN] = 0
    return r


@jit
def row_new(H):
    """A fresh row with no value and one reference (its future Tensor's), or NONE when memory is out."""
    h = words(H)
    r = h[H_ROW_FREE]
    if r != NONE:
        h[H_ROW_FREE] = row_at(H, r)[NEXT]
    else:
        r = row_never_used(H)
        if r == NONE:
            return NONE
    h[H_ROW_LIVE] += 1
    h[H_RECORDED] += 1
    h[H_SEQ] += 1
    p = row_at(H, r)
    p[OP] = LEAF
    p[OFFSET] = 0
    p[STORAGE] = NONE
    p[FLAGS] = 0
    p[REFS] = 1
    p[USES] = 1
    p[SEQ] = h[H_SEQ]
    p[GRAD] = NONE
    p[NIN] = 0
    p[MORE] = 0
    p[SAVED] = 0
    p[FAMILY] = 0
    p[OUTNR] = 0
    p[OWNER] = 0
    p[HELD] = 0
    p[HANDLES] = 0
    p[PASS] = 0
    p[GEN] += 1
    return r


@jit
def list_room(H, n):
    """Make the header's list hold ``n`` numbers; NONE when memory is out."""
    h = words(H)
    if n > h[H_LIST_CAP]:
        block = raw_realloc(h[H_LIST], 2 * n * 8)
        if block == 0:
            return NONE
        h[H_LIST] = block
        h[H_LIST_CAP] = 2 * n
    return 0


@jit
def renumber(H, p):
    """Make row ``p`` the youngest: its inputs may have been made after it, and must count as older."""
    h = words(H)
    h[H_SEQ] += 1
    p[SEQ] = h[H_SEQ]


@jit
def shape_numel(ndim, shape):
    """Elements of a shape, or NONE if the count does not fit the arena (2^46)."""
    numel = 1
    for d in range(ndim):
        if shape[d] == 0:
            return 0
    for d in range(ndim):
        if shape[d] > (1 << 46) // numel:
            return NONE
        numel *= shape[d]
    return numel


@jit
def set_dense(p, ndim, shape):
    """Give row ``p`` a shape and row-major strides; the count must have been checked."""
    p[NDIM] = ndim
    stride = 1
    for k in range(ndim):
        d = ndim - 1 - k
        p[SHAPE + d] = shape[d]
        p[STRIDE + d] = stride
        stride *= max(shape[d], 1)


@jit
def dense_row(H, dtype, ndim, shape):
    """A row with a fresh contiguous storage of that shape, or NONE when memory is out."""
    numel = shape_numel(ndim, shape)
    if numel == NONE:
        return NONE
    s = storage_new(H, numel * itemsize(dtype))
    if s == NONE:
        return NONE
    r = row_new(H)
    if r == NONE:
        storage_release(H, s)
        return NONE
    p = row_at(H, r)
    p[DTYPE] = dtype
    p[NUMEL] = numel
    p[STORAGE] = s
    p[FLAGS] = F_CONTIGUOUS
    set_dense(p, ndim, shape)
    return r


@jit
def is_contiguous(p):
    """Whether a row's strides are row-major without gaps (sizes of 1 and empty tensors don't matter)."""
    if p[NUMEL] == 0:
        return True
    stride = 1
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        if p[SHAPE + d] != 1:
            if p[STRIDE + d] != stride:
                return False
            stride *= p[SHAPE + d]
    return True


@jit
def input_at(p, i):
    """Row number of input ``i`` of row ``p``, or NONE."""
    if p[NIN] > MAX_INPUTS:
        return words(p[MORE])[i]
    return p[INPUT + i]


@jit
def unuse(H, r):
    """One reader of row ``r``'s value less: after the last, its storage goes."""
    p = row_at(H, r)
    p[USES] -= 1
    if p[USES] == 0 and p[STORAGE] != NONE:
        s = p[STORAGE]
        p[STORAGE] = NONE
        if elsewhere(store(H, s)[S_DATA]):
            p[FLAGS] |= F_WAS_ELSEWHERE
        storage_release(H, s)


@jit
def release_saved(H, r):
    """Let go of what row ``r`` saved for its backward."""
    p = row_at(H, r)
    saved = p[SAVED]
    p[SAVED] = 0
    for i in range(min(p[NIN], MAX_INPUTS)):
        if saved & (1 << i):
            unuse(H, p[INPUT + i])
    if saved & SAVED_OUT:
        unuse(H, r)


@jit
def unref_later(H, r, waiting):
    """One reference to row ``r`` less; if it was the last, put the row in front of ``waiting``."""
    p = row_at(H, r)
    p[REFS] -= 1
    if p[REFS] == 0:
        p[NEXT] = waiting
        return r
    return waiting


@jit
def unref(H, r):
    """One reference to row ``r`` less; rows that nothing needs any more are freed, however many.

    The rows that wait are linked through NEXT: dropping a chain of a million rows must not recurse.
    """
    h = words(H)
    waiting = unref_later(H, r, NONE)
    while waiting != NONE:
        r = waiting
        p = row_at(H, r)
        waiting = p[NEXT]
        release_saved(H, r)
        if p[STORAGE] != NONE:
            s = p[STORAGE]
            p[STORAGE] = NONE
            storage_release(H, s)
        for i in range(p[NIN]):
            j = input_at(p, i)
            if j != NONE:
                waiting = unref_later(H, j, waiting)
        if p[MORE] != 0:
            raw_free(p[MORE])
            p[MORE] = 0
        if p[GRAD] != NONE:
            g = p[GRAD]
            p[GRAD] = NONE
            unuse(H, g)
            waiting = unref_later(H, g, waiting)
        p[NIN] = 0
        p[GEN] += 1
        h[H_ROW_LIVE] -= 1
        if p[HELD] != 0:
            p[NEXT] = h[H_PENDING_ROWS]
            h[H_PENDING_ROWS] = r
        else:
            p[NEXT] = h[H_ROW_FREE]
            h[H_ROW_FREE] = r


@jit
def flush(H):
    """Let go of the Python objects of freed rows, and of those whose borrowed memory nobody uses any more.

    Letting go of an object can free other rows and come back in here: that call leaves its rows to this
    one's loop, so a chain of a million custom functions does not recurse.
    """
    h = words(H)
    # The call is over: what Python does in here is not a part of it.
    use_device(H, 0)
    if h[H_FLUSHING] != 0:
        return
    h[H_FLUSHING] = 1
    while h[H_PENDING] != NONE or h[H_PENDING_ROWS] != NONE:
        if h[H_PENDING] != NONE:
            s = h[H_PENDING]
            p = store(H, s)
            h[H_PENDING] = p[S_NEXT]
            h[H_BORROWED_BYTES] -= p[S_BYTES]
            owner = p[S_OWNER]
            slot_free(H, s)
        else:
            r = h[H_PENDING_ROWS]
            q = row_at(H, r)
            h[H_PENDING_ROWS] = q[NEXT]
            owner = q[HELD]
            q[HELD] = 0
            q[NEXT] = h[H_ROW_FREE]
            h[H_ROW_FREE] = r
        decref(owner)
    h[H_FLUSHING] = 0


@jit
def leave_family(H, r):
    """Take view ``r`` out of its family; after the last one the base has none, and lives for itself alone."""
    h = words(H)
    p = row_at(H, r)
    family = p[FAMILY]
    p[FAMILY] = 0
    m = words(family)
    m[M_VIEWS] -= 1
    if m[M_VIEWS] == 0:
        b = m[M_BASE]
        m[M_BASE] = h[H_FAMILY_FREE]
        h[H_FAMILY_FREE] = family
        h[H_FAMILIES] -= 1
        if b != NONE:
            row_at(H, b)[FAMILY] = 0
            unuse(H, b)
            unref(H, b)


@jit
def drop(H, r):
    """Give up a row as its Tensor does: one use and one reference."""
    p = row_at(H, r)
    if p[FLAGS] & F_VIEW and p[FAMILY] != 0:
        leave_family(H, r)
    unuse(H, r)
    unref(H, r)


@jit
def keep(H, r):
    """Hold a row as a Tensor does."""
    p = row_at(H, r)
    p[REFS] += 1
    p[USES] += 1


@jit
def attr_at(p, i):
    """Attribute word ``i`` of row ``p``."""
    return p[ATTR + i]
