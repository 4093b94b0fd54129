"""In-place pointwise ops: into the storage of the first operand, with or without history.  Jitted.

Operands are staged as for `recorder.record_pointwise`."""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    F_IMPLICIT,
    F_REQUIRES_GRAD,
    F_VIEW,
    FLAGS,
    H_GRAD_MODE,
    H_OPS,
    LEAF,
    NDIM,
    NONE,
    NUMEL,
    O_DIFF,
    O_MASKS,
    O_NEEDS,
    O_RULE,
    O_WORDS,
    OFFSET,
    OP,
    R_BOOL,
    S_HISTORY,
    S_REFS,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    X_CAST,
    X_LEAF,
    X_OUTPUT_SHAPE,
    X_OVERLAP,
    X_STATUS,
    X_TYPE,
    X_VIEW_INPLACE,
)
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
from jitgrad.arena.promotion import BOOL, category
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.recorder import (
    C_NUMBER,
    attach,
    broadcast_operands,
    cast_operands,
    cast_row,
    casts_ready,
    compute_dtype,
    kernel_of,
    parallel_ready,
    plan_operand,
    release_temps,
    store_number,
)
from jitgrad.arena.rows import (
    C_KIND,
    C_N,
    C_NDIM,
    C_ROW,
    C_SHAPE,
    C_TEMP,
    KIND_TENSOR,
    data_of,
    dense_row,
    drop,
    itemsize,
    row_at,
    row_new,
)
from jitgrad.arena.shapes import has_shape
from jitgrad.arena.storage import store
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.kernels.lowlevel import at, jit, words
from jitgrad.ops.casts import FIRST_CAST


@jit
def record_inplace(H, op, n):
    """Compute a pointwise op into the storage of operand 0; the row that its Tensor shows afterwards.

    Without history that is the row itself.  With history it is a new row over the same storage, whose
    inputs are the old row and the other operands.  NONE after a fault.
    """
    h = words(H)
    r = h[C_ROW]
    if h[C_KIND] != KIND_TENSOR:
        return fault(H, X_TYPE, 0, 0, 0)
    o = at(words(h[H_OPS]), op * O_WORDS)
    p = row_at(H, r)
    grad = False
    if h[H_GRAD_MODE] != 0 and p[DTYPE] >= FIRST_FLOAT:
        if p[FLAGS] & F_REQUIRES_GRAD:
            grad = True
            if p[OP] == LEAF:
                return fault(H, X_LEAF, op, 0, 0)
        for i in range(1, n):
            if h[C_KIND + i] == KIND_TENSOR and row_at(H, h[C_ROW + i])[FLAGS] & F_REQUIRES_GRAD:
                grad = True
        if grad and p[FLAGS] & F_VIEW:
            return fault(H, X_VIEW_INPLACE, op, 0, 0)
    h[C_N] = n
    dtype = compute_dtype(H, op, n)
    if dtype == NONE:
        return NONE
    result = BOOL if o[O_RULE] == R_BOOL else dtype
    if category(result) > category(p[DTYPE]):
        return fault(H, X_CAST, result, p[DTYPE], 0)
    k = kernel_of(H, op, dtype)
    if k == 0 or not casts_ready(H, n, dtype, o[O_MASKS]):
        return NONE
    # A result of another dtype of the same category is computed first and then stored with a cast.
    back = 0
    if result != p[DTYPE]:
        back = kernel_of(H, FIRST_CAST + p[DTYPE], result)
        if back == 0:
            return NONE
    if not parallel_ready(H, p[NUMEL]) or not broadcast_operands(H, n):
        return NONE
    if not has_shape(p, h[C_NDIM], at(h, C_SHAPE)):
        return fault(H, X_OUTPUT_SHAPE, h[C_NDIM], 0, 0)
    if overlaps_itself(p):
        return fault(H, X_OVERLAP, op, 0, 0)
    # Another operand that shows other elements of the same storage would be read after it is written.
    apart = result != p[DTYPE]
    for i in range(1, n):
        if h[C_KIND + i] == KIND_TENSOR:
            q = row_at(H, h[C_ROW + i])
            if q[STORAGE] == p[STORAGE] and not same_elements(p, q):
                apart = True
    target = r
    spare = NONE
    if apart:
        spare = dense_row(H, result, h[C_NDIM], at(h, C_SHAPE))
        if spare == NONE:
            return no_memory(H)
        target = spare
    if grad and not keep_old_values(H, op, n, r):
        if spare != NONE:
            drop(H, spare)
        release_temps(H)
        return NONE
    if grad:
        out = row_new(H)
        if out == NONE:
            if spare != NONE:
                drop(H, spare)
            return no_memory(H)
    else:
        out = r
    if not cast_operands(H, n, dtype, o[O_MASKS]):
        release_temps(H)
        if spare != NONE:
            drop(H, spare)
        if out != r:
            drop(H, out)
        return NONE
    status = write_pointwise(H, n, k, dtype, target)
    if apart and status == 0:
        copy_into(H, r, spare, back)
    if spare != NONE:
        drop(H, spare)
    p = row_at(H, r)
    store(H, p[STORAGE])[S_VERSION] += 1
    if status != 0:
        release_temps(H)
        if out != r:
            drop(H, out)
        return fault(H, X_STATUS, op, status, 0)
    if out != r:
        q = row_at(H, out)
        q[DTYPE] = p[DTYPE]
        q[NDIM] = p[NDIM]
        q[NUMEL] = p[NUMEL]
        q[OFFSET] = p[OFFSET]
        for d in range(p[NDIM]):
            q[SHAPE + d] = p[SHAPE + d]
            q[STRIDE + d] = p[STRIDE + d]
        q[STORAGE] = p[STORAGE]
        q[FLAGS] = p[FLAGS] & (F_CONTIGUOUS | F_VIEW)
        store(H, p[STORAGE])[S_REFS] += 1
        store(H, p[STORAGE])[S_HISTORY] += 1
        attach(H, out, op, n)
    release_temps(H)
    return out


@jit
def keep_old_values(H, op, n, r):
    """Copy those operands whose old value backward will read and that row ``r`` is about to overwrite.

    The copy is recorded as one, so gradients flow through it; PyTorch saves a clone in its place.
    False after a fault.
    """
    h = words(H)
    o = at(words(h[H_OPS]), op * O_WORDS)
    storage = row_at(H, r)[STORAGE]
    needs = 0
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and o[O_DIFF] & (1 << i):
            if row_at(H, h[C_ROW + i])[FLAGS] & F_REQUIRES_GRAD:
                needs |= o[O_NEEDS + i]
    for i in range(n):
        if needs & (1 << i) and h[C_KIND + i] == KIND_TENSOR and h[C_TEMP + i] == 0:
            if row_at(H, h[C_ROW + i])[STORAGE] == storage:
                dtype = row_at(H, h[C_ROW + i])[DTYPE]
                if kernel_of(H, FIRST_CAST + dtype, dtype) == 0:
                    return False
                copy = cast_row(H, h[C_ROW + i], dtype)
                if copy == NONE:
                    return False
                row_at(H, copy)[FLAGS] |= F_IMPLICIT
                h[C_ROW + i] = copy
                h[C_TEMP + i] = 1
    return True


@jit
def write_pointwise(H, n, k, dtype, target):
    """Run a kernel over the staged operands into row ``target``, whatever its strides."""
    h = words(H)
    p = row_at(H, target)
    plan_begin(H, k, p[NUMEL], n, h[C_NDIM], at(h, C_SHAPE))
    size = itemsize(p[DTYPE])
    if p[FLAGS] & F_CONTIGUOUS:
        plan_dense(H, 0, data_of(H, target), size)
    else:
        plan_strided(H, 0, data_of(H, target), size, p[NDIM], at(p, SHAPE), at(p, STRIDE))
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR:
            plan_operand(H, i + 1, h[C_ROW + i])
        else:
            address = H + (C_NUMBER + i) * 8
            store_number(H, i, address, dtype)
            plan_const(H, i + 1, address, itemsize(dtype))
    return drive(H)


@jit
def copy_into(H, r, source, kernel):
    """Copy contiguous row ``source`` into row ``r`` of the same shape, through a cast kernel or none."""
    p = row_at(H, r)
    q = row_at(H, source)
    size = itemsize(p[DTYPE])
    plan_begin(H, kernel, p[NUMEL], 1, p[NDIM], at(p, SHAPE))
    plan_strided(H, 0, data_of(H, r), size, p[NDIM], at(p, SHAPE), at(p, STRIDE))
    plan_dense(H, 1, data_of(H, source), itemsize(q[DTYPE]))
    drive(H)


@jit
def overlaps_itself(p):
    """Whether two elements of a row share memory (an expanded tensor)."""
    for d in range(p[NDIM]):
        if p[SHAPE + d] > 1 and p[STRIDE + d] == 0:
            return True
    return False


@jit
def same_elements(p, q):
    """Whether two rows of one storage show the same elements in the same places."""
    if p[OFFSET] != q[OFFSET] or not has_shape(q, p[NDIM], at(p, SHAPE)):
        return False
    for d in range(p[NDIM]):
        if p[SHAPE + d] > 1 and p[STRIDE + d] != q[STRIDE + d]:
            return False
    return True
