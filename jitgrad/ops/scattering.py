"""Elements that are combined where indices meet: scatter_reduce and index_reduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops.gathering import gather, scatter
from jitgrad.ops.joining import cat
from jitgrad.ops.names import named
from jitgrad.ops.operands import elements, in_place, int64_index, tensor_of
from jitgrad.ops.picking import index_add, index_copy, index_fill, index_select, masked_select
from jitgrad.ops.sorting import argsort, cummax, flat_positions
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _product(x: Tensor, positions: Tensor, source: Tensor) -> Tensor:
    """Each target's factors in a row, ones besides, and the product of the row: right at zeros."""
    from jitgrad.creation import arange, ones

    n = positions.numel()
    order = argsort(positions, stable=True)
    ordered = gather(positions, 0, order)
    place = arange(n, device=x.device)
    begins = cat([place[:1], place[1:] * (ordered[1:] != ordered[:-1])])
    rank = scatter(place, 0, order, place - cummax(begins, 0).values)
    width = int(rank.max().item()) + 2 if n else 1
    table = ones(x.numel() * width, dtype=x.dtype, device=x.device)
    table = index_copy(table, 0, positions * width + rank + 1, source)
    table = index_copy(table, 0, arange(x.numel(), device=x.device) * width, x)
    return table.reshape(x.numel(), width).prod(1).to(x.dtype)


def _extreme(largest: bool, x: Tensor, positions: Tensor, source: Tensor) -> Tensor:
    """The largest or smallest; equal ones share the gradient."""
    if x.is_cuda:
        from jitgrad.cuda import ordering

        wanted = ordering.extreme(x, positions, source, largest)
    else:
        best = elements(x).copy()
        function: Any = np.maximum if largest else np.minimum
        function.at(best, elements(positions), elements(source))
        wanted = tensor_of(best)
    if not (x.requires_grad or source.requires_grad):
        return wanted
    mine, theirs = x.detach() == wanted, source.detach() == index_select(wanted, 0, positions)
    count = index_add(mine.to(x.dtype), 0, positions, theirs.to(x.dtype))
    total = index_add(x.masked_fill(~mine, 0.0), 0, positions, source.masked_fill(~theirs, 0.0))
    return total / count


def _out_of_range(index: Tensor, n: int) -> int | None:
    """The first of the positions that is none of ``n``."""
    wrong = masked_select(index, (index < 0) | (index >= n))
    return int(wrong[0].item()) if wrong.numel() else None


def _combined(
    input: Tensor, positions: Tensor, source: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """``input`` with the elements of a vector combined into flat positions."""
    x = input.reshape(-1)
    if not include_self:
        low, high = -np.inf, np.inf
        if not input.dtype.is_floating_point:
            limits = dtypes.iinfo(input.dtype)
            low, high = limits.min, limits.max
        neutral = {"prod": 1, "amax": low, "amin": high}.get(reduce, 0)
        x = index_fill(x, 0, positions, neutral)
    if reduce == "prod":
        found = _product(x, positions, source)
    elif reduce in ("amax", "amin"):
        found = _extreme(reduce == "amax", x, positions, source)
    else:
        found = index_add(x, 0, positions, source)
        if reduce == "mean":
            ones = (positions.detach() * 0 + 1).to(input.dtype)
            count = index_add(
                (x.detach() * 0 + int(include_self)).to(input.dtype), 0, positions, ones
            )
            n = count.clamp(min=1)
            found = found / n if input.dtype.is_floating_point else found // n
    return found.reshape(input.shape)


@named("ScatterReduceBackward0")
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``input`` with elements of ``src`` combined where ``index`` names along a dim.

    Parameters
    ----------
    input, dim, index, src
        As for `scatter_add`.
    reduce : str
        "sum", "prod", "mean", "amax" or "amin".
    include_self : bool
        Whether the element of ``input`` is one of those that are combined.

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit, an index is out of range, or ``reduce`` is something else.

    Examples
    --------
    >>> import jitgrad
    >>> i, v = jitgrad.tensor([0, 0, 1]), jitgrad.tensor([1.0, 3.0, 2.0])
    >>> jitgrad.zeros(2).scatter_reduce(0, i, v, "amax").tolist()
    [3.0, 2.0]
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    d = wrap_dim(dim, input.ndim)
    index = int64_index(index, "scatter(): Expected dtype int64 for index")
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    x, s = entry.shape(input) or (1,), entry.shape(src) or (1,)
    names = entry.shape(index) or (1,)
    if not index.numel():
        return input.clone()
    if not len(x) == len(s) == len(names) or any(
        n > m or (e != d and n > k) for e, (n, m, k) in enumerate(zip(names, s, x, strict=False))
    ):
        raise RuntimeError(
            f"Expected index {sizes(names)} to be no larger than self {sizes(x)} apart from"
            f" dimension {d} and to be no larger size than src {sizes(s)}"
        )
    wrong = _out_of_range(index, x[d])
    if wrong is not None:
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {d} with size {x[d]}")
    source = src.reshape(s)[tuple(slice(n) for n in names)].reshape(-1)
    positions = flat_positions(x, index.reshape(names), d).reshape(-1)
    return _combined(input, positions, source, reduce, include_self)


@named("IndexReduceBackward0")
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """A copy of ``input`` with slices of ``source`` combined into the positions of a dim.

    Parameters
    ----------
    index : Tensor
        (n), int64 or int32; as many as ``source`` has slices along the dim.
    reduce : str
        "prod", "mean", "amax" or "amin".

    Raises
    ------
    RuntimeError
        If sizes or dtypes do not fit, or ``reduce`` is something else.
    IndexError
        If an index is out of range.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got"
            f" {reduce}."
        )
    d = wrap_dim(dim, input.ndim)
    index = int64_index(index, "index_reduce_(): Expected dtype int32/int64 for index")
    if index.ndim > 1:
        raise IndexError("index_reduce_(): Index is supposed to be a vector")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "index_reduce_(): self and source expected to have the same dtype, but got (self)"
            f" {input.dtype.letter} and (source) {source.dtype.letter}"
        )
    x, s = entry.shape(input) or (1,), entry.shape(source) or (1,)
    if len(x) != len(s) or x[:d] + x[d + 1 :] != s[:d] + s[d + 1 :]:
        raise RuntimeError(
            "index_reduce_(): Source/destination tensor must have same slice shapes, got"
            f" {sizes(x)} and {sizes(s)}"
        )
    if index.numel() != s[d]:
        raise RuntimeError(
            f"index_reduce_(): Number of indices ({index.numel()}) should be equal to"
            f" source.size(dim): ({s[d]}), for dim: {d}"
        )
    if _out_of_range(index, x[d]) is not None:
        raise IndexError("index out of range in self")
    where = index.reshape(-1, *[1] * (len(x) - 1 - d)).expand(s)
    positions = flat_positions(x, where, d).reshape(-1)
    return _combined(input, positions, source.reshape(-1), reduce, include_self)


scatter_reduce_ = in_place(scatter_reduce, apart=True)
index_reduce_ = in_place(index_reduce, apart=True)
