"""What Python calls about memory that several Tensors show: bases and views, changes in place, ``.data``.

As in `entries`, each function without ``@jit`` becomes a builtin of CPython.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_REQUIRES_GRAD,
    F_RETAIN,
    F_VIEW,
    F_VIEW_MADE,
    F_VIEW_SEVERAL,
    FAMILY,
    FLAGS,
    GRAD,
    H_ARGS,
    H_GRAD_MODE,
    LEAF,
    MADE,
    NDIM,
    NONE,
    OP,
    OUTNR,
    OUTVER,
    S_BYTES,
    S_DATA,
    S_VERSION,
    SAVED,
    SAVED_OUT,
    SHAPE,
    STORAGE,
    STRIDE,
    X_INTERNAL,
    X_OVERLAP,
    X_TYPE,
)
from jitgrad.arena.entries import integers
from jitgrad.arena.families import base_of, end_family
from jitgrad.arena.histories import (
    current,
    hand_over,
    may_change,
    needs_grad,
    recording,
    show,
    view_changed,
    without_hooks,
)
from jitgrad.arena.inplace import copy_into
from jitgrad.arena.python import (
    failed,
    fault,
    first_row,
    here,
    no_memory,
    none,
    owner_of,
    ready,
    set_tensor_row,
    tensor_row,
    wrap,
    wrap_as,
)
from jitgrad.arena.regions import may_overlap
from jitgrad.arena.rows import drop, flush, leave_family, row_at
from jitgrad.arena.shapes import has_shape
from jitgrad.arena.slices import alias_row, show_memory, slices_row
from jitgrad.arena.storage import storage_release, storage_share, store
from jitgrad.arena.views import OP_UNBIND, make_view, wrapped
from jitgrad.kernels.lowlevel import (
    as_int,
    at,
    capsule_pointer,
    decref,
    incref,
    jit,
    new_int,
    tuple_new,
    tuple_set,
    words,
)


# ---------------------------------------------------------------- reading
def memory(self, args, n):
    """``memory(x)``: the address of the storage's buffer, the same for all that share it."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(store(H, row_at(H, r)[STORAGE])[S_DATA])


def room(self, args, n):
    """``room(x)``: the bytes of the storage."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    return new_int(store(H, row_at(H, r)[STORAGE])[S_BYTES])


def base(self, args, n):
    """``base(x)``: the Tensor that ``x`` is a view of, or None."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    b = NONE
    if row_at(H, r)[FLAGS] & F_VIEW:
        b = base_of(H, r)
    if b == NONE:
        return none(H)
    return owner_of(H, b)


def base_flags(self, args, n):
    """``base_flags(x)``: FLAGS of the base of view ``x``, or 0."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    b = NONE
    if row_at(H, r)[FLAGS] & F_VIEW:
        b = base_of(H, r)
    return new_int(0 if b == NONE else row_at(H, b)[FLAGS])


def refresh(self, args, n):
    """``refresh(x, change)``: give view ``x`` the history of its present value.

    With ``change`` 1, for a change in place that is recorded if ``x`` requires grad: fails if that can't be,
    and hooks stay with the old row.  With 2 it is recorded in any case: a value that requires grad comes in.
    """
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    change = as_int(words(args)[1])
    if (change == 2 or (change == 1 and needs_grad(H, r))) and not may_change(H, r, 0):
        return failed(H)
    r = current(H, r)
    if r == NONE:
        return failed(H)
    if change != 0 and base_of(H, r) != NONE and without_hooks(H, r) == NONE:
        return failed(H)
    return none(H)


# ---------------------------------------------------------------- sharing memory
def alias(self, args, n):
    """``alias(x, type)``: the same memory and version, without history and without being a view."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r != NONE:
        r = alias_row(H, r)
    if r == NONE:
        return failed(H)
    return wrap_as(H, r, words(args)[1])


def data(self, args, n):
    """``data(x)``: the same memory, with a version of its own."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    a = alias_row(H, r)
    if a == NONE:
        return failed(H)
    s = storage_share(H, row_at(H, r)[STORAGE])
    if s == NONE:
        drop(H, a)
        no_memory(H)
        return failed(H)
    q = row_at(H, a)
    whole = q[STORAGE]
    q[STORAGE] = s
    storage_release(H, whole)
    return wrap(H, a)


def set_data(self, args, n):
    """``set_data(x, y)``: have ``x`` show the memory of ``y``, of its shape and dtype, and keep its history.

    Its version stays; its views keep the old memory and have no base any more.
    """
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    s = tensor_row(H, words(args)[1])
    if r == NONE or s == NONE:
        fault(H, X_TYPE, 1, 0, 0)
        return failed(H)
    p = row_at(H, r)
    q = row_at(H, s)
    if p[DTYPE] != q[DTYPE] or not has_shape(q, p[NDIM], at(p, SHAPE)):
        fault(H, X_INTERNAL, r, s, 0)
        return failed(H)
    t = storage_share(H, q[STORAGE])
    if t == NONE:
        no_memory(H)
        return failed(H)
    if p[FLAGS] & F_VIEW:
        if p[FAMILY] != 0:
            leave_family(H, r)
        p[FLAGS] &= ~(F_VIEW | F_VIEW_MADE)
    else:
        end_family(H, r)
    old = p[STORAGE]
    version = store(H, old)[S_VERSION]
    show_memory(H, p, q)
    storage_release(H, p[STORAGE])
    p[STORAGE] = t
    store(H, t)[S_VERSION] = version
    storage_release(H, old)
    return none(H)


def take_data(self, args, n):
    """``take_data(x, y)``: have leaf ``x`` show the memory of ``y``, whatever its shape; graphs lose it."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = first_row(H, args)
    s = tensor_row(H, a[1])
    if r == NONE or s == NONE:
        fault(H, X_TYPE, 1, 0, 0)
        return failed(H)
    v = alias_row(H, s)
    if v == NONE:
        return failed(H)
    t = storage_share(H, row_at(H, s)[STORAGE])
    if t == NONE:
        drop(H, v)
        no_memory(H)
        return failed(H)
    p = row_at(H, r)
    q = row_at(H, v)
    storage_release(H, q[STORAGE])
    q[STORAGE] = t
    store(H, t)[S_VERSION] = store(H, p[STORAGE])[S_VERSION]
    q[FLAGS] |= p[FLAGS] & F_REQUIRES_GRAD
    if p[FLAGS] & F_VIEW == 0:
        end_family(H, r)
    show(H, a[0], r, v)
    return none(H)


# ---------------------------------------------------------------- changes in place
def adopt(self, args, n):
    """``adopt(x, y)``: ``x`` takes over the value and the history of ``y``, as after a change in place.

    The value is copied into the memory of ``x``, unless ``y`` shows that memory already.  Nobody else may
    use ``y``.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    r = first_row(H, args)
    w = tensor_row(H, a[1])
    if r == NONE or w == NONE:
        fault(H, X_TYPE, 1, 0, 0)
        return failed(H)
    if not here(H, r, 0) or not here(H, w, 1):
        return failed(H)
    p = row_at(H, r)
    q = row_at(H, w)
    if p[DTYPE] != q[DTYPE] or not has_shape(q, p[NDIM], at(p, SHAPE)):
        fault(H, X_INTERNAL, r, w, 0)
        return failed(H)
    if not may_change(H, r, q[OP]):
        return failed(H)
    if p[STORAGE] != q[STORAGE] and may_overlap(p[NDIM], at(p, SHAPE), at(p, STRIDE)):
        fault(H, X_OVERLAP, q[OP], 0, 0)
        return failed(H)
    view = p[FLAGS] & F_VIEW
    c = NONE
    if view:
        c = slices_row(H, base_of(H, r), r)
        if c == NONE:
            return failed(H)
    p = row_at(H, r)
    q = row_at(H, w)
    if p[STORAGE] != q[STORAGE]:
        copy_into(H, r, w, 0)
        s = q[STORAGE]
        show_memory(H, q, p)
        storage_release(H, s)
        version = store(H, p[STORAGE])
        version[S_VERSION] += 1
        if q[SAVED] & SAVED_OUT:
            q[OUTVER] = version[S_VERSION]
    if view:
        if not view_changed(H, r, c, w):
            return failed(H)
    else:
        exchanged(H, a[0], r, a[1], w)
    incref(a[0])
    flush(H)
    return a[0]


@jit
def exchanged(H, x, r, y, w):
    """Have Tensor ``x`` show row ``w``, with what belongs to the Tensor, and ``y`` the old row ``r``."""
    hand_over(H, r, w)
    set_tensor_row(H, x, w)
    set_tensor_row(H, y, r)


def forget(self, args, n):
    """``forget(x)``: have ``x``, which is no view, show its value without history."""
    H = capsule_pointer(self, 0)
    obj = words(args)[0]
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    a = alias_row(H, r)
    if a == NONE:
        return failed(H)
    row_at(H, r)[FLAGS] &= ~F_RETAIN
    show(H, obj, r, a)
    incref(obj)
    flush(H)
    return obj


def view_(self, args, n):
    """``view_(op, x, *integers)``: have ``x`` show its memory in another shape: a change in place."""
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    r = tensor_row(H, a[1])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    if not ready(H):
        return failed(H)
    mode = h[H_GRAD_MODE]
    if mode != 0 and needs_grad(H, r) and not may_change(H, r, as_int(a[0])):
        return failed(H)
    r = recording(H, r)
    if r == NONE:
        return failed(H)
    p = row_at(H, r)
    if not integers(H, a, 2, n):
        return failed(H)
    # A row in another shape is another row for the graphs that hold the old one, so a value that has a
    # history keeps it, recorded or not.
    history = p[OP] != LEAF
    h[H_GRAD_MODE] = 1 if history or mode != 0 else 0
    v = make_view(H, as_int(a[0]), r, words(H + H_ARGS * 8), n - 2)
    h[H_GRAD_MODE] = mode
    if v == NONE:
        return failed(H)
    p = row_at(H, r)
    q = row_at(H, v)
    if p[FLAGS] & F_VIEW == 0:
        leave_family(H, v)
        q[FLAGS] &= ~(F_VIEW | F_VIEW_MADE)
    else:
        q[FLAGS] = (q[FLAGS] & ~F_VIEW_MADE) | (p[FLAGS] & F_VIEW_MADE)
    if not history:
        q[FLAGS] |= p[FLAGS] & F_REQUIRES_GRAD
    shared = store(H, q[STORAGE])
    shared[S_VERSION] += 1
    q[MADE] = shared[S_VERSION]
    show(H, a[1], r, v)
    if has_gradient_of_another_shape(H, v):
        g = row_at(H, v)[GRAD]
        row_at(H, v)[GRAD] = NONE
        drop(H, g)
    incref(a[1])
    flush(H)
    return a[1]


@jit
def has_gradient_of_another_shape(H, r):
    """Whether the ``.grad`` of row ``r`` does not fit it any more."""
    p = row_at(H, r)
    return p[GRAD] != NONE and not has_shape(row_at(H, p[GRAD]), p[NDIM], at(p, SHAPE))


# ---------------------------------------------------------------- several views at once
def pieces(self, args, n):
    """``pieces(op, x, dim, *sizes)``: the views along a dim, of these sizes or without it, as a tuple.

    The sizes are checked by Python, and so is that there is such a dim.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[1])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    if not ready(H):
        return failed(H)
    r = recording(H, r)
    if r == NONE:
        return failed(H)
    op = as_int(a[0])
    d = wrapped(H, as_int(a[2]), row_at(H, r)[NDIM])
    if d == NONE:
        return failed(H)
    each = op == OP_UNBIND
    count = row_at(H, r)[SHAPE + d] if each else n - 3
    t = tuple_new(count)
    if t == 0:
        return 0
    start = 0
    numbers = words(H + H_ARGS * 8)
    for i in range(count):
        numbers[0] = d
        numbers[1] = i if each else start
        if not each:
            start += as_int(a[3 + i])
        numbers[2] = start
        numbers[3] = 1
        v = make_view(H, op, r, numbers, 2 if each else 4)
        obj = 0
        if v != NONE:
            q = row_at(H, v)
            q[OUTNR] = i
            if words(H)[H_GRAD_MODE] != 0:
                q[FLAGS] = (q[FLAGS] & ~F_VIEW_MADE) | F_VIEW_SEVERAL
            obj = wrap(H, v)
        else:
            failed(H)
        if obj == 0:
            decref(t)
            return 0
        tuple_set(t, i, obj)
    return t
