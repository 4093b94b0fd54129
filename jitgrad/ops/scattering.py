"""Elements that are combined where indices meet: scatter_reduce and index_reduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place, int64_index
from jitgrad.ops.picking import index_add, index_copy, index_fill
from jitgrad.ops.sorting import elements, flat_positions, tensor_of
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Array = np.ndarray[Any, Any]


def _product(x: Tensor, positions: Array, source: Tensor) -> Tensor:
    """Each target's factors in a row, ones besides, and the product of the row: right at zeros."""
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - first
    width = int(rank.max()) + 2 if len(rank) else 1
    from jitgrad.creation import ones

    table = ones(x.numel() * width, dtype=x.dtype)
    table = index_copy(table, 0, tensor_of(positions * width + rank + 1), source)
    table = index_copy(table, 0, tensor_of(np.arange(x.numel()) * width), x)
    return table.reshape(x.numel(), width).prod(1).to(x.dtype)


def _extreme(function: Any, x: Tensor, positions: Array, source: Tensor) -> Tensor:
    """The largest or smallest; equal ones share the gradient."""
    best = elements(x).copy()
    function.at(best, positions, elements(source))
    if not (x.requires_grad or source.requires_grad):
        return tensor_of(best)
    wanted, where = tensor_of(best), tensor_of(positions)
    mine, theirs = x.detach() == wanted, source.detach() == wanted[where]
    count = index_add(mine.to(x.dtype), 0, where, theirs.to(x.dtype))
    total = index_add(x.masked_fill(~mine, 0.0), 0, where, source.masked_fill(~theirs, 0.0))
    return total / count


def _combined(
    input: Tensor, positions: Array, source: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """``input`` with the elements of a vector combined into flat positions."""
    x, where = input.reshape(-1), tensor_of(positions)
    if not include_self:
        low, high = -np.inf, np.inf
        if not input.dtype.is_floating_point:
            limits = dtypes.iinfo(input.dtype)
            low, high = limits.min, limits.max
        neutral = {"prod": 1, "amax": low, "amin": high}.get(reduce, 0)
        x = index_fill(x, 0, where, neutral)
    if reduce == "prod":
        found = _product(x, positions, source)
    elif reduce in ("amax", "amin"):
        function = np.maximum if reduce == "amax" else np.minimum
        found = _extreme(function, x, positions, source)
    else:
        found = index_add(x, 0, where, source)
        if reduce == "mean":
            count = np.bincount(positions, minlength=x.numel()) + int(include_self)
            n = tensor_of(np.maximum(count, 1), input.dtype)
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
    where = elements(index)
    if not where.size:
        return input.clone()
    if not len(x) == len(s) == where.ndim or any(
        n > m or (e != d and n > k)
        for e, (n, m, k) in enumerate(zip(where.shape, s, x, strict=False))
    ):
        raise RuntimeError(
            f"Expected index {sizes(where.shape)} to be no larger than self {sizes(x)} apart from"
            f" dimension {d} and to be no larger size than src {sizes(s)}"
        )
    wrong = where[(where < 0) | (where >= x[d])]
    if wrong.size:
        raise RuntimeError(f"index {wrong[0]} is out of bounds for dimension {d} with size {x[d]}")
    source = src.reshape(s)[tuple(slice(n) for n in where.shape)].reshape(-1)
    positions = np.broadcast_to(flat_positions(x, where, d), where.shape).reshape(-1)
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
    names = elements(index)
    if ((names < 0) | (names >= x[d])).any():
        raise IndexError("index out of range in self")
    where = np.broadcast_to(names.reshape(-1, *[1] * (len(x) - 1 - d)), s)
    positions = np.broadcast_to(flat_positions(x, where, d), s).reshape(-1)
    return _combined(input, positions, source.reshape(-1), reduce, include_self)


scatter_reduce_, index_reduce_ = in_place(scatter_reduce), in_place(index_reduce)
