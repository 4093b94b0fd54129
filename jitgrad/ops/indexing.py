"""``x[index]`` and ``x[index] = value`` in every form of NumPy and PyTorch.

Integers, slices, None and Ellipsis make views.  What remains, masks and index tensors, is one op on what
the views show: NumPy combines all of them into one tensor of positions, and the kernels of
`jitgrad.kernels.blocks` pick or put blocks there.
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
from jitgrad.arena.engine import Fault, entry, grad_mode
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.picking import (
    argwhere,
    embedding,
    gather,
    index_add,
    index_add_,
    index_copy,
    index_copy_,
    index_fill,
    index_fill_,
    index_select,
    masked_select,
    nonzero,
    repeat_interleave,
    scatter,
    scatter_,
    scatter_add,
    scatter_add_,
    take,
    take_along_dim,
)
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import ALIAS, SELECT, SLICE, UNSQUEEZE, expand, reshape

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "argwhere",
    "embedding",
    "gather",
    "getitem",
    "index_add",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_fill",
    "index_fill_",
    "index_put",
    "index_put_",
    "index_select",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "scatter",
    "scatter_",
    "scatter_add",
    "scatter_add_",
    "setitem",
    "take",
    "take_along_dim",
]

_KERNELS = "jitgrad.kernels.blocks:"
INDEX = register(
    Op("index", "Index", KERNEL, 2, _KERNELS + "index", (_KERNELS + "index_dx", None), (2, 0))
)
INDEX_PUT = register(
    Op(
        "index_put",
        "IndexPut",
        KERNEL,
        3,
        _KERNELS + "index_put",
        (_KERNELS + "index_put_dx", None, _KERNELS + "index_put_dvalues"),
        (2, 0, 2),
    )
)
#: Writes into the memory of its first input; what it returns means nothing.
INDEX_PUT_ = register(Op("index_put_", "IndexPut", KERNEL, 3, _KERNELS + "index_put_"))

_SELECT, _SLICE = SELECT.number, SLICE.number
#: Beyond every tensor, and far from overflow when a size is added.
_END = 1 << 62
_NO_DIMS = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to"
    " convert a 0-dim tensor to a number"
)
_NOT_AN_INDEX = (
    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices"
    " (got {})"
)

#: A dim of the view, and what indexes it from there on: positions (an int64 Tensor) or a mask.
_Found = tuple[int, Any]


# ---------------------------------------------------------------- reading
def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]``.

    Parameters
    ----------
    x : Tensor
        Any shape and dtype.
    index : int, slice, None, Ellipsis, bool, Tensor, array, sequence, or a tuple of them
        As in NumPy, but integers never count as index tensors when the place of the result's dims is
        decided (PyTorch's rule), and steps must be positive.

    Returns
    -------
    Tensor
        A view where only integers, slices, None and Ellipsis are used, else a copy.

    Raises
    ------
    IndexError
        If an index is out of range or of a wrong type, there are too many, or a mask does not fit.
    ValueError
        If a step is not positive.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.arange(6).view(2, 3)
    >>> x[:, 1].tolist(), x[x > 3].tolist(), x[[1, 0], -1].tolist()
    ([1, 4], [4, 5], [5, 2])
    """
    kind = type(index)
    if kind is int:
        try:
            return entry.view(_SELECT, x, 0, index)
        except Fault:
            return _first(x, index)
    if kind is slice:
        return _slice(x, 0, index)
    view, found = _basic(x, index if kind is tuple else _as_tuple(index))
    if found:
        return _pick(view, found)
    return record.view(ALIAS, x) if view is x else view


def _pick(view: Tensor, found: list[_Found]) -> Tensor:
    where = _blocks(view, found)
    return record.explicit(INDEX, (view, where.positions), where.shape, where.attributes)


# ---------------------------------------------------------------- views
def _first(x: Tensor, i: int) -> Tensor:
    """``x[i]`` after the arena has refused it, or could not do it yet."""
    if entry.word(x, col.NDIM) == 0:
        raise IndexError(_NO_DIMS)
    return record.view(SELECT, x, 0, i)


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


def _slice(view: Tensor, d: int, s: slice) -> Tensor:
    start, stop, step = s.start, s.stop, s.step
    if type(start) is not int:
        start = 0 if start is None else _bound(start)
    if type(stop) is not int:
        stop = _END if stop is None else _bound(stop)
    if step is None:
        step = 1
    elif step != 1:
        step = min(_bound(step), _END)
        if step == 0:
            raise ValueError("slice step cannot be zero")
        if step < 0:
            raise ValueError("step must be greater than zero")
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


def _basic(x: Tensor, items: tuple[Any, ...]) -> tuple[Tensor, list[_Found]]:
    """Apply what makes views; return the view and what else there is, by dims of the view."""
    try:
        return _walk(x, items)
    except IndexError:
        if _consumed(items) > x.ndim:
            raise _too_many(x) from None
        raise


def _too_many(x: Tensor) -> IndexError:
    return IndexError(f"too many indices for tensor of dimension {x.ndim}")


def _walk(x: Tensor, items: tuple[Any, ...]) -> tuple[Tensor, list[_Found]]:
    view = x
    found: list[_Found] = []
    d = 0  # the dim of the view that is next
    dim = 0  # the same dim of x, for messages
    for k, item in enumerate(items):
        kind = type(item)
        if kind is int:
            view = _select(view, d, item, dim)
            dim += 1
        elif kind is slice:
            # As in PyTorch a full slice is no view here; getitem's x[:] is.
            if item.start is not None or item.stop is not None or item.step not in (None, 1):
                view = _slice(view, d, item)
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
            item = _index(item)
            if type(item) is int:
                view = _select(view, d, item, dim)
                dim += 1
            else:
                # True and False are masks of no dims: they make a dim of size 1 or 0.
                found.append((d, item))
                span = item.ndim if isinstance(item, np.ndarray) else 1
                d += span
                dim += span
    if d > view.ndim:
        raise _too_many(x)
    return view, found


def _consumed(items: Sequence[Any]) -> int:
    """How many dims the items take."""
    total = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
            continue
        if not isinstance(item, (int, slice)):
            item = _index(item)
        total += item.ndim if isinstance(item, np.ndarray) else 1
    return total


# ---------------------------------------------------------------- index tensors and masks
def _as_tuple(index: Any) -> tuple[Any, ...]:
    """An index that is no tuple as one: a short list that holds more than numbers stands for a tuple."""
    if isinstance(index, tuple):
        return tuple(index)
    if (
        isinstance(index, (list, range))
        and len(index) < 32
        and any(
            i is None or i is Ellipsis or isinstance(i, (slice, list, tuple, range, np.ndarray))
            or _is_tensor(i)
            for i in index
        )
    ):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated; use"
            " x[tuple(seq)] instead of x[seq].",
            UserWarning,
            stacklevel=4,
        )
        return tuple(index)
    return (index,)


def _is_tensor(value: Any) -> bool:
    from jitgrad.tensor import Tensor

    return isinstance(value, Tensor)


def _index(item: Any) -> Any:
    """What indexes one or more dims: an int, an int64 Tensor of positions, or a mask (bool array)."""
    if _is_tensor(item):
        dtype = item.dtype
        if dtype is dtypes.int64 and entry.word(item, col.NDIM):
            return item
        if dtype is dtypes.bool:
            return item._array()
        if dtype is dtypes.uint8:
            warnings.warn(
                "indexing with dtype jitgrad.uint8 is now deprecated, please use a dtype jitgrad.bool"
                " instead.",
                UserWarning,
                stacklevel=5,
            )
            return item._array() != 0
        if not dtype.is_floating_point and entry.word(item, col.NDIM) == 0:
            return item.item()
        if dtype is dtypes.int32:
            return item.to(dtypes.int64)
        raise _wrong_dtype()
    if isinstance(item, (bool, np.bool_)):
        return np.array(item)
    if isinstance(item, np.ndarray):
        array = item
    elif hasattr(item, "__index__"):
        return as_int(item)
    elif isinstance(item, (str, bytes, dict)) or not hasattr(item, "__len__"):
        raise IndexError(_NOT_AN_INDEX.format(type(item).__name__))
    else:
        array = np.asarray([] if len(item) == 0 else _plain(item))
        if array.size == 0:
            array = array.astype(np.int64)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "iu":
        raise _wrong_dtype()
    if array.ndim == 0:
        return int(array)
    from jitgrad.creation import from_numpy

    # A copy, since backward will read it again.
    return from_numpy(np.array(array, np.int64, order="C"))


def _plain(item: Any) -> Any:
    """A sequence whose Tensors are numbers."""
    return [
        i.tolist() if _is_tensor(i) else _plain(i) if isinstance(i, (list, tuple)) else i
        for i in item
    ]


def _wrong_dtype() -> IndexError:
    return IndexError("tensors used as indices must be long, int, byte or bool tensors")


class _Blocks(NamedTuple):
    """Where index tensors and masks point, as `jitgrad.kernels.blocks` wants to know it."""

    positions: Tensor
    shape: tuple[int, ...]  # of what is picked
    attributes: tuple[int, ...]  # A, K, n, B, negative positions allowed


def _blocks(view: Tensor, found: list[_Found]) -> _Blocks:
    shape = entry.shape(view)
    if len(found) == 1:
        d, item = found[0]
        if isinstance(item, np.ndarray):
            last = d + item.ndim
            _check_mask(item, shape, d)
            positions, negative = _from_numpy(np.flatnonzero(item)), 0
        else:
            # The usual case: the kernel checks the user's own tensor and wraps what is negative.
            last, positions, negative = d + 1, item, 1
        first, rest = d, ()
        picked = entry.shape(positions)
    else:
        first, last, picked, rest, combined = _combined(shape, found)
        positions, negative = _from_numpy(combined), 0
    before, blocks, after = shape[:first], shape[first:last], shape[last:]
    attributes = (
        prod(before),
        prod(blocks),
        entry.word(positions, col.NUMEL),
        prod(after),
        negative,
    )
    return _Blocks(positions, (*before, *picked, *rest, *after), attributes)


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    from jitgrad.creation import from_numpy

    return from_numpy(array)


def _check_mask(mask: np.ndarray[Any, Any], shape: tuple[int, ...], d: int) -> None:
    for e, (have, want) in enumerate(zip(mask.shape, shape[d:], strict=False)):
        if have != want:
            raise IndexError(
                f"The shape of the mask {sizes(mask.shape)} at index {e} does not match the shape of"
                f" the indexed tensor {sizes(shape)} at index {d + e}"
            )


def _combined(
    shape: tuple[int, ...], found: list[_Found]
) -> tuple[int, int, tuple[int, ...], tuple[int, ...], np.ndarray[Any, Any]]:
    """Several index tensors and masks as one.

    Returns the dims that the blocks' part spans (first, last), the shape that the index tensors
    broadcast to, the sizes of other dims in that part, and positions in it of both shapes together.
    """
    spans = [item.ndim if isinstance(item, np.ndarray) else 1 for _, item in found]
    indices = []
    for d, item in found:
        if isinstance(item, np.ndarray):
            _check_mask(item, shape, d)
            indices.append(np.flatnonzero(item))
        else:
            indices.append(item._array())
    try:
        picked = np.broadcast_shapes(*(i.shape for i in indices))
    except ValueError:
        shapes = ", ".join(sizes(i.shape) for i in indices)
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes " + shapes
        ) from None
    last = found[-1][0] + spans[-1]
    adjacent = all(
        d + span == after
        for (d, _), span, (after, _) in zip(found, spans, found[1:], strict=False)
    )
    # PyTorch's rule: index tensors with a dim between them have their dims first.
    first = found[0][0] if adjacent else 0
    stride = [prod(shape[e + 1 : last]) for e in range(last)]
    positions = np.zeros(picked, np.int64)  # a mask of no dims adds nothing to them
    others = set(range(first, last))
    for k, ((d, item), span, index) in enumerate(zip(found, spans, indices, strict=True)):
        if not isinstance(item, np.ndarray):
            index = _wrapped(index, shape[d], k)
        if span:
            positions = positions + index * stride[d + span - 1]
        others -= set(range(d, d + span))
    rest = sorted(others)
    for e in rest:
        positions = positions[..., None] + np.arange(shape[e]) * stride[e]
    return first, last, picked, tuple(shape[e] for e in rest), positions


def _wrapped(index: np.ndarray[Any, Any], size: int, k: int) -> np.ndarray[Any, Any]:
    outside = (index < -size) | (index >= size)
    if outside.any():
        raise IndexError(
            f"index {index[outside].flat[0]} is out of bounds for dimension {k} with size {size}"
        )
    return np.where(index < 0, index + size, index)


# ---------------------------------------------------------------- writing
def setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value``.

    Parameters
    ----------
    x : Tensor
        Any shape and dtype.
    index
        As for `getitem`.
    value : Tensor or number
        Broadcast to the shape of ``x[index]``; with index tensors and masks it must have the dtype of
        ``x``, otherwise it is converted.

    Raises
    ------
    RuntimeError
        If the value does not broadcast, its dtype differs (see above), or ``x`` is a leaf that
        requires grad.
    TypeError
        If the value is neither.
    IndexError, ValueError
        As for `getitem`.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.zeros(2, 2)
    >>> x[0] = jitgrad.tensor([1.0, 2.0])
    >>> x[x == 0] = -1
    >>> x.tolist()
    [[1.0, 2.0], [-1.0, -1.0]]
    """
    if not isinstance(value, (bool, int, float)) and not _is_tensor(value):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a torch.{x.dtype.letter}Tensor"
        )
    kind = type(index)
    if kind is int:
        view, found = getitem(x, index), []
    else:
        view, found = _basic(x, index if kind is tuple else _as_tuple(index))
    if found:
        _put(x, view, _blocks(view, found), value, False)
    else:
        _copy(view, value)


def _copy(view: Tensor, value: Any) -> None:
    from jitgrad.ops.elementwise import copy_

    if _is_tensor(value):
        value = _without_ones(value, view.ndim)
    try:
        copy_(view, value)
    except RuntimeError:
        if _is_tensor(value):
            expand(value.detach(), entry.shape(view))  # raises if that is what is wrong
        raise


def _without_ones(value: Tensor, ndim: int) -> Tensor:
    """A value with more dims than where it goes, without leading sizes of 1."""
    shape = entry.shape(value)
    extra = len(shape) - ndim
    if extra > 0 and shape[:extra] == (1,) * extra:
        return reshape(value, shape[extra:])
    return value


def _value(x: Tensor, value: Any, shape: tuple[int, ...]) -> Tensor:
    """The value as a Tensor of one element or of as many as ``shape`` has, in its order."""
    if not _is_tensor(value):
        from jitgrad.creation import empty
        from jitgrad.ops.elementwise import fill_

        return fill_(empty((), dtype=x.dtype), value)
    if value.dtype is not x.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got"
            f" {x.dtype.letter} for the destination and {value.dtype.letter} for the source."
        )
    have = entry.shape(value)
    if have == shape or value.numel() == 1:
        return value
    value = _without_ones(value, len(shape))
    lead = len(shape) - value.ndim
    if lead < 0 or any(
        n not in (1, m) for n, m in zip(entry.shape(value), shape[lead:], strict=True)
    ):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {sizes(have)} cannot be broadcast to indexing"
            f" result of shape {sizes(shape)}"
        )
    return value if entry.shape(value) == shape else expand(value, shape)


def _put(x: Tensor, view: Tensor, where: _Blocks, value: Any, accumulate: bool) -> None:
    """Put a value into a view of ``x`` (or ``x`` itself)."""
    value = _value(view, value, where.shape)
    inputs = (view, where.positions, value)
    attributes = (*where.attributes, int(accumulate))
    if grad_mode() and (view.requires_grad or value.requires_grad):
        if x.requires_grad and x.is_leaf:
            what = "a leaf" if view is x else "a view of a leaf"
            raise RuntimeError(
                f"{what} Variable that requires grad is being used in an in-place operation."
            )
        new = record.explicit(INDEX_PUT, inputs, entry.shape(view), attributes)
        if view is x:
            record.rebase(x, new)
        else:
            _copy(view, new)
        return
    # What is read while the memory is written must not be that memory.
    storage = entry.word(view, col.STORAGE)
    inputs = (
        view,
        *(t.detach().clone() if entry.word(t, col.STORAGE) == storage else t for t in inputs[1:]),
    )
    record.explicit(INDEX_PUT_, inputs, (0,), attributes)


def _given(x: Tensor, indices: Sequence[Tensor | None]) -> _Blocks:
    """What index_put's tensors point at in ``x``; None leaves a dim as it is."""
    if _is_tensor(indices) or not isinstance(indices, (tuple, list)):
        raise TypeError(
            "index_put(): argument 'indices' (position 1) must be tuple of Tensors, not "
            + type(indices).__name__
        )
    found: list[_Found] = []
    d = 0
    for k, item in enumerate(indices):
        if item is None:
            d += 1
            continue
        if not _is_tensor(item):
            raise TypeError(
                f"expected Tensor as element {k} in argument 0, but got {type(item).__name__}"
            )
        if item.ndim == 0 and item.dtype is not dtypes.bool:
            item = reshape(item, 1)
        item = _index(item)
        found.append((d, item))
        d += item.ndim if isinstance(item, np.ndarray) else 1
    if d > x.ndim:
        raise _too_many(x)
    if not found:
        raise IndexError("index_put: at least one index tensor is needed")
    return _blocks(x, found)


def index_put(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """A copy of ``input`` with values where index tensors point.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    indices : tuple of Tensor
        One a dim (int64, int32) or a bool mask for several; None leaves a dim as it is.
    values : Tensor
        In the dtype of ``input``, broadcast to the shape of ``input[indices]``.
    accumulate : bool
        Add the values, so that those of equal indices add up; otherwise the last one stays.

    Raises
    ------
    RuntimeError
        If the values do not broadcast or their dtype differs.
    IndexError
        As for ``input[indices]``.

    Examples
    --------
    >>> import jitgrad
    >>> i = jitgrad.tensor([0, 0])
    >>> jitgrad.index_put(jitgrad.zeros(2), (i,), jitgrad.tensor([1.0, 2.0]), True).tolist()
    [3.0, 0.0]
    """
    where = _given(input, indices)
    if not _is_tensor(values):
        raise TypeError(
            f"index_put(): argument 'values' (position 2) must be Tensor, not {type(values).__name__}"
        )
    inputs = (input, where.positions, _value(input, values, where.shape))
    return record.explicit(
        INDEX_PUT, inputs, entry.shape(input), (*where.attributes, int(accumulate))
    )


def index_put_(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """`index_put` in place; returns ``input``."""
    _put(input, input, _given(input, indices), values, accumulate)
    return input
