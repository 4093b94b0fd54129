"""Ops that count or look up elements: unique, searchsorted, bincount, histograms, isin; without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.errors import sizes
from jitgrad.ops.operands import is_tensor, tensor_of
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Array = np.ndarray[Any, Any]


def _several(parts: list[Array], wanted: tuple[bool, ...]) -> Any:
    """The first part, and those of the others that are wanted."""
    found = [tensor_of(p) for p, w in zip(parts, (True, *wanted), strict=True) if w]
    return found[0] if len(found) == 1 else tuple(found)


def _selected(input: Tensor, dim: int) -> int:
    d = wrap_dim(dim, input.ndim)
    if any(n == 0 for e, n in enumerate(input.shape) if e != d):
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        )
    return d


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order, or the different slices along a dim.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype; NaNs differ from one another.
    sorted : bool
        Accepted: the result is always in order.
    return_inverse : bool
        Also where each element of ``input`` stands in the result (int64).
    return_counts : bool
        Also how often each occurs (int64).
    dim : int, optional
        Compare slices along this dim.

    Returns
    -------
    Tensor or tuple of Tensor

    Raises
    ------
    IndexError
        If ``dim`` is out of range.
    RuntimeError
        If slices have no elements.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.unique(jitgrad.tensor([2, 1, 2]), return_counts=True)[1].tolist()
    [1, 2]
    """
    a = input.detach()._array()
    d = None if dim is None else _selected(input, dim)
    values, inverse, counts = np.unique(
        a, return_inverse=True, return_counts=True, axis=d if a.ndim else None, equal_nan=False
    )
    inverse = inverse.reshape(a.shape if d is None else (a.shape[d] if a.ndim else 1,))
    return _several([values, inverse, counts], (return_inverse, return_counts))


def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """`unique`, but an element goes only if it equals the one just before; the order stays.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.unique_consecutive(jitgrad.tensor([1, 1, 2, 1])).tolist()
    [1, 2, 1]
    """
    a = input.detach()._array()
    shape: tuple[int, ...] = a.shape
    if dim is None or not a.ndim:
        slices = a.reshape(-1)
        d = 0
    else:
        d = _selected(input, dim)
        slices, shape = a, (a.shape[d],)
    rows = np.moveaxis(slices, d, 0).reshape(
        slices.shape[d], slices.size // max(slices.shape[d], 1)
    )
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    inverse = np.cumsum(begins) - 1
    counts = np.bincount(inverse, minlength=0) if len(rows) else np.zeros(0, np.int64)
    values = np.compress(begins, slices, axis=d)
    return _several([values, inverse.reshape(shape), counts], (return_inverse, return_counts))


def _looked_up(boundaries: Array, values: Array, right: bool) -> Array:
    found = np.searchsorted(boundaries, values, side="right" if right else "left")
    # A NaN comes after everything.
    return np.where(values == values, found, len(boundaries))


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where values would be inserted into sequences to keep them in order.

    Parameters
    ----------
    sorted_sequence : Tensor
        (n), or (..., n) with the leading sizes of ``input``.
    input : Tensor or number
        What to insert; a number only beside a vector.
    out_int32 : bool
        int32 instead of int64.
    right : bool
        After equal elements instead of before; ``side="right"`` says the same.
    sorter : Tensor, optional
        The order of a sequence that is not sorted itself.

    Raises
    ------
    RuntimeError
        If shapes do not fit, or ``side`` and ``right`` contradict one another.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.searchsorted(jitgrad.tensor([1, 3, 5]), jitgrad.tensor([3, 6])).tolist()
    [1, 3]
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right"
            " was True"
        )
    bounds = sorted_sequence.detach()._array()
    if bounds.ndim == 0:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    values = input.detach()._array() if is_tensor(input) else np.asarray(input)
    if bounds.ndim != 1 and bounds.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of"
            " boundaries tensor and input value tensor must match, but we got boundaries tensor"
            f" {sizes(bounds.shape)} and input value tensor {sizes(values.shape)}"
        )
    if sorter is not None:
        order = sorter._array()
        if order.shape != bounds.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary"
                f" tensor {sizes(bounds.shape)} and got sorter tensor {sizes(order.shape)}"
            )
        if order.dtype != np.int64:
            raise RuntimeError(
                "torch.searchsorted(): sorter must be a tensor of long dtype but got dtype"
                f" {sorter.dtype.letter}"
            )
        if order.size and not (0 <= order.min() and order.max() < bounds.shape[-1]):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        bounds = np.take_along_axis(bounds, order, -1)
    after = right or side == "right"
    if bounds.ndim == 1:
        found = _looked_up(bounds, values, after)
    else:
        found = np.zeros(values.shape, np.int64)
        for place in np.ndindex(*bounds.shape[:-1]):
            found[place] = _looked_up(bounds[place], values[place], after)
    return tensor_of(found.astype(np.int32 if out_int32 else np.int64))


def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """For each value the bucket between sorted ``boundaries`` (a vector) that holds it."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 up occurs in a vector of integers, or the sum of its weights.

    Raises
    ------
    RuntimeError
        If ``input`` is no vector or has negative elements, or the weights are not as many.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.bincount(jitgrad.tensor([0, 2, 2])).tolist()
    [1, 0, 2]
    """
    if input.dtype.is_floating_point or input.dtype is dtypes.bool:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{input.dtype.letter}'")
    a = input._array()
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if a.ndim != 1 or (a.size and a.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    w = None
    if weights is not None:
        w = weights.detach()._array()
        if w.shape != a.shape:
            raise RuntimeError("weights should be 1-d and have the same length as input")
    counts = np.bincount(a, weights=w, minlength=minlength)
    if weights is not None and weights.dtype is dtypes.float32:
        counts = counts.astype(np.float32)
    return tensor_of(counts)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall in each of ``bins`` equal parts of a range (their own unless told).

    Raises
    ------
    RuntimeError
        If the range is not finite or upside down, or ``bins`` not positive.
    NotImplementedError
        If ``input`` is not floating point.
    """
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{input.dtype.letter}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    a = input.detach()._array().reshape(-1)
    low, high = float(min), float(max)
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    inside = a[(a >= low) & (a <= high)]
    ty = a.dtype.type
    place = ((inside - ty(low)) * ty(bins) / ty(high - low)).astype(np.int64)
    counts = np.bincount(np.minimum(place, bins - 1), minlength=bins)
    return tensor_of(counts, input.dtype)


def histogram(
    input: Tensor,
    bins: int | Tensor,
    *,
    range: tuple[float, float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """How many elements fall between neighbouring edges: ``hist`` and ``bin_edges``.

    Parameters
    ----------
    input : Tensor
        Any shape, floating point.
    bins : int or Tensor
        How many equal parts of the range, or the edges themselves, in rising order.  Each part has its left
        edge, the last one both.
    range : tuple of float, optional
        The first and the last edge; by default the smallest and the largest element.
    weight : Tensor, optional
        What each element counts, in the shape of ``input``.
    density : bool
        Divide by the total and by each part's width.

    Raises
    ------
    RuntimeError
        If ``bins`` is not positive or of another dtype, the range is not finite or upside down, or shapes
        differ.
    NotImplementedError
        If ``input`` is not floating point.

    Examples
    --------
    >>> import jitgrad
    >>> hist, edges = jitgrad.histogram(jitgrad.tensor([1.0, 2.0, 1.0]), 2)
    >>> hist.tolist(), edges.tolist()
    ([2.0, 1.0], [1.0, 1.5, 2.0])
    """
    from jitgrad.creation import linspace

    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{input.dtype.letter}'")
    if weight is not None and weight.shape != input.shape:
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input"
            f" tensor excluding its innermost dimension, but got input with shape [{input.numel()}, 1]"
            f" and weight with shape {sizes(weight.shape)}"
        )
    a = input.detach()._array().reshape(-1)
    if not isinstance(bins, int):
        edges = bins.detach()
        if edges.dtype is not input.dtype:
            raise RuntimeError(
                "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got"
                f" input with dtype {input.dtype.c_name} and bins for dimension 0 with dtype"
                f" {edges.dtype.c_name}"
            )
    else:
        low, high = _range_of(a, range)
        if bins <= 0:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0"
            )
        edges = linspace(low, high, bins + 1, dtype=input.dtype)
    e = edges._array()
    inside = (a >= e[0]) & (a <= e[-1])
    place = np.minimum(np.searchsorted(e, a[inside], "right") - 1, e.size - 2)
    counted = None if weight is None else weight.detach()._array().reshape(-1)[inside]
    counts = np.bincount(place, counted, e.size - 1)
    if density:
        counts = counts / counts.sum() / np.diff(e.astype(np.float64))
    return return_types.histogram((tensor_of(counts, input.dtype), edges))


def _range_of(a: Array, given: tuple[float, float] | None) -> tuple[float, float]:
    """The first and the last edge of a histogram, which differ."""
    low, high = given or ((float(a.min()), float(a.max())) if a.size else (0.0, 1.0))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(
            f"torch.histogramdd: dimension 0's range [{low:g}, {high:g}] is not finite"
        )
    if low > high:
        raise RuntimeError(
            f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for"
            " dimension 0"
        )
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element occurs among ``test_elements``; one of the two may be a number.

    Raises
    ------
    TypeError
        If neither is a Tensor.
    """
    if not is_tensor(elements) and not is_tensor(test_elements):
        raise TypeError("isin(): elements and test_elements can't both be numbers")
    left, right = (
        x.detach()._array() if is_tensor(x) else np.asarray(x) for x in (elements, test_elements)
    )
    return tensor_of(np.asarray(np.isin(left, right, invert=invert)))
