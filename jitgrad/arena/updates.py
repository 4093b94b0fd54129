"""Optimiser steps: one call updates all parameters of a group.  Jitted.

An update rule (`jitgrad.optim.rules`) is two C functions.  ``prepare(work)`` runs once a parameter, in
float64, on the group's numbers and on the 0-dim state such as ``step``; ``loop(n, args)`` runs over
contiguous memory of the parameter, its gradient and its state tensors.  Here the rows are found and
checked, all of them before anything is changed: the lists and dicts are the user's, who may have put
anything into them since the last step.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    BLOCK,
    DTYPE,
    F_CONTIGUOUS,
    FLAGS,
    GRAD,
    H_DEVICE,
    H_LIST,
    H_NONE,
    H_PARALLEL,
    H_PARALLEL_FROM,
    H_PLAN,
    H_ROW_LIVE,
    H_SCRATCH,
    H_SEQ,
    H_THREADS,
    H_UPDATE,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    P_BASE,
    P_FLAT,
    P_KERNEL,
    P_NDIM,
    P_NIN,
    P_SIZE,
    P_STRIDES,
    S_VERSION,
    SCRATCH,
    SHAPE,
    STORAGE,
    STRIDE,
    U_CALLS,
    U_CHUNK,
    U_HALF,
    U_NUMBERS,
    U_SCALARS,
    U_SINGLE,
    U_VALUES,
    U_VALUES_MAX,
    U_WRITES,
    X_DEVICE,
    X_FIT,
    X_INTERNAL,
    X_OVERLAP,
    X_RULE,
    X_STATE,
    X_TYPE,
)
from jitgrad.arena.command_words import UPDATE
from jitgrad.arena.devices import plan_command, use_device
from jitgrad.arena.driver import (
    block_copy,
    collapse,
    part_start,
    plan_begin,
    plan_dense,
    plan_strided,
    split,
)
from jitgrad.arena.inplace import overlaps_itself
from jitgrad.arena.python import failed, fault, no_memory, none, tensor_row
from jitgrad.arena.recorder import parallel_ready
from jitgrad.arena.rows import data_of, device_of, drop, itemsize, list_room, row_at
from jitgrad.arena.shapes import has_shape
from jitgrad.arena.storage import store
from jitgrad.dtypes import FIRST_HALF
from jitgrad.kernels.halves import narrow, widen
from jitgrad.kernels.lowlevel import (
    as_double,
    as_int,
    at,
    bits,
    call1,
    call2,
    decref,
    dict_item,
    dict_item_hashed,
    error_occurred,
    float32s,
    float64s,
    from_bits,
    incref,
    jit,
    list_item,
    list_size,
    tuple_item,
    tuple_size,
    words,
)
from jitgrad.kernels.lowlevel import capsule_pointer as header_of

FLOAT32, FLOAT64 = 6, 7

# The arguments of `update`.
A_PREPARE = 0
A_LOOP32 = 1
A_LOOP64 = 2
A_WRITES = 3
A_PARAMS = 4
A_STATE = 5
A_KEYS = 6
A_TENSORS = 7
A_NUMBERS = 8


def update(self, args, n):
    """``update(prepare, loop32, loop64, writes, params, state, keys, tensors, *numbers)``: a group's step.

    ``keys`` names the state that the rule needs, first ``tensors`` of a parameter's shape, then 0-dim ones;
    bit j of ``writes`` says that the rule writes tensor j (0 the parameter, 1 the gradient, then the state).
    Parameters without a gradient are passed over.
    """
    H = header_of(self, 0)
    a = words(args)
    u = words(H + H_UPDATE * 8)
    u[U_CALLS] += 1
    for i in range(n - A_NUMBERS):
        u[U_NUMBERS + i] = bits(as_double(a[A_NUMBERS + i]))
    u[U_WRITES] = as_int(a[A_WRITES])
    tensors = as_int(a[A_TENSORS])
    if error_occurred() != 0:
        return 0
    # Comparing keys can run Python, which is no part of a call for the GPU.
    device = words(H)[H_DEVICE]
    use_device(H, 0)
    count = gather(H, args, tensors, device)
    if count == NONE:
        return failed(H)
    keys = tuple_size(a[A_KEYS])
    width = 2 + keys
    use_device(H, device)
    for i in range(count):
        rows = words(words(H)[H_LIST] + i * width * 8)
        loop = as_int(a[A_LOOP64 if row_at(H, rows[0])[DTYPE] == FLOAT64 else A_LOOP32])
        update_one(H, rows, tensors, keys - tensors, as_int(a[A_PREPARE]), loop)
    return none(H)


@jit
def gather(H, args, tensors, device):
    """Put the rows of each parameter that has a gradient into the list; how many, or NONE after a fault."""
    a = words(args)
    h = words(H)
    u = words(H + H_UPDATE * 8)
    calls = u[U_CALLS]
    made = h[H_SEQ]
    live = h[H_ROW_LIVE]
    total = list_size(a[A_PARAMS])
    keys = tuple_size(a[A_KEYS])
    width = 2 + keys
    if total < 0 or keys < 0:
        return NONE
    if list_room(H, total * width) == NONE:
        return no_memory(H)
    count = 0
    for i in range(total):
        obj = list_item(a[A_PARAMS], i)
        if obj == 0:
            return NONE
        incref(obj)
        found = gather_one(H, args, tensors, i, obj, count * width, device)
        decref(obj)
        if found == NONE:
            return NONE
        count += found
    # Comparing keys can run Python (an __eq__ of the user's), which can do anything, a step included.
    if u[U_CALLS] != calls or h[H_SEQ] != made or h[H_ROW_LIVE] != live:
        return fault(H, X_INTERNAL, 0, 0, 0)
    for i in range(count * width):
        if row_at(H, words(h[H_LIST])[i])[STORAGE] == NONE:
            return fault(H, X_INTERNAL, 0, 0, 0)
    return count


@jit
def gather_one(H, args, tensors, i, obj, place, device):
    """Put the rows of parameter i into the list: 1, 0 if it has no gradient, NONE after a fault."""
    a = words(args)
    r = tensor_row(H, obj)
    if r == NONE:
        return fault(H, X_TYPE, i, 0, 0)
    g = row_at(H, r)[GRAD]
    if g == NONE:
        return 0
    words(words(H)[H_LIST])[place] = r
    words(words(H)[H_LIST])[place + 1] = g
    if device_of(H, r) != device or device_of(H, g) != device:
        return fault(H, X_DEVICE, i, 0, 0)
    if not fits(H, r, g, i, NONE):
        return NONE
    double = row_at(H, r)[DTYPE] == FLOAT64
    if as_int(a[A_LOOP64 if double else A_LOOP32]) == 0:
        return fault(H, X_RULE, FLOAT64 if double else FLOAT32, 0, 0)
    if overlaps_itself(row_at(H, r)):
        return fault(H, X_OVERLAP, 0, 0, 0)
    if not parallel_ready(H, row_at(H, r)[NUMEL]):
        return NONE
    if tuple_size(a[A_KEYS]) == 0:
        return 1
    # A Tensor's hash is its address; a subclass may have another.
    state = dict_item_hashed(a[A_STATE], obj, obj)
    if state == 0 and error_occurred() == 0:
        state = dict_item(a[A_STATE], obj)
    if error_occurred() != 0:
        return NONE
    if state == 0:
        return fault(H, X_STATE, i, 0, 0)
    incref(state)
    done = gather_state(H, args, tensors, i, r, state, place + 2, device)
    decref(state)
    return done


@jit
def gather_state(H, args, tensors, i, r, state, place, device):
    """Put the rows of the state of parameter i, row ``r``, into the list: 1, or NONE after a fault."""
    keys = words(args)[A_KEYS]
    for k in range(tuple_size(keys)):
        item = dict_item(state, tuple_item(keys, k))
        if error_occurred() != 0:
            return NONE
        if item == 0 or item == words(H)[H_NONE]:
            return fault(H, X_STATE, i, k, 0)
        s = tensor_row(H, item)
        if s == NONE:
            return fault(H, X_FIT, i, k, 1)
        words(words(H)[H_LIST])[place + k] = s
        # What is one number of a parameter stays on the CPU, as in PyTorch.
        if device_of(H, s) != (device if k < tensors else 0):
            return fault(H, X_DEVICE, i, k, 0)
        if k < tensors:
            if not fits(H, r, s, i, k):
                return NONE
        else:
            q = row_at(H, s)
            if q[NUMEL] != 1 or (q[DTYPE] != FLOAT32 and q[DTYPE] != FLOAT64):
                return fault(H, X_FIT, i, k, 0)
    return 1


@jit
def fits(H, r, s, i, k):
    """Whether row ``s`` (state k; NONE: the gradient) has the shape and dtype of parameter i, row ``r``."""
    p = row_at(H, r)
    q = row_at(H, s)
    if p[DTYPE] < FLOAT32 or q[DTYPE] != p[DTYPE] or not has_shape(q, p[NDIM], at(p, SHAPE)):
        fault(H, X_FIT, i, k, 0)
        return False
    if k != NONE and overlaps_itself(q):
        fault(H, X_OVERLAP, 0, 0, 0)
        return False
    return True


@jit
def update_one(H, rows, tensors, scalars, prepare, loop):
    """Update one parameter; ``rows`` are its own, the gradient's, the state's."""
    u = words(H + H_UPDATE * 8)
    for k in range(scalars):
        r = rows[2 + tensors + k]
        if row_at(H, r)[DTYPE] == FLOAT32:
            u[U_SINGLE + k] = 1
            u[U_SCALARS + k] = bits(float32s(data_of(H, r))[0] * 1.0)
        else:
            u[U_SINGLE + k] = 0
            u[U_SCALARS + k] = bits(float64s(data_of(H, r))[0])
    call1(prepare, (H + H_UPDATE * 8,))
    for k in range(scalars):
        r = rows[2 + tensors + k]
        if row_at(H, r)[DTYPE] == FLOAT32:
            float32s(data_of(H, r))[0] = from_bits(u[U_SCALARS + k])
        else:
            float64s(data_of(H, r))[0] = from_bits(u[U_SCALARS + k])
        store(H, row_at(H, r)[STORAGE])[S_VERSION] += 1
    p = row_at(H, rows[0])
    n = p[NUMEL]
    size = itemsize(p[DTYPE])
    u[U_HALF] = p[DTYPE] if p[DTYPE] >= FIRST_HALF else 0
    plan_begin(H, loop, n, 1 + tensors, p[NDIM], at(p, SHAPE))
    for j in range(2 + tensors):
        q = row_at(H, rows[j])
        if q[FLAGS] & F_CONTIGUOUS:
            plan_dense(H, j, data_of(H, rows[j]), size)
        else:
            plan_strided(H, j, data_of(H, rows[j]), size, q[NDIM], at(q, SHAPE), at(q, STRIDE))
        if u[U_WRITES] & (1 << j):
            store(H, q[STORAGE])[S_VERSION] += 1
    if n == 0:
        return
    h = words(H)
    if words(H + H_PLAN * 8)[P_FLAT] == 0:
        collapse(H)
    if h[H_DEVICE] != 0:
        to = plan_command(H, UPDATE, U_VALUES_MAX)
        if to != 0:
            for k in range(U_VALUES_MAX):
                words(to)[k] = u[U_VALUES + k]
        return
    if n >= h[H_PARALLEL_FROM] and h[H_THREADS] > 1 and h[H_PARALLEL] != 0:
        split(H, n, u[U_CHUNK])
    else:
        update_range(H, 0, n, 0)


@jit
def update_range(H, start, stop, thread):
    """Update elements ``start`` to ``stop`` of the plan with the scratch of one thread."""
    plan = words(H + H_PLAN * 8)
    u = words(H + H_UPDATE * 8)
    area = words(H)[H_SCRATCH] + thread * SCRATCH
    args = words(area)
    for k in range(U_VALUES_MAX):
        args[8 + k] = u[U_VALUES + k]
    count = plan[P_NIN] + 1
    direct = 0
    for j in range(count):
        size = plan[P_SIZE + j]
        line = plan[P_NDIM] == 1 and plan[P_STRIDES + j * MAX_DIMS] == size
        if plan[P_FLAT] == 1 or line:
            direct |= 1 << j
    half = u[U_HALF]
    if half != 0:
        direct = 0
    if direct == (1 << count) - 1:
        for j in range(count):
            args[j] = plan[P_BASE + j] + start * plan[P_SIZE + j]
        return call2(plan[P_KERNEL], (stop - start, area))
    first = start
    while first < stop:
        n = min(stop - first, BLOCK)
        for j in range(count):
            if direct & (1 << j):
                args[j] = plan[P_BASE + j] + first * plan[P_SIZE + j]
            else:
                args[j] = area + (j + 1) * (BLOCK * 8)
                if half == 0:
                    block_copy(H, j, first, n, args[j], False)
                else:
                    block_copy(H, j, first, n, args[j] + BLOCK * 4, False)
                    widen(half, args[j] + BLOCK * 4, args[j], n)
        call2(plan[P_KERNEL], (n, area))
        for j in range(count):
            if u[U_WRITES] & (1 << j) and (direct & (1 << j)) == 0:
                if half == 0:
                    block_copy(H, j, first, n, args[j], True)
                else:
                    narrow(half, args[j], args[j] + BLOCK * 4, n)
                    block_copy(H, j, first, n, args[j] + BLOCK * 4, True)
        first += n
    return 0


def update_chunk(args, dims, steps, H):
    """Iterations of the parallel-for over `update_range`, called from its threads (without the GIL)."""
    first = words(args)[0]
    for k in range(first, first + words(dims)[0]):
        update_range(H, part_start(H, k), part_start(H, k + 1), k)
    return 0


def clear_grads(self, args, n):
    """``clear_grads(params)``: no parameter of the list has a gradient any more."""
    H = header_of(self, 0)
    a = words(args)
    total = list_size(a[0])
    if total < 0:
        return 0
    for i in range(total):
        r = tensor_row(H, list_item(a[0], i))
        if r == NONE:
            fault(H, X_TYPE, i, 0, 0)
            return failed(H)
        g = row_at(H, r)[GRAD]
        if g != NONE:
            row_at(H, r)[GRAD] = NONE
            drop(H, g)
    return none(H)
