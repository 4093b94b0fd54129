"""Kernels that put elements elsewhere: concatenation, repetition, flips, rolls, triangles.

Each function here makes a kernel for a dtype code: forward ``kernel(H, row)``, backward ``kernel(H, args)``
with ``args = [row, input, where to write, cotangent]``.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    H_PLAN,
    MAX_DIMS,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    P_BASE,
    P_STRIDES,
    S_DATA,
    SHAPE,
    STRIDE,
    X_MEMORY,
)
from jitgrad.arena.driver import drive, plan_begin, plan_dense, plan_strided
from jitgrad.arena.rows import data_of, input_at, itemsize, row_at
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, jit, words
from jitgrad.kernels.reading import copy, dense, done, sizes_before

Kernel = Callable[[Any, Any], Any]


# ---------------------------------------------------------------- cat and stack
# Attributes: the dim; then two words in which backward remembers where the last input it asked for began.
_DIM, _LAST, _START = ATTR, ATTR + 1, ATTR + 2


def join(dtype: int) -> Kernel:
    """The inputs side by side along a dim (new for stack): of each, a run an outer position."""
    pointer = POINTERS[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        p[_LAST] = 0
        p[_START] = 0
        if p[NUMEL] == 0:
            return 0
        outer = sizes_before(p, p[_DIM])
        total = p[NUMEL] // outer
        y = pointer(data_of(H, out))
        start = 0
        for i in range(p[NIN]):
            r = input_at(p, i)
            run = row_at(H, r)[NUMEL] // outer
            if run == 0:
                continue
            source, spare = dense(H, r)
            if source == 0:
                return X_MEMORY
            x = pointer(source)
            for o in range(outer):
                copy(at(y, o * total + start), at(x, o * run), run)
            done(H, spare)
            start += run
        return 0

    return kernel


def join_dx(dtype: int) -> Kernel:
    """The part of ``g`` that is the input's."""
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        i = args[1]
        numel = row_at(H, input_at(p, i))[NUMEL]
        if numel == 0:
            return 0
        outer = sizes_before(p, p[_DIM])
        # Inputs are asked for in order: going on from the last one keeps a cat of 10,000 linear.
        if i < p[_LAST]:
            p[_LAST] = 0
            p[_START] = 0
        for k in range(p[_LAST], i):
            p[_START] += row_at(H, input_at(p, k))[NUMEL] // outer
        p[_LAST] = i
        total = p[NUMEL] // outer
        run = numel // outer
        dx = pointer(args[2])
        g = pointer(args[3])
        for o in range(outer):
            copy(at(dx, o * run), at(g, o * total + p[_START]), run)
        return 0

    return kernel


# ---------------------------------------------------------------- flip
@jit
def flipped_copy(H, p, dst, src, stride, mask):
    """Copy elements of the shape of row ``p`` with the dims in ``mask`` walked backwards."""
    size = itemsize(p[DTYPE])
    plan_begin(H, 0, p[NUMEL], 1, p[NDIM], at(p, SHAPE))
    plan_dense(H, 0, dst, size)
    plan_strided(H, 1, src, size, p[NDIM], at(p, SHAPE), stride)
    plan = words(H + H_PLAN * 8)
    for d in range(p[NDIM]):
        if (mask >> d) & 1:
            step = plan[P_STRIDES + MAX_DIMS + d]
            plan[P_BASE + 1] += step * (p[SHAPE + d] - 1)
            plan[P_STRIDES + MAX_DIMS + d] = -step
    drive(H)


def flip(dtype: int) -> Kernel:
    """The dims in the mask (attribute 0) backwards."""

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] > 0:
            r = input_at(p, 0)
            q = row_at(H, r)
            flipped_copy(H, p, data_of(H, out), data_of(H, r), at(q, STRIDE), p[ATTR])
        return 0

    return kernel


def flip_dx(dtype: int) -> Kernel:
    """``g``, flipped back."""

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        if p[NUMEL] > 0:
            flipped_copy(H, p, args[2], args[3], at(p, STRIDE), p[ATTR])
        return 0

    return kernel


# ---------------------------------------------------------------- roll
@jit
def rolled_size(p):
    """How many places the roll goes through."""
    return p[NUMEL] if p[ATTR] < 0 else p[SHAPE + p[ATTR]]


@cache
def _rotation(dtype: int) -> Any:
    """Jitted: roll dim ATTR 0 (-1: all elements in a row) by ``shift`` places, 0 <= shift < size."""
    pointer = POINTERS[dtype]

    @jit
    def rotate(p, dst, src, shift):
        n = rolled_size(p)
        outer = sizes_before(p, max(p[ATTR], 0))
        inner = p[NUMEL] // (outer * n)
        y = pointer(dst)
        x = pointer(src)
        for o in range(outer):
            first = o * n * inner
            copy(at(y, first + shift * inner), at(x, first), (n - shift) * inner)
            copy(at(y, first), at(x, first + (n - shift) * inner), shift * inner)

    return rotate


def roll(dtype: int) -> Kernel:
    """Elements rolled by attribute 1 (see `_rotation`)."""
    rotate = _rotation(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] == 0:
            return 0
        source, spare = dense(H, input_at(p, 0))
        if source == 0:
            return X_MEMORY
        rotate(p, data_of(H, out), source, p[ATTR + 1])
        done(H, spare)
        return 0

    return kernel


def roll_dx(dtype: int) -> Kernel:
    """``g``, rolled back."""
    rotate = _rotation(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        if p[NUMEL] > 0:
            n = rolled_size(p)
            rotate(p, args[2], args[3], (n - p[ATTR + 1]) % n)
        return 0

    return kernel


# ---------------------------------------------------------------- repeat
@jit
def source_row(p, q, row):
    """Which row (run of the last dim) of ``q`` stands in ``row`` of its repetition ``p``."""
    lead = p[NDIM] - q[NDIM]
    found = 0
    step = 1
    for k in range(1, p[NDIM]):
        d = p[NDIM] - 1 - k
        up = row // p[SHAPE + d]
        if d >= lead:
            size = q[SHAPE + d - lead]
            found += ((row - up * p[SHAPE + d]) % size) * step
            step *= size
        row = up
    return found


@jit
def last_size(q):
    """Size of the last dim; 1 for a tensor without dims."""
    return q[SHAPE + q[NDIM] - 1] if q[NDIM] > 0 else 1


def repeat(dtype: int) -> Kernel:
    """The input over and over, as often as the result has room for it in each dim."""
    pointer = POINTERS[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] == 0:
            return 0
        r = input_at(p, 0)
        q = row_at(H, r)
        source, spare = dense(H, r)
        if source == 0:
            return X_MEMORY
        inner = last_size(q)
        width = last_size(p)
        y = pointer(data_of(H, out))
        x = pointer(source)
        for row in range(p[NUMEL] // width):
            run = at(x, source_row(p, q, row) * inner)
            line = at(y, row * width)
            if inner == 1:
                for j in range(width):
                    line[j] = run[0]
            else:
                for k in range(width // inner):
                    copy(at(line, k * inner), run, inner)
        done(H, spare)
        return 0

    return kernel


def repeat_dx(dtype: int) -> Kernel:
    """``g`` summed over the repetitions, in float64."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit
    def add(total, g, n):
        for j in range(n):
            total[j] += g[j]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        q = row_at(H, input_at(p, 0))
        n = q[NUMEL]
        if n == 0:
            return 0
        s = storage_new(H, n * 8)
        if s == NONE:
            return X_MEMORY
        total = float64s(store(H, s)[S_DATA])
        for i in range(n):
            total[i] = 0.0
        if p[NUMEL] > 0:
            inner = last_size(q)
            width = last_size(p)
            g = pointer(args[3])
            for row in range(p[NUMEL] // width):
                run = at(total, source_row(p, q, row) * inner)
                for k in range(width // inner):
                    add(run, at(g, row * width + k * inner), inner)
        dx = pointer(args[2])
        for i in range(n):
            dx[i] = ty(total[i])
        storage_release(H, s)
        return 0

    return kernel


# ---------------------------------------------------------------- triangles
def _triangle(dtype: int, lower: bool) -> tuple[Kernel, Kernel]:
    """Forward and backward of tril or triu; attribute 0 is the diagonal."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit
    def keep(p, dst, src):
        to = pointer(dst)
        of = pointer(src)
        rows = p[SHAPE + p[NDIM] - 2]
        columns = p[SHAPE + p[NDIM] - 1]
        for k in range(p[NUMEL] // columns):
            # The first column right of the diagonal.
            edge = min(max(k % rows + p[ATTR] + (1 if lower else 0), 0), columns)
            y = at(to, k * columns)
            x = at(of, k * columns)
            for j in range(edge):
                y[j] = x[j] if lower else ty(0)
            for j in range(edge, columns):
                y[j] = ty(0) if lower else x[j]

    def forward(H, out):
        p = row_at(H, out)
        if p[NUMEL] == 0:
            return 0
        source, spare = dense(H, input_at(p, 0))
        if source == 0:
            return X_MEMORY
        keep(p, data_of(H, out), source)
        done(H, spare)
        return 0

    def backward(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        if p[NUMEL] > 0:
            keep(p, args[2], args[3])
        return 0

    return forward, backward


def tril(dtype: int) -> Kernel:
    """Matrices with zeros above a diagonal."""
    return _triangle(dtype, True)[0]


def tril_dx(dtype: int) -> Kernel:
    """``g`` below and on the diagonal."""
    return _triangle(dtype, True)[1]


def triu(dtype: int) -> Kernel:
    """Matrices with zeros below a diagonal."""
    return _triangle(dtype, False)[0]


def triu_dx(dtype: int) -> Kernel:
    """``g`` above and on the diagonal."""
    return _triangle(dtype, False)[1]
