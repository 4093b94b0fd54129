"""Gradients on their way: what a node of a backward pass has received so far.  Jitted.

A gradient is a storage in its row's shape, row-major, or a single element when it is the same everywhere
(*uniform*: what ``sum`` sends down).  The first contribution is kept as it is, also when two rows share it;
it is added to only while nobody else holds it.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    FLAGS,
    GRAD,
    H_ADD32,
    H_ADD64,
    H_ADD_FLOAT16,
    H_ARGS,
    H_LANES,
    LOCAL,
    NDIM,
    NONE,
    NUMEL,
    OFFSET,
    S_DATA,
    S_REFS,
    S_VERSION,
    SHAPE,
    STORAGE,
    STRIDE,
    X_DEVICE,
    X_INTERNAL,
)
from jitgrad.arena.contexts import (
    ASKED,
    B_COLLECT,
    B_NODES,
    KEPT_UNIFORM,
    N_GRAD,
    N_KEPT,
    N_MARKS,
    N_ROW,
    N_UNIFORM,
    N_WORDS,
)
from jitgrad.arena.devices import elsewhere, use_device
from jitgrad.arena.driver import drive, plan_begin, plan_const, plan_dense, plan_strided
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.recorder import store_float
from jitgrad.arena.rows import data_of, device_of, itemsize, row_at, row_new, set_dense
from jitgrad.arena.shapes import FLOAT32, dense_copy
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import FIRST_HALF
from jitgrad.kernels.lowlevel import at, jit, words

NUMEL_SCRATCH = H_LANES * 8  # one word for a shape of one dim


@jit
def node_at(ctx, k):
    return words(words(ctx)[B_NODES] + k * (N_WORDS * 8))


@jit
def addition(H, dtype):
    """Address of the kernel that adds gradients of a dtype."""
    h = words(H)
    if dtype == FLOAT32:
        return h[H_ADD32]
    if dtype < FIRST_HALF:
        return h[H_ADD64]
    return h[H_ADD_FLOAT16 + dtype - FIRST_HALF]


@jit
def add_into(H, dtype, dst, a, a_uniform, b, b_uniform, numel):
    """``dst = a + b`` over contiguous memory; ``dst`` may be ``a`` or ``b``."""
    size = itemsize(dtype)
    shape = words(H + NUMEL_SCRATCH)
    shape[0] = numel
    plan_begin(H, addition(H, dtype), numel, 2, 1, shape)
    plan_dense(H, 0, dst, size)
    if a_uniform:
        plan_const(H, 1, a, size)
    else:
        plan_dense(H, 1, a, size)
    if b_uniform:
        plan_const(H, 2, b, size)
    else:
        plan_dense(H, 2, b, size)
    drive(H)


@jit
def copy_dense(H, dtype, dst, src, uniform, numel):
    """``dst = src`` over contiguous memory."""
    size = itemsize(dtype)
    shape = words(H + NUMEL_SCRATCH)
    shape[0] = numel
    plan_begin(H, 0, numel, 1, 1, shape)
    plan_dense(H, 0, dst, size)
    if uniform:
        plan_strided(H, 1, src, size, 0, shape, shape)
    else:
        plan_dense(H, 1, src, size)
    drive(H)


@jit
def fill_dense(H, dtype, dst, value, numel):
    """``dst = value`` over contiguous memory."""
    number = H + H_ARGS * 8
    store_float(number, dtype, value)
    copy_dense(H, dtype, dst, number, 1, numel)


@jit
def follow(H, s):
    """Make the call one for the device of storage ``s``."""
    use_device(H, elsewhere(store(H, s)[S_DATA]))


@jit
def give(H, ctx, r, s, uniform):
    """Add the gradient in storage ``s`` to that of row ``r``; NONE after a fault.

    The caller's reference to ``s`` is taken over.
    """
    node = node_at(ctx, row_at(H, r)[LOCAL])
    have = node[N_GRAD]
    if have == NONE:
        node[N_GRAD] = s
        node[N_UNIFORM] = uniform
        return 0
    p = row_at(H, r)
    dtype = p[DTYPE]
    size = itemsize(dtype)
    if elsewhere(store(H, have)[S_DATA]) != elsewhere(store(H, s)[S_DATA]):
        storage_release(H, s)
        return fault(H, X_DEVICE, 0, 0, 0)
    both = node[N_UNIFORM] != 0 and uniform != 0
    n = 1 if both else p[NUMEL]
    if store(H, have)[S_REFS] == 1 and (both or node[N_UNIFORM] == 0):
        out = have
    elif store(H, s)[S_REFS] == 1 and (both or uniform == 0):
        out = s
    else:
        out = storage_new(H, n * size)
        if out == NONE:
            storage_release(H, s)
            return no_memory(H)
    a = store(H, have)[S_DATA]
    b = store(H, s)[S_DATA]
    add_into(H, dtype, store(H, out)[S_DATA], a, node[N_UNIFORM], b, uniform, n)
    if out != have:
        storage_release(H, have)
    if out != s:
        storage_release(H, s)
    node[N_GRAD] = out
    node[N_UNIFORM] = 1 if both else 0
    return 0


@jit
def share(H, s):
    """One more holder of storage ``s``."""
    store(H, s)[S_REFS] += 1
    return s


@jit
def settle(H, ctx, k):
    """Make the gradient of node ``k`` a full storage that nobody else holds; NONE after a fault."""
    node = node_at(ctx, k)
    s = node[N_GRAD]
    if store(H, s)[S_REFS] == 1 and node[N_UNIFORM] == 0:
        return s
    p = row_at(H, node[N_ROW])
    out = storage_new(H, p[NUMEL] * itemsize(p[DTYPE]))
    if out == NONE:
        return no_memory(H)
    copy_dense(H, p[DTYPE], store(H, out)[S_DATA], store(H, s)[S_DATA], node[N_UNIFORM], p[NUMEL])
    storage_release(H, s)
    node[N_GRAD] = out
    node[N_UNIFORM] = 0
    return out


@jit
def fill_out(H, ctx, k):
    """Make the gradient of node ``k`` full (not uniform), shared or not; NONE after a fault."""
    node = node_at(ctx, k)
    if node[N_UNIFORM] == 0:
        return node[N_GRAD]
    return settle(H, ctx, k)


@jit
def accumulate(H, ctx, k):
    """Add node ``k``'s gradient to the ``.grad`` of its row; NONE after a fault."""
    node = node_at(ctx, k)
    r = node[N_ROW]
    p = row_at(H, r)
    g = p[GRAD]
    numel = p[NUMEL]
    dtype = p[DTYPE]
    if g == NONE:
        s = settle(H, ctx, k)
        if s == NONE:
            return NONE
        g = row_new(H)
        if g == NONE:
            return no_memory(H)
        p = row_at(H, r)
        q = row_at(H, g)
        q[DTYPE] = dtype
        q[NUMEL] = numel
        q[STORAGE] = s
        q[FLAGS] = F_CONTIGUOUS
        set_dense(q, p[NDIM], at(p, SHAPE))
        p[GRAD] = g
        node[N_GRAD] = NONE
        return 0
    q = row_at(H, g)
    # Both setters check this; a gradient of another size would be written past its end.
    if q[NUMEL] != numel or q[DTYPE] != dtype:
        return fault(H, X_INTERNAL, r, g, 0)
    src = store(H, node[N_GRAD])[S_DATA]
    if elsewhere(src) != elsewhere(store(H, q[STORAGE])[S_DATA]):
        return fault(H, X_DEVICE, 0, 0, 0)
    store(H, q[STORAGE])[S_VERSION] += 1
    if q[FLAGS] & F_CONTIGUOUS:
        dst = data_of(H, g)
        add_into(H, dtype, dst, dst, 0, src, node[N_UNIFORM], numel)
        return 0
    # A strided .grad, set by the user: add in a contiguous copy and scatter that back.
    t = dense_copy(H, g)
    if t == NONE:
        return no_memory(H)
    q = row_at(H, g)
    d = store(H, t)[S_DATA]
    add_into(H, dtype, d, d, 0, src, node[N_UNIFORM], numel)
    plan_begin(H, 0, numel, 1, q[NDIM], at(q, SHAPE))
    plan_strided(H, 0, data_of(H, g), itemsize(dtype), q[NDIM], at(q, SHAPE), at(q, STRIDE))
    plan_dense(H, 1, d, itemsize(dtype))
    drive(H)
    storage_release(H, t)
    return 0


@jit
def accumulate_copy(H, ctx, k):
    """`accumulate` for a row that retains its gradient and still has to send it on."""
    node = node_at(ctx, k)
    s = share(H, node[N_GRAD])
    uniform = node[N_UNIFORM]
    done = accumulate(H, ctx, k)
    if node[N_GRAD] != NONE:
        storage_release(H, node[N_GRAD])
    node[N_GRAD] = s
    node[N_UNIFORM] = uniform
    return done


@jit
def keep_gradient(H, ctx, k):
    """Put the gradient of node ``k`` aside if it is part of the result; done once, it stays."""
    node = node_at(ctx, k)
    if words(ctx)[B_COLLECT] == 0 or node[N_MARKS] & ASKED == 0:
        return
    if node[N_KEPT] != NONE or node[N_GRAD] == NONE:
        return
    node[N_KEPT] = share(H, node[N_GRAD])
    if node[N_UNIFORM] != 0:
        node[N_MARKS] |= KEPT_UNIFORM


@jit
def gradient_of(H, g):
    """The elements of Tensor row ``g``, row-major, as a storage with one reference more; NONE: no memory."""
    q = row_at(H, g)
    if q[FLAGS] & F_CONTIGUOUS and q[OFFSET] == 0:
        store(H, q[STORAGE])[S_REFS] += 1
        return q[STORAGE]
    use_device(H, device_of(H, g))
    return dense_copy(H, g)


@jit
def gradient_row(H, r, s, uniform):
    """A row without history, of row ``r``'s shape, over the gradient in storage ``s``; NONE after a fault."""
    p = row_at(H, r)
    dtype = p[DTYPE]
    numel = p[NUMEL]
    if uniform and numel != 1:
        follow(H, s)
        t = storage_new(H, numel * itemsize(dtype))
        if t == NONE:
            return no_memory(H)
        copy_dense(H, dtype, store(H, t)[S_DATA], store(H, s)[S_DATA], 1, numel)
        use_device(H, 0)
    else:
        t = share(H, s)
    g = row_new(H)
    if g == NONE:
        storage_release(H, t)
        return no_memory(H)
    p = row_at(H, r)
    q = row_at(H, g)
    q[DTYPE] = dtype
    q[NUMEL] = numel
    q[STORAGE] = t
    q[FLAGS] = F_CONTIGUOUS
    set_dense(q, p[NDIM], at(p, SHAPE))
    return g
