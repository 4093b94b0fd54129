"""In-place pointwise ops: into the storage of the first operand, with or without history.  Jitted.

Operands are staged as for `recorder.record_pointwise`."""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    F_FLOAT16,
    F_IMPLICIT,
    F_REQUIRES_GRAD,
    F_VIEW,
    FLAGS,
    H_GRAD_MODE,
    H_INFERENCE,
    H_OPS,
    H_REFUSED,
    INPUT,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    O_BITS,
    O_DIFF,
    O_MASKS,
    O_NEEDS,
    O_RULE,
    O_WORDS,
    OB_COPIES,
    OB_FILLS,
    OB_ROUNDS,
    OFFSET,
    OP,
    OWNER,
    R_BOOL,
    REFS,
    S_DATA,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    X_CAST,
    X_INFERENCE_INPLACE,
    X_OUTPUT_SHAPE,
    X_OVERLAP,
    X_STATUS,
    X_TYPE,
)
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
from jitgrad.arena.families import base_of
from jitgrad.arena.histories import (
    may_change,
    needs_grad,
    operands_current,
    restage,
    show,
    view_changed,
    without_hooks,
)
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
    round_numbers,
    store_number,
)
from jitgrad.arena.regions import is_dense, may_overlap
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
    renumber,
    row_at,
)
from jitgrad.arena.shapes import FLOAT32, has_shape
from jitgrad.arena.slices import alias_row, slices_row
from jitgrad.arena.storage import store
from jitgrad.dtypes import FIRST_FLOAT, FIRST_HALF
from jitgrad.kernels.lowlevel import at, jit, words
from jitgrad.ops.casts import FIRST_CAST

FAILED = NONE - 1


@jit
def record_inplace(H, op, n):
    """Compute a pointwise op into the storage of operand 0; NONE after a fault.

    With history its Tensor then shows a new row over the same storage, whose inputs are the old row and
    the other operands; of a view, the base's Tensor does.
    """
    h = words(H)
    r = h[C_ROW]
    if h[C_KIND] != KIND_TENSOR:
        return fault(H, X_TYPE, 0, 0, 0)
    if store(H, row_at(H, r)[STORAGE])[S_VERSION] < 0 and h[H_INFERENCE] == 0:
        return fault(H, X_INFERENCE_INPLACE, r, 0, 0)
    o = at(words(h[H_OPS]), op * O_WORDS)
    grad = False
    if h[H_GRAD_MODE] != 0:
        if row_at(H, r)[DTYPE] >= FIRST_FLOAT:
            # Before the view's own history is asked for, which fails with other words.
            grad = needs_grad(H, r) or others_need_grad(H, n)
            if grad and not may_change(H, r, op):
                return NONE
        if not operands_current(H, n):
            return NONE
        if grad and not past_hooks(H, n):
            return NONE
        r = h[C_ROW]
    p = row_at(H, r)
    h[C_N] = n
    dtype = compute_dtype(H, op, n)
    if dtype == NONE:
        return NONE
    if dtype >= FIRST_HALF and o[O_BITS] & OB_COPIES == 0:
        if o[O_BITS] & OB_ROUNDS:
            round_numbers(H, n, dtype)
        dtype = FLOAT32
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
    # Writing the same number several times does no harm.
    if o[O_BITS] & OB_FILLS == 0 or h[C_KIND + 1] == KIND_TENSOR:
        # Without history what overlaps in other ways is computed in some order, as in PyTorch.
        if overlaps_itself(p) or (grad and may_overlap(p[NDIM], at(p, SHAPE), at(p, STRIDE))):
            return fault(H, X_OVERLAP, op, 0, 0)
    # Another operand that shows other elements of the same storage would be read after it is written.
    apart = result != p[DTYPE]
    buffer = store(H, p[STORAGE])[S_DATA]
    for i in range(1, n):
        if h[C_KIND + i] == KIND_TENSOR:
            q = row_at(H, h[C_ROW + i])
            if store(H, q[STORAGE])[S_DATA] == buffer and not same_elements(p, q):
                if meet(p, q):
                    return fault(H, X_OVERLAP, op, 1, 0)
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
    out = alias_row(H, r) if grad else r
    # The rows are made before anything is written, the base's after its part's.
    whole = base_row(H, r) if grad and out != NONE else FAILED
    if grad and whole == FAILED:
        release_temps(H)
        if spare != NONE:
            drop(H, spare)
        if out != NONE:
            drop(H, out)
        return NONE
    if not cast_operands(H, n, dtype, o[O_MASKS]):
        release_temps(H)
        if spare != NONE:
            drop(H, spare)
        if out != r:
            drop(H, out)
        if whole >= 0:
            drop(H, whole)
        return NONE
    status = write_pointwise(H, n, k, dtype, target)
    if apart and status == 0:
        copy_into(H, r, spare, back)
    p = row_at(H, r)
    store(H, p[STORAGE])[S_VERSION] += 1
    if status != 0:
        release_temps(H)
        if spare != NONE:
            drop(H, spare)
        if out != r:
            drop(H, out)
        if whole >= 0:
            drop(H, whole)
        return fault(H, X_STATUS, op, status, 0)
    if out != r:
        if back != 0:
            # Its gradients are computed in the dtype that it was computed in.
            attach(H, spare, op, n)
            attach_cast(H, out, spare)
        else:
            attach(H, out, op, n)
        # The memory is changed already; a version that never counts is no harm here.
        h[H_REFUSED] = 0
        status = changed(H, r, out, whole)
    release_temps(H)
    if spare != NONE:
        drop(H, spare)
    return status


@jit
def attach_cast(H, out, source):
    """Make row ``source``, of another dtype, the input of row ``out``, which holds its values."""
    q = row_at(H, source)
    if q[FLAGS] & F_REQUIRES_GRAD:
        p = row_at(H, out)
        p[OP] = FIRST_CAST + p[DTYPE]
        p[NIN] = 1
        p[INPUT] = source
        p[FLAGS] |= F_REQUIRES_GRAD | F_IMPLICIT
        if p[DTYPE] >= FIRST_HALF:
            q[FLAGS] |= F_FLOAT16 << (p[DTYPE] - FIRST_HALF)
        q[REFS] += 1
        renumber(H, p)


@jit
def others_need_grad(H, n):
    """Whether one of the operands but the first requires grad."""
    h = words(H)
    for i in range(1, n):
        if h[C_KIND + i] == KIND_TENSOR and needs_grad(H, h[C_ROW + i]):
            return True
    return False


@jit
def past_hooks(H, n):
    """Have operand 0 leave its hooks with the old value; False after a fault."""
    h = words(H)
    r = h[C_ROW]
    source = without_hooks(H, r)
    if source == NONE:
        return False
    if source != r:
        restage(H, n, r, source)
    return True


@jit
def base_row(H, r):
    """A row for the base of view ``r``, or NONE if ``r`` is none; FAILED after a fault."""
    if row_at(H, r)[FLAGS] & F_VIEW == 0:
        return NONE
    c = slices_row(H, base_of(H, r), r)
    return FAILED if c == NONE else c


@jit
def changed(H, r, out, whole):
    """Have what shows row ``r`` show ``out``, or its base ``whole`` if there is one; NONE after a fault."""
    if whole == NONE:
        show(H, row_at(H, r)[OWNER], r, out)
        return 0
    done = view_changed(H, r, whole, out)
    drop(H, out)
    return 0 if done else NONE


@jit
def keep_old_values(H, op, n, r):
    """Copy those operands whose old value backward will read and that row ``r`` is about to overwrite.

    The copy is recorded as one, so gradients flow through it; PyTorch saves a clone in its place.
    False after a fault.
    """
    h = words(H)
    o = at(words(h[H_OPS]), op * O_WORDS)
    buffer = store(H, row_at(H, r)[STORAGE])[S_DATA]
    needs = 0
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and o[O_DIFF] & (1 << i):
            if row_at(H, h[C_ROW + i])[FLAGS] & F_REQUIRES_GRAD:
                needs |= o[O_NEEDS + i]
    for i in range(n):
        if needs & (1 << i) and h[C_KIND + i] == KIND_TENSOR and h[C_TEMP + i] == 0:
            if store(H, row_at(H, h[C_ROW + i])[STORAGE])[S_DATA] == buffer:
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
    if p[NUMEL] == 0:
        return False
    for d in range(p[NDIM]):
        if p[SHAPE + d] > 1 and p[STRIDE + d] == 0:
            return True
    return False


@jit
def meet(p, q):
    """Whether two rows of one storage, each without gaps, have elements in common."""
    if p[NUMEL] == 0 or q[NUMEL] == 0 or not is_dense(p) or not is_dense(q):
        return False
    a, b = itemsize(p[DTYPE]), itemsize(q[DTYPE])
    return p[OFFSET] * a < (q[OFFSET] + q[NUMEL]) * b and q[OFFSET] * b < (p[OFFSET] + p[NUMEL]) * a


@jit
def same_elements(p, q):
    """Whether two rows of one storage show the same elements in the same places."""
    if p[OFFSET] != q[OFFSET] or not has_shape(q, p[NDIM], at(p, SHAPE)):
        return False
    for d in range(p[NDIM]):
        if p[SHAPE + d] > 1 and p[STRIDE + d] != q[STRIDE + d]:
            return False
    return True
