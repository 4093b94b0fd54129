"""Recording everything that is not pointwise: ops along dims, and ops whose checks Python made.  Jitted."""

from __future__ import annotations

from jitgrad.arena.columns import (
    A_FIRST,
    A_KEEP,
    A_MASK,
    ATTR,
    ATTR_WORDS,
    DTYPE,
    F_HOLDS,
    F_REQUIRES_GRAD,
    FLAGS,
    H_ARGS,
    H_DETAIL,
    H_DEVICE,
    H_GRAD_MODE,
    H_INFERENCE,
    H_LIST,
    H_OPS,
    H_REFUSED,
    INPUT,
    MAX_INPUTS,
    MORE,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    O_BITS,
    O_DIFF,
    O_NEEDS,
    O_RULE,
    O_WORDS,
    OB_IN_PLACE,
    OB_NOT_EMPTY,
    OB_SAME_SHAPE,
    OP,
    OUTVER,
    REFS,
    S_VERSION,
    SAVED,
    SAVED_OUT,
    SHAPE,
    STORAGE,
    USES,
    VERSION,
    X_EMPTY,
    X_INFERENCE_INPLACE,
)
from jitgrad.arena.command_words import EXPLICIT, ROW_GEOMETRY
from jitgrad.arena.devices import attributes, command, geometry
from jitgrad.arena.lanes import L_ATTR, L_DST, L_R, L_STEP, L_X, lane_source, run_lanes
from jitgrad.arena.promotion import lanes_dtype
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.recorder import (
    attach,
    check_op_dtype,
    kernel_of,
    parallel_ready,
    rounded_row,
    widened_row,
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
    input_at,
    itemsize,
    row_at,
)
from jitgrad.arena.shapes import FLOAT32
from jitgrad.arena.slices import alias_row
from jitgrad.arena.storage import storage_release, store
from jitgrad.dtypes import FIRST_FLOAT, FIRST_HALF
from jitgrad.kernels.lowlevel import at, call2, jit, raw_free, raw_malloc, words
from jitgrad.ops.casts import FIRST_CAST


@jit
def lanes_shape(H, p, mask, keep):
    """Stage the shape that is left of row ``p`` without the dims in ``mask``."""
    h = words(H)
    n = 0
    for d in range(p[NDIM]):
        if mask & (1 << d):
            if keep:
                h[C_SHAPE + n] = 1
                n += 1
        else:
            h[C_SHAPE + n] = p[SHAPE + d]
            n += 1
    h[C_NDIM] = n


@jit
def record_lanes(H, op, r, mask, keep, attrs, n):
    """An op along the dims in ``mask`` of row ``r``, with ``n`` attributes; NONE after a fault."""
    half = row_at(H, r)[DTYPE]
    if half < FIRST_HALF:
        return record_lanes_of(H, op, r, mask, keep, attrs, n)
    wide = widened_row(H, r)
    if wide == NONE or kernel_of(H, FIRST_CAST + half, FLOAT32) == 0:
        if wide != NONE:
            drop(H, wide)
        return NONE
    out = record_lanes_of(H, op, wide, mask, keep, attrs, n)
    drop(H, wide)
    if out != NONE and row_at(H, out)[DTYPE] == FLOAT32:
        return rounded_row(H, out, half)
    return out


@jit
def record_lanes_of(H, op, r, mask, keep, attrs, n):
    """`record_lanes` of a row that kernels can read."""
    h = words(H)
    o = at(words(h[H_OPS]), op * O_WORDS)
    p = row_at(H, r)
    dtype = p[DTYPE]
    if not check_op_dtype(H, op, dtype):
        return NONE
    k = kernel_of(H, op, dtype)
    if k == 0 or not parallel_ready(H, p[NUMEL]):
        return NONE
    if o[O_BITS] & OB_SAME_SHAPE:
        h[C_NDIM] = p[NDIM]
        for d in range(p[NDIM]):
            h[C_SHAPE + d] = p[SHAPE + d]
    else:
        lanes_shape(H, p, mask, keep & 1)
    if o[O_BITS] & OB_NOT_EMPTY:
        for d in range(p[NDIM]):
            if mask & (1 << d) and p[SHAPE + d] == 0:
                return fault(H, X_EMPTY, op, d, 0)
    out = dense_row(H, lanes_dtype(o[O_RULE], dtype), h[C_NDIM], at(h, C_SHAPE))
    if out == NONE:
        return no_memory(H)
    q = row_at(H, out)
    args = at(h, H_ARGS)
    copy = lane_source(H, r, mask, args)
    if args[L_X] == 0:
        drop(H, out)
        return no_memory(H)
    args[L_DST] = data_of(H, out)
    args[L_STEP] = itemsize(q[DTYPE]) * (args[L_R] if o[O_BITS] & OB_SAME_SHAPE else 1)
    args[L_STEP + 1] = itemsize(dtype) * args[L_R]
    args[L_STEP + 2] = 0
    args[L_STEP + 3] = 0
    q[ATTR + A_MASK] = mask
    q[ATTR + A_KEEP] = keep
    for i in range(n):
        args[L_ATTR + i] = attrs[i]
        q[ATTR + A_FIRST + i] = attrs[i]
    status = 0
    if q[NUMEL] > 0:
        status = run_lanes(H, k)
    if copy != NONE:
        storage_release(H, copy)
    if status != 0:
        drop(H, out)
        return no_memory(H)
    q = row_at(H, out)
    p = row_at(H, r)
    h[C_N] = 1
    h[C_KIND] = KIND_TENSOR
    h[C_ROW] = r
    h[C_TEMP] = 0
    attach(H, out, op, 1)
    return out


# ---------------------------------------------------------------- any other op
@jit
def explicit_begin(H, dtype, n, ndim, shape, over):
    """A row of that shape, or ``over`` the memory of the first input; its inputs are those in H_LIST."""
    h = words(H)
    out = NONE
    if over:
        r = words(h[H_LIST])[0]
        if store(H, row_at(H, r)[STORAGE])[S_VERSION] < 0 and h[H_INFERENCE] == 0:
            return fault(H, X_INFERENCE_INPLACE, r, 0, 0)
        out = alias_row(H, r)
    else:
        out = dense_row(H, dtype, ndim, shape)
    if out == NONE:
        return no_memory(H)
    p = row_at(H, out)
    rows = words(h[H_LIST])
    if n > MAX_INPUTS:
        p[MORE] = raw_malloc(n * 8)
        if p[MORE] == 0:
            drop(H, out)
            return no_memory(H)
    p[NIN] = n
    to = words(p[MORE]) if n > MAX_INPUTS else at(p, INPUT)
    for i in range(n):
        to[i] = rows[i]
    return out


@jit
def explicit_end(H, out, op):
    """Keep the inputs through which a gradient flows or whose value backward reads; forget the others."""
    h = words(H)
    p = row_at(H, out)
    o = at(words(h[H_OPS]), op * O_WORDS)
    n = p[NIN]
    diff = False
    saved = 0
    if h[H_GRAD_MODE] != 0 and p[DTYPE] >= FIRST_FLOAT:
        for i in range(n):
            j = input_at(p, i)
            slot = min(i, MAX_INPUTS - 1)
            if o[O_DIFF] & (1 << slot) and row_at(H, j)[FLAGS] & F_REQUIRES_GRAD:
                diff = True
                saved |= o[O_NEEDS + slot]
    if not diff:
        if p[MORE] != 0:
            raw_free(p[MORE])
            p[MORE] = 0
        p[NIN] = 0
        return
    p[OP] = op
    p[FLAGS] |= F_REQUIRES_GRAD
    saved &= SAVED_OUT | ((1 << min(n, MAX_INPUTS)) - 1)
    to = words(p[MORE]) if n > MAX_INPUTS else at(p, INPUT)
    for i in range(n):
        q = row_at(H, to[i])
        keep = i < MAX_INPUTS and (saved >> i) & 1 != 0
        if keep:
            q[USES] += 1
            p[VERSION + i] = store(H, q[STORAGE])[S_VERSION]
            if p[VERSION + i] < 0:
                h[H_REFUSED] = 1
        # Shapes are read from the inputs' rows, so every input's row is kept, not only the needed ones.
        q[REFS] += 1
    if saved & SAVED_OUT:
        p[USES] += 1
        p[OUTVER] = store(H, p[STORAGE])[S_VERSION]
    p[SAVED] = saved
    if saved != 0:
        p[FLAGS] |= F_HOLDS


@jit
def run_explicit(H, k, out):
    """Compute row ``out`` from its inputs by kernel ``k``, or have that launched; 0 or a status."""
    if words(H)[H_DEVICE] == 0:
        return call2(k, (H, out))
    p = row_at(H, out)
    n = p[NIN]
    first = 1 + ATTR_WORDS
    to = command(H, first + (1 + n) * ROW_GEOMETRY, EXPLICIT, k)
    if to != 0:
        words(to)[0] = n
        attributes(to + 8, p)
        geometry(to + first * 8, p, data_of(H, out))
        for i in range(n):
            j = input_at(p, i)
            geometry(to + (first + (1 + i) * ROW_GEOMETRY) * 8, row_at(H, j), data_of(H, j))
    return 0


@jit
def record_explicit(H, op, key, dtype, n, ndim, shape, attrs, count):
    """An op whose checks and result shape come from Python; the kernel finds its inputs in the row.

    The inputs are the first ``n`` rows of H_LIST; the next ``n`` words are scratch.
    """
    rows = words(words(H)[H_LIST])
    halves = key >= FIRST_HALF or dtype >= FIRST_HALF
    for i in range(n):
        if row_at(H, rows[i])[DTYPE] >= FIRST_HALF:
            halves = True
    if not halves:
        return record_explicit_of(H, op, key, dtype, n, ndim, shape, attrs, count)
    if dtype >= FIRST_HALF and kernel_of(H, FIRST_CAST + dtype, FLOAT32) == 0:
        return NONE
    ready = True
    for i in range(n):
        rows[n + i] = NONE
        if ready and row_at(H, rows[i])[DTYPE] >= FIRST_HALF:
            rows[n + i] = widened_row(H, rows[i])
            ready = rows[n + i] != NONE
            rows[i] = rows[n + i]
    out = NONE
    if ready:
        wide = FLOAT32 if dtype >= FIRST_HALF else dtype
        key = FLOAT32 if key >= FIRST_HALF else key
        out = record_explicit_of(H, op, key, wide, n, ndim, shape, attrs, count)
    for i in range(n):
        if rows[n + i] != NONE:
            drop(H, rows[n + i])
    if out != NONE and dtype >= FIRST_HALF:
        return rounded_row(H, out, dtype)
    return out


@jit
def record_explicit_of(H, op, key, dtype, n, ndim, shape, attrs, count):
    """`record_explicit` of rows that kernels can read."""
    h = words(H)
    k = kernel_of(H, op, key)
    if k == 0:
        return NONE
    over = words(h[H_OPS])[op * O_WORDS + O_BITS] & OB_IN_PLACE != 0
    out = explicit_begin(H, dtype, n, ndim, shape, over)
    if out == NONE:
        return NONE
    p = row_at(H, out)
    if not parallel_ready(H, p[NUMEL]):
        p[NIN] = 0
        drop(H, out)
        return NONE
    for i in range(count):
        p[ATTR + i] = attrs[i]
    status = run_explicit(H, k, out)
    if status != 0:
        row_at(H, out)[NIN] = 0
        drop(H, out)
        return fault(H, status, h[H_DETAIL], h[H_DETAIL + 1], h[H_DETAIL + 2])
    if over:
        store(H, row_at(H, out)[STORAGE])[S_VERSION] += 1
    explicit_end(H, out, op)
    return out
