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
from jitgrad.arena.rows import data_of, input_at, itemsize, row_at
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
def write_region(H, p, part, whole, src):
    """Copy ``src``, of the shape of row ``part``, to the region of row ``p``'s geometry."""
    size = itemsize(p[DTYPE])
    first = whole + p[ATTR + VIEW_OFFSET] * size
    plan_begin(H, 0, part[NUMEL], 1, part[NDIM], at(part, SHAPE))
    plan_strided(H, 0, first, size, part[NDIM], at(part, SHAPE), at(p, ATTR + VIEW_STRIDE))
    plan_dense(H, 1, src, size)
    drive(H)


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
    """``g`` in the region, zeros around it."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        clear(pointer(args[2]), row_at(H, input_at(p, 0))[NUMEL], ty(0))
        if p[NUMEL] > 0:
            write_region(H, p, p, args[2], args[3])
        return 0

    return kernel


def embed(dtype: int) -> Kernel:
    """The input in the region, zeros around it."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        clear(pointer(data_of(H, out)), p[NUMEL], ty(0))
        part = row_at(H, input_at(p, 0))
        if part[NUMEL] > 0:
            source, spare = dense(H, input_at(p, 0))
            if source == 0:
                return X_MEMORY
            write_region(H, p, part, data_of(H, out), source)
            done(H, spare)
        return 0

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
