"""Kernels that index elementwise along one dim: gather, scatter, scatter_add.

An index tensor names, for each of its own places, another place of the *target*: the same coordinates but
for one dim, where the index stands for the coordinate.  The *plain* tensor has an element for each place of
the index (gather's result, scatter's source).  `_walk` goes through all places once; what it does there
makes the op.  Attribute 0 is the dim; sizes were checked when the row was recorded, indices are checked
here.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    H_DETAIL,
    H_LANES,
    MAX_DIMS,
    NDIM,
    NUMEL,
    SHAPE,
    STRIDE,
    X_INDEX,
    X_MEMORY,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, words
from jitgrad.kernels.reading import adder, clear, copy, dense, done

Kernel = Callable[[Any, Any], Any]

#: What happens at each place: t is the target's element, q the plain tensor's.
READ, PUT, ADD, CLEAR = range(4)  # q = t, t = q, t += q, t = 0


@jit
def set_strides(strides, p, contiguous):
    """A row's strides: its own, or those that its shape has in row-major order; 0 if it has no dims."""
    step = 1
    for k in range(p[NDIM]):
        d = p[NDIM] - 1 - k
        strides[d] = step if contiguous else p[STRIDE + d]
        step *= max(p[SHAPE + d], 1)
    if p[NDIM] == 0:
        for d in range(MAX_DIMS):
            strides[d] = 0


@jit
def within(names, n, K):
    """Whether ``n`` indices are all from 0 to below K."""
    low = 0
    high = -1
    for j in range(n):
        low = min(low, names[j])
        high = max(high, names[j])
    return low >= 0 and high < K


@jit
def complain(H, names, n, d, K):
    """X_INDEX, with the first wrong index as its detail."""
    h = words(H)
    h[H_DETAIL] = d
    h[H_DETAIL + 2] = K
    for k in range(n):
        j = n - 1 - k
        if names[j] < 0 or names[j] >= K:
            h[H_DETAIL + 1] = names[j]
    return X_INDEX


@cache
def _walk(dtype: int, action: int) -> Any:
    """Jitted: do one thing at each place of an index; 0, X_INDEX or X_MEMORY.

    ``index`` is the index's row, K the target's size along dim ``d``, ``t`` and ``q`` typed pointers to the
    target and the plain tensor, whose strides stand in the header's scratch (`H_LANES`).
    """
    pointer, ty, plus = POINTERS[dtype], TYPES[dtype], adder(dtype)

    @jit
    def act(t, q):
        if action == READ:
            q[0] = t[0]
        elif action == PUT:
            t[0] = q[0]
        elif action == CLEAR:
            t[0] = ty(0)
        else:
            t[0] = plus(t[0], q[0])

    @jit
    def run(t, q, names, n, step, along, across):
        for j in range(n):
            act(at(t, j * along + names[j] * step), at(q, j * across))

    @jit
    def walk(H, index, d, K, target, plain):
        p = row_at(H, index)
        if p[NUMEL] == 0:
            return 0
        source, spare = dense(H, index)
        if source == 0:
            return X_MEMORY
        positions = words(source)
        ts = words(H + H_LANES * 8)
        qs = at(ts, MAX_DIMS)
        t = pointer(target)
        q = pointer(plain)
        last = max(p[NDIM] - 1, 0)
        inner = p[SHAPE + last] if p[NDIM] > 0 else 1
        # Strides as locals: read through a pointer they would be loaded anew at each place.
        step = ts[d]
        across = qs[last]
        along = 0 if d == last else ts[last]
        status = 0
        for row in range(p[NUMEL] // inner):
            # Where this run of the last dim begins; dim d of the target comes from the index.
            rest = row
            to = 0
            of = 0
            for k in range(1, p[NDIM]):
                e = p[NDIM] - 1 - k
                up = rest // p[SHAPE + e]
                c = rest - up * p[SHAPE + e]
                rest = up
                of += c * qs[e]
                if e != d:
                    to += c * ts[e]
            names = at(positions, row * inner)
            if within(names, inner, K):
                run(at(t, to), at(q, of), names, inner, step, along, across)
            elif status == 0:
                status = complain(H, names, inner, d, K)
        done(H, spare)
        return status

    return walk


@jit
def extent(p, d):
    """Size of dim ``d``; 1 for a tensor without dims."""
    return p[SHAPE + d] if p[NDIM] > 0 else 1


@jit
def scratch(H):
    """Strides of the target, and behind them those of the plain tensor."""
    return words(H + H_LANES * 8)


# ---------------------------------------------------------------- gather
def gather(dtype: int) -> Kernel:
    """Of input 0 the elements that the index (input 1) names; the result has the index's shape."""
    walk = _walk(dtype, READ)

    def kernel(H, out):
        p = row_at(H, out)
        r = input_at(p, 0)
        q = row_at(H, r)
        d = p[ATTR]
        strides = scratch(H)
        set_strides(strides, q, False)
        set_strides(at(strides, MAX_DIMS), p, True)
        return walk(H, input_at(p, 1), d, extent(q, d), data_of(H, r), data_of(H, out))

    return kernel


def gather_dx(dtype: int) -> Kernel:
    """``g`` added where it was read."""
    walk = _walk(dtype, ADD)
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        q = row_at(H, input_at(p, 0))
        d = p[ATTR]
        clear(pointer(args[2]), q[NUMEL], ty(0))
        strides = scratch(H)
        set_strides(strides, q, True)
        set_strides(at(strides, MAX_DIMS), p, True)
        return walk(H, input_at(p, 1), d, extent(q, d), args[2], args[3])

    return kernel


# ---------------------------------------------------------------- scatter
def _scatter(dtype: int, action: int) -> Kernel:
    """A copy of input 0 with elements of input 2 put or added where the index (input 1) names."""
    walk = _walk(dtype, action)
    pointer = POINTERS[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        r = input_at(p, 2)
        d = p[ATTR]
        source, spare = dense(H, input_at(p, 0))
        if source == 0:
            return X_MEMORY
        copy(pointer(data_of(H, out)), pointer(source), p[NUMEL])
        done(H, spare)
        strides = scratch(H)
        set_strides(strides, p, True)
        set_strides(at(strides, MAX_DIMS), row_at(H, r), False)
        return walk(H, input_at(p, 1), d, extent(p, d), data_of(H, out), data_of(H, r))

    return kernel


def scatter(dtype: int) -> Kernel:
    """Input 0 with elements of input 2 put where the index names."""
    return _scatter(dtype, PUT)


def scatter_add(dtype: int) -> Kernel:
    """Input 0 with elements of input 2 added where the index names."""
    return _scatter(dtype, ADD)


def scatter_dx(dtype: int) -> Kernel:
    """``g``, but 0 where something was put."""
    walk = _walk(dtype, CLEAR)
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        d = p[ATTR]
        copy(pointer(args[2]), pointer(args[3]), p[NUMEL])
        strides = scratch(H)
        set_strides(strides, p, True)
        return walk(H, input_at(p, 1), d, extent(p, d), args[2], args[2])

    return kernel


def scatter_dsrc(dtype: int) -> Kernel:
    """``g`` where each element of the source went; 0 for those that the index is too small for."""
    walk = _walk(dtype, READ)
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        q = row_at(H, input_at(p, 2))
        d = p[ATTR]
        clear(pointer(args[2]), q[NUMEL], ty(0))
        strides = scratch(H)
        set_strides(strides, p, True)
        set_strides(at(strides, MAX_DIMS), q, True)
        return walk(H, input_at(p, 1), d, extent(p, d), args[3], args[2])

    return kernel
