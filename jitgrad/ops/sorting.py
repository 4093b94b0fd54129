"""Ops that find elements by order: sort, topk, kthvalue, median, mode, running maxima.

NumPy, or a kernel on the GPU, finds where the elements are; the values are then read by a differentiable
op, one row of the table for each of PyTorch's nodes.  NaN counts as larger than every number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.arena.engine import entry
from jitgrad.ops import record
from jitgrad.ops.gathering import gather
from jitgrad.ops.joining import cat
from jitgrad.ops.names import name as naming
from jitgrad.ops.operands import beside, elements, index_op, tensor_of
from jitgrad.ops.picking import index_recipe, masked_select
from jitgrad.ops.recipe import recipe
from jitgrad.ops.table import Op
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Array = np.ndarray[Any, Any]


def _row(name: str, node: str) -> Op:
    kernels = "jitgrad.kernels.blocks:"
    op = index_op(name, node, kernels + "index", kernels + "index_dx")
    recipe(op)(index_recipe)
    return op


SORT = _row("sort", "Sort")
TOPK = _row("topk", "Topk")
KTHVALUE = _row("kthvalue", "Kthvalue")
MEDIAN = _row("median", "Median1")
NANMEDIAN = _row("nanmedian", "Nanmedian1")
MODE = _row("mode", "Mode")
CUMMAX = _row("cummax", "Cummax")
CUMMIN = _row("cummin", "Cummin")


def flat_positions(whole: tuple[int, ...], where: Tensor, d: int) -> Tensor:
    """Where in a tensor of shape ``whole`` the elements stand that ``where`` names along dim ``d``."""
    shape = entry.shape(where)
    others, along, step = np.zeros((1,) * len(whole), np.int64), 1, 1
    for e in range(len(whole) - 1, -1, -1):
        if e == d:
            along = step
        else:
            others = others + np.arange(shape[e]).reshape(-1, *[1] * (len(whole) - 1 - e)) * step
        step *= whole[e]
    if where.is_cuda:
        return where * along + beside(where, others)
    return tensor_of(elements(where) * along + others)


def read(
    op: Op, input: Tensor, where: Tensor, d: int, keepdim: bool = True
) -> return_types.Extremes:
    """The elements at positions ``where`` along dim ``d``, of which one is kept or left out."""
    index = flat_positions(entry.shape(input) or (1,), where, d)
    have = entry.shape(where)
    shape = have if keepdim else have[:d] + have[d + 1 :]
    if not input.ndim:
        shape = have if keepdim and where.numel() != 1 else ()
    attributes = (1, input.numel(), where.numel(), 1, 0)
    values = record.explicit(op, (input, index.reshape(shape)), shape, attributes)
    return return_types.extremes(op.name, values, where.reshape(shape))


def _order(input: Tensor, d: int, descending: bool = False, first: int | None = None) -> Tensor:
    """Positions in the order of the elements, or the ``first`` of them; equal ones keep their order."""
    if input.is_cuda:
        from jitgrad.cuda import ordering

        return ordering.ordered(input, d, descending, first)
    a = elements(input)
    n = a.shape[d]
    if first is not None and first * 8 < n:
        # A few of many are found without sorting the rest.
        cut = n - first if descending else first
        ends = np.argpartition(a, min(cut, n - 1), axis=d)
        few = np.take(ends, range(cut, n) if descending else range(first), axis=d)
        few.sort(axis=d)  # in the order in which they stand, so that equal ones keep it
        best = _array_order(np.take_along_axis(a, few, d), d, descending)
        return tensor_of(np.take_along_axis(few, best, d))
    found = _array_order(a, d, descending)
    return tensor_of(found if first is None else np.take(found, range(first), axis=d))


def _array_order(a: Array, d: int, descending: bool) -> Array:
    if not descending:
        return np.argsort(a, axis=d, kind="stable")
    backwards = np.argsort(np.flip(a, d), axis=d, kind="stable")
    return a.shape[d] - 1 - np.flip(backwards, d)


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> return_types.Extremes:
    """The elements in order along a dim, and where they stood.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    dim : int
        The dim.
    descending : bool
        Largest first; NaN counts as larger than every number.
    stable : bool
        Equal elements keep their order, which here they always do.

    Returns
    -------
    (values, indices)
        ``values`` and ``indices`` (int64), both of the shape of ``input``.

    Raises
    ------
    IndexError
        If ``dim`` is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.sort(jitgrad.tensor([3.0, 1.0, 2.0])).indices.tolist()
    [1, 2, 0]
    """
    d = wrap_dim(dim, input.ndim)
    return read(SORT, input, _order(input, d, descending), d)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The ``indices`` of `sort`."""
    d = wrap_dim(dim, input.ndim)
    return _order(input, d, descending).reshape(entry.shape(input))


def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dim."""
    return sort(input, 0).values


def _no_bool(name: str, input: Tensor) -> None:
    if input.dtype is dtypes.bool:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")


def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> return_types.Extremes:
    """The ``k`` largest (or smallest) elements along a dim in order, and where they stand.

    Raises
    ------
    IndexError
        If ``dim`` is out of range.
    RuntimeError
        If there are fewer than ``k`` elements, or of dtype bool.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.topk(jitgrad.tensor([3.0, 1.0, 2.0]), 2).values.tolist()
    [3.0, 2.0]
    """
    d = wrap_dim(dim, input.ndim)
    n = entry.shape(input)[d] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    if input.dtype is dtypes.bool:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    return read(TOPK, input, _order(input, d, largest, k), d)


def _size(name: str, input: Tensor, d: int) -> int:
    """The size of a dim, which must not be 0."""
    n = entry.shape(input)[d] if input.ndim else 1
    if n == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return n


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> return_types.Extremes:
    """The ``k``-th smallest element (1 is the smallest) along a dim, and where it stands.

    Raises
    ------
    IndexError
        If ``dim`` is out of range or has size 0.
    RuntimeError
        If there is no ``k``-th element.
    NotImplementedError
        If ``input`` is bool.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.kthvalue(jitgrad.tensor([3.0, 1.0, 2.0]), 2).values.item()
    2.0
    """
    d = wrap_dim(dim, input.ndim)
    if not 1 <= k <= _size("kthvalue", input, d):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    _no_bool("kthvalue", input)
    return read(KTHVALUE, input, _order(input, d).narrow(d, k - 1, 1), d, keepdim)


def _middle(input: Tensor, d: int, skip_nan: bool) -> Tensor:
    """Where the lower of the middle elements stands: a NaN if there is one, unless they are skipped."""
    order = _order(input, d)
    n = entry.shape(order)[d]
    if not input.dtype.is_floating_point:
        return order.narrow(d, (n - 1) // 2, 1)
    x = input.detach()
    numbers = (x == x).reshape(entry.shape(order)).sum(d, keepdim=True)
    if skip_nan:
        place = (numbers - 1).clamp(min=0) // 2
    else:
        place = numbers.masked_fill(numbers == n, (n - 1) // 2)
    return gather(order, d, place)


def _median(
    name: str, op: Op, input: Tensor, dim: int | None, keepdim: bool, skip_nan: bool
) -> Any:
    _no_bool("median", input)
    if dim is not None:
        d = wrap_dim(dim, input.ndim)
        _size(name, input, d)
        return read(op, input, _middle(input, d, skip_nan), d, keepdim)
    flat = input.detach().reshape(-1)
    if not flat.numel():
        lowest = (
            np.nan if input.dtype.is_floating_point else np.iinfo(np.dtype(input.dtype.name)).min
        )
        return input.sum().to(input.dtype) * 0 + lowest
    found = gather(flat, 0, _middle(flat, 0, skip_nan))
    x = input.detach()
    same = (x == found) | ((x != x) & (found != found))
    equal = masked_select(input, same.reshape(entry.shape(input)))
    # Equal elements share the gradient.
    if not input.dtype.is_floating_point:
        return equal[0]
    return naming(equal.mean(), "NanmedianBackward0" if skip_nan else "MedianBackward0")


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the middle elements: of all, or along a dim with its position; NaN if there is one.

    Over all elements equal ones share the gradient; along a dim the one that is returned gets it.

    Raises
    ------
    IndexError
        If ``dim`` is out of range or has size 0.
    NotImplementedError
        If ``input`` is bool.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.median(jitgrad.tensor([3.0, 1.0, 2.0, 7.0])).item()
    2.0
    """
    return _median("median", MEDIAN, input, dim, keepdim, False)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of what is not NaN."""
    return _median("nanmedian", NANMEDIAN, input, dim, keepdim, True)


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> return_types.Extremes:
    """The most frequent element along a dim (of several the smallest), and where it last stands.

    Raises
    ------
    IndexError
        If ``dim`` is out of range or has size 0.
    """
    d = wrap_dim(dim, input.ndim)
    n = _size("mode", input, d)
    order = _order(input, d)
    shape = entry.shape(order)
    ordered = gather(input.detach().reshape(shape), d, order)
    place = beside(input, np.arange(n).reshape(-1, *[1] * (len(shape) - 1 - d))).expand(shape)
    begins = ordered.narrow(d, 1, n - 1) != ordered.narrow(d, 0, n - 1)
    start = cat([place.narrow(d, 0, 1), place.narrow(d, 1, n - 1) * begins], d)
    length = place - gather(start, d, _so_far(start, d, True))
    return read(MODE, input, gather(order, d, length.argmax(d, keepdim=True)), d, keepdim)


def _so_far(input: Tensor, d: int, largest: bool) -> Tensor:
    """Where the largest or smallest element up to each place of a dim stands; the last of equal ones."""
    if input.is_cuda:
        from jitgrad.cuda import ordering

        return ordering.so_far(input, d, largest)
    a = elements(input)
    if not a.size:
        return tensor_of(np.zeros(a.shape, np.int64))
    best = (np.maximum if largest else np.minimum).accumulate(a, axis=d)
    place = np.arange(a.shape[d]).reshape(-1, *[1] * (a.ndim - 1 - d))
    hit = (a == best) | (a != a)
    return tensor_of(np.maximum.accumulate(np.where(hit, place, 0), axis=d))


def cummax(input: Tensor, dim: int) -> return_types.Extremes:
    """The largest element so far along a dim, and where it stands (the last of equal ones).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.cummax(jitgrad.tensor([1, 3, 2, 3]), 0).indices.tolist()
    [0, 1, 1, 3]
    """
    d = wrap_dim(dim, input.ndim)
    return read(CUMMAX, input, _so_far(input, d, True), d)


def cummin(input: Tensor, dim: int) -> return_types.Extremes:
    """The smallest element so far along a dim, and where it stands (the last of equal ones)."""
    d = wrap_dim(dim, input.ndim)
    return read(CUMMIN, input, _so_far(input, d, False), d)
