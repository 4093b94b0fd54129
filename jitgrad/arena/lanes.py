"""Ops along dims: reductions, softmax, cumulative sums.  Jitted.

Every one of them sees its input as ``(A, R, B)``, contiguous: A and B count what is kept before and after,
R what the op runs along.  Dims that are not neighbours, or an input that is not contiguous, are first
copied into an order in which that is so (kept dims first).  The geometry is in the row's ATTR, so that
backward finds it again.

A kernel is ``int64 kernel(H, args)``; ``args`` holds the words ``L_*``.  Forward writes the result; a
backward kernel writes the whole gradient in the layout of the input's (A, R, B).
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    F_CONTIGUOUS,
    FLAGS,
    H_ARGS,
    H_DEVICE,
    H_LANES,
    H_LANES_CHUNK,
    H_PARALLEL,
    H_PARALLEL_FROM,
    H_PLAN,
    H_SCRATCH,
    H_SPLIT,
    H_THREADS,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    P_KERNEL,
    S_DATA,
    SCRATCH,
    SHAPE,
    STRIDE,
)
from jitgrad.arena.command_words import LANES
from jitgrad.arena.devices import words_command
from jitgrad.arena.driver import STATUS, drive, plan_begin, plan_dense, plan_strided, split
from jitgrad.arena.rows import data_of, itemsize, row_at
from jitgrad.arena.storage import storage_new, store
from jitgrad.kernels.lowlevel import at, call2, jit, words

LANE_SCRATCH = H_LANES * 8

# Arguments of a lanes kernel.
L_DST = 0
L_X = 1
L_G = 2
L_Y = 3
L_A = 4
L_R = 5
L_B = 6
L_TYPE = 7  # dtype code of x
L_ATTR = 8  # the op's attributes, 4 words
L_STEP = 12  # bytes from lane to lane where B is 1: of the result, x, the cotangent and y
L_WORDS = 16


@jit
def run_lanes(H, kernel):
    """Run a lanes kernel, or have it launched, on the arguments in the header; 0 or its status.

    Lanes of neighbours are shared by the threads; of those that advance together one thread takes care.
    """
    h = words(H)
    args = at(h, H_ARGS)
    if h[H_DEVICE] != 0:
        return words_command(H, LANES, kernel, H + H_ARGS * 8, L_WORDS)
    lanes = args[L_A]
    if args[L_B] == 1 and lanes > 1 and lanes * args[L_R] >= h[H_PARALLEL_FROM]:
        if h[H_THREADS] > 1 and h[H_PARALLEL] != 0:
            words(H + H_PLAN * 8)[P_KERNEL] = kernel
            return split(H, lanes, h[H_LANES_CHUNK])
    return call2(kernel, (H, H + H_ARGS * 8))


def lanes_chunk(args, dims, steps, H):
    """Iterations of the parallel-for, a part of the lanes each, called from its threads (without the GIL).

    A kernel allocates nothing where its lanes are those of neighbours.
    """
    h = words(H)
    kernel = words(H + H_PLAN * 8)[P_KERNEL]
    parts = h[H_SPLIT + 1]
    whole = at(h, H_ARGS)
    first = words(args)[0]
    for k in range(first, first + words(dims)[0]):
        area = h[H_SCRATCH] + k * SCRATCH
        own = words(area)
        for i in range(L_WORDS):
            own[i] = whole[i]
        low = whole[L_A] * k // parts
        own[L_A] = whole[L_A] * (k + 1) // parts - low
        for i in range(4):
            own[L_DST + i] += low * whole[L_STEP + i]
        own[STATUS] = call2(kernel, (H, area)) if own[L_A] > 0 else 0
    return 0


@jit
def grouped(p, mask):
    """Whether the reduced dims of row ``p`` are neighbours (dims of size 1 don't matter)."""
    state = 0
    for d in range(p[NDIM]):
        if p[SHAPE + d] == 1:
            continue
        if mask & (1 << d):
            if state == 2:
                return False
            state = 1
        elif state == 1:
            state = 2
    return True


@jit
def lane_counts(p, mask, permuted, args):
    """Write A, R and B of row ``p`` into the kernel arguments."""
    a = 1
    r = 1
    b = 1
    for d in range(p[NDIM]):
        size = p[SHAPE + d]
        if mask & (1 << d):
            r *= size
        elif permuted or size == 1:
            a *= size
        else:
            # Before or after the group?
            after = False
            for e in range(d):
                if mask & (1 << e) and p[SHAPE + e] != 1:
                    after = True
            if after:
                b *= size
            else:
                a *= size
    args[L_A] = a
    args[L_R] = r
    args[L_B] = b


@jit
def permute_plan(p, mask, shape, stride, dense):
    """Shape and strides of ``p`` with the kept dims first; ``dense``: strides of its row-major layout."""
    n = 0
    for turn in range(2):
        for d in range(p[NDIM]):
            if ((mask >> d) & 1) == turn:
                shape[n] = p[SHAPE + d]
                s = p[STRIDE + d]
                if dense:
                    s = 1
                    for e in range(d + 1, p[NDIM]):
                        s *= max(p[SHAPE + e], 1)
                stride[n] = s
                n += 1


@jit
def lane_copy(H, r, mask):
    """Row ``r`` copied with the kept dims first: a new storage, or NONE when memory is out."""
    p = row_at(H, r)
    size = itemsize(p[DTYPE])
    s = storage_new(H, p[NUMEL] * size)
    if s == NONE or p[NUMEL] == 0:
        return s
    geometry = words(H + LANE_SCRATCH)
    permute_plan(p, mask, geometry, at(geometry, MAX_DIMS), False)
    plan_begin(H, 0, p[NUMEL], 1, p[NDIM], geometry)
    plan_dense(H, 0, store(H, s)[S_DATA], size)
    plan_strided(H, 1, data_of(H, r), size, p[NDIM], geometry, at(geometry, MAX_DIMS))
    drive(H)
    return s


@jit
def lane_spread(H, r, mask, src, dst):
    """Copy a gradient in the kept-first layout back to the row-major layout of row ``r``."""
    p = row_at(H, r)
    size = itemsize(p[DTYPE])
    geometry = words(H + LANE_SCRATCH)
    permute_plan(p, mask, geometry, at(geometry, MAX_DIMS), True)
    plan_begin(H, 0, p[NUMEL], 1, p[NDIM], geometry)
    plan_strided(H, 0, dst, size, p[NDIM], geometry, at(geometry, MAX_DIMS))
    plan_dense(H, 1, src, size)
    drive(H)


@jit
def lane_source(H, r, mask, args):
    """Fill A, R, B and the address of a row's elements; returns the storage of a copy, or NONE.

    ``args[L_X]`` is 0 if memory is out.
    """
    p = row_at(H, r)
    permuted = not grouped(p, mask)
    lane_counts(p, mask, permuted, args)
    args[L_TYPE] = p[DTYPE]
    if not permuted and p[FLAGS] & F_CONTIGUOUS:
        args[L_X] = data_of(H, r)
        return NONE
    s = lane_copy(H, r, mask if permuted else 0)
    args[L_X] = 0 if s == NONE else store(H, s)[S_DATA]
    return s
