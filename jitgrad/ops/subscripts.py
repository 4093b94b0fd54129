"""What ``x[...]`` means: the views that an index makes, and where its tensors and masks point.

`parse` applies integers, slices, None and Ellipsis; `blocks` turns index tensors and masks, however many,
into one tensor of positions for the kernels of `jitgrad.kernels.blocks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod
from operator import index as as_int
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.operands import is_tensor, nonzero_positions
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import SELECT, SLICE, UNSQUEEZE

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

COMBINE = register(Op("combine_indices", "Index", KERNEL, 0, "jitgrad.kernels.positions:combine"))

_SELECT, _SLICE = SELECT.number, SLICE.number
_INT64, _BOOL = dtypes.int64.code, dtypes.bool.code
#: Beyond every tensor, and far from overflow when a size is added.
_END = 1 << 62
_LONG = 1 << 31
_NOT_AN_INDEX = (
    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"
    " (got {})"
)


class Found(NamedTuple):
    """An index tensor or a mask, and the dims of the view that it indexes."""

    dim: int
    span: int  # dims; 0 for True and False, which make a new one
    tensor: Tensor
    mask: bool


# ---------------------------------------------------------------- views
def parse(x: Tensor, index: Any) -> tuple[Tensor, list[Found]]:
    """Apply what makes views; return the view (``x`` itself if there is none) and what else there is.

    Raises
    ------
    IndexError, ValueError, TypeError
        See `jitgrad.ops.indexing.getitem`.
    """
    items = index if type(index) is tuple else _as_tuple(index)
    try:
        return _walk(x, items)
    except IndexError:
        if _consumed(items) > x.ndim:
            raise too_many(x) from None
        raise


def too_many(x: Tensor) -> IndexError:
    """The error for more indices than dims."""
    return IndexError(f"too many indices for tensor of dimension {x.ndim}")


def _walk(x: Tensor, items: tuple[Any, ...]) -> tuple[Tensor, list[Found]]:
    view = x
    found: list[Found] = []
    d = 0  # the dim of the view that is next
    dim = 0  # the same dim of x, for messages
    for k, item in enumerate(items):
        kind = type(item)
        if kind is int:
            view = _select(view, d, item, dim)
            dim += 1
        elif kind is slice:
            # As in PyTorch a full slice is no view here; getitem's x[:] is.
            if not _is_full(view, d, item):
                view = sliced(view, d, item)
            d += 1
            dim += 1
        elif item is None:
            view = record.view(UNSQUEEZE, view, d)
            d += 1
        elif item is Ellipsis:
            gap = max(view.ndim - d - _consumed(items[k + 1 :]), 0)
            d += gap
            dim += gap
        else:
            item = tensor_index(item)
            if type(item) is int:
                view = _select(view, d, item, dim)
                dim += 1
            else:
                mask = entry.word(item, col.DTYPE) == _BOOL
                span = entry.word(item, col.NDIM) if mask else 1
                found.append(Found(d, span, item, mask))
                d += span
                dim += span
    if d > view.ndim:
        raise too_many(x)
    return view, found


def _is_full(view: Tensor, d: int, s: slice) -> bool:
    """Whether a slice is all of dim ``d``."""
    if s.step not in (None, 1) or s.start not in (None, 0):
        return False
    if s.stop is None:
        return True
    shape = entry.shape(view)
    return type(s.stop) is int and d < len(shape) and s.stop >= shape[d]


def _consumed(items: Sequence[Any]) -> int:
    """How many dims the items take."""
    total = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
            continue
        if not isinstance(item, (int, slice)):
            item = tensor_index(item)
        mask = is_tensor(item) and item.dtype is dtypes.bool
        total += item.ndim if mask else 1
    return total


def _select(view: Tensor, d: int, i: int, dim: int) -> Tensor:
    """Position ``i`` of dim ``d`` of a view, which is dim ``dim`` of the tensor it was taken from."""
    try:
        return entry.view(_SELECT, view, d, i)
    except Fault:
        shape = entry.shape(view)
        if d < len(shape) and not -shape[d] <= i < shape[d]:
            raise IndexError(
                f"index {i} is out of bounds for dimension {dim} with size {shape[d]}"
            ) from None
        return record.view(SELECT, view, d, i)


def sliced(view: Tensor, d: int, s: slice) -> Tensor:
    """A slice of dim ``d``."""
    start, stop, step = s.start, s.stop, s.step
    if type(start) is not int:
        start = 0 if start is None else _bound(start)
    if type(stop) is not int:
        stop = _END if stop is None else _bound(stop)
    if step is None:
        step = 1
    elif step != 1:
        step = _bound(step)
        if step == 0:
            raise ValueError("slice step cannot be zero")
        if step < 0:
            raise ValueError("step must be greater than zero")
        if step > _LONG:
            # As good as the size of the dim, and its product with a stride does not overflow.
            step = max(prod(entry.shape(view)), 1)
    try:
        return entry.view(_SLICE, view, d, start, stop, step)
    except (Fault, OverflowError):
        if entry.word(view, col.NDIM) == 0:
            raise IndexError("slice() cannot be applied to a 0-dim tensor.") from None
        start, stop = max(-_END, min(start, _END)), max(-_END, min(stop, _END))
        return record.view(SLICE, view, d, start, stop, step)


def _bound(value: Any) -> int:
    if not hasattr(value, "__index__"):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return as_int(value)


# ---------------------------------------------------------------- index tensors and masks
def _as_tuple(index: Any) -> tuple[Any, ...]:
    """An index that is no tuple as one: a short list of more than numbers stands for a tuple."""
    if isinstance(index, tuple):
        return tuple(index)
    if (
        isinstance(index, (list, range))
        and len(index) < 32
        and any(
            i is None
            or i is Ellipsis
            or isinstance(i, (slice, list, tuple, range, np.ndarray))
            or is_tensor(i)
            for i in index
        )
    ):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; use"
            " x[tuple(seq)] instead of x[seq].",
            UserWarning,
            stacklevel=5,
        )
        return tuple(index)
    return (index,)


def tensor_index(item: Any) -> Any:
    """What is no slice, None or Ellipsis: an int, an int64 Tensor of positions, or a bool mask.

    Raises
    ------
    IndexError, TypeError
        If it can't index anything.
    """
    if is_tensor(item):
        return _checked(item)
    if isinstance(item, (bool, np.bool_)):
        return _tensor(np.array(item))
    if isinstance(item, np.ndarray):
        array = item
    elif hasattr(item, "__index__"):
        return as_int(item)
    elif isinstance(item, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(item).__name__}'")
    elif isinstance(item, dict) or not (hasattr(item, "__len__") and hasattr(item, "__getitem__")):
        raise IndexError(_NOT_AN_INDEX.format(type(item).__name__))
    else:
        array = np.asarray([] if len(item) == 0 else _plain(item))
        if array.size == 0:
            array = array.astype(np.int64)
    if array.dtype == np.bool_:
        return _tensor(array)
    if array.dtype.kind not in "iu":
        raise _wrong_dtype()
    if array.ndim == 0:
        return int(array)
    # A copy, since backward will read it again.
    return _tensor(np.array(array, np.int64, order="C"))


def _checked(item: Tensor) -> Any:
    code, ndim = entry.word(item, col.DTYPE), entry.word(item, col.NDIM)
    if code == _BOOL or (code == _INT64 and ndim):
        return item
    dtype = item.dtype
    if dtype is dtypes.uint8:
        warnings.warn(
            "indexing with dtype jitgrad.uint8 is now deprecated, please use a dtype jitgrad.bool"
            " instead.",
            UserWarning,
            stacklevel=7,
        )
        return item != 0
    if ndim == 0 and not dtype.is_floating_point:
        return item.item()
    if dtype is dtypes.int32:
        return item.to(dtypes.int64)
    raise _wrong_dtype()


def _plain(item: Any) -> Any:
    """A sequence whose Tensors are numbers."""
    return [
        i.tolist() if is_tensor(i) else _plain(i) if isinstance(i, (list, tuple)) else i
        for i in item
    ]


def _wrong_dtype() -> IndexError:
    return IndexError("tensors used as indices must be long, int, byte or bool tensors")


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    from jitgrad.creation import from_numpy

    return from_numpy(array)


# ---------------------------------------------------------------- positions
class Blocks(NamedTuple):
    """Where index tensors and masks point, as `jitgrad.kernels.blocks` wants to know it."""

    positions: Tensor
    shape: tuple[int, ...]  # of what is picked
    attributes: tuple[int, ...]  # A, K, n, B, negative positions allowed


def blocks(view: Tensor, found: list[Found]) -> Blocks:
    """Where index tensors and masks, at least one, point in a view.

    Raises
    ------
    IndexError
        If a mask does not fit, index tensors do not broadcast, or one of several is out of range.
    """
    shape = entry.shape(view)
    indices = []
    for each in found:
        if each.mask:
            _check_mask(each, shape)
            indices.append(nonzero_positions(each.tensor))
        else:
            indices.append(each.tensor)
    first, span, positions, mask = found[0]
    last = first + span
    picked: tuple[int, ...]
    rest: tuple[int, ...] = ()
    if len(found) == 1:
        # The usual case: the kernel checks the user's own tensor and wraps what is negative.
        positions, negative = indices[0], int(not mask)
        picked = entry.shape(positions)
    else:
        first, last, positions, picked, rest = _combined(shape, found, indices)
        negative = 0
    before, after = shape[:first], shape[last:]
    n = entry.word(positions, col.NUMEL)
    attributes = (prod(before), prod(shape[first:last]), n, prod(after), negative)
    return Blocks(positions, (*before, *picked, *rest, *after), attributes)


def _check_mask(found: Found, shape: tuple[int, ...]) -> None:
    mask = entry.shape(found.tensor)
    for e, have in enumerate(mask):
        if have != shape[found.dim + e]:
            raise IndexError(
                f"The shape of the mask {sizes(mask)} at index {e} does not match the shape of the"
                f" indexed tensor {sizes(shape)} at index {found.dim + e}"
            )


def _combined(
    shape: tuple[int, ...], found: list[Found], indices: list[Tensor]
) -> tuple[int, int, Tensor, tuple[int, ...], tuple[int, ...]]:
    """Several index tensors as one.

    Returns the dims that the indexed part spans (first, last), positions in that part, the shape that the
    index tensors broadcast to, and the sizes of other dims in the part, which the positions go through.
    """
    picked = _broadcast([entry.shape(i) for i in indices])
    last = found[-1].dim + found[-1].span
    # PyTorch's rule: index tensors with a dim between them have their dims first.
    adjacent = all(a.dim + a.span == b.dim for a, b in zip(found[:-1], found[1:], strict=True))
    first = found[0].dim if adjacent else 0
    inputs = []
    attributes = []
    others = set(range(first, last))
    for each, index in zip(found, indices, strict=True):
        end = each.dim + each.span
        others -= set(range(each.dim, end))
        if each.span:
            inputs.append(index)
            attributes += [prod(shape[each.dim : end]), prod(shape[end:last])]
    rest = tuple(shape[e] for e in sorted(others))
    if rest:
        inputs = [index.reshape([*entry.shape(index), *(1 for _ in rest)]) for index in inputs]
    for k, e in enumerate(sorted(others)):
        inputs.append(_tensor(np.arange(shape[e]).reshape(-1, *(1 for _ in rest[k + 1 :]))))
        attributes += [shape[e], prod(shape[e + 1 : last])]
    if not inputs:
        return first, last, _tensor(np.zeros(picked, np.int64)), picked, ()
    positions = record.explicit(COMBINE, inputs, (*picked, *rest), attributes)
    return first, last, positions, picked, rest


def _broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            + ", ".join(sizes(shape) for shape in shapes)
        ) from None
