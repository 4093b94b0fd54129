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
    F_NO_FLOW,
    F_PYTHON,
    F_REQUIRES_GRAD,
    F_RETAIN,
    FLAGS,
    H_CONTEXTS,
    H_DEVICE,
    H_LABELS,
    H_OPS,
    H_PASS,
    H_SPARE,
    H_SPARE_CAP,
    H_VIEW_VJP,
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
    X_LAUNCH,
    X_PYTHON,
)
from jitgrad.arena.contexts import (
    ALLOWED,
    ASKED,
    B_BEFORE,
    B_CAP,
    B_COLLECT,
    B_DIRECT,
    B_GPU,
    B_HEAP,
    B_HEAP_N,
    B_INPUTS,
    B_INPUTS_N,
    B_N,
    B_NEXT,
    B_NODE,
    B_NODES,
    B_PASS,
    B_RETAIN,
    B_ROOTS,
    B_STATE,
    B_WORDS,
    BELOW,
    DONE,
    FRESH,
    N_GRAD,
    N_KEPT,
    N_MARKS,
    N_PENDING,
    N_ROW,
    N_UNIFORM,
    N_WORDS,
    READY,
)
from jitgrad.arena.gradients import (
    accumulate,
    accumulate_copy,
    follow,
    keep_gradient,
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
)
from jitgrad.kernels.lowlevel import call3, jit, raw_free, raw_malloc, raw_realloc, words
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
    c[B_NODES] = h[H_SPARE]
    if c[B_NODES] != 0:
        h[H_SPARE] = 0
        c[B_CAP] = h[H_SPARE_CAP]
    else:
        c[B_NODES] = raw_malloc(FIRST_CAPACITY * (N_WORDS + 2) * 8)
        if c[B_NODES] == 0:
            raw_free(ctx)
            return 0
    # Nodes and heap are one block: the heap lies behind the nodes.
    c[B_HEAP] = c[B_NODES] + c[B_CAP] * N_WORDS * 8
    c[B_HEAP_N] = 0
    c[B_PASS] = h[H_PASS]
    h[H_LABELS] = h[H_PASS]
    c[B_RETAIN] = retain
    c[B_NODE] = NONE
    c[B_ROOTS] = 0
    c[B_STATE] = FRESH
    c[B_INPUTS] = 0
    c[B_INPUTS_N] = 0
    c[B_COLLECT] = 0
    c[B_GPU] = 0
    c[B_BEFORE] = 0
    c[B_NEXT] = h[H_CONTEXTS]
    if c[B_NEXT] != 0:
        words(c[B_NEXT])[B_BEFORE] = ctx
    h[H_CONTEXTS] = ctx
    return ctx


@jit
def context_free(H, ctx):
    """End a pass: let go of every gradient still on its way, and of the roots."""
    c = words(ctx)
    if c[B_BEFORE] != 0:
        words(c[B_BEFORE])[B_NEXT] = c[B_NEXT]
    else:
        words(H)[H_CONTEXTS] = c[B_NEXT]
    if c[B_NEXT] != 0:
        words(c[B_NEXT])[B_BEFORE] = c[B_BEFORE]
    for k in range(c[B_N]):
        node = node_at(ctx, k)
        if node[N_GRAD] != NONE:
            storage_release(H, node[N_GRAD])
        if node[N_KEPT] != NONE:
            storage_release(H, node[N_KEPT])
    for k in range(c[B_ROOTS]):
        unref(H, node_at(ctx, k)[N_ROW])
    if c[B_INPUTS] != 0:
        raw_free(c[B_INPUTS])
    keep_nodes(H, c)
    raw_free(ctx)


@jit
def keep_nodes(H, c):
    """Leave the nodes of a pass that ends to the next one, if they are more than those that wait.

    Fresh memory costs a page fault every 4 KB, in a long graph as much as running the nodes in them.
    """
    h = words(H)
    spare = c[B_NODES]
    if h[H_SPARE] == 0 or h[H_SPARE_CAP] < c[B_CAP]:
        spare = h[H_SPARE]
        h[H_SPARE] = c[B_NODES]
        h[H_SPARE_CAP] = c[B_CAP]
    if spare != 0:
        raw_free(spare)


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
    node[N_MARKS] = 0
    node[N_KEPT] = NONE
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
    """Take the rows back if another pass, run from a hook or a thread, may have reached them since.

    Only then: at every stop it would make a chain of custom functions cost the square of its length.
    """
    c = words(ctx)
    h = words(H)
    if h[H_LABELS] == c[B_PASS]:
        return
    h[H_LABELS] = c[B_PASS]
    for k in range(c[B_N]):
        p = row_at(H, node_at(ctx, k)[N_ROW])
        p[PASS] = c[B_PASS]
        p[LOCAL] = k


@jit
def met(ctx):
    """Python runs the pass now, without recording: from here on custom functions may be called directly."""
    c = words(ctx)
    if c[B_DIRECT] == ALLOWED:
        c[B_DIRECT] = READY


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


# ---------------------------------------------------------------- gradients that are asked for
@jit
def ask(H, ctx, n):
    """Room for the nodes of ``n`` inputs, to be marked by `ask_for`; False when memory is out."""
    c = words(ctx)
    c[B_INPUTS] = raw_malloc(max(n, 1) * 8)
    return c[B_INPUTS] != 0


@jit
def ask_for(H, ctx, r):
    """Have the pass keep the gradient of row ``r``, which it may not reach at all."""
    c = words(ctx)
    p = row_at(H, r)
    k = NONE
    if p[PASS] == c[B_PASS]:
        k = p[LOCAL]
        node_at(ctx, k)[N_MARKS] |= ASKED
    words(c[B_INPUTS])[c[B_INPUTS_N]] = k
    c[B_INPUTS_N] += 1


@jit
def mark_below(H, ctx):
    """Mark the nodes above those that are asked for: only these are run.

    From the lowest sequence number up, so that an input is marked before its consumers look at it; the
    heap sorts them.
    """
    c = words(ctx)
    for k in range(c[B_N]):
        heap_push(H, ctx, k)
    heap = words(c[B_HEAP])
    for _ in range(c[B_N]):
        k = heap_pop(ctx)
        heap[2 * c[B_HEAP_N]] = k
    for i in range(c[B_N]):
        node = node_at(ctx, heap[2 * i])
        p = row_at(H, node[N_ROW])
        for e in range(p[NIN]):
            j = input_at(p, e)
            if j != NONE and row_at(H, j)[FLAGS] & F_REQUIRES_GRAD:
                if node_at(ctx, row_at(H, j)[LOCAL])[N_MARKS] != 0:
                    node[N_MARKS] |= BELOW


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
def row_vjp(H, ctx, k):
    """Send the gradient of node ``k`` to its row's inputs; NONE after a fault."""
    family = words(words(H)[H_OPS])[row_at(H, node_at(ctx, k)[N_ROW])[OP] * O_WORDS + O_FAMILY]
    if family == POINTWISE:
        return pointwise_row(H, ctx, k)
    if family == VIEW:
        return call3(words(H)[H_VIEW_VJP], (H, ctx, k))
    if family == LANES:
        return lanes_row(H, ctx, k)
    return kernel_row(H, ctx, k)


@jit
def run_row(H, ctx, k):
    """What node ``k``, whose gradient is complete, has to do with it; NONE after a fault."""
    c = words(ctx)
    node = node_at(ctx, k)
    r = node[N_ROW]
    p = row_at(H, r)
    all_leaves = c[B_INPUTS] == 0
    asked = node[N_MARKS] & ASKED != 0
    if p[OP] == LEAF:
        if p[FLAGS] & F_NO_FLOW:
            return 0
        if all_leaves or (asked and c[B_COLLECT] == 0):
            return accumulate(H, ctx, k)
        keep_gradient(H, ctx, k)
        return 0
    further = all_leaves or node[N_MARKS] & BELOW != 0
    # Nothing before this line may be repeated: a missing kernel stops the pass here.
    if further and (ready_to_run(H, p) == NONE or check_saved(H, p, r) == NONE):
        return NONE
    if p[FLAGS] & F_RETAIN or (asked and c[B_COLLECT] == 0):
        if accumulate_copy(H, ctx, k) == NONE:
            return NONE
    keep_gradient(H, ctx, k)
    if further:
        if row_vjp(H, ctx, k) == NONE:
            return NONE
        if c[B_RETAIN] == 0:
            free_saved(H, r)
    return 0


@jit
def run(H, ctx):
    """Run the pass until it is done (0) or stops with a fault (NONE); a stop can be resumed."""
    c = words(ctx)
    while c[B_HEAP_N] > 0 or c[B_NODE] != NONE:
        k = c[B_NODE]
        if k == NONE:
            k = heap_pop(ctx)
            c[B_NODE] = k
            c[B_STATE] = FRESH
        node = node_at(ctx, k)
        if c[B_STATE] != DONE and (c[B_INPUTS] == 0 or node[N_MARKS] != 0):
            # As in PyTorch, hooks do not change the result for a row whose gradient is also sent on.
            if node[N_MARKS] & ASKED and node[N_MARKS] & BELOW:
                keep_gradient(H, ctx, k)
            # Python acts on the row also when no gradient has come: a custom function decides itself.
            if c[B_STATE] == FRESH and row_at(H, node[N_ROW])[FLAGS] & F_PYTHON:
                return fault(H, X_PYTHON, node[N_ROW], k, 0)
            if node[N_GRAD] != NONE:
                follow(H, node[N_GRAD])
                if words(H)[H_DEVICE] != 0 and c[B_GPU] == 0:
                    c[B_GPU] = 1
                    return fault(H, X_LAUNCH, 0, 0, 0)
            if node[N_GRAD] != NONE and run_row(H, ctx, k) == NONE:
                return NONE
        send_on(H, ctx, k)
        c[B_NODE] = NONE
    return 0
