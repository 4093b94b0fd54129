"""Recording: from operands to a row of the graph, with its value computed.

`record_pointwise` does the whole of a pointwise op: check, promote, broadcast, allocate, run the kernel,
append the row.  `begin_node` and `finish_node` are the parts that every other family shares.  Jitted;
operands are staged in the header by `python.operand` and hold rows with live owners.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    F_CONTIGUOUS,
    F_FLOAT16,
    F_HOLDS,
    F_IMPLICIT,
    F_REQUIRES_GRAD,
    FLAGS,
    H_DEFAULT_DTYPE,
    H_FORWARD,
    H_GRAD_MODE,
    H_OPS,
    H_PARALLEL,
    H_PARALLEL_FROM,
    H_PLAN,
    H_REFUSED,
    H_THREADS,
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
    OB_NO_BOOL,
    OB_NO_BOOL_OPERAND,
    OB_NO_FLOAT,
    OB_NO_INT,
    OB_ROUNDS,
    OP,
    OUTVER,
    P_NDIM,
    P_SHAPE,
    R_BOOL,
    R_FIRST,
    R_FLOAT,
    REFS,
    S_VERSION,
    SAVED,
    SAVED_OUT,
    SHAPE,
    STORAGE,
    STRIDE,
    USES,
    VERSION,
    W_FORWARD,
    X_BROADCAST,
    X_DTYPE,
    X_KERNEL,
    X_MASK,
    X_PARALLEL,
    X_STATUS,
)
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
from jitgrad.arena.promotion import BOOL, N_DTYPES, common_dtype
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.rows import (
    C_BITS,
    C_KIND,
    C_N,
    C_NDIM,
    C_ROW,
    C_SHAPE,
    C_TEMP,
    C_WORK,
    KIND_BOOL,
    KIND_FLOAT,
    KIND_TENSOR,
    data_of,
    dense_row,
    drop,
    itemsize,
    renumber,
    row_at,
)
from jitgrad.arena.shapes import FLOAT32, broadcast_into, has_shape
from jitgrad.arena.storage import store
from jitgrad.dtypes import FIRST_FLOAT, FIRST_HALF
from jitgrad.kernels.halves import narrowed, widened
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, bits, from_bits, jit, words
from jitgrad.ops.casts import FIRST_CAST

PLAN_BYTES = H_PLAN * 8

_f32 = TYPES[FLOAT32]

C_NUMBER = C_WORK  # the numbers among the operands, in the op's dtype

_u8s, _u8s2, _i8s, _i16s, _i32s, _i64s, _f32s, _f64s, _u16s, _ = POINTERS


@jit
def kernel_of(H, op, dtype):
    """Address of the forward kernel; stages a fault and returns 0 if it is not loaded."""
    k = words(words(H)[H_FORWARD])[op * N_DTYPES + dtype]
    if k == 0:
        fault(H, X_KERNEL, op, dtype, W_FORWARD)
    return k


@jit
def store_number(H, i, address, dtype):
    """Write number operand ``i`` in a dtype; a float for an integer dtype is truncated."""
    h = words(H)
    b = h[C_BITS + i]
    if h[C_KIND + i] == KIND_FLOAT:
        value = from_bits(b)
        if dtype >= FIRST_FLOAT:
            store_float(address, dtype, value)
        else:
            # Only masks and casts get here: promotion makes the common dtype a float.
            store_integer(address, dtype, int(value))
    elif dtype == 6:
        _f32s(address)[0] = b
    elif dtype >= FIRST_FLOAT:
        store_float(address, dtype, b * 1.0)
    else:
        store_integer(address, dtype, b)


@jit
def store_float(address, dtype, value):
    """Write a number in a floating-point dtype."""
    if dtype == 7:
        _f64s(address)[0] = value
    elif dtype == 6:
        _f32s(address)[0] = value
    else:
        _u16s(address)[0] = narrowed(dtype, _f32(value))


@jit
def store_integer(address, dtype, value):
    if dtype == 0:
        _u8s(address)[0] = 1 if value != 0 else 0
    elif dtype <= 2:
        _u8s(address)[0] = value
    elif dtype == 3:
        _i16s(address)[0] = value
    elif dtype == 4:
        _i32s(address)[0] = value
    else:
        _i64s(address)[0] = value


@jit
def number_as_double(H, i):
    """Number operand ``i`` as float64 bits, as backward kernels read it from ATTR."""
    h = words(H)
    if h[C_KIND + i] == KIND_FLOAT:
        return h[C_BITS + i]
    return bits(h[C_BITS + i] * 1.0)


@jit
def release_temps(H):
    """Give up the operands that promotion cast."""
    h = words(H)
    for i in range(h[C_N]):
        if h[C_TEMP + i] == 1:
            h[C_TEMP + i] = 0
            drop(H, h[C_ROW + i])


@jit
def parallel_ready(H, n):
    """Whether a kernel over ``n`` elements can run: False (and a fault) if threads must be loaded first."""
    h = words(H)
    if n >= h[H_PARALLEL_FROM] and h[H_THREADS] > 1 and h[H_PARALLEL] == 0:
        fault(H, X_PARALLEL, 0, 0, 0)
        return False
    return True


@jit
def cast_row(H, r, dtype):
    """A new row that holds ``r`` in another dtype, recorded as the cast it is; NONE after a fault.

    The kernel must be loaded: see `casts_ready`.
    """
    h = words(H)
    p = row_at(H, r)
    source = p[DTYPE]
    out = dense_row(H, dtype, p[NDIM], at(p, SHAPE))
    if out == NONE:
        return no_memory(H)
    p = row_at(H, r)
    q = row_at(H, out)
    op = FIRST_CAST + dtype
    k = words(h[H_FORWARD])[op * N_DTYPES + source]
    plan_begin(H, k, p[NUMEL], 1, p[NDIM], at(p, SHAPE))
    plan_dense(H, 0, data_of(H, out), itemsize(dtype))
    plan_operand(H, 1, r)
    drive(H)
    if h[H_GRAD_MODE] != 0 and p[FLAGS] & F_REQUIRES_GRAD and dtype >= FIRST_FLOAT:
        q[OP] = op
        q[NIN] = 1
        q[INPUT] = r
        q[FLAGS] |= F_REQUIRES_GRAD
        p[REFS] += 1
    return out


@jit
def casts_ready(H, n, dtype, masks):
    """Whether every cast that promotion needs is loaded; stages a fault if not."""
    h = words(H)
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and (masks & (1 << i)) == 0:
            have = row_at(H, h[C_ROW + i])[DTYPE]
            if have != dtype and kernel_of(H, FIRST_CAST + dtype, have) == 0:
                return False
    return True


@jit
def cast_operands(H, n, dtype, masks):
    """Cast the tensor operands that are of another dtype; False after a fault."""
    h = words(H)
    h[C_N] = n
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and (masks & (1 << i)) == 0:
            r = h[C_ROW + i]
            if row_at(H, r)[DTYPE] != dtype:
                cast = cast_row(H, r, dtype)
                if cast == NONE:
                    return False
                row_at(H, cast)[FLAGS] |= F_IMPLICIT
                if h[C_TEMP + i] == 1:
                    drop(H, r)
                h[C_ROW + i] = cast
                h[C_TEMP + i] = 1
    return True


@jit
def plan_operand(H, j, r):
    """Operand ``j`` of the plan is row ``r``."""
    p = row_at(H, r)
    size = itemsize(p[DTYPE])
    base = data_of(H, r)
    if p[NUMEL] == 1:
        plan_const(H, j, base, size)
    elif p[FLAGS] & F_CONTIGUOUS and plan_fits(H, p):
        plan_dense(H, j, base, size)
    else:
        plan_strided(H, j, base, size, p[NDIM], at(p, SHAPE), at(p, STRIDE))


@jit
def plan_fits(H, p):
    """Whether row ``p`` has exactly the plan's shape."""
    plan = words(H + PLAN_BYTES)
    return has_shape(p, plan[P_NDIM], at(plan, P_SHAPE))


@jit
def check_op_dtype(H, op, dtype):
    """False (and a fault) if the op is not defined for a dtype."""
    ob = words(words(H)[H_OPS])[op * O_WORDS + O_BITS]
    bad = (
        (dtype == BOOL and ob & OB_NO_BOOL)
        or (dtype >= FIRST_FLOAT and ob & OB_NO_FLOAT)
        or (dtype < FIRST_FLOAT and ob & OB_NO_INT)
    )
    if bad:
        fault(H, X_DTYPE, op, dtype, 0)
        return False
    return True


@jit
def compute_dtype(H, op, n):
    """The dtype in which a pointwise op computes, or NONE after a fault."""
    h = words(H)
    o = at(words(h[H_OPS]), op * O_WORDS)
    if o[O_RULE] == R_FIRST:
        dtype = row_at(H, h[C_ROW])[DTYPE]
    else:
        dtype = common_dtype(H, n, o[O_MASKS])
    if o[O_RULE] == R_FLOAT and dtype < FIRST_FLOAT:
        dtype = h[H_DEFAULT_DTYPE]
    if not check_op_dtype(H, op, dtype):
        return NONE
    if o[O_BITS] & OB_NO_BOOL_OPERAND:
        for i in range(2):
            if h[C_KIND + i] == KIND_BOOL or (
                h[C_KIND + i] == KIND_TENSOR and row_at(H, h[C_ROW + i])[DTYPE] == BOOL
            ):
                return fault(H, X_DTYPE, op, BOOL, 0)
    for i in range(n):
        if o[O_MASKS] & (1 << i) and (
            h[C_KIND + i] != KIND_TENSOR or row_at(H, h[C_ROW + i])[DTYPE] != BOOL
        ):
            return fault(H, X_MASK, op, i, 0)
    return dtype


@jit
def broadcast_operands(H, n):
    """Stage the shape that the tensor operands broadcast to; False after a fault."""
    h = words(H)
    h[C_NDIM] = 0
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR:
            p = row_at(H, h[C_ROW + i])
            if not broadcast_into(H, p[NDIM], at(p, SHAPE)):
                fault(H, X_BROADCAST, i, 0, 0)
                return False
    return True


@jit
def run_pointwise(H, n, k, dtype, masks, base, size, numel):
    """Fill the plan from the staged operands and run it; 0 or a kernel's status."""
    h = words(H)
    plan_begin(H, k, numel, n, h[C_NDIM], at(h, C_SHAPE))
    plan_dense(H, 0, base, size)
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR:
            plan_operand(H, i + 1, h[C_ROW + i])
        else:
            address = H + (C_NUMBER + i) * 8
            store_number(H, i, address, dtype)
            plan_const(H, i + 1, address, itemsize(dtype))
    return drive(H)


@jit
def record_pointwise(H, op, n):
    """Compute a pointwise op of ``n`` staged operands and append its row; NONE after a fault."""
    h = words(H)
    o = at(words(h[H_OPS]), op * O_WORDS)
    masks = o[O_MASKS]
    h[C_N] = n
    dtype = compute_dtype(H, op, n)
    if dtype == NONE:
        return NONE
    half = NONE
    if dtype >= FIRST_HALF and o[O_BITS] & OB_COPIES == 0:
        half = dtype
        dtype = FLOAT32
        if o[O_BITS] & OB_ROUNDS:
            round_numbers(H, n, half)
    k = kernel_of(H, op, dtype)
    if k == 0 or not casts_ready(H, n, dtype, masks) or not broadcast_operands(H, n):
        return NONE
    result = BOOL if o[O_RULE] == R_BOOL else dtype
    if result == BOOL:
        half = NONE
    if half != NONE and kernel_of(H, FIRST_CAST + half, FLOAT32) == 0:
        return NONE
    out = dense_row(H, result, h[C_NDIM], at(h, C_SHAPE))
    if out == NONE:
        return no_memory(H)
    numel = row_at(H, out)[NUMEL]
    if not parallel_ready(H, numel) or not cast_operands(H, n, dtype, masks):
        release_temps(H)
        drop(H, out)
        return NONE
    status = run_pointwise(H, n, k, dtype, masks, data_of(H, out), itemsize(result), numel)
    if status != 0:
        release_temps(H)
        drop(H, out)
        return fault(H, X_STATUS, op, status, 0)
    attach(H, out, op, n)
    release_temps(H)
    return rounded_row(H, out, half) if half != NONE else out


# ---------------------------------------------------------------- 16-bit floats: computed in float32
@jit
def round_numbers(H, n, half):
    """Round the numbers among the operands to a 16-bit dtype."""
    h = words(H)
    for i in range(n):
        if h[C_KIND + i] != KIND_TENSOR:
            number = from_bits(number_as_double(H, i))
            h[C_BITS + i] = bits(widened(half, narrowed(half, _f32(number))) * 1.0)
            h[C_KIND + i] = KIND_FLOAT


@jit
def widened_row(H, r):
    """A new float32 row with the elements of ``r``, a 16-bit float's; NONE after a fault."""
    if kernel_of(H, FIRST_CAST + FLOAT32, row_at(H, r)[DTYPE]) == 0:
        return NONE
    wide = cast_row(H, r, FLOAT32)
    if wide != NONE:
        row_at(H, wide)[FLAGS] |= F_IMPLICIT
    return wide


@jit
def rounded_row(H, out, half):
    """The result of an op, row ``out``, in the 16-bit dtype of its operands, in place of ``out``.

    The cast's kernel must be loaded.  NONE after a fault.
    """
    rounded = cast_row(H, out, half)
    row_at(H, out)[FLAGS] |= F_FLOAT16 << (half - FIRST_HALF)
    if rounded != NONE:
        row_at(H, rounded)[FLAGS] |= F_IMPLICIT
    drop(H, out)
    return rounded


@jit
def attach(H, out, op, n):
    """Make the staged operands the inputs of row ``out`` if a gradient will flow through it."""
    h = words(H)
    p = row_at(H, out)
    if h[H_GRAD_MODE] == 0 or p[DTYPE] < FIRST_FLOAT:
        return
    o = at(words(h[H_OPS]), op * O_WORDS)
    diff = 0
    saved = 0
    for i in range(n):
        if h[C_KIND + i] == KIND_TENSOR and o[O_DIFF] & (1 << i):
            if row_at(H, h[C_ROW + i])[FLAGS] & F_REQUIRES_GRAD:
                diff |= 1 << i
                saved |= o[O_NEEDS + i]
    if diff == 0:
        return
    p[OP] = op
    p[NIN] = n
    # The casts of its operands were made after it.
    renumber(H, p)
    p[FLAGS] |= F_REQUIRES_GRAD
    for i in range(n):
        p[INPUT + i] = NONE
        if h[C_KIND + i] != KIND_TENSOR:
            saved &= ~(1 << i)
            p[ATTR + i] = number_as_double(H, i)
        elif (diff | saved) & (1 << i):
            r = h[C_ROW + i]
            q = row_at(H, r)
            p[INPUT + i] = r
            q[REFS] += 1
            if saved & (1 << i):
                q[USES] += 1
                p[VERSION + i] = store(H, q[STORAGE])[S_VERSION]
                if p[VERSION + i] < 0:
                    h[H_REFUSED] = 1
    if saved & SAVED_OUT:
        p[USES] += 1
        p[OUTVER] = store(H, p[STORAGE])[S_VERSION]
    p[SAVED] = saved
    if saved != 0:
        p[FLAGS] |= F_HOLDS
