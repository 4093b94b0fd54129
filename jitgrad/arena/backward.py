"""The backward pass: order the graph, then run every backward kernel, in one jitted call.

A pass lives in a *context*, a block of memory that outlives the call: where Python is needed in the
middle (a hook, a custom function, a kernel that is not loaded yet) the loop returns and is resumed.
Nodes are taken in the order PyTorch takes them: the highest sequence number among those whose consumers
are all done, from a heap whose size is the graph's width, so a chain costs the same per node at any length.

A gradient on its way is a storage in its row's shape, row-major, or a single element when it is the same
everywhere (*uniform*: what ``sum`` sends down).  The first contribution is kept as it is, also when two
rows share it; it is added to only while nobody else holds it.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    F_FREED,
    F_HOLDS,
    F_PYTHON,
    F_REQUIRES_GRAD,
    F_RETAIN,
    FLAGS,
    H_OPS,
    H_PASS,
    LEAF,
    LOCAL,
    NIN,
    NONE,
    O_FAMILY,
    O_WORDS,
    OP,
    PASS,
    SEQ,
    X_FREED,
    X_PYTHON,
)
from jitgrad.arena.gradients import (
    B_CAP,
    B_HEAP,
    B_HEAP_N,
    B_N,
    B_NODE,
    B_NODES,
    B_PASS,
    B_RETAIN,
    B_ROOTS,
    B_WORDS,
    N_GRAD,
    N_PENDING,
    N_ROW,
    N_UNIFORM,
    N_WORDS,
    accumulate,
    accumulate_copy,
    node_at,
)
from jitgrad.arena.python import fault, no_memory
from jitgrad.arena.rows import input_at, release_saved, row_at, unref
from jitgrad.arena.storage import storage_release
from jitgrad.arena.vjps import (
    check_saved,
    kernel_row,
    lanes_row,
    pointwise_row,
    ready_to_run,
    view_row,
)
from jitgrad.kernels.lowlevel import jit, raw_free, raw_malloc, raw_realloc, words
from jitgrad.ops.table import LANES, POINTWISE, VIEW

FIRST_CAPACITY = 64


@jit
def context_new(H, retain):
    """An empty context, or 0 when memory is out."""
    h = words(H)
    ctx = raw_malloc(B_WORDS * 8)
    if ctx == 0:
        return 0
    c = words(ctx)
    h[H_PASS] += 1
    c[B_N] = 0
    c[B_CAP] = FIRST_CAPACITY
    c[B_HEAP_N] = 0
    c[B_PASS] = h[H_PASS]
    c[B_RETAIN] = retain
    c[B_NODE] = NONE
    c[B_ROOTS] = 0
    c[B_NODES] = raw_malloc(FIRST_CAPACITY * (N_WORDS + 2) * 8)
    if c[B_NODES] == 0:
        raw_free(ctx)
        return 0
    # Nodes and heap are one block: the heap lies behind the nodes.
    c[B_HEAP] = c[B_NODES] + FIRST_CAPACITY * N_WORDS * 8
    return ctx


@jit
def context_free(H, ctx):
    """End a pass: let go of every gradient still on its way, and of the roots."""
    c = words(ctx)
    for k in range(c[B_N]):
        s = node_at(ctx, k)[N_GRAD]
        if s != NONE:
            storage_release(H, s)
    for k in range(c[B_ROOTS]):
        unref(H, node_at(ctx, k)[N_ROW])
    raw_free(c[B_NODES])
    raw_free(ctx)


@jit
def reach(H, ctx, r):
    """The node of row ``r``, made if the pass has not reached it yet; NONE when memory is out."""
    c = words(ctx)
    p = row_at(H, r)
    if p[PASS] == c[B_PASS]:
        return p[LOCAL]
    k = c[B_N]
    if k == c[B_CAP]:
        capacity = 2 * c[B_CAP]
        # Discovery is over before the heap is used: its part need not be moved.
        block = raw_realloc(c[B_NODES], capacity * (N_WORDS + 2) * 8)
        if block == 0:
            return NONE
        c[B_NODES] = block
        c[B_CAP] = capacity
        c[B_HEAP] = block + capacity * N_WORDS * 8
    node = node_at(ctx, k)
    node[N_ROW] = r
    node[N_PENDING] = 0
    node[N_GRAD] = NONE
    node[N_UNIFORM] = 0
    p[PASS] = c[B_PASS]
    p[LOCAL] = k
    c[B_N] = k + 1
    return k


@jit
def discover(H, ctx):
    """Reach every row that a gradient can come to and count the edges; NONE after a fault."""
    c = words(ctx)
    k = 0
    while k < c[B_N]:
        p = row_at(H, node_at(ctx, k)[N_ROW])
        if p[FLAGS] & F_FREED and p[FLAGS] & F_HOLDS:
            return fault(H, X_FREED, p[OP], 0, 0)
        for i in range(p[NIN]):
            j = input_at(p, i)
            if j != NONE and row_at(H, j)[FLAGS] & F_REQUIRES_GRAD:
                m = reach(H, ctx, j)
                if m == NONE:
                    return no_memory(H)
                node_at(ctx, m)[N_PENDING] += 1
        k += 1
    return 0


@jit
def relabel(H, ctx):
    """Take the rows back after another pass, run from a hook, has reached them."""
    c = words(ctx)
    for k in range(c[B_N]):
        p = row_at(H, node_at(ctx, k)[N_ROW])
        p[PASS] = c[B_PASS]
        p[LOCAL] = k


# ---------------------------------------------------------------- the heap
@jit
def heap_push(H, ctx, k):
    c = words(ctx)
    heap = words(c[B_HEAP])
    seq = row_at(H, node_at(ctx, k)[N_ROW])[SEQ]
    i = c[B_HEAP_N]
    c[B_HEAP_N] = i + 1
    while i > 0:
        up = (i - 1) // 2
        if heap[2 * up] >= seq:
            break
        heap[2 * i] = heap[2 * up]
        heap[2 * i + 1] = heap[2 * up + 1]
        i = up
    heap[2 * i] = seq
    heap[2 * i + 1] = k


@jit
def heap_pop(ctx):
    c = words(ctx)
    heap = words(c[B_HEAP])
    top = heap[1]
    n = c[B_HEAP_N] - 1
    c[B_HEAP_N] = n
    seq = heap[2 * n]
    k = heap[2 * n + 1]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and heap[2 * child + 2] > heap[2 * child]:
            child += 1
        if heap[2 * child] <= seq:
            break
        heap[2 * i] = heap[2 * child]
        heap[2 * i + 1] = heap[2 * child + 1]
        i = child
    heap[2 * i] = seq
    heap[2 * i + 1] = k
    return top


# ---------------------------------------------------------------- the loop
@jit
def free_saved(H, r):
    """Let go of what a row saved, once its gradient has been sent on."""
    p = row_at(H, r)
    if p[FLAGS] & F_HOLDS:
        p[FLAGS] |= F_FREED
        release_saved(H, r)


@jit
def send_on(H, ctx, k):
    """Count node ``k`` as done at its inputs; those that wait for nothing more enter the heap."""
    node = node_at(ctx, k)
    p = row_at(H, node[N_ROW])
    if node[N_GRAD] != NONE:
        s = node[N_GRAD]
        node[N_GRAD] = NONE
        storage_release(H, s)
    for i in range(p[NIN]):
        j = input_at(p, i)
        if j != NONE:
            q = row_at(H, j)
            if q[FLAGS] & F_REQUIRES_GRAD:
                m = node_at(ctx, q[LOCAL])
                m[N_PENDING] -= 1
                if m[N_PENDING] == 0:
                    heap_push(H, ctx, q[LOCAL])


@jit
def run(H, ctx):
    """Run the pass until it is done (0) or stops with a fault (NONE); a stop can be resumed."""
    c = words(ctx)
    while c[B_HEAP_N] > 0 or c[B_NODE] != NONE:
        k = c[B_NODE]
        resumed = k != NONE
        if not resumed:
            k = heap_pop(ctx)
            c[B_NODE] = k
        node = node_at(ctx, k)
        r = node[N_ROW]
        p = row_at(H, r)
        if node[N_GRAD] != NONE:
            if p[FLAGS] & F_PYTHON:
                return fault(H, X_PYTHON, r, k, 0)
            if p[OP] == LEAF:
                if accumulate(H, ctx, k) == NONE:
                    return NONE
            else:
                if ready_to_run(H, p) == NONE or check_saved(H, p, r) == NONE:
                    return NONE
                if p[FLAGS] & F_RETAIN and accumulate_copy(H, ctx, k) == NONE:
                    return NONE
                family = words(words(H)[H_OPS])[p[OP] * O_WORDS + O_FAMILY]
                if family == POINTWISE:
                    done = pointwise_row(H, ctx, k)
                elif family == VIEW:
                    done = view_row(H, ctx, k)
                elif family == LANES:
                    done = lanes_row(H, ctx, k)
                else:
                    done = kernel_row(H, ctx, k)
                if done == NONE:
                    return NONE
                if c[B_RETAIN] == 0:
                    free_saved(H, r)
        send_on(H, ctx, k)
        c[B_NODE] = NONE
    return 0
