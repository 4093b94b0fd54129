"""One row's part of a backward pass, for each family of ops: its gradient sent on to its inputs.  Jitted."""

from __future__ import annotations

from jitgrad.arena.columns import (
    A_FIRST,
    A_MASK,
    ATTR,
    DTYPE,
    F_REQUIRES_GRAD,
    FLAGS,
    H_ARGS,
    H_BACKWARD,
    H_DEVICE,
    H_FORWARD,
    H_OPS,
    H_VIEW_VJP,
    INPUT,
    MAX_DIMS,
    MAX_INPUTS,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    O_ALIAS,
    O_BITS,
    O_DIFF,
    O_FAMILY,
    O_NEEDS,
    O_WORDS,
    OB_FORMULA,
    OB_SAME_SHAPE,
    OP,
    OUTVER,
    S_DATA,
    S_VERSION,
    SAVED,
    SAVED_OUT,
    SHAPE,
    STORAGE,
    VERSION,
    VIEW_KIND,
    VIEW_MEMORY,
    VIEW_OVERLAP,
    W_BACKWARD,
    W_FORWARD,
    X_KERNEL,
    X_MEMORY,
    X_PART,
    X_STATUS,
    X_VERSION,
)
from jitgrad.arena.contexts import (
    N_GRAD,
    N_ROW,
    N_UNIFORM,
)
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
from jitgrad.arena.gradients import (
    NUMEL_SCRATCH,
    fill_out,
    give,
    node_at,
    share,
)
from jitgrad.arena.lanes import (
    L_ATTR,
    L_DST,
    L_G,
    L_R,
    L_STEP,
    L_X,
    L_Y,
    grouped,
    lane_counts,
    lane_source,
    lane_spread,
    run_lanes,
)
from jitgrad.arena.parts import VIEWS
from jitgrad.arena.promotion import N_DTYPES
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.recorder import C_NUMBER, parallel_ready, plan_operand
from jitgrad.arena.rows import data_of, input_at, itemsize, row_at
from jitgrad.arena.shapes import FLOAT32, has_shape, reduce_to
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.kernels.lowlevel import at, call2, float32s, float64s, from_bits, jit, words
from jitgrad.ops.casts import FIRST_CAST
from jitgrad.ops.table import VIEW

N_CASTS = N_DTYPES

ARGS = H_ARGS * 8


@jit
def kernel_for(H, op, i, dtype):
    """Address of a backward kernel; 0 and a fault if it is not loaded."""
    k = words(words(H)[H_BACKWARD])[(op * MAX_INPUTS + i) * N_DTYPES + dtype]
    if k == 0:
        fault(H, X_KERNEL, op, dtype, W_BACKWARD + i)
    return k


@jit
def wants(H, p, i):
    """Whether a gradient flows to input ``i``."""
    j = input_at(p, i)
    return j != NONE and (row_at(H, j)[FLAGS] & F_REQUIRES_GRAD) != 0


@jit
def check_saved(H, p, r):
    """Whether no saved value of row ``r`` has been changed in place; stages a fault if one has."""
    for i in range(min(p[NIN], MAX_INPUTS)):
        if p[SAVED] & (1 << i):
            version = store(H, row_at(H, p[INPUT + i])[STORAGE])[S_VERSION]
            if version != p[VERSION + i]:
                return fault(H, X_VERSION, p[INPUT + i], version, p[VERSION + i])
    if p[SAVED] & SAVED_OUT:
        version = store(H, p[STORAGE])[S_VERSION]
        if version != p[OUTVER]:
            return fault(H, X_VERSION, r, version, p[OUTVER])
    return 0


@jit
def ready_to_run(H, p):
    """Whether every kernel the row needs is loaded; stages a fault if not."""
    op = p[OP]
    o = at(words(words(H)[H_OPS]), op * O_WORDS)
    if not parallel_ready(H, p[NUMEL]):
        return NONE
    if o[O_FAMILY] == VIEW:
        if words(H)[H_VIEW_VJP] == 0:
            return fault(H, X_PART, VIEWS, 0, 0)
        if words(H)[H_DEVICE] != 0:
            kind = p[ATTR + VIEW_KIND]
            if kind == VIEW_OVERLAP or kind == VIEW_MEMORY:
                return fault(H, X_KERNEL, op, p[DTYPE], W_BACKWARD)
        return 0
    for i in range(min(p[NIN], MAX_INPUTS)):
        if o[O_DIFF] & (1 << i) and (o[O_ALIAS] & (1 << i)) == 0 and wants(H, p, i):
            # Every input from the last slot on (cat, stack) shares that slot's kernel.
            if kernel_for(H, op, i, p[DTYPE]) == 0:
                return NONE
    if is_cast(op):
        back = row_at(H, p[INPUT])[DTYPE]
        if back != p[DTYPE]:
            op = FIRST_CAST + back
            if words(words(H)[H_FORWARD])[op * N_DTYPES + p[DTYPE]] == 0:
                return fault(H, X_KERNEL, op, p[DTYPE], W_FORWARD)
    return 0


@jit
def is_cast(op):
    return op >= FIRST_CAST and op < FIRST_CAST + N_CASTS


@jit
def pointwise_vjp(H, ctx, k, i, kernel, dtype):
    """The gradient of input ``i`` in the row's shape, as a new storage of ``dtype``; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    size = itemsize(p[DTYPE])
    s = storage_new(H, p[NUMEL] * itemsize(dtype))
    if s == NONE:
        return no_memory(H)
    needs = words(words(H)[H_OPS])[p[OP] * O_WORDS + O_NEEDS + i]
    count = 1
    for j in range(p[NIN]):
        if needs & (1 << j):
            count += 1
    if needs & SAVED_OUT:
        count += 1
    plan_begin(H, kernel, p[NUMEL], count, p[NDIM], at(p, SHAPE))
    plan_dense(H, 0, store(H, s)[S_DATA], itemsize(dtype))
    g = store(H, node[N_GRAD])[S_DATA]
    if node[N_UNIFORM] != 0:
        plan_const(H, 1, g, size)
    else:
        plan_dense(H, 1, g, size)
    n = 2
    for j in range(p[NIN]):
        if needs & (1 << j):
            if p[INPUT + j] != NONE:
                plan_operand(H, n, p[INPUT + j])
            else:
                number = H + (C_NUMBER + j) * 8
                value = float64s(H + (C_NUMBER + j) * 8)
                value[0] = from_bits(p[ATTR + j])
                if p[DTYPE] == FLOAT32:
                    float32s(number)[0] = value[0]
                plan_const(H, n, number, size)
            n += 1
    if needs & SAVED_OUT:
        plan_operand(H, n, node[N_ROW])
    status = drive(H)
    if status != 0:
        storage_release(H, s)
        return fault(H, X_STATUS, p[OP], status, 0)
    return s


@jit
def pointwise_row(H, ctx, k):
    """Send the gradient of a pointwise row to its inputs; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    op = p[OP]
    o = at(words(words(H)[H_OPS]), op * O_WORDS)
    for i in range(p[NIN]):
        if (o[O_DIFF] & (1 << i)) == 0 or not wants(H, p, i):
            continue
        j = p[INPUT + i]
        q = row_at(H, j)
        dtype = q[DTYPE]
        uniform = 0
        if o[O_ALIAS] & (1 << i) and dtype == p[DTYPE]:
            s = share(H, node[N_GRAD])
            uniform = node[N_UNIFORM]
        else:
            if o[O_ALIAS] & (1 << i):
                kernel = words(words(H)[H_FORWARD])[(FIRST_CAST + dtype) * N_DTYPES + p[DTYPE]]
            else:
                kernel = kernel_for(H, op, i, p[DTYPE])
            s = pointwise_vjp(H, ctx, k, i, kernel, dtype)
            if s == NONE:
                return NONE
        if not has_shape(q, p[NDIM], at(p, SHAPE)):
            src = store(H, s)[S_DATA]
            t = reduce_to(H, src, uniform != 0, dtype, p[NUMEL], p[NDIM], at(p, SHAPE), j)
            storage_release(H, s)
            if t == NONE:
                return no_memory(H)
            s = t
            uniform = 0
        if give(H, ctx, j, s, uniform) == NONE:
            return NONE
    return 0


@jit
def kernel_row(H, ctx, k):
    """Run the backward kernels of any other row; NONE after a fault.

    A kernel is ``int64 kernel(H, args)`` with ``args = [row, input, where to write, cotangent]``: it
    writes the whole gradient of its input, contiguous, and the engine adds it up.
    """
    node = node_at(ctx, k)
    if fill_out(H, ctx, k) == NONE:
        return NONE
    p = row_at(H, node[N_ROW])
    op = p[OP]
    diff = words(words(H)[H_OPS])[op * O_WORDS + O_DIFF]
    for i in range(p[NIN]):
        slot = min(i, MAX_INPUTS - 1)
        if diff & (1 << slot) == 0 or not wants(H, row_at(H, node[N_ROW]), i):
            continue
        j = input_at(row_at(H, node[N_ROW]), i)
        q = row_at(H, j)
        kernel = kernel_for(H, op, slot, row_at(H, node[N_ROW])[DTYPE])
        s = storage_new(H, q[NUMEL] * itemsize(q[DTYPE]))
        if s == NONE:
            return no_memory(H)
        args = words(H + ARGS)
        args[0] = node[N_ROW]
        args[1] = i
        args[2] = store(H, s)[S_DATA]
        args[3] = store(H, node[N_GRAD])[S_DATA]
        status = call2(kernel, (H, H + ARGS))
        if status != 0:
            storage_release(H, s)
            if status == X_MEMORY:
                return no_memory(H)
            return fault(H, X_STATUS, op, status, 0)
        if give(H, ctx, j, s, 0) == NONE:
            return NONE
    return 0


@jit
def lanes_row(H, ctx, k):
    """Send the gradient of an op along dims to its input; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    o = at(words(words(H)[H_OPS]), p[OP] * O_WORDS)
    if not wants(H, p, 0):
        return 0
    if o[O_BITS] & OB_FORMULA:
        return lanes_formula(H, ctx, k)
    if fill_out(H, ctx, k) == NONE:
        return NONE
    p = row_at(H, node[N_ROW])
    j = p[INPUT]
    q = row_at(H, j)
    mask = p[ATTR + A_MASK]
    size = itemsize(p[DTYPE])
    kernel = kernel_for(H, p[OP], 0, p[DTYPE])
    args = words(H + ARGS)
    copy = NONE
    permuted = not grouped(q, mask)
    if o[O_NEEDS] & 1:
        copy = lane_source(H, j, mask, args)
        if args[L_X] == 0:
            return no_memory(H)
    else:
        lane_counts(q, mask, permuted, args)
    s = storage_new(H, q[NUMEL] * size)
    if s == NONE:
        if copy != NONE:
            storage_release(H, copy)
        return no_memory(H)
    args[L_G] = store(H, node[N_GRAD])[S_DATA]
    args[L_Y] = 0
    if o[O_NEEDS] & SAVED_OUT:
        args[L_Y] = data_of(H, node[N_ROW])
    args[L_DST] = store(H, s)[S_DATA]
    args[L_STEP] = size * args[L_R]
    args[L_STEP + 1] = itemsize(q[DTYPE]) * args[L_R]
    args[L_STEP + 2] = size * (args[L_R] if o[O_BITS] & OB_SAME_SHAPE else 1)
    args[L_STEP + 3] = args[L_STEP + 2]
    for i in range(4):
        args[L_ATTR + i] = p[ATTR + A_FIRST + i]
    status = 0
    if q[NUMEL] > 0:
        status = run_lanes(H, kernel)
    if copy != NONE:
        storage_release(H, copy)
    if status == 0 and permuted:
        t = storage_new(H, q[NUMEL] * size)
        if t == NONE:
            status = X_MEMORY
        else:
            lane_spread(H, j, mask, store(H, s)[S_DATA], store(H, t)[S_DATA])
            storage_release(H, s)
            s = t
    if status != 0:
        storage_release(H, s)
        return no_memory(H)
    return give(H, ctx, j, s, 0)


@jit
def lane_number(H, p, q):
    """The elements of a lane, in the row's dtype: the address of the number that a formula calls n."""
    lane = 1
    for d in range(q[NDIM]):
        if p[ATTR + A_MASK] & (1 << d):
            lane *= q[SHAPE + d]
    number = H + C_NUMBER * 8
    if p[DTYPE] == FLOAT32:
        float32s(number)[0] = lane
    else:
        float64s(number)[0] = lane
    return number


@jit
def once_a_lane(H, ctx, k, kernel):
    """Replace the cotangent of a reduction by the formula's value of it; NONE after a fault."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    size = itemsize(p[DTYPE])
    s = storage_new(H, p[NUMEL] * size)
    if s == NONE:
        return no_memory(H)
    shape = words(H + NUMEL_SCRATCH)
    shape[0] = p[NUMEL]
    plan_begin(H, kernel, p[NUMEL], 2, 1, shape)
    plan_dense(H, 0, store(H, s)[S_DATA], size)
    plan_dense(H, 1, store(H, node[N_GRAD])[S_DATA], size)
    plan_const(H, 2, lane_number(H, p, row_at(H, p[INPUT])), size)
    drive(H)
    storage_release(H, node[N_GRAD])
    node[N_GRAD] = s
    return 0


@jit
def lanes_formula(H, ctx, k):
    """The gradient of a reduction as a pointwise formula, with g and y broadcast along the lanes."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    o = at(words(words(H)[H_OPS]), p[OP] * O_WORDS)
    j = p[INPUT]
    q = row_at(H, j)
    size = itemsize(p[DTYPE])
    same = p[NUMEL] == 1 or node[N_UNIFORM] != 0
    needs = o[O_NEEDS]
    if o[O_ALIAS] & 1 and same:
        return give(H, ctx, j, share(H, node[N_GRAD]), 1)
    # Without x and y, and with a gradient that is one number, so is the result.
    uniform = same and needs == 0
    kernel = 0
    if (o[O_ALIAS] & 1) == 0:
        kernel = kernel_for(H, p[OP], 0, p[DTYPE])
        if needs == 0 and not uniform:
            # The formula reads g alone: compute it once a lane, then spread it.
            if once_a_lane(H, ctx, k, kernel) == NONE:
                return NONE
            kernel = 0
    n = 1 if uniform else q[NUMEL]
    s = storage_new(H, n * size)
    if s == NONE:
        return no_memory(H)
    shape = words(H + NUMEL_SCRATCH)
    stride = at(shape, MAX_DIMS)
    mask = p[ATTR + A_MASK]
    step = 1
    for c in range(q[NDIM]):
        d = q[NDIM] - 1 - c
        shape[d] = q[SHAPE + d]
        stride[d] = 0
        if (mask >> d) & 1 == 0:
            stride[d] = step
            step *= q[SHAPE + d]
    ndim = 0 if uniform else q[NDIM]
    operands = 2 + (needs & 1) + (1 if needs & SAVED_OUT else 0)
    plan_begin(H, kernel, n, operands if kernel != 0 else 1, ndim, shape)
    plan_dense(H, 0, store(H, s)[S_DATA], size)
    g = store(H, node[N_GRAD])[S_DATA]
    if same:
        plan_const(H, 1, g, size)
    else:
        plan_strided(H, 1, g, size, ndim, shape, stride)
    if kernel != 0:
        i = 2
        if needs & 1:
            plan_operand(H, i, j)
            i += 1
        if needs & SAVED_OUT:
            if p[NUMEL] == 1:
                plan_const(H, i, data_of(H, node[N_ROW]), size)
            else:
                plan_strided(H, i, data_of(H, node[N_ROW]), size, ndim, shape, stride)
            i += 1
        plan_const(H, i, lane_number(H, p, q), size)
    drive(H)
    return give(H, ctx, j, s, 1 if uniform else 0)
