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
    F_HOLDS,
    F_IMPLICIT,
    F_REQUIRES_GRAD,
    F_VIEW,
    FLAGS,
    H_ARGS,
    H_DEFAULT_DTYPE,
    H_DETAIL,
    H_FORWARD,
    H_GRAD_MODE,
    H_LIST,
    H_OPS,
    H_PARALLEL,
    H_PARALLEL_FROM,
    H_PLAN,
    H_THREADS,
    INPUT,
    LEAF,
    MAX_DIMS,
    MAX_INPUTS,
    MORE,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    O_BITS,
    OFFSET,
    O_DIFF,
    O_MASKS,
    O_NEEDS,
    O_RULE,
    O_WORDS,
    OB_NO_BOOL,
    OB_NO_FLOAT,
    OB_NO_INT,
    OB_NOT_EMPTY,
    OB_SAME_SHAPE,
    OP,
    OUTVER,
    P_NDIM,
    P_SHAPE,
    R_BOOL,
    R_FIRST,
    R_FLOAT,
    R_INDEX,
    R_SUM,
    R_TRUTH,
    REFS,
    S_HISTORY,
    S_REFS,
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
    X_CAST,
    X_DTYPE,
    X_EMPTY,
    X_KERNEL,
    X_LEAF,
    X_MASK,
    X_OUTPUT_SHAPE,
    X_OVERLAP,
    X_PARALLEL,
    X_STATUS,
    X_TYPE,
    X_VIEW_INPLACE,
)
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
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
    KIND_INT,
    KIND_TENSOR,
    data_of,
    dense_row,
    drop,
    input_at,
    itemsize,
    row_at,
    row_new,
)
from jitgrad.arena.lanes import A_FIRST, A_KEEP, A_MASK, L_ATTR, L_DST, L_X, lane_source
from jitgrad.arena.shapes import broadcast_into, has_shape
from jitgrad.arena.storage import storage_release, store
from jitgrad.dtypes import ALL, FIRST_FLOAT, PROMOTION
from jitgrad.kernels.lowlevel import POINTERS, at, bits, from_bits, call2, jit, raw_free, raw_malloc, words
from jitgrad.ops.casts import FIRST_CAST

N_DTYPES = len(ALL)
PLAN_BYTES = H_PLAN * 8
C_NUMBER = C_WORK  # the numbers among the operands, in the op's dtype
BOOL = 0
UINT8 = 1
INT64 = 5
# The promotion table, 4 bits an entry, a word a dtype.
_PROMOTION = tuple(sum(b << (4 * j) for j, b in enumerate(row)) for row in PROMOTION)
(_p0, _p1, _p2, _p3, _p4, _p5, _p6, _p7) = _PROMOTION
_u8s, _u8s2, _i8s, _i16s, _i32s, _i64s, _f32s, _f64s = POINTERS


@jit
def promote(a, b):
    """The dtype that holds both."""
    if a == b:
        return a
    row = _p7
    if a == 0:
        row = _p0
    elif a == 1:
        row = _p1
    elif a == 2:
        row = _p2
    elif a == 3:
        row = _p3
    elif a == 4:
        row = _p4
    elif a == 5:
        row = _p5
    elif a == 6:
        row = _p6
    return (row >> (4 * b)) & 15


@jit
def category(dtype):
    return 0 if dtype == 0 else 2 if dtype >= FIRST_FLOAT else 1


@jit
def higher(a, b):
    """Combine two priority groups: ``b`` counts only if its category is above ``a``'s."""
    if a == NONE:
        return b
    if b == NONE or category(b) <= category(a):
        return a
    return promote(a, b)


@jit
def common_dtype(H, n, masks):
    """PyTorch's result type: tensors with dims first, then 0-dim tensors, then numbers."""
    h = words(H)
    dims = NONE
    zero = NONE
    number = NONE
    for i in range(n):
        if masks & (1 << i):
            continue
        kind = h[C_KIND + i]
        if kind == KIND_TENSOR:
            p = row_at(H, h[C_ROW + i])
            d = p[DTYPE]
            if p[NDIM] > 0:
                dims = d if dims == NONE else promote(dims, d)
            else:
                zero = d if zero == NONE else promote(zero, d)
        else:
            d = BOOL
            if kind == KIND_FLOAT:
                d = h[H_DEFAULT_DTYPE]
            elif kind == KIND_INT:
                d = INT64
            number = d if number == NONE else promote(number, d)
    return higher(higher(dims, zero), number)


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
        if dtype == 7:
            _f64s(address)[0] = value
        elif dtype == 6:
            _f32s(address)[0] = value
        else:
            # Only masks and casts get here: promotion makes the common dtype a float.
            store_integer(address, dtype, int(value))
    elif dtype == 7:
        _f64s(address)[0] = b
    elif dtype == 6:
        _f32s(address)[0] = b
    else:
        store_integer(address, dtype, b)


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
    k = kernel_of(H, op, dtype)
    if k == 0 or not casts_ready(H, n, dtype, masks) or not broadcast_operands(H, n):
        return NONE
    result = BOOL if o[O_RULE] == R_BOOL else dtype
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
    return out


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
    if saved & SAVED_OUT:
        p[USES] += 1
        p[OUTVER] = store(H, p[STORAGE])[S_VERSION]
    p[SAVED] = saved
    if saved != 0:
        p[FLAGS] |= F_HOLDS


# ---------------------------------------------------------------- in place
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


# ---------------------------------------------------------------- along dims
@jit
def lanes_dtype(rule, dtype):
    """The result's dtype of an op along dims."""
    if rule == R_SUM:
        return dtype if dtype >= FIRST_FLOAT else INT64
    if rule == R_INDEX:
        return INT64
    if rule == R_TRUTH:
        return UINT8 if dtype == UINT8 else BOOL
    return dtype


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
        lanes_shape(H, p, mask, keep)
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
    q[ATTR + A_MASK] = mask
    q[ATTR + A_KEEP] = keep
    for i in range(n):
        args[L_ATTR + i] = attrs[i]
        q[ATTR + A_FIRST + i] = attrs[i]
    status = 0
    if q[NUMEL] > 0:
        status = call2(k, (H, H + H_ARGS * 8))
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
def explicit_begin(H, dtype, n, ndim, shape):
    """A row of that shape whose inputs are the ``n`` staged rows (H_LIST when more than MAX_INPUTS)."""
    h = words(H)
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
        # Shapes are read from the inputs' rows, so every input's row is kept, not only the needed ones.
        q[REFS] += 1
    if saved & SAVED_OUT:
        p[USES] += 1
        p[OUTVER] = store(H, p[STORAGE])[S_VERSION]
    p[SAVED] = saved
    if saved != 0:
        p[FLAGS] |= F_HOLDS


@jit
def record_explicit(H, op, key, dtype, n, ndim, shape, attrs, count):
    """An op whose checks and result shape come from Python; the kernel finds its inputs in the row."""
    h = words(H)
    k = kernel_of(H, op, key)
    if k == 0:
        return NONE
    out = explicit_begin(H, dtype, n, ndim, shape)
    if out == NONE:
        return NONE
    p = row_at(H, out)
    if not parallel_ready(H, p[NUMEL]):
        p[NIN] = 0
        drop(H, out)
        return NONE
    for i in range(count):
        p[ATTR + i] = attrs[i]
    status = call2(k, (H, out))
    if status != 0:
        row_at(H, out)[NIN] = 0
        drop(H, out)
        return fault(H, status, h[H_DETAIL], h[H_DETAIL + 1], h[H_DETAIL + 2])
    explicit_end(H, out, op)
    return out
