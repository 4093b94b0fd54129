"""Kernels of convolutions in 1 to 3 dims, transposed ones as well: geometry over `correlation`.

A transposed convolution is the gradient of one in its input, so three operations serve both, named after
the ordinary one (input (N, C, I), weight (M, C / groups, K), result (N, M, O)): `convolve` makes the
result, `spread` the input's gradient and `weigh` the weight's.  Their gradients are again these three.

Inputs: input, weight, perhaps bias; of the op that makes a weight's gradient: input, cotangent.
The plan and a row's attributes are in `plans`.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import NIN, NONE, NUMEL, S_DATA, SHAPE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.shapes import sum32, sum64
from jitgrad.arena.storage import store
from jitgrad.dtypes import ALL
from jitgrad.kernels.columns import LEAST_MAPS, MOST_PLACES, column_operations
from jitgrad.kernels.correlation import (
    BIAS,
    CHANNEL_STEP,
    CHANNELS,
    COUNT_TAPS,
    DST,
    DST_C,
    DST_N,
    DST_Q,
    GROUPS,
    MAP_STEP,
    MAPS,
    PLACES,
    SRC,
    SRC_C,
    SRC_N,
    SRC_Q,
    TAP_LIST,
    TAP_PICK,
    WEIGHTS,
    WHOLE,
    correlator,
    padder,
    weights_correlator,
)
from jitgrad.kernels.direct import direct_correlator, direct_weights
from jitgrad.kernels.lowlevel import POINTERS, TYPES, jit, words
from jitgrad.kernels.plans import (
    ATTR_TRANSPOSED,
    BEFORE,
    C_,
    D_,
    EXTENT,
    I_,
    K_,
    LINE,
    M_,
    N_,
    O_,
    P_,
    PLANE,
    S_,
    frame,
    planned,
    steps,
    volume,
)
from jitgrad.kernels.reading import dense, done
from jitgrad.kernels.tiles import ROWS

Kernel = Callable[[Any, Any], Any]


@cache
def _operations(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted `convolve`, `spread` and `weigh`: ``(H, plan's address, 3 addresses)``; a status."""
    size = ALL[dtype].itemsize
    padded = padder(dtype)
    correlate = correlator(dtype)
    correlate_weights = weights_correlator(dtype)
    correlate_directly = direct_correlator(dtype)
    weigh_directly = direct_weights(dtype)
    convolve_columns, spread_columns, weigh_columns = column_operations(dtype)

    # The one place where the way is chosen: products of matrices where there are so few places that a
    # weight is hardly used again, else register tiles, or plain loops where those would stand empty.
    @jit
    def as_columns(plan):
        return (
            plan[N_] * volume(plan, O_) <= MOST_PLACES
            and plan[M_] // plan[GROUPS] >= LEAST_MAPS
            and plan[C_] // plan[GROUPS] * plan[WHOLE] >= LEAST_MAPS
        )

    @jit
    def few(plan):
        return plan[MAPS] <= ROWS // 4

    @jit
    def summed(H, plan_, bias):
        """Run the staged job for each group; the weights of one follow those of another."""
        plan = words(plan_)
        plan[BIAS] = bias
        if few(plan):
            return correlate_directly(H, plan_)
        src, w, dst = plan[SRC], plan[WEIGHTS], plan[DST]
        for g in range(plan[GROUPS]):
            plan[SRC] = src + g * plan[CHANNELS] * plan[SRC_C] * size
            plan[WEIGHTS] = w + g * plan[MAPS] * plan[CHANNELS] * plan[WHOLE] * size
            plan[DST] = dst + g * plan[MAPS] * plan[DST_C] * size
            plan[BIAS] = bias + g * plan[MAPS] * size if bias != 0 else 0
            if correlate(H, plan_) != 0:
                return X_MEMORY
        plan[SRC] = src
        plan[WEIGHTS] = w
        return 0

    @jit
    def source(H, plan_, x, planes, dims, phases):
        """Stage the source: ``planes`` planes of ``dims`` with the plan's rim.  (status, storage)."""
        plan = words(plan_)
        spare = NONE
        rim = phases != 1
        for d in range(3):
            rim |= plan[BEFORE + d] != 0 or plan[EXTENT + d] > plan[dims + d]
        if rim:
            spare = padded(
                H, x, planes, plan_ + dims * 8, plan_ + BEFORE * 8, plan_ + EXTENT * 8, phases
            )
            if spare == NONE:
                return X_MEMORY, NONE
            plan[SRC] = store(H, spare)[S_DATA]
            plan[LINE] = (plan[EXTENT + 2] + phases - 1) // phases * phases
            plan[PLANE] = plan[LINE] * plan[EXTENT + 1]
            plan[SRC_C] = plan[PLANE] * plan[EXTENT]
        else:
            plan[SRC] = x
            plan[LINE] = plan[dims + 2]
            plan[PLANE] = plan[LINE] * plan[dims + 1]
            plan[SRC_C] = plan[PLANE] * plan[dims]
        return 0, spare

    @jit
    def windows(H, plan_, x):
        """Stage the windows of the input ``x`` as what is read.  (status, storage)."""
        plan = words(plan_)
        frame(plan)
        phases = plan[S_ + 2]
        status, spare = source(H, plan_, x, plan[N_] * plan[C_], I_, phases)
        if status == 0:
            steps(plan)
        return status, spare

    @jit
    def convolve(H, plan_, x, w, bias, y):
        status, spare = windows(H, plan_, x)
        if status != 0:
            return status
        plan = words(plan_)
        plan[WEIGHTS] = w
        plan[DST] = y
        if as_columns(plan):
            status = convolve_columns(H, plan_, bias)
        else:
            status = summed(H, plan_, bias)
        done(H, spare)
        return status

    @jit
    def weigh(H, plan_, x, dy, dw):
        status, spare = windows(H, plan_, x)
        if status != 0:
            return status
        plan = words(plan_)
        src = plan[SRC]
        plan[WEIGHTS] = dw
        plan[DST] = dy
        if as_columns(plan):
            status = weigh_columns(H, plan_)
        elif few(plan):
            status = weigh_directly(H, plan_)
        else:
            for g in range(plan[GROUPS]):
                plan[SRC] = src + g * plan[CHANNELS] * plan[SRC_C] * size
                plan[WEIGHTS] = dw + g * plan[MAPS] * plan[CHANNELS] * plan[WHOLE] * size
                plan[DST] = dy + g * plan[MAPS] * plan[DST_C] * size
                status |= correlate_weights(H, plan_)
        done(H, spare)
        return status

    # With a stride the places of the input fall into phases: those that leave the same remainder.  Each
    # phase is reached by its own part of the taps, and gets a dense correlation with them.
    @jit
    def reach(plan, d, a, k):
        """(does tap ``k`` of dim ``d`` reach phase ``a``, the place of the result it meets first)."""
        n = a + plan[P_ + d] - k * plan[D_ + d]
        return n % plan[S_ + d] == 0, n // plan[S_ + d]

    @jit
    def phase_places(plan, d, a):
        return (plan[I_ + d] - a + plan[S_ + d] - 1) // plan[S_ + d]

    @jit
    def spread(H, plan_, dy, w, bias, dx):
        plan = words(plan_)
        if as_columns(plan):
            return spread_columns(H, plan_, dy, w, bias, dx)
        for d in range(3):
            low = 0
            high = 0
            for a in range(min(plan[S_ + d], plan[I_ + d])):
                for k in range(plan[K_ + d]):
                    meets, first = reach(plan, d, a, k)
                    if meets:
                        low = min(low, first)
                        high = max(high, first + phase_places(plan, d, a) - 1)
            plan[BEFORE + d] = -low
            plan[EXTENT + d] = high - low + 1
        status, spare = source(H, plan_, dy, plan[N_] * plan[M_], O_, 1)
        if status != 0:
            return status
        maps = plan[C_] // plan[GROUPS]
        plan[SRC_N] = plan[M_] * plan[SRC_C]
        plan[SRC_Q] = plan[PLANE]
        plan[SRC_Q + 1] = plan[LINE]
        plan[CHANNELS] = plan[M_] // plan[GROUPS]
        plan[MAPS] = maps
        plan[MAP_STEP] = plan[WHOLE]
        plan[CHANNEL_STEP] = maps * plan[WHOLE]
        plan[DST_C] = volume(plan, I_)
        plan[DST_N] = plan[C_] * plan[DST_C]
        plan[DST_Q] = plan[S_] * plan[I_ + 1] * plan[I_ + 2]
        plan[DST_Q + 1] = plan[S_ + 1] * plan[I_ + 2]
        plan[DST_Q + 2] = plan[S_ + 2]
        tap, pick = words(plan[TAP_LIST]), words(plan[TAP_PICK])
        s1, s2 = plan[S_ + 1], plan[S_ + 2]
        for phase in range(volume(plan, S_)):
            a0 = phase // (s1 * s2)
            a1 = phase // s2 % s1
            a2 = phase % s2
            if a0 >= plan[I_] or a1 >= plan[I_ + 1] or a2 >= plan[I_ + 2]:
                continue
            t = 0
            for k0 in range(plan[K_]):
                meets0, e0 = reach(plan, 0, a0, k0)
                for k1 in range(plan[K_ + 1]):
                    meets1, e1 = reach(plan, 1, a1, k1)
                    for k2 in range(plan[K_ + 2]):
                        meets2, e2 = reach(plan, 2, a2, k2)
                        if meets0 and meets1 and meets2:
                            tap[t] = (
                                (e0 + plan[BEFORE]) * plan[PLANE]
                                + (e1 + plan[BEFORE + 1]) * plan[LINE]
                                + e2
                                + plan[BEFORE + 2]
                            )
                            pick[t] = (k0 * plan[K_ + 1] + k1) * plan[K_ + 2] + k2
                            t += 1
            plan[COUNT_TAPS] = t
            plan[PLACES] = phase_places(plan, 0, a0)
            plan[PLACES + 1] = phase_places(plan, 1, a1)
            plan[PLACES + 2] = phase_places(plan, 2, a2)
            start = dx + ((a0 * plan[I_ + 1] + a1) * plan[I_ + 2] + a2) * size
            plan[WEIGHTS] = w
            plan[DST] = start
            status |= summed(H, plan_, bias)
        done(H, spare)
        return status

    return convolve, spread, weigh


@jit
def convolution_plan(H, p):
    """The plan of a convolution's row."""
    first, w = row_at(H, input_at(p, 0)), row_at(H, input_at(p, 1))
    if p[ATTR_TRANSPOSED] != 0:
        return planned(H, p, p, w, first)
    return planned(H, p, first, w, p)


def convolution(dtype: int) -> Kernel:
    """The convolution."""
    convolve, spread, _ = _operations(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        ax, sx = dense(H, input_at(p, 0))
        aw, sw = dense(H, input_at(p, 1))
        ab, sb = 0, NONE
        bias = p[NIN] == 3
        if bias:
            ab, sb = dense(H, input_at(p, 2))
        s = convolution_plan(H, p)
        status = 0
        if ax == 0 or aw == 0 or s == NONE or (bias and ab == 0):
            status = X_MEMORY
        elif p[ATTR_TRANSPOSED] != 0:
            status = spread(H, store(H, s)[S_DATA], ax, aw, ab, data_of(H, out))
        else:
            status = convolve(H, store(H, s)[S_DATA], ax, aw, ab, data_of(H, out))
        done(H, sx)
        done(H, sw)
        done(H, sb)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel


def convolution_dx(dtype: int) -> Kernel:
    """Of a convolution the transposed one with the same weight, and the other way round."""
    convolve, spread, _ = _operations(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        aw, sw = dense(H, input_at(p, 1))
        s = convolution_plan(H, p)
        status = 0
        if aw == 0 or s == NONE:
            status = X_MEMORY
        elif p[ATTR_TRANSPOSED] != 0:
            status = convolve(H, store(H, s)[S_DATA], args[3], aw, 0, args[2])
        else:
            status = spread(H, store(H, s)[S_DATA], args[3], aw, 0, args[2])
        done(H, sw)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel


def convolution_dw(dtype: int) -> Kernel:
    """For each tap, the sum over all windows of what it read times the cotangent."""
    _, _, weigh = _operations(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ax, sx = dense(H, input_at(p, 0))
        s = convolution_plan(H, p)
        status = 0
        if ax == 0 or s == NONE:
            status = X_MEMORY
        elif p[ATTR_TRANSPOSED] != 0:
            status = weigh(H, store(H, s)[S_DATA], args[3], ax, args[2])
        else:
            status = weigh(H, store(H, s)[S_DATA], ax, args[3], args[2])
        done(H, sx)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel


def convolution_db(dtype: int) -> Kernel:
    """Sums of ``g`` over everything but the channels, in float64."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    total = sum64 if ALL[dtype].name == "float64" else sum32

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        N, M = p[SHAPE], p[SHAPE + 1]
        each = p[NUMEL] // (N * M) if N * M > 0 else 0
        db = pointer(args[2])
        for m in range(M):
            found = 0.0
            for n in range(N):
                found += total(args[3] + (n * M + m) * each * size, each)
            db[m] = ty(found)
        return 0

    return kernel


# ---------------------------------------------------------------- the weight's gradient as an op of its own
@jit
def weight_plan(H, p):
    """The plan of the row of `convolution_weight`."""
    return planned(H, p, row_at(H, input_at(p, 0)), p, row_at(H, input_at(p, 1)))


def convolution_weight(dtype: int) -> Kernel:
    """`convolution_dw` of an ordinary convolution's input and a cotangent of its result."""
    _, _, weigh = _operations(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        ax, sx = dense(H, input_at(p, 0))
        ag, sg = dense(H, input_at(p, 1))
        s = weight_plan(H, p)
        status = X_MEMORY
        if ax != 0 and ag != 0 and s != NONE:
            status = weigh(H, store(H, s)[S_DATA], ax, ag, data_of(H, out))
        done(H, sx)
        done(H, sg)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel


def convolution_weight_dx(dtype: int) -> Kernel:
    """Its gradient in the input."""
    _, spread, _ = _operations(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ag, sg = dense(H, input_at(p, 1))
        s = weight_plan(H, p)
        status = X_MEMORY
        if ag != 0 and s != NONE:
            status = spread(H, store(H, s)[S_DATA], ag, args[3], 0, args[2])
        done(H, sg)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel


def convolution_weight_dg(dtype: int) -> Kernel:
    """Its gradient in the cotangent."""
    convolve, _, _ = _operations(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ax, sx = dense(H, input_at(p, 0))
        s = weight_plan(H, p)
        status = X_MEMORY
        if ax != 0 and s != NONE:
            status = convolve(H, store(H, s)[S_DATA], ax, args[3], 0, args[2])
        done(H, sx)
        done(H, s)
        return X_MEMORY if status != 0 else 0

    return kernel
