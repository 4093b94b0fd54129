"""What Python calls to look at the graph: a row held by its number, with or without its value.

A *node* is a capsule that keeps a row alive but not its value, as the rows above it do.  As in `entries`,
each function without ``@jit`` becomes a builtin of CPython.
"""

from __future__ import annotations

from jitgrad.arena.backward import free_saved
from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    F_FREED,
    F_HOLDS,
    F_NO_FLOW,
    F_REQUIRES_GRAD,
    F_VIEW,
    FLAGS,
    H_CLOSED,
    H_GRAD_MODE,
    H_LIST,
    H_LIST_CAP,
    H_NODE_DESTRUCTOR,
    H_NONE,
    H_SEQ,
    HANDLES,
    HELD,
    INPUT,
    LEAF,
    MADE,
    MAX_INPUTS,
    MORE,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    OP,
    OUTNR,
    REFS,
    S_VERSION,
    SAVED,
    SAVED_OUT,
    SEQ,
    SHAPE,
    STORAGE,
    USES,
    VIEW_ALIAS,
    VIEW_KIND,
    X_FREED,
    X_NO_ROOM,
    X_NOT_SAVED,
    X_TYPE,
)
from jitgrad.arena.histories import current, needs_grad
from jitgrad.arena.python import (
    failed,
    fault,
    first_row,
    no_memory,
    none,
    owner_of,
    ready,
    tensor_row,
)
from jitgrad.arena.rows import flush, input_at, row_at, row_new, set_dense, unref
from jitgrad.arena.shapes import FLOAT32
from jitgrad.arena.storage import store
from jitgrad.arena.vjps import check_saved
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.kernels.lowlevel import (
    as_int,
    at,
    capsule_name,
    capsule_new,
    capsule_pointer,
    decref,
    incref,
    jit,
    new_bool,
    new_int,
    raw_malloc,
    raw_realloc,
    tuple_new,
    tuple_set,
    words,
)

# A node's capsule is named by the header's second word, so that it is never taken for a Tensor's.
_NAME = 8


@jit
def new_node(H, r):
    """A new capsule that keeps row ``r``."""
    capsule = capsule_new(r + 1, H + _NAME, words(H)[H_NODE_DESTRUCTOR])
    if capsule != 0:
        p = row_at(H, r)
        p[REFS] += 1
        p[HANDLES] += 1
    return capsule


@jit
def row_of(H, capsule):
    return capsule_pointer(capsule, H + _NAME) - 1


def release_node(capsule):
    """The destructor of a node's capsule."""
    H = capsule_name(capsule) - _NAME
    if words(H)[H_CLOSED] == 0:
        r = capsule_pointer(capsule, H + _NAME) - 1
        row_at(H, r)[HANDLES] -= 1
        unref(H, r)
        flush(H)
    return 0


def node(self, args, n):
    """``node(x)``: the node of Tensor ``x``."""
    H = capsule_pointer(self, 0)
    r = first_row(H, args)
    if r == NONE:
        return failed(H)
    r = current(H, r)
    if r == NONE:
        return failed(H)
    return new_node(H, r)


def node_word(self, args, n):
    """``node_word(node, k)``: word ``k`` of the row."""
    H = capsule_pointer(self, 0)
    a = words(args)
    return new_int(row_at(H, row_of(H, a[0]))[as_int(a[1])])


def node_row(self, args, n):
    """``node_row(node)``: the row number."""
    H = capsule_pointer(self, 0)
    return new_int(row_of(H, words(args)[0]))


def node_input(self, args, n):
    """``node_input(node, i)``: the node of input ``i``, or None if no gradient flows there."""
    H = capsule_pointer(self, 0)
    a = words(args)
    p = row_at(H, row_of(H, a[0]))
    i = as_int(a[1])
    if i >= 0 and i < p[NIN]:
        j = input_at(p, i)
        if j != NONE and row_at(H, j)[FLAGS] & (F_REQUIRES_GRAD | F_NO_FLOW) == F_REQUIRES_GRAD:
            return new_node(H, j)
    return none(H)


def node_below(self, args, n):
    """``node_below(node, i)``: the node of input ``i``, whether a gradient flows there or not, or None."""
    H = capsule_pointer(self, 0)
    a = words(args)
    p = row_at(H, row_of(H, a[0]))
    i = as_int(a[1])
    if i >= 0 and i < p[NIN] and input_at(p, i) != NONE:
        return new_node(H, input_at(p, i))
    return none(H)


def node_tensor(self, args, n):
    """``node_tensor(node)``: the row's Tensor, or None when its value is gone."""
    H = capsule_pointer(self, 0)
    r = row_of(H, words(args)[0])
    if row_at(H, r)[STORAGE] == NONE:
        return none(H)
    return owner_of(H, r)


def node_saved(self, args, n):
    """``node_saved(node, i)``: the saved Tensor of input ``i``, or with SAVED_OUT the row's own."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = row_of(H, a[0])
    i = as_int(a[1])
    p = row_at(H, r)
    if p[FLAGS] & F_FREED and p[FLAGS] & F_HOLDS:
        fault(H, X_FREED, p[OP], 0, 0)
        return failed(H)
    own = i == SAVED_OUT
    if (own and p[SAVED] & SAVED_OUT == 0) or (
        not own and (i < 0 or i >= min(p[NIN], MAX_INPUTS) or p[SAVED] & (1 << i) == 0)
    ):
        fault(H, X_NOT_SAVED, r, i, 0)
        return failed(H)
    if check_saved(H, p, r) == NONE:
        return failed(H)
    return owner_of(H, r if own else p[INPUT + i])


def node_free(self, args, n):
    """``node_free(node)``: let go of what the row saved."""
    H = capsule_pointer(self, 0)
    free_saved(H, row_of(H, words(args)[0]))
    return none(H)


# ---------------------------------------------------------------- Python objects of a row
def held(self, args, n):
    """``held(node)``: the object that the row holds, or None."""
    H = capsule_pointer(self, 0)
    obj = row_at(H, row_of(H, words(args)[0]))[HELD]
    if obj == 0:
        obj = words(H)[H_NONE]
    incref(obj)
    return obj


def hold(self, args, n):
    """``hold(node, object, bit, on)``: have the row hold an object; set or clear a bit of its FLAGS."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = row_of(H, a[0])
    p = row_at(H, r)
    if as_int(a[3]) != 0:
        p[FLAGS] |= as_int(a[2])
    else:
        p[FLAGS] &= ~as_int(a[2])
    before = p[HELD]
    incref(a[1])
    p[HELD] = a[1]
    # Last: letting go can run any code.
    if before != 0:
        decref(before)
    return none(H)


# ---------------------------------------------------------------- custom functions
@jit
def set_inputs(H, r, a, n):
    """Make the ``n`` Tensors at ``a`` the inputs of row ``r``; NONE after a fault, with nothing changed."""
    h = words(H)
    if n > h[H_LIST_CAP]:
        block = raw_realloc(h[H_LIST], 2 * n * 8)
        if block == 0:
            return no_memory(H)
        h[H_LIST] = block
        h[H_LIST_CAP] = 2 * n
    rows = words(h[H_LIST])
    for i in range(n):
        rows[i] = tensor_row(H, a[i])
        if rows[i] == NONE:
            return fault(H, X_TYPE, i, 0, 0)
        rows[i] = current(H, rows[i])
        if rows[i] == NONE:
            return NONE
    p = row_at(H, r)
    if n > MAX_INPUTS:
        p[MORE] = raw_malloc(n * 8)
        if p[MORE] == 0:
            return no_memory(H)
    p[NIN] = n
    to = words(p[MORE]) if n > MAX_INPUTS else at(p, INPUT)
    for i in range(n):
        # Inputs that need no gradient are not kept alive.
        to[i] = NONE
        q = row_at(H, rows[i])
        if q[FLAGS] & F_REQUIRES_GRAD:
            to[i] = rows[i]
            q[REFS] += 1
    return 0


def function(self, args, n):
    """``function(op, flags, object, like, *inputs)``: a row without a value; returns its node.

    It has the shape and dtype of Tensor ``like``: those of the gradient that comes to it.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    r = row_new(H)
    if r == NONE:
        no_memory(H)
        return failed(H)
    p = row_at(H, r)
    p[USES] = 0
    p[NDIM] = 0
    p[NUMEL] = 1
    p[DTYPE] = FLOAT32
    like = tensor_row(H, a[3])
    if like == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        unref(H, r)
        return failed(H)
    q = row_at(H, like)
    p[DTYPE] = q[DTYPE]
    p[NUMEL] = q[NUMEL]
    set_dense(p, q[NDIM], at(q, SHAPE))
    if set_inputs(H, r, at(a, 4), n - 4) == NONE:
        unref(H, r)
        return failed(H)
    # Inputs that are views may have got new rows, made after this one.
    p = row_at(H, r)
    h = words(H)
    h[H_SEQ] += 1
    p[SEQ] = h[H_SEQ]
    p[OP] = as_int(a[0])
    p[FLAGS] = F_REQUIRES_GRAD | as_int(a[1])
    incref(a[2])
    p[HELD] = a[2]
    capsule = new_node(H, r)
    unref(H, r)
    flush(H)
    return capsule


def begin(self, args, n):
    """``begin(*args)``: end recording; whether it was on, and for each argument whether it requires grad."""
    H = capsule_pointer(self, 0)
    a = words(args)
    h = words(H)
    if not ready(H):
        return failed(H)
    t = tuple_new(2)
    needs = tuple_new(n)
    if t == 0 or needs == 0:
        return 0
    tuple_set(t, 0, new_bool(h[H_GRAD_MODE]))
    tuple_set(t, 1, needs)
    for i in range(n):
        r = tensor_row(H, a[i])
        tuple_set(needs, i, new_bool(1 if r != NONE and needs_grad(H, r) else 0))
    h[H_GRAD_MODE] = 0
    return t


def versions(self, args, n):
    """``versions(*tensors)``: the version of each, -1 for None, as a tuple."""
    H = capsule_pointer(self, 0)
    a = words(args)
    t = tuple_new(n)
    if t == 0:
        return 0
    for i in range(n):
        r = NONE
        if a[i] != words(H)[H_NONE]:
            r = tensor_row(H, a[i])
        version = -1
        if r != NONE:
            version = store(H, row_at(H, r)[STORAGE])[S_VERSION]
        tuple_set(t, i, new_int(version))
    return t


@jit
def plain_call(H, out, a, n):
    """Whether Tensor row ``out`` can be the one output of a function of the ``n`` objects at ``a``.

    It has no history, is no view and none of them, and all of them are Tensors.
    """
    if out == NONE:
        return False
    p = row_at(H, out)
    if p[OP] != LEAF or p[FLAGS] & (F_REQUIRES_GRAD | F_VIEW) or p[NIN] != 0:
        return False
    if p[DTYPE] < FIRST_FLOAT:
        return False
    for i in range(n):
        r = tensor_row(H, a[i])
        if r == NONE or r == out:
            return False
    return True


def function_call(self, args, n):
    """``function_call(op, flags, output_op, object, out, *inputs)``: `function` and `output` in one.

    Returns False, with nothing done, where the usual case is not met (see `plain_call`).
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    out = tensor_row(H, a[4])
    if not plain_call(H, out, at(a, 5), n - 5):
        return new_bool(0)
    f = row_new(H)
    if f == NONE:
        no_memory(H)
        return failed(H)
    p = row_at(H, f)
    q = row_at(H, out)
    p[USES] = 0
    p[DTYPE] = q[DTYPE]
    p[NUMEL] = q[NUMEL]
    set_dense(p, q[NDIM], at(q, SHAPE))
    if set_inputs(H, f, at(a, 5), n - 5) == NONE:
        unref(H, f)
        return failed(H)
    # Inputs that are views may have got new rows, made after this one.
    p = row_at(H, f)
    q = row_at(H, out)
    h = words(H)
    h[H_SEQ] += 1
    p[SEQ] = h[H_SEQ]
    p[OP] = as_int(a[0])
    p[FLAGS] = F_REQUIRES_GRAD | as_int(a[1])
    incref(a[3])
    p[HELD] = a[3]
    h[H_SEQ] += 1
    q[SEQ] = h[H_SEQ]
    q[OP] = as_int(a[2])
    q[FLAGS] |= F_REQUIRES_GRAD
    q[OUTNR] = 0
    q[ATTR + VIEW_KIND] = VIEW_ALIAS
    q[NIN] = 1
    # The reference that row_new gave is the output's.
    q[INPUT] = f
    return new_bool(1)


def output(self, args, n):
    """``output(op, flags, x, number, node)``: make Tensor ``x``, of no history, that output of a node."""
    H = capsule_pointer(self, 0)
    a = words(args)
    r = tensor_row(H, a[2])
    f = row_of(H, a[4])
    if r == NONE:
        fault(H, X_TYPE, 0, 0, 0)
        return failed(H)
    p = row_at(H, r)
    if p[OP] != LEAF or p[FLAGS] & F_REQUIRES_GRAD or p[NIN] != 0:
        fault(H, X_NO_ROOM, r, 0, 0)
        return failed(H)
    h = words(H)
    h[H_SEQ] += 1
    p[SEQ] = h[H_SEQ]
    p[OP] = as_int(a[0])
    p[FLAGS] |= F_REQUIRES_GRAD | as_int(a[1])
    p[OUTNR] = as_int(a[3])
    p[ATTR + VIEW_KIND] = VIEW_ALIAS
    p[MADE] = store(H, p[STORAGE])[S_VERSION]
    p[NIN] = 1
    p[INPUT] = f
    row_at(H, f)[REFS] += 1
    return none(H)
