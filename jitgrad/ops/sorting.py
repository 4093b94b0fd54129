"""Ops that find elements by order: sort, topk, kthvalue, median, mode, running maxima.

NumPy finds where the elements are; the values are then read by a differentiable op, one row of the table
for each of PyTorch's nodes.  NaN counts as larger than every number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.arena.engine import entry
from jitgrad.dtypes import dtype as DType  # noqa: N812
from jitgrad.ops import record
from jitgrad.ops.names import name as naming
from jitgrad.ops.operands import index_op
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


def tensor_of(array: Array, dtype: DType | None = None) -> Tensor:
    """An array as a Tensor, of its own dtype or another."""
    from jitgrad.creation import from_numpy

    made = from_numpy(np.asarray(array, order="C"))
    return made if dtype is None else made.to(dtype)


def elements(x: Tensor) -> Array:
    """The elements as an array with at least one dim."""
    return np.atleast_1d(x.detach()._array())


def flat_positions(whole: tuple[int, ...], where: Array, d: int) -> Array:
    """Where in a tensor of shape ``whole`` the elements stand that ``where`` names along dim ``d``."""
    positions, step = np.zeros((), np.int64), 1
    for e in range(len(whole) - 1, -1, -1):
        along = np.arange(where.shape[e]).reshape(-1, *[1] * (len(whole) - 1 - e))
        positions = positions + (where if e == d else along) * step
        step *= whole[e]
    return positions.astype(np.int64, copy=False)


def read(
    op: Op, input: Tensor, where: Array, d: int, keepdim: bool = True
) -> return_types.Extremes:
    """The elements at positions ``where`` along dim ``d``, of which one is kept or left out."""
    positions = flat_positions(entry.shape(input) or (1,), where, d)
    shape = where.shape if keepdim else where.shape[:d] + where.shape[d + 1 :]
    if not input.ndim:
        shape = where.shape if keepdim and where.size != 1 else ()
    index = tensor_of(positions.reshape(shape))
    whole, n = input.numel(), positions.size
    values = record.explicit(op, (input, index), shape, (1, whole, n, 1, 0))
    return return_types.extremes(
        op.name, values, tensor_of(where.reshape(shape).astype(np.int64, copy=False))
    )


def _order(a: Array, d: int, descending: bool = False) -> Array:
    """Positions in the order of the elements; equal ones in the order in which they stand."""
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
    return read(SORT, input, _order(elements(input), d, descending), d)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The ``indices`` of `sort`."""
    d = wrap_dim(dim, input.ndim)
    found = _order(elements(input), d, descending)
    return tensor_of(found.reshape(entry.shape(input)))


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
    a = elements(input)
    n = a.shape[d] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    if input.dtype is dtypes.bool:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    if k * 8 < n:
        # A few of many are found without sorting the rest.
        cut = n - k if largest else k
        ends = np.argpartition(a, min(cut, n - 1), axis=d)
        few = np.take(ends, range(cut, n) if largest else range(k), axis=d)
        few.sort(axis=d)  # in the order in which they stand, so that equal ones keep it
        order = _order(np.take_along_axis(a, few, d), d, largest)
        return read(TOPK, input, np.take_along_axis(few, order, d), d)
    return read(TOPK, input, np.take(_order(a, d, largest), range(k), axis=d), d)


def _need_size(name: str, a: Array, d: int) -> None:
    if a.shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


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
    a = elements(input)
    _need_size("kthvalue", a, d)
    if not 1 <= k <= a.shape[d]:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    _no_bool("kthvalue", input)
    return read(KTHVALUE, input, np.take(_order(a, d), [k - 1], axis=d), d, keepdim)


def _middle(a: Array, d: int, skip_nan: bool) -> Array:
    """Where the lower of the middle elements stands: a NaN if there is one, unless they are skipped."""
    order = _order(a, d)
    n = a.shape[d]
    if a.dtype.kind != "f":
        return np.take(order, [(n - 1) // 2], axis=d)
    numbers = n - np.isnan(a).sum(axis=d, keepdims=True)
    if skip_nan:
        place = np.maximum(numbers - 1, 0) // 2
    else:
        place = np.where(numbers == n, (n - 1) // 2, numbers)
    return np.take_along_axis(order, place, d)


def _median(
    name: str, op: Op, input: Tensor, dim: int | None, keepdim: bool, skip_nan: bool
) -> Any:
    _no_bool("median", input)
    a = elements(input)
    if dim is not None:
        d = wrap_dim(dim, input.ndim)
        _need_size(name, a, d)
        return read(op, input, _middle(a, d, skip_nan), d, keepdim)
    flat = np.ascontiguousarray(a).reshape(-1)
    if not flat.size:
        lowest = (
            np.nan if input.dtype.is_floating_point else np.iinfo(np.dtype(input.dtype.name)).min
        )
        return input.sum().to(input.dtype) * 0 + lowest
    found = flat[_middle(flat, 0, skip_nan)[0]]
    same = a == found if found == found else a != a
    equal = masked_select(input, tensor_of(same.reshape(entry.shape(input))))
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
    a = elements(input)
    _need_size("mode", a, d)
    order = _order(a, d)
    ordered = np.moveaxis(np.take_along_axis(a, order, d), d, -1)
    place = np.arange(ordered.shape[-1])
    begins = np.ones(ordered.shape, bool)
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    length = place - np.maximum.accumulate(np.where(begins, place, 0), axis=-1)
    best = np.moveaxis(np.argmax(length, axis=-1)[..., None], -1, d)
    return read(MODE, input, np.take_along_axis(order, best, d), d, keepdim)


def _running(op: Op, extreme: Any, input: Tensor, dim: int) -> return_types.Extremes:
    d = wrap_dim(dim, input.ndim)
    a = elements(input)
    if not a.size:
        return read(op, input, np.zeros(a.shape, np.int64), d)
    best = extreme.accumulate(a, axis=d)
    place = np.arange(a.shape[d]).reshape(-1, *[1] * (a.ndim - 1 - d))
    hit = (a == best) | (a != a)
    return read(op, input, np.maximum.accumulate(np.where(hit, place, 0), axis=d), d)


def cummax(input: Tensor, dim: int) -> return_types.Extremes:
    """The largest element so far along a dim, and where it stands (the last of equal ones).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.cummax(jitgrad.tensor([1, 3, 2, 3]), 0).indices.tolist()
    [0, 1, 1, 3]
    """
    return _running(CUMMAX, np.maximum, input, dim)


def cummin(input: Tensor, dim: int) -> return_types.Extremes:
    """The smallest element so far along a dim, and where it stands (the last of equal ones)."""
    return _running(CUMMIN, np.minimum, input, dim)
