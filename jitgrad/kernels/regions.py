"""A region of a contiguous tensor: what a view shows, and its way back.  Imported by the compiler only.

Attributes: ``MAX_DIMS`` strides and the offset of the region, in elements of the whole, as a view's row
has them.  Both kernels work on the words of `driver`'s plan, so one serves every dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    NDIM,
    NUMEL,
    SHAPE,
    VIEW_OFFSET,
    VIEW_STRIDE,
    X_MEMORY,
)
from jitgrad.arena.driver import drive, plan_begin, plan_dense, plan_strided
from jitgrad.arena.overlaps import add_up
from jitgrad.arena.regions import may_overlap
from jitgrad.arena.rows import data_of, input_at, itemsize, row_at
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, jit, words
from jitgrad.kernels.reading import clear, dense, done

Kernel = Callable[[Any, Any], Any]


@jit
def read_region(H, p, part, dst, whole):
    """Copy the region of row ``p``'s geometry, in the shape of row ``part``, to ``dst``."""
    size = itemsize(p[DTYPE])
    first = whole + p[ATTR + VIEW_OFFSET] * size
    plan_begin(H, 0, part[NUMEL], 1, part[NDIM], at(part, SHAPE))
    plan_dense(H, 0, dst, size)
    plan_strided(H, 1, first, size, part[NDIM], at(part, SHAPE), at(p, ATTR + VIEW_STRIDE))
    drive(H)


@jit
def write_region(H, p, part, whole, n, src):
    """Add ``src``, of the shape of row ``part``, to the region of row ``p``'s geometry in ``n`` zeros.

    Returns 0, or X_MEMORY.
    """
    dtype = p[DTYPE]
    size = itemsize(dtype)
    first = p[ATTR + VIEW_OFFSET]
    m, ndim, shape, stride = part[NUMEL], part[NDIM], at(part, SHAPE), at(p, ATTR + VIEW_STRIDE)
    if dtype >= FIRST_FLOAT and may_overlap(ndim, shape, stride):
        return add_up(H, dtype, whole, n, first, 0, src, False, m, ndim, shape, stride)
    plan_begin(H, 0, m, 1, ndim, shape)
    plan_strided(H, 0, whole + first * size, size, ndim, shape, stride)
    plan_dense(H, 1, src, size)
    drive(H)
    return 0


def extract(dtype: int) -> Kernel:
    """The elements of a region."""

    def kernel(H, out):
        p = row_at(H, out)
        if p[NUMEL] > 0:
            source, spare = dense(H, input_at(p, 0))
            if source == 0:
                return X_MEMORY
            read_region(H, p, p, data_of(H, out), source)
            done(H, spare)
        return 0

    return kernel


def extract_dx(dtype: int) -> Kernel:
    """``g`` in the region, zeros around it; what shares an element is added up."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        n = row_at(H, input_at(p, 0))[NUMEL]
        clear(pointer(args[2]), n, ty(0))
        return write_region(H, p, p, args[2], n, args[3]) if p[NUMEL] > 0 else 0

    return kernel


def embed(dtype: int) -> Kernel:
    """The input in the region, zeros around it; what shares an element is added up."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        clear(pointer(data_of(H, out)), p[NUMEL], ty(0))
        part = row_at(H, input_at(p, 0))
        status = 0
        if part[NUMEL] > 0:
            source, spare = dense(H, input_at(p, 0))
            if source == 0:
                return X_MEMORY
            status = write_region(H, p, part, data_of(H, out), p[NUMEL], source)
            done(H, spare)
        return status

    return kernel


def embed_dx(dtype: int) -> Kernel:
    """The elements of ``g`` in the region."""

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        part = row_at(H, input_at(p, 0))
        if part[NUMEL] > 0:
            read_region(H, p, part, args[2], args[3])
        return 0

    return kernel
