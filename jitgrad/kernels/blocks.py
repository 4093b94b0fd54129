"""Kernels that pick blocks of a tensor by position: indexing, index_select, take, embedding.

The tensor is seen as ``(A, K, B)``; of each of the A parts the positions (n of them, below K) pick blocks of
B elements, so the picked tensor is ``(A, n, B)``.  Positions are int64, of any shape and strides; negative
ones count from the end where ``_WRAP`` says so.  Each function makes a kernel for a dtype code: forward
``kernel(H, row)``, backward ``kernel(H, args)`` with ``args = [row, input, where to write, cotangent]``.
Positions are checked every time: their memory may belong to a NumPy array.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    F_CONTIGUOUS,
    FLAGS,
    H_DETAIL,
    NONE,
    NUMEL,
    S_DATA,
    X_INDEX,
    X_MEMORY,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, from_bits, jit, words
from jitgrad.kernels.reading import adder, clear, copy, dense, done, place

Kernel = Callable[[Any, Any], Any]

# Attributes of every op here.
_A, _K, _N, _B, _WRAP = ATTR, ATTR + 1, ATTR + 2, ATTR + 3, ATTR + 4
_MORE = ATTR + 5  # of an op's own


@jit
def checked(H, positions, n, K, wrap):
    """0 if all positions are below K, else X_INDEX with its details."""
    low = -K if wrap else 0
    for i in range(n):
        j = positions[i]
        if j < low or j >= K:
            h = words(H)
            h[H_DETAIL] = 0
            h[H_DETAIL + 1] = j
            h[H_DETAIL + 2] = K
            return X_INDEX
    return 0


@jit
def wrapped(j, K):
    """A position counted from the front."""
    return j + K if j < 0 else j


@jit
def add(dst, src, n):
    """Add ``n`` elements."""
    for i in range(n):
        dst[i] += src[i]


@jit
def pick(y, x, positions, A, K, n, B):
    """Blocks of a contiguous tensor."""
    if B == 1:
        for a in range(A):
            part = at(x, a * K)
            to = at(y, a * n)
            for i in range(n):
                to[i] = part[wrapped(positions[i], K)]
    else:
        for a in range(A):
            for i in range(n):
                copy(at(y, (a * n + i) * B), at(x, (a * K + wrapped(positions[i], K)) * B), B)


@jit
def spread(dx, g, positions, A, K, n, B):
    """Add blocks to a contiguous tensor: where positions meet, they add up."""
    for a in range(A):
        for i in range(n):
            add(at(dx, (a * K + wrapped(positions[i], K)) * B), at(g, (a * n + i) * B), B)


@jit
def geometry(p):
    """(A, K, n, B) of row ``p``."""
    return p[_A], p[_K], p[_N], p[_B]


# ---------------------------------------------------------------- picking
def index(dtype: int) -> Kernel:
    """The blocks at the positions (input 1)."""
    pointer = POINTERS[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        A, K, n, B = geometry(p)
        r = input_at(p, 0)
        q = row_at(H, r)
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        positions = words(source)
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0 and p[NUMEL] > 0:
            y = pointer(data_of(H, out))
            x = pointer(data_of(H, r))
            if q[FLAGS] & F_CONTIGUOUS:
                pick(y, x, positions, A, K, n, B)
            else:
                # Element by element: the tensor may be far bigger than what is picked of it.
                for a in range(A):
                    for i in range(n):
                        first = (a * K + wrapped(positions[i], K)) * B
                        for b in range(B):
                            y[(a * n + i) * B + b] = x[place(q, first + b)]
        done(H, spare)
        return status

    return kernel


def _index_dx(dtype: int, embedding: bool) -> Kernel:
    """``g`` added at the positions; for an embedding some rows may get none, or be scaled."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    @jit
    def rows(dx, g, positions, K, n, B, padding):
        for i in range(n):
            if positions[i] != padding:
                add(at(dx, positions[i] * B), at(g, i * B), B)

    @jit
    def scale(H, dx, positions, K, n, B):
        # Each row of the gradient is divided by how often it was picked.
        s = storage_new(H, K * 8)
        if s == NONE:
            return X_MEMORY
        counts = words(store(H, s)[S_DATA])
        clear(counts, K, 0)
        for i in range(n):
            counts[positions[i]] += 1
        for k in range(K):
            if counts[k] > 1:
                for b in range(B):
                    dx[k * B + b] = ty(dx[k * B + b] / counts[k])
        storage_release(H, s)
        return 0

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        A, K, n, B = geometry(p)
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        positions = words(source)
        dx = pointer(args[2])
        g = pointer(args[3])
        clear(dx, A * K * B, ty(0))
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0:
            if embedding:
                rows(dx, g, positions, K, n, B, p[_MORE])
                if p[_MORE + 1] != 0:
                    status = scale(H, dx, positions, K, n, B)
            else:
                spread(dx, g, positions, A, K, n, B)
        done(H, spare)
        return status

    return kernel


def index_dx(dtype: int) -> Kernel:
    """``g`` added at the positions."""
    return _index_dx(dtype, False)


def embedding_dx(dtype: int) -> Kernel:
    """`index_dx` of rows; attributes: the row that gets no gradient (-1: none), scale by frequency."""
    return _index_dx(dtype, True)


# ---------------------------------------------------------------- putting
# Attribute: 1 if what is put is added.  The values (input 2) fill the picked shape, or are one element.
_ADD = _MORE


@cache
def _writer(dtype: int) -> Any:
    """Jitted: put the values of row ``p`` (see above) into memory with the layout of row ``q``."""
    pointer, plus = POINTERS[dtype], adder(dtype)

    @jit
    def write(H, p, q, target, contiguous):
        A, K, n, B = geometry(p)
        source, spare = dense(H, input_at(p, 1))
        values, other = dense(H, input_at(p, 2))
        if source == 0 or values == 0:
            done(H, spare)
            done(H, other)
            return X_MEMORY
        positions = words(source)
        step = 0 if row_at(H, input_at(p, 2))[NUMEL] == 1 else 1
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0:
            y = pointer(target)
            v = pointer(values)
            for a in range(A):
                for i in range(n):
                    first = (a * K + wrapped(positions[i], K)) * B
                    start = (a * n + i) * B
                    for b in range(B):
                        o = first + b if contiguous else place(q, first + b)
                        value = v[(start + b) * step]
                        if p[_ADD] != 0:
                            y[o] = plus(y[o], value)
                        else:
                            y[o] = value
        done(H, spare)
        done(H, other)
        return status

    return write


def index_put(dtype: int) -> Kernel:
    """A copy of input 0 with the values at the positions."""
    pointer = POINTERS[dtype]
    write = _writer(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        source, spare = dense(H, input_at(p, 0))
        if source == 0:
            return X_MEMORY
        copy(pointer(data_of(H, out)), pointer(source), p[NUMEL])
        done(H, spare)
        return write(H, p, p, data_of(H, out), True)

    return kernel


def index_put_(dtype: int) -> Kernel:
    """`index_put` where the result shows the memory of input 0, whatever its strides."""
    write = _writer(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        return write(H, p, p, data_of(H, out), p[FLAGS] & F_CONTIGUOUS != 0)

    return kernel


def index_put_dx(dtype: int) -> Kernel:
    """``g``, but 0 where values were put (and not added)."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        A, K, n, B = geometry(p)
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        positions = words(source)
        dx = pointer(args[2])
        copy(dx, pointer(args[3]), p[NUMEL])
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0 and p[_ADD] == 0:
            for a in range(A):
                for i in range(n):
                    clear(at(dx, (a * K + wrapped(positions[i], K)) * B), B, ty(0))
        done(H, spare)
        return status

    return kernel


def index_put_dvalues(dtype: int) -> Kernel:
    """``g`` at the positions; the sum of it if the values were one element."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        A, K, n, B = geometry(p)
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        positions = words(source)
        dv = pointer(args[2])
        g = pointer(args[3])
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0:
            if row_at(H, input_at(p, 2))[NUMEL] == 1:
                total = 0.0
                for a in range(A):
                    for i in range(n):
                        for b in range(B):
                            total += g[(a * K + wrapped(positions[i], K)) * B + b]
                dv[0] = ty(total)
            else:
                pick(dv, g, positions, A, K, n, B)
        done(H, spare)
        return status

    return kernel


# ---------------------------------------------------------------- index_add
# Attribute: alpha, an integer for integer dtypes and float64 bits for others.
_ALPHA = _MORE


def index_add(dtype: int) -> Kernel:
    """A copy of input 0 with alpha times the blocks of input 2 added at the positions."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    floating = dtype >= FIRST_FLOAT

    def kernel(H, out):
        p = row_at(H, out)
        A, K, n, B = geometry(p)
        start, copied = dense(H, input_at(p, 0))
        source, spare = dense(H, input_at(p, 1))
        values, other = dense(H, input_at(p, 2))
        if start == 0 or source == 0 or values == 0:
            done(H, copied)
            done(H, spare)
            done(H, other)
            return X_MEMORY
        positions = words(source)
        y = pointer(data_of(H, out))
        v = pointer(values)
        if start != data_of(H, out):
            copy(y, pointer(start), p[NUMEL])
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0:
            for a in range(A):
                for i in range(n):
                    first = (a * K + wrapped(positions[i], K)) * B
                    for b in range(B):
                        value = v[(a * n + i) * B + b]
                        if floating:
                            y[first + b] = ty(y[first + b] + value * from_bits(p[_ALPHA]))
                        else:
                            y[first + b] = ty(y[first + b] + value * p[_ALPHA])
        done(H, copied)
        done(H, spare)
        done(H, other)
        return status

    return kernel


def whole_dx(dtype: int) -> Kernel:
    """``g`` itself."""
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        copy(pointer(args[2]), pointer(args[3]), row_at(H, args[0])[NUMEL])
        return 0

    return kernel


def index_add_dsource(dtype: int) -> Kernel:
    """Alpha times ``g`` at the positions."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        A, K, n, B = geometry(p)
        source, spare = dense(H, input_at(p, 1))
        if source == 0:
            return X_MEMORY
        positions = words(source)
        ds = pointer(args[2])
        status = checked(H, positions, n, K, p[_WRAP] != 0)
        if status == 0:
            pick(ds, pointer(args[3]), positions, A, K, n, B)
            alpha = from_bits(p[_ALPHA])
            if alpha != 1.0:
                for i in range(A * n * B):
                    ds[i] = ty(ds[i] * alpha)
        done(H, spare)
        return status

    return kernel
