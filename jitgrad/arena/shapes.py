"""Broadcasting, and sums over what was broadcast.  Jitted; shapes come from rows, which are checked."""

from __future__ import annotations

from jitgrad.arena.columns import (
    DTYPE,
    H_DEVICE,
    H_PLAN,
    MAX_DIMS,
    NDIM,
    NONE,
    NUMEL,
    P_NDIM,
    P_SHAPE,
    P_STRIDES,
    S_DATA,
    SHAPE,
    STRIDE,
)
from jitgrad.arena.command_words import SUM_TO
from jitgrad.arena.devices import plan_command
from jitgrad.arena.driver import collapse, drive, plan_begin, plan_dense, plan_spread, plan_strided
from jitgrad.arena.rows import C_NDIM, C_SHAPE, data_of, itemsize, row_at
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import FIRST_HALF
from jitgrad.dtypes import float32 as _float32
from jitgrad.kernels.halves import narrow, widen
from jitgrad.kernels.lowlevel import at, float32s, float64s, jit, jit_sum, words

FLOAT32 = _float32.code


@jit
def broadcast_into(H, ndim, shape):
    """Broadcast a shape into the call's result shape.  False if they do not fit."""
    h = words(H)
    have = h[C_NDIM]
    if ndim > have:
        for k in range(have):
            d = have - 1 - k
            h[C_SHAPE + d + ndim - have] = h[C_SHAPE + d]
        for d in range(ndim - have):
            h[C_SHAPE + d] = 1
        h[C_NDIM] = ndim
        have = ndim
    lead = have - ndim
    for d in range(ndim):
        size = shape[d]
        mine = h[C_SHAPE + lead + d]
        if size != mine:
            if mine == 1:
                h[C_SHAPE + lead + d] = size
            elif size != 1:
                return False
    return True


@jit
def has_shape(p, ndim, shape):
    """Whether row ``p`` has that shape."""
    if p[NDIM] != ndim:
        return False
    for d in range(ndim):
        if p[SHAPE + d] != shape[d]:
            return False
    return True


@jit
def dense_copy(H, r):
    """Copy a row's elements into a new contiguous storage; NONE when memory is out."""
    p = row_at(H, r)
    size = itemsize(p[DTYPE])
    s = storage_new(H, p[NUMEL] * size)
    if s == NONE or p[NUMEL] == 0:
        return s
    p = row_at(H, r)
    plan_begin(H, 0, p[NUMEL], 1, p[NDIM], at(p, SHAPE))
    plan_dense(H, 0, store(H, s)[S_DATA], size)
    plan_strided(H, 1, data_of(H, r), size, p[NDIM], at(p, SHAPE), at(p, STRIDE))
    drive(H)
    return s


# ---------------------------------------------------------------- sums
@jit_sum
def sum32(a, n):
    """Sum of ``n`` contiguous float32 in float64: right to float32's last bit for 10^7 terms and more."""
    p = float32s(a)
    total = 0.0
    for i in range(n):
        total += p[i]
    return total


@jit_sum
def sum64_block(a, n):
    p = float64s(a)
    total = 0.0
    for i in range(n):
        total += p[i]
    return total


@jit
def sum64(a, n):
    """Sum of ``n`` contiguous float64, in blocks whose totals are added with Neumaier's compensation."""
    total = 0.0
    lost = 0.0
    at_ = 0
    while at_ < n:
        m = min(n - at_, 1024)
        part = sum64_block(a + at_ * 8, m)
        new = total + part
        if abs(total) >= abs(part):
            lost += (total - new) + part
        else:
            lost += (part - new) + total
        total = new
        at_ += m
    # Once a sum is infinite the compensation is inf - inf: drop it.
    if lost != lost:
        return total
    return total + lost


@jit
def add_run32(acc, a, n):
    p = float32s(a)
    t = float64s(acc)
    for i in range(n):
        t[i] += p[i]


@jit
def add_run64(acc, a, n):
    p = float64s(a)
    t = float64s(acc)
    for i in range(n):
        t[i] += p[i]


@jit
def reduce_to(H, src, uniform, dtype, numel, ndim, shape, like):
    """Sum a contiguous gradient over the dims along which row ``like`` was broadcast.

    ``src`` is the address of ``numel`` elements of that shape, or of one element when ``uniform``.
    Returns a new storage with the gradient in the shape of ``like``, or NONE when memory is out.  The one
    place where broadcast gradients are summed.
    """
    if dtype < FIRST_HALF:
        return reduce_floats(H, src, uniform, dtype, numel, ndim, shape, like)
    count = 1 if uniform else numel
    wide = storage_new(H, count * 4)
    if wide == NONE:
        return NONE
    data = store(H, wide)[S_DATA]
    widen(dtype, src, data, count)
    s = reduce_floats(H, data, uniform, FLOAT32, numel, ndim, shape, like)
    storage_release(H, wide)
    if s == NONE:
        return NONE
    m = row_at(H, like)[NUMEL]
    out = storage_new(H, m * 2)
    if out != NONE:
        narrow(dtype, store(H, s)[S_DATA], store(H, out)[S_DATA], m)
    storage_release(H, s)
    return out


@jit
def reduce_floats(H, src, uniform, dtype, numel, ndim, shape, like):
    """`reduce_to` of float32 or float64."""
    q = row_at(H, like)
    m = q[NUMEL]
    if words(H)[H_DEVICE] != 0:
        size = itemsize(dtype)
        s = storage_new(H, m * size)
        if s == NONE:
            return NONE
        q = row_at(H, like)
        plan_begin(H, uniform, numel, 1, ndim, shape)
        plan_dense(H, 0, src, size)
        plan_spread(H, 1, store(H, s)[S_DATA], size, q[NDIM], at(q, SHAPE))
        if numel > 0:
            collapse(H)
        to = plan_command(H, SUM_TO, 1)
        if to != 0:
            words(to)[0] = m
        return s
    wide = storage_new(H, m * 8)
    if wide == NONE:
        return NONE
    acc = store(H, wide)[S_DATA]
    t = float64s(acc)
    if uniform:
        value = float64s(src)[0] if dtype != FLOAT32 else float32s(src)[0] * 1.0
        for i in range(m):
            t[i] = value * (numel / m)
    else:
        for i in range(m):
            t[i] = 0.0
        if numel > 0:
            _reduce_runs(H, src, dtype, numel, ndim, shape, q, acc)
    if dtype != FLOAT32:
        return wide
    narrow = storage_new(H, m * 4)
    if narrow != NONE:
        out = float32s(store(H, narrow)[S_DATA])
        for i in range(m):
            out[i] = t[i]
    storage_release(H, wide)
    return narrow


@jit
def _reduce_runs(H, src, dtype, numel, ndim, shape, q, acc):
    size = 4 if dtype == FLOAT32 else 8
    # Operand 1 is the accumulator with stride 0 along broadcast dims; `collapse` leaves the longest runs.
    plan_begin(H, 0, numel, 1, ndim, shape)
    plan_dense(H, 0, src, size)
    plan_spread(H, 1, acc, 8, q[NDIM], at(q, SHAPE))
    collapse(H)
    plan = words(H + H_PLAN * 8)
    nd = plan[P_NDIM]
    inner = plan[P_SHAPE + nd - 1]
    step = plan[P_STRIDES + MAX_DIMS + nd - 1]
    for k in range(numel // inner):
        rest = k
        address = acc
        for e in range(1, nd):
            d = nd - 1 - e
            up = rest // plan[P_SHAPE + d]
            address += (rest - up * plan[P_SHAPE + d]) * plan[P_STRIDES + MAX_DIMS + d]
            rest = up
        run = src + k * inner * size
        if step == 0:
            if dtype == FLOAT32:
                float64s(address)[0] += sum32(run, inner)
            else:
                float64s(address)[0] += sum64(run, inner)
        elif dtype == FLOAT32:
            add_run32(address, run, inner)
        else:
            add_run64(address, run, inner)
