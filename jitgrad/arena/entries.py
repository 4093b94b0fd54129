"""What Python calls to record an op: each function here becomes a builtin of CPython (``METH_FASTCALL``).

``self`` is the capsule with the header's address, ``args`` points at ``n`` Python objects; the result is
a new reference, or 0 with an exception set.  Faults are raised by `failed`.  Arguments that are no Tensor
come from `jitgrad.engine`'s callers only and have been checked there; Tensors are checked here.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    H_ARGS,
    H_COMMANDS,
    H_COMMANDS_N,
    H_FLOAT_TYPE,
    H_LIST,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    SHAPE,
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
    ready,
    result,
    tensor_row,
)
from jitgrad.arena.recorder import cast_row, kernel_of, parallel_ready, record_pointwise
from jitgrad.arena.rows import (
    C_ATTR,
    C_SHAPE,
    flush,
    list_room,
    row_at,
)
from jitgrad.arena.storage import (
    empty_gpu_pool,
)
from jitgrad.arena.views import OP_DETACH, make_view, wrapped
from jitgrad.kernels.lowlevel import (
    as_double,
    as_int,
    at,
    bits,
    call3,
    capsule_pointer,
    error_occurred,
    incref,
    jit,
    new_bytes,
    words,
)
from jitgrad.ops.casts import FIRST_CAST


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
    if not ready(H):
        return failed(H)
    r = input_row(H, a[1], 0)
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


@jit
def input_row(H, obj, i):
    """The row that an op takes as its input ``i``, with the history it has now; NONE after a fault."""
    r = tensor_row(H, obj)
    if r == NONE:
        return fault(H, X_TYPE, i, 0, 0)
    return recording(H, r) if here(H, r, i) else NONE


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
        r = input_row(H, a[2 + i], i)
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
        r = input_row(H, a[4 + i], i)
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
    if not ready(H):
        return failed(H)
    r = input_row(H, a[0], 0)
    if r == NONE:
        return failed(H)
    dtype = as_int(a[1])
    if kernel_of(H, FIRST_CAST + dtype, row_at(H, r)[DTYPE]) == 0:
        return failed(H)
    if not parallel_ready(H, row_at(H, r)[NUMEL]):
        return failed(H)
    return result(H, cast_row(H, r, dtype))
