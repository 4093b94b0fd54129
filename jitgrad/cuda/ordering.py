"""For `jitgrad.ops`: the order of elements, as tensors of positions on the GPU.

These are no ops of the table: positions have no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.cuda import order, picking, scans, streams, transfers
from jitgrad.cuda.kernel import Kernel

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _counts(x: Tensor, d: int) -> tuple[int, int, int]:
    """(A, n, B) of a dim."""
    shape = entry.shape(x)
    return prod(shape[:d]), shape[d] if shape else 1, prod(shape[d + 1 :])


@contextmanager
def _ready(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Tensors that are contiguous, for launches that belong together."""
    dense = [x.detach().contiguous() for x in tensors]
    with streams.in_order:
        yield dense


def ordered(x: Tensor, d: int, backwards: bool, first: int | None = None) -> Tensor:
    """The positions of elements along a dim in their order, or the ``first`` of them."""
    shape, code = entry.shape(x), dtypes.int64.code
    counts = _counts(x, d)
    kept = counts[1] if first is None else first
    out = transfers.empty((*shape[:d], kept, *shape[d + 1 :]) if shape else (kept,), code)
    with _ready(x) as (x,):
        order.argsort(x.dtype.code, entry.address(x), counts, entry.address(out), backwards, first)
    return out


def so_far(x: Tensor, d: int, largest: bool) -> Tensor:
    """Where the largest or smallest element up to each place of a dim stands."""
    a, n, b = _counts(x, d)
    out = transfers.empty(entry.shape(x) or (1,), dtypes.int64.code)
    make = scans.largest_so_far if largest else scans.smallest_so_far
    with _ready(x) as (x,):
        if n:
            make(x.dtype.code).launch(a * b, entry.address(out), entry.address(x), n, b)
    return out


def extreme(x: Tensor, positions: Tensor, source: Tensor, largest: bool) -> Tensor:
    """A vector with the larger or smaller of its element and those of ``source`` at flat positions."""
    out = transfers.empty(entry.shape(x), x.dtype.code)
    blocks = (1, x.numel(), positions.numel(), 1)
    with _ready(x, positions, source) as (x, positions, source):
        names = picking.names_of(entry.address(positions), blocks, 0)
        addresses = (entry.address(out), entry.address(x), entry.address(source))
        picking.extreme_at(x.dtype.code, *addresses, names, blocks, largest)
    return out


def kernels(dtype: int) -> Iterator[Kernel]:
    """The kernels of a dtype, for the inventory."""
    makers = (order.compared, scans.largest_so_far, scans.smallest_so_far)
    for make in (*makers, picking.larger, picking.smaller):
        yield make(dtype).kernel
