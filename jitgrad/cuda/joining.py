"""Joining, turning and repeating on the GPU: copies with strides, and triangles."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

from jitgrad.arena import columns as col
from jitgrad.cuda import copies
from jitgrad.cuda.copies import dense, itemsize
from jitgrad.cuda.each import Each, Run, launcher
from jitgrad.cuda.geometry import Geometry, dense_strides


def _join(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    """The inputs side by side along a dim; of stack, which makes the dim, each is one place of it."""
    d = attributes[0]
    strides = dense_strides(out.shape)
    to = out.address
    for x in inputs:
        if x.numel == 0:
            continue
        if len(x.shape) == len(out.shape):
            n, to_strides = x.shape[d], strides
        else:
            n, to_strides = 1, strides[:d] + strides[d + 1 :]
        copies.copy(itemsize(out), x.shape, to, to_strides, x.address, x.strides)
        to += n * strides[d] * itemsize(out)


def _roll(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    """A dim (-1: all elements in a row) moved on by some places: its two parts change places."""
    if out.numel == 0:
        return
    d, shift = attributes[0], attributes[1]
    size, strides = itemsize(out), dense_strides(out.shape)
    n = out.numel if d < 0 else out.shape[d]
    inner = 1 if d < 0 else strides[d]
    x = dense(inputs[0])
    outer = out.numel // (n * inner)
    for first, count, to in ((0, n - shift, shift), (n - shift, shift, 0)):
        if count:
            steps = (n * inner, 1)
            target, source = out.address + to * inner * size, x + first * inner * size
            copies.copy(size, (outer, count * inner), target, steps, source, steps)


def _repeat(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    """The input over and over: a dim of its own, along which the input stands still, before each dim."""
    x = inputs[0]
    if out.numel == 0:
        return
    lead = len(out.shape) - len(x.shape)
    shape: list[int] = []
    strides: list[int] = []
    for total, n, step in zip(
        out.shape, (1,) * lead + x.shape, (0,) * lead + x.strides, strict=True
    ):
        shape += [total // n, n]
        strides += [0, step]
    copies.copy(itemsize(out), shape, out.address, dense_strides(shape), x.address, strides)


@functools.cache
def flipped(dtype: int) -> Each:
    """Dims of which the middle one of three is walked backwards."""
    text = """
block = i // B
up = block // N
out[i] = x[((up * N + N - 1) - (block - up * N)) * B + i - block * B]
"""
    return Each("flip", dtype, "T* out, T* x, int N, int B", text)


def _flip(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    """The dims in a mask backwards, one after the other."""
    dims = [d for d, n in enumerate(out.shape) if attributes[0] >> d & 1 and n > 1]
    of = dense(inputs[0])
    if not dims:
        strides = dense_strides(out.shape)
        copies.copy(itemsize(out), out.shape, out.address, strides, of, strides)
    for k, d in enumerate(dims):
        # The last one writes the result; those before it write there or beside it, in turn.
        last = (len(dims) - 1 - k) % 2 == 0
        to = out.address if last else copies.room(out.numel * itemsize(out), 1)
        flipped(dtype).launch(out.numel, to, of, out.shape[d], prod(out.shape[d + 1 :]))
        of = to


@functools.cache
def triangle(dtype: int) -> Each:
    """Matrices with zeros on one side of a diagonal."""
    text = """
row = i // N
column = i - row * N
row = row % M
keep = column - row <= diagonal
if lower == 0:
    keep = column - row >= diagonal
out[i] = x[i] if keep else T(0)
"""
    return Each("triangle", dtype, "T* out, T* x, int M, int N, int diagonal, int lower", text)


def _triangle(lower: int) -> Run:
    def run(
        dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
    ) -> None:
        rows, columns = out.shape[-2:]
        x = dense(inputs[0])
        triangle(dtype).launch(out.numel, out.address, x, rows, columns, attributes[0], lower)

    return run


@functools.cache
def zeros(dtype: int) -> Each:
    """Zeros."""
    return Each("zeros", dtype, "T* out", "out[i] = T(0)")


def _extract(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    """The elements of a region of a contiguous tensor."""
    size = itemsize(out)
    first = dense(inputs[0]) + attributes[col.VIEW_OFFSET] * size
    strides = attributes[col.VIEW_STRIDE : col.VIEW_STRIDE + len(out.shape)]
    copies.copy(size, out.shape, out.address, dense_strides(out.shape), first, strides)


def _embed(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    """The input in a region, zeros around it."""
    zeros(dtype).launch(out.numel, out.address)
    size, x = itemsize(out), inputs[0]
    first = out.address + attributes[col.VIEW_OFFSET] * size
    strides = attributes[col.VIEW_STRIDE : col.VIEW_STRIDE + len(x.shape)]
    copies.copy(size, x.shape, first, strides, x.address, x.strides)


LAUNCHERS = {
    "cat": launcher(_join),
    "stack": launcher(_join),
    "flip": launcher(_flip, flipped),
    "roll": launcher(_roll),
    "repeat": launcher(_repeat),
    "tril": launcher(_triangle(1), triangle),
    "triu": launcher(_triangle(0), triangle),
    "extract": launcher(_extract),
    "embed": launcher(_embed, zeros),
}
