"""What Python calls where a backward pass has stopped: look at the gradient, replace it, send others on.

As in `entries`, each function without ``@jit`` becomes a builtin of CPython.  A pass that stopped is known to
Python by its context's address, which only `engine.run_backward` handles.
"""

from __future__ import annotations

from jitgrad.arena.backward import (
    context_free,
    free_saved,
    met,
    relabel,
)
from jitgrad.arena.columns import (
    DTYPE,
    F_DIRECT,
    F_RETAIN,
    FLAGS,
    H_DIRECT,
    H_FINISH,
    H_FITTED,
    H_NONE,
    HELD,
    NDIM,
    NIN,
    NONE,
    OP,
    S_DATA,
    SHAPE,
    X_GIVE,
)
from jitgrad.arena.contexts import (
    ASKED,
    B_CALL,
    B_COLLECT,
    B_INPUTS,
    B_NODE,
    B_RETAIN,
    B_STATE,
    BELOW,
    DONE,
    N_GRAD,
    N_MARKS,
    N_ROW,
    N_UNIFORM,
)
from jitgrad.arena.devices import elsewhere, use_device
from jitgrad.arena.gradients import (
    accumulate_copy,
    follow,
    give,
    gradient_of,
    gradient_row,
    keep_gradient,
    node_at,
)
from jitgrad.arena.noderefs import new_node
from jitgrad.arena.python import failed, fault, no_memory, none, tensor_row, wrap
from jitgrad.arena.rows import device_of, input_at, row_at
from jitgrad.arena.shapes import has_shape
from jitgrad.arena.storage import storage_release, store
from jitgrad.arena.vjps import wants
from jitgrad.kernels.lowlevel import (
    as_int,
    at,
    call2,
    call_method,
    capsule_pointer,
    decref,
    incref,
    jit,
    new_bool,
    tuple_new,
    tuple_set,
    tuple_size,
    words,
)
from jitgrad.ops.table import FUNCTION as _FUNCTION

FUNCTION = _FUNCTION.number

TUPLE_ITEMS = 3  # where a tuple's items begin, in words


# ---------------------------------------------------------------- where the pass stopped
@jit
def stopped_node(ctx):
    return node_at(ctx, words(ctx)[B_NODE])


def stopped(self, args, n):
    """``stopped(context)``: what the row holds (or None), its gradient (or None), and its node."""
    H = capsule_pointer(self, 0)
    ctx = as_int(words(args)[0])
    node = stopped_node(ctx)
    t = tuple_new(3)
    if t == 0:
        return 0
    nothing = words(H)[H_NONE]
    held = row_at(H, node[N_ROW])[HELD]
    if held == 0:
        held = nothing
    incref(held)
    tuple_set(t, 0, held)
    obj = nothing
    if node[N_GRAD] != NONE:
        g = gradient_row(H, node[N_ROW], node[N_GRAD], node[N_UNIFORM])
        obj = failed(H) if g == NONE else wrap(H, g)
        if obj == 0:
            decref(t)
            return 0
    else:
        incref(obj)
    tuple_set(t, 1, obj)
    obj = new_node(H, node[N_ROW])
    if obj == 0:
        decref(t)
        return 0
    tuple_set(t, 2, obj)
    return t


@jit
def fits(H, g, r):
    """Whether Tensor row ``g`` is of row ``r``'s shape and dtype, and on its device."""
    p = row_at(H, r)
    q = row_at(H, g)
    # A custom function has no value, so it is nowhere: Python looks at what it is given.
    if p[OP] != FUNCTION and device_of(H, g) != device_of(H, r):
        return False
    return q[DTYPE] == p[DTYPE] and has_shape(q, p[NDIM], at(p, SHAPE))


def replace(self, args, n):
    """``replace(context, g)``: make Tensor ``g`` (None: nothing) the gradient of the stopped row."""
    H = capsule_pointer(self, 0)
    a = words(args)
    node = stopped_node(as_int(a[0]))
    s = NONE
    if a[1] != words(H)[H_NONE]:
        g = tensor_row(H, a[1])
        if g == NONE or not fits(H, g, node[N_ROW]):
            fault(H, X_GIVE, 0, 0, 0)
            return failed(H)
        s = gradient_of(H, g)
        if s == NONE:
            no_memory(H)
            return failed(H)
    use_device(H, 0)
    if node[N_GRAD] != NONE:
        storage_release(H, node[N_GRAD])
    node[N_GRAD] = s
    node[N_UNIFORM] = 0
    return none(H)


def settle_leaf(self, args, n):
    """``settle_leaf(context)``: do with a leaf's gradient what the pass would; whether it was accumulated."""
    H = capsule_pointer(self, 0)
    ctx = as_int(words(args)[0])
    c = words(ctx)
    k = c[B_NODE]
    node = node_at(ctx, k)
    if node[N_GRAD] != NONE:
        keep_gradient(H, ctx, k)
        if c[B_COLLECT] != 0:
            return new_bool(0)
        if c[B_INPUTS] == 0 or node[N_MARKS] & ASKED:
            follow(H, node[N_GRAD])
            if accumulate_copy(H, ctx, k) == NONE:
                return failed(H)
            use_device(H, 0)
            return new_bool(1)
    return new_bool(0)


def settle_row(self, args, n):
    """``settle_row(context)``: keep or retain the gradient of a row whose vjp Python computes.

    Returns whether that vjp is wanted at all.
    """
    H = capsule_pointer(self, 0)
    wanted = settled(H, as_int(words(args)[0]))
    return failed(H) if wanted == NONE else new_bool(wanted)


@jit
def settled(H, ctx):
    """`settle_row`: 1 or 0, or NONE after a fault."""
    c = words(ctx)
    k = c[B_NODE]
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    asked = node[N_MARKS] & ASKED != 0
    if node[N_GRAD] != NONE:
        if p[FLAGS] & F_RETAIN or (asked and c[B_COLLECT] == 0):
            follow(H, node[N_GRAD])
            if accumulate_copy(H, ctx, k) == NONE:
                return NONE
            use_device(H, 0)
        keep_gradient(H, ctx, k)
    return 1 if c[B_INPUTS] == 0 or node[N_MARKS] & BELOW != 0 else 0


def send(self, args, n):
    """``send(context, *gradients)``: give the stopped row's inputs their gradients, and go on.

    Every gradient is None or a Tensor of its input's shape and dtype; otherwise nothing is given and the
    fault names the first that does not fit.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    ctx = as_int(a[0])
    if not all_fit(H, ctx, at(a, 1), n - 1):
        return failed(H)
    met(ctx)
    if not given(H, ctx, at(a, 1), n - 1):
        context_free(H, ctx)
        return failed(H)
    return call2(words(H)[H_FINISH], (H, ctx))


@jit
def all_fit(H, ctx, a, n):
    """Whether the ``n`` gradients at ``a`` fit the stopped row's inputs; a fault names one that does not."""
    r = stopped_node(ctx)[N_ROW]
    nothing = words(H)[H_NONE]
    for i in range(min(n, row_at(H, r)[NIN])):
        if a[i] != nothing and wants(H, row_at(H, r), i):
            g = tensor_row(H, a[i])
            if g == NONE or not fits(H, g, input_at(row_at(H, r), i)):
                fault(H, X_GIVE, i, 0, 0)
                return False
    return True


@jit
def given(H, ctx, a, n):
    """Give the stopped row's inputs the gradients at ``a``, which fit; False after a fault."""
    c = words(ctx)
    r = stopped_node(ctx)[N_ROW]
    nothing = words(H)[H_NONE]
    relabel(H, ctx)
    for i in range(min(n, row_at(H, r)[NIN])):
        if a[i] != nothing and wants(H, row_at(H, r), i):
            s = gradient_of(H, tensor_row(H, a[i]))
            j = input_at(row_at(H, r), i)
            if s != NONE:
                follow(H, s)
            if s == NONE or give(H, ctx, j, s, 0) == NONE:
                no_memory(H)
                return False
    if c[B_RETAIN] == 0:
        free_saved(H, r)
    c[B_STATE] = DONE
    return True


# ---------------------------------------------------------------- custom functions, called from here
@jit
def called(H, ctx):
    """Call the custom function whose row the pass has reached, and give its gradients to its inputs.

    False: that is not so simple, and the pass stops as it would have; or, with a Python error set, the
    call has failed.
    """
    c = words(ctx)
    node = stopped_node(ctx)
    r = node[N_ROW]
    if row_at(H, r)[FLAGS] & F_DIRECT == 0 or node[N_GRAD] == NONE:
        return False
    if elsewhere(store(H, node[N_GRAD])[S_DATA]) != 0:
        return False
    use_device(H, 0)
    wanted = settled(H, ctx)
    if wanted == NONE:
        failed(H)
        return False
    if wanted == 0:
        c[B_STATE] = DONE
        return True
    g = gradient_row(H, r, node[N_GRAD], node[N_UNIFORM])
    obj = failed(H) if g == NONE else wrap(H, g)
    if obj == 0:
        return False
    held = row_at(H, r)[HELD]
    incref(held)
    found = call_with(H, ctx, words(H)[H_DIRECT], held, obj, new_bool(c[B_RETAIN]))
    if found != 0 and not all_fit(H, ctx, at(words(found), TUPLE_ITEMS), tuple_size(found)):
        # In shapes that are to be summed, say.
        found = call_with(H, ctx, words(H)[H_FITTED], held, new_node(H, r), found)
    decref(held)
    if found == 0:
        return False
    ok = given(H, ctx, at(words(found), TUPLE_ITEMS), tuple_size(found))
    decref(found)
    if not ok:
        failed(H)
    return ok


@jit
def call_with(H, ctx, name, held, a, b):
    """``held.name(a, b)``: a new reference, or 0.  The references to ``a`` and ``b`` are taken over."""
    args = at(words(ctx), B_CALL)
    args[0] = held
    args[1] = a
    args[2] = b
    found = 0
    if a != 0 and b != 0:
        found = call_method(name, ctx + B_CALL * 8, 3, 0)
    if a != 0:
        decref(a)
    if b != 0:
        decref(b)
    return found


def called_c(H, ctx):
    """`called`, with the shape of a unit."""
    return 1 if called(H, ctx) else 0
