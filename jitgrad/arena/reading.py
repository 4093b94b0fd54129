"""What Python calls to read a Tensor: its words, its element, its memory, its gradient; a thread's modes.

As in `entries`, each function without ``@jit`` becomes a builtin of CPython.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    FLAGS,
    GRAD,
    H_ARGS,
    H_ARRAY_KINDS,
    H_ARRAY_TYPE,
    H_CLOSED,
    H_GRAD_MODE,
    H_INFERENCE,
    H_NEW_ARRAY,
    H_NONE,
    H_SET_BASE,
    H_THREAD,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    OWNER,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    X_TYPE,
)
from jitgrad.arena.python import (
    failed,
    fault,
    first_row,
    here,
    none,
    owner_of,
    ready,
    tensor_row,
    wrap,
)
from jitgrad.arena.rows import (
    data_of,
    device_of,
    drop,
    flush,
    itemsize,
    keep,
    row_at,
)
from jitgrad.arena.slices import alias_row
from jitgrad.arena.storage import (
    empty_pool,
    store,
)
from jitgrad.dtypes import FIRST_HALF
from jitgrad.kernels.halves import widened
from jitgrad.kernels.lowlevel import (
    POINTERS,
    as_int,
    at,
    call2,
    call8,
    capsule_name,
    capsule_pointer,
    decref,
    incref,
    jit,
    new_bool,
    new_float,
    new_int,
    thread_ident,
    tuple_new,
    tuple_set,
    words,
)

#: NumPy's flags of an array.
ALIGNED, WRITEABLE = 0x100, 0x400

_u8, _u8b, _i8, _i16, _i32, _i64, _f32, _f64, _u16, _ = POINTERS


def shape(self, args, n):
    """``shape(x)``: the sizes, as a tuple."""
    return _tuple(capsule_pointer(self, 0), args, SHAPE)


def stride(self, args, n):
    """``stride(x)``: the strides in elements, as a tuple."""
    return _tuple(capsule_pointer(self, 0), args, STRIDE)


@jit
def _tuple(H, args, first):
    r = first_row(H, args)
    if r == NONE:
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
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(row_at(H, r)[as_int(words(args)[1])])


def row(self, args, n):
    """``row(x)``: the row number, for messages, pictures and tests."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(r)


def address(self, args, n):
    """``address(x)``: where the first element lies."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(data_of(H, r))


def version(self, args, n):
    """``version(x)``: how often the storage was changed in place."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(store(H, row_at(H, r)[STORAGE])[S_VERSION])


def bump(self, args, n):
    """``bump(x)``: count one change in place."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    store(H, row_at(H, r)[STORAGE])[S_VERSION] += 1
    return none(H)


def item(self, args, n):
    """``item(x)``: the one element as a Python number; None if there is not exactly one."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
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


def array(self, args, n):
    """``array(x)``: a NumPy array over the memory of ``x``, which it keeps alive; None for the GPU's.

    Made by NumPy's C functions; its base is another Tensor over the same memory, so that it outlives ``x``
    and what ``x`` is made to show later.
    """
    H = capsule_pointer(self, 0)
    h = words(H)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    if device_of(H, r) != 0:
        return none(H)
    a = alias_row(H, r)
    owner = failed(H) if a == NONE else wrap(H, a)
    if owner == 0:
        return 0
    p = row_at(H, a)
    sizes = at(h, H_ARGS)
    for d in range(p[NDIM]):
        sizes[d] = p[SHAPE + d]
        sizes[MAX_DIMS + d] = p[STRIDE + d] * itemsize(p[DTYPE])
    kind = words(h[H_ARRAY_KINDS])[p[DTYPE]]
    # The reference is taken over.
    incref(kind)
    shape = H + H_ARGS * 8
    made = call8(
        h[H_NEW_ARRAY],
        (
            h[H_ARRAY_TYPE],
            kind,
            p[NDIM],
            shape,
            shape + MAX_DIMS * 8,
            data_of(H, a),
            ALIGNED | WRITEABLE,
            0,
        ),
    )
    if made == 0:
        decref(owner)
        return 0
    # The base takes over the owner's reference, also when it fails.
    if call2(h[H_SET_BASE], (made, owner)) & 0xFFFFFFFF != 0:
        decref(made)
        return 0
    return made


def flag(self, args, n):
    """``flag(x, bit, on)``: set or clear a bit of FLAGS; returns what it was."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = first_row(H, args)
    if r == NONE:
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
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    g = row_at(H, r)[GRAD]
    if g == NONE:
        return none(H)
    return owner_of(H, g)


def set_grad(self, args, n):
    """``set_grad(x, g)``: make the Tensor ``g`` (None: nothing) the gradient of ``x``."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = first_row(H, args)
    if r == NONE:
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
