"""Elements put elsewhere as they are: what copying with strides can do needs no kernel of its own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from jitgrad import dtypes
from jitgrad.cuda import memory
from jitgrad.cuda.geometry import Geometry, dense_strides
from jitgrad.cuda.pointwise import Operand, Pointwise

#: The kernels that copy elements of so many bytes, as integers.
COPIES = {
    d.itemsize: Pointwise(f"copy_{d.name}", "x", [("x", d.code)], d.code, d.code)
    for d in (dtypes.uint8, dtypes.int16, dtypes.int32, dtypes.int64)
}
#: The first place of scratch memory that is given out here.
_PLACES = 4


def copy(
    size: int,
    shape: Sequence[int],
    to: int,
    to_strides: Sequence[int],
    of: int,
    of_strides: Sequence[int],
) -> None:
    """Copy elements of ``size`` bytes from one address to another; strides count elements."""
    dims: list[tuple[int, int, int]] = []
    for n, a, b in zip(shape, to_strides, of_strides, strict=True):
        if n == 1:
            continue
        # A dim that both walk as the end of the one before is part of it.
        if dims and dims[-1][1:] == (n * a, n * b):
            dims[-1] = (dims[-1][0] * n, a, b)
        else:
            dims.append((n, a, b))
    out = Operand(to, False, tuple(a for _, a, _ in dims) or (1,))
    source = Operand(of, False, tuple(b for _, _, b in dims) or (1,))
    COPIES[size].launch(prod(shape), tuple(n for n, _, _ in dims) or (1,), out, [source])


def room(nbytes: int, place: int) -> int:
    """Memory for what a launch leaves for the next one, at one of the places of `dense`."""
    return memory.scratch(nbytes, _PLACES + place)


def itemsize(g: Geometry) -> int:
    """Bytes of an element."""
    return dtypes.ALL[g.dtype].itemsize


def dense(g: Geometry, place: int = 0) -> int:
    """Where a tensor's elements stand one after the other: its own memory or a copy.

    The copy is there until another one is made at the same ``place``, 0 to 3.
    """
    strides = dense_strides(g.shape)
    if g.numel == 0 or all(
        n == 1 or a == b for n, a, b in zip(g.shape, g.strides, strides, strict=True)
    ):
        return g.address
    to = room(g.numel * itemsize(g), place)
    copy(itemsize(g), g.shape, to, strides, g.address, g.strides)
    return to
