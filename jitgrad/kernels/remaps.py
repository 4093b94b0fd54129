"""Tensors whose elements are those of another one, found by a map for each dim: padding, nearest neighbours.

Inputs: the tensor, and the maps (int64, one after another, for the last dims): which position of the input
stands at each of the result, -1 for none.  Attributes: how many dims come before those with a map, what
stands where there is no element (float64 bits), and from where to where the last map is straight: there
neighbours are neighbours.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NDIM, NUMEL, SHAPE, X_MEMORY
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, from_bits, jit, words
from jitgrad.kernels.reading import adder, clear, copy, dense, done, sizes_before

Kernel = Callable[[Any, Any], Any]

_FIRST, _FILL, _BEGIN, _END = range(ATTR, ATTR + 4)


@jit
def source_line(p, q, maps, line, first):
    """Where the elements of line ``line`` of shape ``p`` (dims from ``first`` on) stand in ``q``, or -1."""
    offset = 0
    step = 1
    map_ = maps
    for d in range(first, p[NDIM]):
        map_ = at(map_, p[SHAPE + d])
    map_ = at(map_, -p[SHAPE + p[NDIM] - 1])
    step = q[SHAPE + q[NDIM] - 1]
    for k in range(1, p[NDIM] - first):
        d = p[NDIM] - 1 - k
        map_ = at(map_, -p[SHAPE + d])
        up = line // p[SHAPE + d]
        i = map_[line - up * p[SHAPE + d]]
        if i < 0:
            return -1
        offset += i * step
        step *= q[SHAPE + d]
        line = up
    return offset


@jit
def last_map(p, maps, first):
    """The map of the last dim."""
    map_ = maps
    for d in range(first, p[NDIM] - 1):
        map_ = at(map_, p[SHAPE + d])
    return map_


@cache
def _moves(dtype: int) -> tuple[Any, Any]:
    """Jitted: from the small tensor (of row ``q``) to the mapped one (of row ``p``), and sums back."""
    pointer, ty, plus = POINTERS[dtype], TYPES[dtype], adder(dtype)

    @jit
    def add(dst, src, n):
        for i in range(n):
            dst[i] = plus(dst[i], src[i])

    @jit
    def spread(y_, x_, row, p, q, maps, fill):
        first = row[_FIRST]
        width = p[SHAPE + p[NDIM] - 1]
        blocks = sizes_before(p, first)
        if p[NUMEL] == 0:
            return
        lines = p[NUMEL] // (blocks * width)
        each = q[NUMEL] // blocks
        last = last_map(p, maps, first)
        begin, end = row[_BEGIN], row[_END]
        for a in range(blocks):
            x = at(pointer(x_), a * each)
            for line in range(lines):
                y = at(pointer(y_), (a * lines + line) * width)
                start = source_line(p, q, maps, line, first)
                if start < 0:
                    clear(y, width, fill)
                    continue
                of = at(x, start)
                for j in range(begin):
                    y[j] = fill if last[j] < 0 else of[last[j]]
                if end > begin:
                    copy(at(y, begin), at(of, last[begin]), end - begin)
                for j in range(end, width):
                    y[j] = fill if last[j] < 0 else of[last[j]]

    @jit
    def gather(x_, y_, row, p, q, maps):
        first = row[_FIRST]
        clear(pointer(x_), q[NUMEL], ty(0))
        width = p[SHAPE + p[NDIM] - 1]
        blocks = sizes_before(p, first)
        if p[NUMEL] == 0:
            return
        lines = p[NUMEL] // (blocks * width)
        each = q[NUMEL] // blocks
        last = last_map(p, maps, first)
        begin, end = row[_BEGIN], row[_END]
        for a in range(blocks):
            x = at(pointer(x_), a * each)
            for line in range(lines):
                y = at(pointer(y_), (a * lines + line) * width)
                start = source_line(p, q, maps, line, first)
                if start < 0:
                    continue
                to = at(x, start)
                for j in range(begin):
                    if last[j] >= 0:
                        to[last[j]] = plus(to[last[j]], y[j])
                if end > begin:
                    add(at(to, last[begin]), at(y, begin), end - begin)
                for j in range(end, width):
                    if last[j] >= 0:
                        to[last[j]] = plus(to[last[j]], y[j])

    return spread, gather


def remap(dtype: int) -> Kernel:
    """The elements at their places."""
    spread, _ = _moves(dtype)
    ty = TYPES[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        q = row_at(H, input_at(p, 0))
        x, spare = dense(H, input_at(p, 0))
        if x == 0:
            return X_MEMORY
        maps = words(data_of(H, input_at(p, 1)))
        spread(data_of(H, out), x, p, p, q, maps, ty(from_bits(p[_FILL])))
        done(H, spare)
        return 0

    return kernel


def remap_dx(dtype: int) -> Kernel:
    """Of each element the sum of ``g`` over the places where it stands."""
    _, gather = _moves(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        maps = words(data_of(H, input_at(p, 1)))
        gather(args[2], args[3], p, p, row_at(H, input_at(p, 0)), maps)
        return 0

    return kernel


def unmap(dtype: int) -> Kernel:
    """`remap_dx` as an op: the input is what remap made."""
    _, gather = _moves(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        y, spare = dense(H, input_at(p, 0))
        if y == 0:
            return X_MEMORY
        maps = words(data_of(H, input_at(p, 1)))
        gather(data_of(H, out), y, p, row_at(H, input_at(p, 0)), p, maps)
        done(H, spare)
        return 0

    return kernel


def unmap_dx(dtype: int) -> Kernel:
    """``g`` at its places, zeros elsewhere."""
    spread, _ = _moves(dtype)
    ty = TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        maps = words(data_of(H, input_at(p, 1)))
        spread(args[2], args[3], p, row_at(H, input_at(p, 0)), p, maps, ty(0))
        return 0

    return kernel
