"""What Python calls: each function here becomes a builtin of CPython (``METH_FASTCALL``).

``self`` is the capsule with the header's address, ``args`` points at ``n`` Python objects; the result is
a new reference, or 0 with an exception set.  Faults are raised by `failed`.  Arguments that are no Tensor
come from `jitgrad.engine`'s callers only and have been checked there; Tensors are checked here.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    FLAGS,
    GRAD,
    H_ARGS,
    H_CLOSED,
    H_COMMANDS,
    H_COMMANDS_N,
    H_FLOAT_TYPE,
    H_GRAD_MODE,
    H_INFERENCE,
    H_LIST,
    H_NONE,
    H_THREAD,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    OFFSET,
    OWNER,
    S_REFS,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    X_DIMS,
    X_LAYOUT,
    X_TYPE,
)
from jitgrad.arena.devices import use_device
from jitgrad.arena.histories import operands_current, recording
from jitgrad.arena.inplace import record_inplace
from jitgrad.arena.nodes import record_explicit, record_explicit_of, record_lanes
from jitgrad.arena.python import (
    all_here,
    failed,
    fault,
    here,
    no_memory,
    none,
    operand,
    owner_of,
    ready,
    result,
    tensor_row,
    wrap,
    wrap_as,
)
from jitgrad.arena.recorder import cast_row, kernel_of, parallel_ready, record_pointwise
from jitgrad.arena.rows import (
    C_ATTR,
    C_SHAPE,
    data_of,
    dense_row,
    drop,
    flush,
    is_contiguous,
    itemsize,
    keep,
    list_room,
    row_at,
    row_new,
)
from jitgrad.arena.storage import (
    empty_gpu_pool,
    empty_pool,
    storage_borrow,
    storage_release,
    store,
)
from jitgrad.arena.views import OP_DETACH, make_view, wrapped
from jitgrad.dtypes import FIRST_HALF
from jitgrad.kernels.halves import widened
from jitgrad.kernels.lowlevel import (
    POINTERS,
    as_double,
    as_int,
    at,
    bits,
    call3,
    capsule_name,
    capsule_pointer,
    error_occurred,
    incref,
    jit,
    new_bool,
    new_bytes,
    new_float,
    new_int,
    thread_ident,
    tuple_new,
    tuple_set,
    words,
)
from jitgrad.ops.casts import FIRST_CAST

_u8, _u8b, _i8, _i16, _i32, _i64, _f32, _f64, _u16, _ = POINTERS


# ---------------------------------------------------------------- recording
def pointwise(self, args, n):
    """``pointwise(op, *operands)``: a pointwise op on Tensors and numbers."""
    H = capsule_pointer(self, 0)
    a = words(args)
    if not ready(H):
        return failed(H)
    for i in range(n - 1):
        if not operand(H, a[i + 1], i):
            fault(H, X_TYPE, i, 0, 0)
            return failed(H)
    if not all_here(H, n - 1) or not operands_current(H, n - 1):
        return failed(H)
    return result(H, record_pointwise(H, as_int(a[0]), n - 1))


# ---------------------------------------------------------------- making and reading Tensors
def new(self, args, n):
    """``new(dtype, type, *shape)``: an uninitialised Tensor."""
    H = capsule_pointer(self, 0)
    a = words(args)
    shape = words(H + C_SHAPE * 8)
    for d in range(n - 2):
        shape[d] = as_int(a[d + 2])
    r = dense_row(H, as_int(a[0]), n - 2, shape)
    if r == NONE:
        no_memory(H)
        return failed(H)
    return wrap_as(H, r, a[1])


def borrow(self, args, n):
    """``borrow(address, owner, dtype, nbytes, *shape, *strides)``: a Tensor over the memory of ``owner``."""
    H = capsule_pointer(self, 0)
    a = words(args)
    ndim = (n - 4) // 2
    s = storage_borrow(H, as_int(a[0]), as_int(a[3]), a[1])
    if s == NONE:
        no_memory(H)
        return failed(H)
    incref(a[1])
    r = row_new(H)
    if r == NONE:
        storage_release(H, s)
        no_memory(H)
        return failed(H)
    p = row_at(H, r)
    p[DTYPE] = as_int(a[2])
    p[NDIM] = ndim
    p[STORAGE] = s
    numel = 1
    for d in range(ndim):
        p[SHAPE + d] = as_int(a[4 + d])
        p[STRIDE + d] = as_int(a[4 + ndim + d])
        numel *= p[SHAPE + d]
    p[NUMEL] = numel
    if is_contiguous(p):
        p[FLAGS] |= F_CONTIGUOUS
    return wrap(H, r)


def restride(self, args, n):
    """``restride(x, dtype, offset, *shape, *strides)``: a Tensor without history over the storage of ``x``.

    The offset counts elements of ``dtype`` from the first of ``x``.  The caller has checked that it stays
    within the elements of ``x``.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    ndim = (n - 3) // 2
    base = tensor_row(H, a[0])
    if base == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    r = row_new(H)
    if r == NONE:
        no_memory(H)
        return failed(H)
    q = row_at(H, base)
    p = row_at(H, r)
    p[DTYPE] = as_int(a[1])
    p[NDIM] = ndim
    p[OFFSET] = q[OFFSET] * itemsize(q[DTYPE]) // itemsize(p[DTYPE]) + as_int(a[2])
    numel = 1
    for d in range(ndim):
        p[SHAPE + d] = as_int(a[3 + d])
        p[STRIDE + d] = as_int(a[3 + ndim + d])
        numel *= p[SHAPE + d]
    p[NUMEL] = numel
    p[STORAGE] = q[STORAGE]
    store(H, q[STORAGE])[S_REFS] += 1
    if is_contiguous(p):
        p[FLAGS] |= F_CONTIGUOUS
    return wrap(H, r)


def shape(self, args, n):
    """``shape(x)``: the sizes, as a tuple."""
    return _tuple(capsule_pointer(self, 0), args, SHAPE)


def stride(self, args, n):
    """``stride(x)``: the strides in elements, as a tuple."""
    return _tuple(capsule_pointer(self, 0), args, STRIDE)


@jit
def _tuple(H, args, first):
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    p = row_at(H, r)
    t = tuple_new(p[NDIM])
    if t != 0:
        for d in range(p[NDIM]):
            tuple_set(t, d, new_int(p[first + d]))
    return t


def word(self, args, n):
    """``word(x, k)``: word ``k`` of the row (a column), as an int."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    return new_int(row_at(H, r)[as_int(words(args)[1])])


def row(self, args, n):
    """``row(x)``: the row number, for messages, pictures and tests."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    return new_int(r)


def address(self, args, n):
    """``address(x)``: where the first element lies."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    return new_int(data_of(H, r))


def version(self, args, n):
    """``version(x)``: how often the storage was changed in place."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    return new_int(store(H, row_at(H, r)[STORAGE])[S_VERSION])


def bump(self, args, n):
    """``bump(x)``: count one change in place."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    store(H, row_at(H, r)[STORAGE])[S_VERSION] += 1
    return none(H)


def item(self, args, n):
    """``item(x)``: the one element as a Python number; None if there is not exactly one."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    p = row_at(H, r)
    if p[NUMEL] != 1:
        return none(H)
    if not here(H, r, 0):
        return failed(H)
    a = data_of(H, r)
    d = p[DTYPE]
    if d == 7:
        return new_float(_f64(a)[0])
    if d == 6:
        return new_float(_f32(a)[0])
    if d >= FIRST_HALF:
        return new_float(widened(d, _u16(a)[0]))
    if d == 0:
        return new_bool(_u8(a)[0])
    value = 0
    if d == 1:
        value = _u8(a)[0] * 1
    elif d == 2:
        value = _i8(a)[0] * 1
    elif d == 3:
        value = _i16(a)[0] * 1
    elif d == 4:
        value = _i32(a)[0] * 1
    else:
        value = _i64(a)[0]
    return new_int(value)


def flag(self, args, n):
    """``flag(x, bit, on)``: set or clear a bit of FLAGS; returns what it was."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    p = row_at(H, r)
    bit = as_int(a[1])
    was = 1 if p[FLAGS] & bit else 0
    if as_int(a[2]) != 0:
        p[FLAGS] |= bit
    else:
        p[FLAGS] &= ~bit
    return new_bool(was)


def grad(self, args, n):
    """``grad(x)``: the Tensor that holds the accumulated gradient, or None."""
    H = capsule_pointer(self, 0)
    r = tensor_row(H, words(args)[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    g = row_at(H, r)[GRAD]
    if g == NONE:
        return none(H)
    return owner_of(H, g)


def set_grad(self, args, n):
    """``set_grad(x, g)``: make the Tensor ``g`` (None: nothing) the gradient of ``x``."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    g = NONE
    if a[1] != words(H)[H_NONE]:
        g = tensor_row(H, a[1])
        if g == NONE:
            fault(H, X_TYPE, 1, 0, 0)
            return failed(H)
        keep(H, g)
    old = row_at(H, r)[GRAD]
    row_at(H, r)[GRAD] = g
    if old != NONE:
        drop(H, old)
    return none(H)


def mode(self, args, n):
    """``mode(k)``: word ``k`` of the header, one of this thread's modes; ``mode(k, value)`` sets it, too."""
    H = capsule_pointer(self, 0)
    a = words(args)
    if not ready(H):
        return failed(H)
    k = as_int(a[0])
    before = words(H)[k]
    if n == 2:
        words(H)[k] = as_int(a[1])
    return new_int(before)


def take_modes(self, args, n):
    """``take_modes(grad, inference)``: put this thread's modes in the header; those that stood there."""
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    t = tuple_new(2)
    if t != 0:
        tuple_set(t, 0, new_int(h[H_GRAD_MODE]))
        tuple_set(t, 1, new_int(h[H_INFERENCE]))
        h[H_GRAD_MODE] = as_int(a[0])
        h[H_INFERENCE] = as_int(a[1])
        h[H_THREAD] = thread_ident()
    return t


@jit
def release(capsule):
    """The capsule's destructor: the Tensor of a row is gone."""
    H = capsule_name(capsule)
    r = capsule_pointer(capsule, H) - 1
    # At interpreter exit Tensors die in any order: from then on nothing is released.
    if words(H)[H_CLOSED] == 0:
        row_at(H, r)[OWNER] = 0
        drop(H, r)
        flush(H)


def empty_cache(self, args, n):
    """``empty_cache()``: give the pool's waiting buffers back to the system."""
    H = capsule_pointer(self, 0)
    empty_pool(H)
    return none(H)


def release_c(capsule):
    """`release` with the shape of a unit."""
    release(capsule)
    return 0


# ---------------------------------------------------------------- another device
def on_device(self, args, n):
    """``on_device(function, *arguments)``: call the entry at an address for the GPU."""
    H = capsule_pointer(self, 0)
    use_device(H, 1)
    found = call3(as_int(words(args)[0]), (self, args + 8, n - 1))
    use_device(H, 0)
    return found


def commands(self, args, n):
    """``commands()``: the words of the launches that wait, as bytes; they wait no longer."""
    h = words(capsule_pointer(self, 0))
    found = new_bytes(h[H_COMMANDS], h[H_COMMANDS_N] * 8)
    if found != 0:
        h[H_COMMANDS_N] = 0
    return found


def empty_gpu(self, args, n):
    """``empty_gpu()``: give up the storages of the GPU that wait for reuse."""
    H = capsule_pointer(self, 0)
    empty_gpu_pool(H)
    return none(H)


# ---------------------------------------------------------------- in place
def pointwise_(self, args, n):
    """``pointwise_(op, x, *others)``: a pointwise op whose result replaces the value of ``x``."""
    H = capsule_pointer(self, 0)
    a = words(args)
    if not ready(H):
        return failed(H)
    for i in range(n - 1):
        if not operand(H, a[i + 1], i):
            fault(H, X_TYPE, i, 0, 0)
            return failed(H)
    if not all_here(H, n - 1):
        return failed(H)
    if record_inplace(H, as_int(a[0]), n - 1) == NONE:
        return failed(H)
    incref(a[1])
    flush(H)
    return a[1]


# ---------------------------------------------------------------- views, dims, kernels
def view(self, args, n):
    """``view(op, x, *integers)``: a Tensor that shares the storage of ``x``."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[1])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    if not ready(H):
        return failed(H)
    if as_int(a[0]) != OP_DETACH:
        r = recording(H, r)
    if r == NONE:
        return failed(H)
    if not integers(H, a, 2, n):
        return failed(H)
    return result(H, make_view(H, as_int(a[0]), r, at(words(H), H_ARGS), n - 2))


@jit
def integers(H, a, first, n):
    """Stage the arguments from ``first`` on in H_ARGS; False after a fault."""
    # An offset, sizes and strides are the most that a view takes.
    if n - first > 2 * MAX_DIMS + 1:
        fault(H, X_DIMS, (n - first) // 2, 0, 0)
        return False
    numbers = at(words(H), H_ARGS)
    for i in range(n - first):
        numbers[i] = as_int(a[i + first])
    return error_occurred() == 0


def lanes(self, args, n):
    """``lanes(op, x, kind, dims, keep, *attributes)``: an op along dims.

    ``kind`` 0: all dims; 1: ``dims`` is one dim; 2: ``dims`` is a mask of checked dims.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    r = tensor_row(H, a[1])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    if not ready(H) or not here(H, r, 0):
        return failed(H)
    r = recording(H, r)
    if r == NONE:
        return failed(H)
    kind = as_int(a[2])
    ndim = row_at(H, r)[NDIM]
    mask = (1 << ndim) - 1
    if kind == 1:
        d = wrapped(H, as_int(a[3]), ndim)
        if d == NONE:
            return failed(H)
        mask = 1 << d
    elif kind == 2:
        mask = as_int(a[3])
    attrs = at(h, C_ATTR)
    for i in range(5, n):
        attrs[i - 5] = bits(as_double(a[i])) if words(a[i])[1] == h[H_FLOAT_TYPE] else as_int(a[i])
    if error_occurred() != 0:
        return 0
    keep_dims = as_int(a[4])
    return result(H, record_lanes(H, as_int(a[0]), r, mask, keep_dims, attrs, n - 5))


def alike(self, args, n):
    """``alike(op, layout, *inputs)``: an op of at most MAX_INPUTS inputs whose result is like the first.

    ``layout`` says what the op was made for: of each input 8 bits, its dtype code and number of dims.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    if not ready(H):
        return failed(H)
    layout = as_int(a[1])
    rows = words(h[H_LIST])
    for i in range(n - 2):
        r = tensor_row(H, a[2 + i])
        if r == NONE:
            fault(H, X_TYPE, i, 0, 0)
            return failed(H)
        if not here(H, r, i):
            return failed(H)
        r = recording(H, r)
        if r == NONE:
            return failed(H)
        p = row_at(H, r)
        if (p[DTYPE] << 4 | p[NDIM]) != (layout >> (8 * i)) & 255:
            fault(H, X_LAYOUT, i, 0, 0)
            return failed(H)
        rows[i] = r
    p = row_at(H, rows[0])
    shape = at(h, C_SHAPE)
    for d in range(p[NDIM]):
        shape[d] = p[SHAPE + d]
    dtype = p[DTYPE]
    op = as_int(a[0])
    return result(
        H, record_explicit_of(H, op, dtype, dtype, n - 2, p[NDIM], shape, at(h, C_ATTR), 0)
    )


def explicit(self, args, n):
    """``explicit(op, key, dtype, n, *inputs, ndim, *shape, *attributes)``: an op checked by Python."""
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    if not ready(H):
        return failed(H)
    count = as_int(a[3])
    if list_room(H, 2 * count) == NONE:
        no_memory(H)
        return failed(H)
    rows = words(h[H_LIST])
    for i in range(count):
        r = tensor_row(H, a[4 + i])
        if r == NONE:
            fault(H, X_TYPE, i, 0, 0)
            return failed(H)
        if not here(H, r, i):
            return failed(H)
        r = recording(H, r)
        if r == NONE:
            return failed(H)
        rows[i] = r
    ndim = as_int(a[4 + count])
    if ndim > MAX_DIMS:
        fault(H, X_DIMS, ndim, 0, 0)
        return failed(H)
    first = 5 + count
    shape = at(h, C_SHAPE)
    for d in range(ndim):
        shape[d] = as_int(a[first + d])
    first += ndim
    attrs = at(h, C_ATTR)
    for i in range(first, n):
        attrs[i - first] = (
            bits(as_double(a[i])) if words(a[i])[1] == h[H_FLOAT_TYPE] else as_int(a[i])
        )
    if error_occurred() != 0:
        return 0
    return result(
        H,
        record_explicit(
            H, as_int(a[0]), as_int(a[1]), as_int(a[2]), count, ndim, shape, attrs, n - first
        ),
    )


def convert(self, args, n):
    """``convert(x, dtype)``: a copy in another dtype (or the same)."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[0])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    if not ready(H) or not here(H, r, 0):
        return failed(H)
    r = recording(H, r)
    if r == NONE:
        return failed(H)
    dtype = as_int(a[1])
    if kernel_of(H, FIRST_CAST + dtype, row_at(H, r)[DTYPE]) == 0:
        return failed(H)
    if not parallel_ready(H, row_at(H, r)[NUMEL]):
        return failed(H)
    return result(H, cast_row(H, r, dtype))
