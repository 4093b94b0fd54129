"""What Python calls for a backward pass: begin it, act where it stopped, and have it go on.

As in `entries`, each function without ``@jit`` becomes a builtin of CPython.  A pass that stopped is known to
Python by its context's address, which only `engine.run_backward` handles: it resumes or aborts it.
"""

from __future__ import annotations

from jitgrad.arena.backward import (
    ask,
    ask_for,
    context_free,
    context_new,
    discover,
    heap_push,
    mark_below,
    met,
    reach,
    relabel,
    run,
)
from jitgrad.arena.columns import (
    DTYPE,
    F_NO_FLOW,
    F_REQUIRES_GRAD,
    FLAGS,
    H_CALLED,
    H_CONTEXT,
    H_DEVICE,
    H_FAULT,
    H_NONE,
    NONE,
    NUMEL,
    REFS,
    S_DATA,
    X_KERNEL,
    X_LAUNCH,
    X_NO_GRAD,
    X_PARALLEL,
    X_PART,
    X_PYTHON,
    X_ROOT,
    X_SCALAR,
    X_TYPE,
)
from jitgrad.arena.contexts import (
    ALLOWED,
    B_COLLECT,
    B_DIRECT,
    B_INPUTS,
    B_INPUTS_N,
    B_N,
    B_ROOTS,
    B_STATE,
    KEPT_UNIFORM,
    N_KEPT,
    N_MARKS,
    N_PENDING,
    N_ROW,
    READY,
)
from jitgrad.arena.devices import use_device
from jitgrad.arena.gradients import (
    fill_dense,
    give,
    gradient_of,
    gradient_row,
    node_at,
)
from jitgrad.arena.histories import current
from jitgrad.arena.python import failed, fault, here, no_memory, none, ready, tensor_row, wrap
from jitgrad.arena.recorder import store_float
from jitgrad.arena.rows import device_of, flush, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.kernels.lowlevel import (
    as_int,
    at,
    call2,
    capsule_pointer,
    decref,
    error_occurred,
    incref,
    jit,
    tuple_new,
    tuple_set,
    words,
)

#: Bits of a pass's mode.
RETAIN = 1  # keep what the graph saved
COLLECT = 2  # return the inputs' gradients instead of adding them to ``.grad``
CHOSEN = 4  # only the inputs given, not all leaves
DIRECT = 8  # custom functions may be called from here


def backward(self, args, n):
    """``backward(mode, count, root, gradient, ..., input, ...)``: run a pass from ``count`` roots.

    Gradient None means 1.  The result is None or, in mode COLLECT, the gradients as a tuple.  A fault that
    Python can mend leaves the pass in the header, for `resume` or `abort`.
    """
    H = capsule_pointer(self, 0)
    a = words(args)
    if not ready(H):
        return failed(H)
    mode = as_int(a[0])
    count = as_int(a[1])
    ctx = context_new(H, mode & RETAIN)
    if ctx == 0:
        no_memory(H)
        return failed(H)
    words(ctx)[B_DIRECT] = ALLOWED if mode & DIRECT else 0
    first = 2 + 2 * count
    if (
        seed(H, ctx, at(a, 2), count) == NONE
        or discover(H, ctx) == NONE
        or (mode & CHOSEN != 0 and choose(H, ctx, at(a, first), n - first, mode) == NONE)
    ):
        context_free(H, ctx)
        return failed(H)
    for k in range(words(ctx)[B_ROOTS]):
        if node_at(ctx, k)[N_PENDING] == 0:
            heap_push(H, ctx, k)
    return finish(H, ctx)


@jit
def seed(H, ctx, a, count):
    """Reach the roots with their gradients; NONE after a fault."""
    for i in range(count):
        r = tensor_row(H, a[2 * i])
        if r == NONE:
            return fault(H, X_TYPE, i, 0, 0)
        r = current(H, r)
        if r == NONE:
            return NONE
        if row_at(H, r)[FLAGS] & (F_REQUIRES_GRAD | F_NO_FLOW) != F_REQUIRES_GRAD:
            return fault(H, X_ROOT, i, 0, 0)
        if a[2 * i + 1] == words(H)[H_NONE] and row_at(H, r)[NUMEL] != 1:
            return fault(H, X_SCALAR, i, 0, 0)
        c = words(ctx)
        known = c[B_N]
        k = reach(H, ctx, r)
        if k == NONE:
            return no_memory(H)
        if k == known:
            row_at(H, r)[REFS] += 1
            c[B_ROOTS] += 1
        s = NONE
        uniform = 0
        p = row_at(H, r)
        use_device(H, device_of(H, r))
        if a[2 * i + 1] == words(H)[H_NONE]:
            s = storage_new(H, 8)
            if s == NONE:
                return no_memory(H)
            if words(H)[H_DEVICE] != 0:
                fill_dense(H, p[DTYPE], store(H, s)[S_DATA], 1.0, 1)
            else:
                store_float(store(H, s)[S_DATA], p[DTYPE], 1.0)
            uniform = 1
        else:
            g = tensor_row(H, a[2 * i + 1])
            if g == NONE:
                return fault(H, X_TYPE, i, 0, 0)
            if not here(H, g, i):
                return NONE
            s = gradient_of(H, g)
            if s == NONE:
                return no_memory(H)
        if give(H, ctx, r, s, uniform) == NONE:
            return NONE
    return 0


@jit
def choose(H, ctx, a, n, mode):
    """Ask for the gradients of ``n`` Tensors; NONE after a fault."""
    if not ask(H, ctx, n):
        return no_memory(H)
    words(ctx)[B_COLLECT] = 1 if mode & COLLECT else 0
    for i in range(n):
        r = tensor_row(H, a[i])
        if r == NONE:
            return fault(H, X_TYPE, i, 0, 0)
        r = current(H, r)
        if r == NONE:
            return NONE
        if row_at(H, r)[FLAGS] & (F_REQUIRES_GRAD | F_NO_FLOW) != F_REQUIRES_GRAD:
            return fault(H, X_NO_GRAD, i, 0, 0)
        ask_for(H, ctx, r)
    mark_below(H, ctx)
    return 0


@jit
def finish(H, ctx):
    """Run a pass on; free it unless it can be resumed."""
    h = words(H)
    done = True
    while run(H, ctx) == NONE:
        done = (
            h[H_FAULT] == X_PYTHON
            and words(ctx)[B_DIRECT] == READY
            and h[H_CALLED] != 0
            and call2(h[H_CALLED], (H, ctx)) != 0
        )
        if not done:
            break
    if done:
        use_device(H, 0)
        result = 0
        if words(ctx)[B_COLLECT] != 0:
            result = collected(H, ctx)
        else:
            result = none(H)
        context_free(H, ctx)
        flush(H)
        return result
    if error_occurred() != 0:
        # The user's backward has raised.
        context_free(H, ctx)
        return failed(H)
    code = h[H_FAULT]
    waits = code == X_LAUNCH or code == X_KERNEL or code == X_PARALLEL
    if waits or code == X_PYTHON or code == X_PART:
        h[H_CONTEXT] = ctx
    else:
        context_free(H, ctx)
    return failed(H)


@jit
def collected(H, ctx):
    """The gradients that were asked for, as a tuple of Tensors and None."""
    c = words(ctx)
    n = c[B_INPUTS_N]
    t = tuple_new(n)
    if t == 0:
        return 0
    for i in range(n):
        k = words(c[B_INPUTS])[i]
        obj = words(H)[H_NONE]
        if k != NONE and node_at(ctx, k)[N_KEPT] != NONE:
            node = node_at(ctx, k)
            g = gradient_row(H, node[N_ROW], node[N_KEPT], node[N_MARKS] & KEPT_UNIFORM)
            obj = failed(H) if g == NONE else wrap(H, g)
            if obj == 0:
                decref(t)
                return 0
        else:
            incref(obj)
        tuple_set(t, i, obj)
    return t


def resume(self, args, n):
    """``resume(context, state)``: go on with a pass that stopped, with a new B_STATE if it is not 0."""
    H = capsule_pointer(self, 0)
    ctx = as_int(words(args)[0])
    state = as_int(words(args)[1])
    if state != 0:
        words(ctx)[B_STATE] = state
    met(ctx)
    relabel(H, ctx)
    return finish(H, ctx)


def abort(self, args, n):
    """``abort(context)``: give a stopped pass up."""
    H = capsule_pointer(self, 0)
    context_free(H, as_int(words(args)[0]))
    return none(H)


def finish_c(H, ctx):
    """`finish`, with the shape of a unit."""
    return finish(H, ctx)
