"""Runs a pointwise kernel over operands of any strides; without a kernel, copies operand 1.

A pointwise kernel is one loop over contiguous memory: ``kernel(n, args)``, where ``args`` points at the
addresses ``[result, operand 0, operand 1, ...]``.  Here is everything that makes strided, broadcast and
one-element operands look contiguous to it: blocks of ``BLOCK`` elements that stay in the L1 cache are
gathered before the kernel and, for a strided result, scattered after it.  So each formula is compiled
into exactly one loop, and that loop is vectorised.

The plan (``H_PLAN``, words ``P_*``) is filled by `plan_begin` and `plan_operand`, checked by nobody after
that: shapes have been broadcast by the caller.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    BLOCK,
    H_CHUNK,
    H_DEVICE,
    H_DRIVE,
    H_PARALLEL,
    H_PARALLEL_FROM,
    H_PLAN,
    H_POOL_THREADS,
    H_SCRATCH,
    H_SPLIT,
    H_THREADS,
    MAX_DIMS,
    P_BASE,
    P_CONST,
    P_FLAT,
    P_KERNEL,
    P_N,
    P_NDIM,
    P_NIN,
    P_OPERANDS,
    P_SHAPE,
    P_SIZE,
    P_STRIDES,
    SCRATCH,
)
from jitgrad.arena.command_words import PLAN
from jitgrad.arena.devices import plan_command
from jitgrad.kernels.lowlevel import call1, call2, call8, int16s, int32s, jit, uint8s, words

#: Elements of the last dim from which a kernel is called for each line of it.
LONG_LINE = 512
#: Word of a thread's scratch where its status is left (the words before it are kernel arguments).
STATUS = 60


@jit
def plan_begin(H, kernel, n, nin, ndim, shape):
    """Start a plan: ``nin`` operands besides the result, over a result of ``n`` elements."""
    plan = words(H + H_PLAN * 8)
    plan[P_KERNEL] = kernel
    plan[P_N] = n
    plan[P_NIN] = nin
    plan[P_NDIM] = ndim
    plan[P_FLAT] = 1
    for d in range(ndim):
        plan[P_SHAPE + d] = shape[d]


@jit
def plan_dense(H, j, base, size):
    """Operand ``j`` is contiguous, in the result's shape."""
    plan = words(H + H_PLAN * 8)
    plan[P_BASE + j] = base
    plan[P_SIZE + j] = size
    plan[P_CONST + j] = 0
    stride = size
    for k in range(plan[P_NDIM]):
        d = plan[P_NDIM] - 1 - k
        plan[P_STRIDES + j * MAX_DIMS + d] = stride
        stride *= plan[P_SHAPE + d]


@jit
def plan_const(H, j, base, size):
    """Operand ``j`` is one element."""
    plan = words(H + H_PLAN * 8)
    plan[P_BASE + j] = base
    plan[P_SIZE + j] = size
    plan[P_CONST + j] = 1
    for d in range(plan[P_NDIM]):
        plan[P_STRIDES + j * MAX_DIMS + d] = 0


@jit
def plan_strided(H, j, base, size, ndim, shape, stride):
    """Operand ``j`` has a shape that broadcasts to the result's; ``stride`` is in elements."""
    plan = words(H + H_PLAN * 8)
    plan[P_BASE + j] = base
    plan[P_SIZE + j] = size
    plan[P_CONST + j] = 0
    plan[P_FLAT] = 0
    lead = plan[P_NDIM] - ndim
    for d in range(plan[P_NDIM]):
        step = 0
        if d >= lead and shape[d - lead] != 1:
            step = stride[d - lead] * size
        plan[P_STRIDES + j * MAX_DIMS + d] = step


@jit
def plan_spread(H, j, base, size, ndim, shape):
    """Operand ``j`` is contiguous in a shape of its own that broadcasts to the result's."""
    plan = words(H + H_PLAN * 8)
    plan[P_BASE + j] = base
    plan[P_SIZE + j] = size
    plan[P_CONST + j] = 0
    plan[P_FLAT] = 0
    lead = plan[P_NDIM] - ndim
    stride = size
    for k in range(plan[P_NDIM]):
        d = plan[P_NDIM] - 1 - k
        plan[P_STRIDES + j * MAX_DIMS + d] = 0
        if d >= lead and shape[d - lead] != 1:
            plan[P_STRIDES + j * MAX_DIMS + d] = stride
            stride *= shape[d - lead]


@jit
def collapse(H):
    """Merge neighbouring dims that every operand walks as one, and drop dims of size 1."""
    plan = words(H + H_PLAN * 8)
    nop = plan[P_NIN] + 1
    kept = 0
    for d in range(plan[P_NDIM]):
        size = plan[P_SHAPE + d]
        if size == 1:
            continue
        merge = kept > 0
        if merge:
            for j in range(nop):
                s = P_STRIDES + j * MAX_DIMS
                if plan[s + kept - 1] != plan[s + d] * size:
                    merge = False
        if merge:
            plan[P_SHAPE + kept - 1] *= size
            for j in range(nop):
                s = P_STRIDES + j * MAX_DIMS
                plan[s + kept - 1] = plan[s + d]
        else:
            plan[P_SHAPE + kept] = size
            for j in range(nop):
                s = P_STRIDES + j * MAX_DIMS
                plan[s + kept] = plan[s + d]
            kept += 1
    if kept == 0:
        plan[P_SHAPE] = 1
        for j in range(nop):
            plan[P_STRIDES + j * MAX_DIMS] = 0
        kept = 1
    plan[P_NDIM] = kept


@jit
def copy_run(dst, dst_step, src, src_step, n, size):
    """Copy ``n`` elements of ``size`` bytes between byte-strided runs."""
    if size == 4:
        if dst_step == 4 and src_step == 4:
            for i in range(n):
                int32s(dst)[i] = int32s(src)[i]
        elif dst_step == 4 and src_step == 0:
            value = int32s(src)[0]
            for i in range(n):
                int32s(dst)[i] = value
        else:
            for i in range(n):
                int32s(dst + i * dst_step)[0] = int32s(src + i * src_step)[0]
    elif size == 8:
        if dst_step == 8 and src_step == 8:
            for i in range(n):
                words(dst)[i] = words(src)[i]
        elif dst_step == 8 and src_step == 0:
            value = words(src)[0]
            for i in range(n):
                words(dst)[i] = value
        else:
            for i in range(n):
                words(dst + i * dst_step)[0] = words(src + i * src_step)[0]
    elif size == 1:
        for i in range(n):
            uint8s(dst + i * dst_step)[0] = uint8s(src + i * src_step)[0]
    else:
        for i in range(n):
            int16s(dst + i * dst_step)[0] = int16s(src + i * src_step)[0]


@jit
def block_copy(H, j, start, n, block, scatter):
    """Gather elements ``start ..`` of operand ``j`` into ``block``, or scatter them back from it."""
    plan = words(H + H_PLAN * 8)
    ndim = plan[P_NDIM]
    size = plan[P_SIZE + j]
    s = P_STRIDES + j * MAX_DIMS
    inner = plan[P_SHAPE + ndim - 1]
    step = plan[s + ndim - 1]
    done = 0
    while done < n:
        # Where is element start + done?
        rest = (start + done) // inner
        column = (start + done) - rest * inner
        address = plan[P_BASE + j] + column * step
        # Divisions are slow: they find a line, from which the next ones along a dim follow.
        lines = 1
        skip = 0
        for k in range(1, ndim):
            d = ndim - 1 - k
            up = rest // plan[P_SHAPE + d]
            place = rest - up * plan[P_SHAPE + d]
            address += place * plan[s + d]
            rest = up
            if k == 1:
                lines = plan[P_SHAPE + d] - place
                skip = plan[s + d]
        for _ in range(lines):
            run = min(inner - column, n - done)
            if scatter:
                copy_run(address, step, block + done * size, size, run, size)
            else:
                copy_run(block + done * size, size, address, step, run, size)
            done += run
            address += skip - column * step
            column = 0
            if done == n:
                break


@jit
def is_dense(plan, j):
    """Whether operand ``j`` has an element of its own for each of the result's, in their order."""
    if plan[P_FLAT] == 1:
        return True
    stride = plan[P_SIZE + j]
    for k in range(plan[P_NDIM]):
        d = plan[P_NDIM] - 1 - k
        if plan[P_STRIDES + j * MAX_DIMS + d] != stride:
            return False
        stride *= plan[P_SHAPE + d]
    return True


@jit
def period(plan, j):
    """After how many elements operand ``j`` begins again: it stands still along the dims before."""
    n = plan[P_N]
    for d in range(plan[P_NDIM]):
        if plan[P_STRIDES + j * MAX_DIMS + d] != 0:
            break
        n //= plan[P_SHAPE + d]
    return n


@jit
def place_of(plan, j, i):
    """The address of operand ``j``'s element for element ``i`` of the result."""
    address = plan[P_BASE + j]
    for k in range(plan[P_NDIM]):
        d = plan[P_NDIM] - 1 - k
        up = i // plan[P_SHAPE + d]
        address += (i - up * plan[P_SHAPE + d]) * plan[P_STRIDES + j * MAX_DIMS + d]
        i = up
    return address


@jit
def drive_range(H, start, stop, thread):
    """Compute elements ``start`` to ``stop`` of the plan with the scratch of one thread.

    An operand is read or written where it is if it is dense, or contiguous along a long last dim, which the
    kernel then goes through line by line.  Others pass through a block, once if they begin again in each.
    """
    plan = words(H + H_PLAN * 8)
    area = words(H)[H_SCRATCH] + thread * SCRATCH
    args = words(area)
    kernel = plan[P_KERNEL]
    nop = plan[P_NIN] + 1
    last = plan[P_NDIM] - 1
    inner = plan[P_SHAPE + last]
    by_lines = last > 0 and inner >= LONG_LINE
    status = 0
    direct = 0
    along = 0
    for j in range(nop):
        if plan[P_CONST + j] == 0:
            if is_dense(plan, j):
                direct |= 1 << j
            elif by_lines and plan[P_STRIDES + j * MAX_DIMS + last] == plan[P_SIZE + j]:
                along |= 1 << j
    for j in range(1, nop):
        # The kernel may not write where it reads: LLVM's loop checks for overlap and would take its
        # scalar path, many times slower.  The result then goes through a block.
        if plan[P_BASE + j] == plan[P_BASE]:
            direct &= ~1
            along &= ~1
    if kernel == 0 and (direct & 1):
        size = plan[P_SIZE]
        block_copy(H, 1, start, stop - start, plan[P_BASE] + start * size, False)
        return 0
    in_place = direct | along
    longest = stop - start
    unit = 1
    for j in range(nop):
        if in_place & (1 << j) == 0:
            longest = BLOCK
            if j > 0 and plan[P_CONST + j] == 0:
                repeat = period(plan, j)
                if repeat <= BLOCK and repeat % unit == 0:
                    unit = repeat
    longest -= longest % unit
    # What stands in a block is the same for the next block of as many elements.
    steady = 0
    for j in range(1, nop):
        if plan[P_CONST + j] == 1:
            block = area + (j + 1) * (BLOCK * 8)
            size = plan[P_SIZE + j]
            copy_run(block, size, plan[P_BASE + j], 0, min(stop - start, BLOCK), size)
            args[j] = block
        elif along == 0 and unit % period(plan, j) == 0:
            steady |= 1 << j
    at = start
    while at < stop:
        n = min(stop - at, longest)
        if along != 0:
            n = min(n, inner - at % inner)
        for j in range(nop):
            block = area + (j + 1) * (BLOCK * 8)
            if direct & (1 << j):
                args[j] = plan[P_BASE + j] + at * plan[P_SIZE + j]
            elif along & (1 << j):
                args[j] = place_of(plan, j, at)
            elif j == 0:
                args[j] = block
            elif plan[P_CONST + j] == 0 and (at == start or steady & (1 << j) == 0):
                block_copy(H, j, at, n, block, False)
                args[j] = block
        if kernel != 0:
            status |= call2(kernel, (n, area))
        elif in_place & 1:
            size = plan[P_SIZE]
            copy_run(args[0], size, args[1], size, n, size)
        else:
            args[0] = args[1]
        if in_place & 1 == 0:
            block_copy(H, 0, at, n, args[0], True)
        at += n
    return status


@jit
def split(H, n, chunk):
    """Run the plan on several threads by the C function ``chunk``, each a range of whole cache lines."""
    h = words(H)
    parts = min(h[H_THREADS], h[H_POOL_THREADS])
    # Numba's parallel-for hands out iterations as a pointer that moves by a step: with base 0 and step 1
    # the "pointer" that a chunk gets is the number of its first iteration.
    h[H_SPLIT] = 0
    h[H_SPLIT + 1] = parts
    h[H_SPLIT + 2] = 1
    args = H + H_SPLIT * 8
    call8(h[H_PARALLEL], (chunk, args, args + 8, args + 16, H, 0, 1, parts))
    status = 0
    for k in range(parts):
        status |= words(h[H_SCRATCH] + k * SCRATCH)[STATUS]
    return status


@jit
def part_start(H, k):
    """The first element of part ``k`` of the plan."""
    parts = words(H)[H_SPLIT + 1]
    n = words(H + H_PLAN * 8)[P_N]
    return n if k == parts else n * k // parts // 64 * 64


def chunk(args, dims, steps, H):
    """Iterations of the parallel-for, called from its threads (without the GIL)."""
    first = words(args)[0]
    for k in range(first, first + words(dims)[0]):
        status = drive_range(H, part_start(H, k), part_start(H, k + 1), k)
        words(words(H)[H_SCRATCH] + k * SCRATCH)[STATUS] = status
    return 0


@jit
def drive(H):
    """Run the plan; 0 or a kernel's status.  By address, so that each part of the core does without it."""
    return call1(words(H)[H_DRIVE], (H,))


def drive_c(H):
    """Run the plan, split among threads from ``H_PARALLEL_FROM`` elements on."""
    h = words(H)
    plan = words(H + H_PLAN * 8)
    n = plan[P_N]
    if n == 0:
        return 0
    if plan[P_FLAT] == 0:
        collapse(H)
    elif plan[P_NDIM] != 1:
        # All contiguous: one dim, which `block_copy` relies on when the result is also an operand.
        plan[P_NDIM] = 1
        plan[P_SHAPE] = n
        for j in range(plan[P_NIN] + 1):
            plan[P_STRIDES + j * MAX_DIMS] = plan[P_SIZE + j]
    if h[H_DEVICE] != 0:
        plan_command(H, PLAN, 0)
        return 0
    if n >= h[H_PARALLEL_FROM] and h[H_THREADS] > 1 and h[H_PARALLEL] != 0:
        return split(H, n, h[H_CHUNK])
    return drive_range(H, 0, n, 0)


assert P_STRIDES + P_OPERANDS * MAX_DIMS <= 128  # the plan's place in the header
