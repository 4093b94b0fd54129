"""``x[index]`` and ``x[index] = value`` in every form of NumPy and PyTorch.

Integers, slices, None and Ellipsis make views.  What remains, masks and index tensors, is one op on what
the views show (`jitgrad.ops.subscripts` sorts that out).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.gathering import (
    gather,
    scatter,
    scatter_,
    scatter_add,
    scatter_add_,
    take_along_dim,
)
from jitgrad.ops.memory_overlap import need_apart, warn_expanded
from jitgrad.ops.operands import copy_into, in_place, is_tensor, number_like
from jitgrad.ops.picking import (
    argwhere,
    embedding,
    index_add,
    index_add_,
    index_copy,
    index_copy_,
    index_fill,
    index_fill_,
    index_recipe,
    index_select,
    masked_select,
    nonzero,
    put_recipe,
    repeat_interleave,
    take,
)
from jitgrad.ops.recipe import recipe
from jitgrad.ops.subscripts import Found, blocks, parse, sliced, tensor_index, too_many
from jitgrad.ops.table import KERNEL, Op, register, register_in_place
from jitgrad.ops.views import ALIAS, SELECT, expand, reshape

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
INDEX_PUT_ = register_in_place(INDEX_PUT, _KERNELS + "index_put_")
recipe(INDEX)(index_recipe)
recipe(INDEX_PUT, INDEX_PUT_)(put_recipe)

_SELECT, _INT64 = SELECT.number, dtypes.int64.code
_NO_DIMS = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to"
    " convert a 0-dim tensor to a number"
)


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
            if entry.word(x, col.NDIM) == 0:
                raise IndexError(_NO_DIMS) from None
            return record.view(SELECT, x, 0, index)
    if kind is slice:
        return sliced(x, 0, index)
    if kind is tuple:
        if len(index) == 2 and type(index[0]) is int and type(index[1]) is int:
            try:
                return entry.view(_SELECT, entry.view(_SELECT, x, 0, index[0]), 0, index[1])
            except Fault:
                pass  # `parse` knows what to say
    elif is_tensor(index) and entry.word(index, col.DTYPE) == _INT64:
        # One tensor for the first dim: minibatches, tables.
        shape, picked = entry.shape(x), entry.shape(index)
        if shape and picked:
            block = shape[1:]
            attributes = (1, shape[0], entry.word(index, col.NUMEL), prod(block), 1)
            return record.explicit(INDEX, (x, index), picked + block, attributes)
    view, found = parse(x, index)
    if found:
        where = blocks(view, found)
        return record.explicit(INDEX, (view, where.positions), where.shape, where.attributes)
    return record.view(ALIAS, x) if view is x else view


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
    if not isinstance(value, (bool, int, float)) and not is_tensor(value):
        kind = type(value)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        raise TypeError(f"can't assign a {name} to a torch.{x.dtype.letter}Tensor")
    if type(index) is int:
        _fill(getitem(x, index), value)
        return
    view, found = parse(x, index)
    if found:
        _put(view, found, value, False)
    else:
        _fill(view, value)


def _fill(view: Tensor, value: Any) -> None:
    """Copy a value into a tensor."""
    if is_tensor(value):
        value = _without_ones(value, view.ndim)
    try:
        copy_into(view, value)
    except RuntimeError:
        if is_tensor(value):
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
    if not is_tensor(value):
        return number_like(x, value)
    if value.dtype is not x.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got"
            f" {x.dtype.letter} for the destination and {value.dtype.letter} for the source."
        )
    have = entry.shape(value)
    if not have and x.is_cuda:
        # A tensor of the CPU without dims counts as a number.
        value = value.to(x.device)
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


def _put(view: Tensor, found: list[Found], value: Any, accumulate: bool) -> None:
    """Put a value where index tensors point in a tensor."""
    where = blocks(view, found)
    value = _value(view, value, where.shape)
    warn_expanded("index_put_", view, "tensor[indices] = tensor")
    positions = where.positions
    memory = entry.memory(view)
    if memory in [entry.memory(t) for t in (value, *(item.tensor for item in found))]:
        if accumulate or value.numel() != 1 or len(found) != 1 or not found[0].mask:
            # The other case is masked_fill_ in PyTorch, which reads the one value beforehand.
            need_apart(view, value, *(item.tensor for item in found))
        # What may share memory all the same, with gaps, would be read while it is written.
        positions, value = positions.clone(), value.clone()
    attributes = (*where.attributes, int(accumulate))
    record.explicit_(INDEX_PUT, INDEX_PUT_, (view, positions, value), attributes, strided=True)


def _given(x: Tensor, indices: Sequence[Tensor | None]) -> list[Found]:
    """Where index_put's tensors point in ``x``; None leaves a dim as it is."""
    if not isinstance(indices, (tuple, list)):
        raise TypeError(
            "index_put(): argument 'indices' (position 1) must be tuple of Tensors, not "
            + type(indices).__name__
        )
    found: list[Found] = []
    d = 0
    for k, item in enumerate(indices):
        if item is None:
            d += 1
            continue
        if not is_tensor(item):
            raise TypeError(
                f"expected Tensor as element {k} in argument 0, but got {type(item).__name__}"
            )
        if item.ndim == 0 and item.dtype is not dtypes.bool:
            item = reshape(item, 1)
        item = tensor_index(item)
        mask = item.dtype is dtypes.bool
        span = item.ndim if mask else 1
        found.append(Found(d, span, item, mask))
        d += span
    if d > x.ndim:
        raise too_many(x)
    if not found:
        raise IndexError("index_put: at least one index tensor is needed")
    return found


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
    >>> jitgrad.zeros(2).index_put((i,), jitgrad.tensor([1.0, 2.0]), accumulate=True).tolist()
    [3.0, 0.0]
    """
    where = blocks(input, _given(input, indices))
    if not is_tensor(values):
        raise TypeError(
            f"index_put(): argument 'values' (position 2) must be Tensor, not {type(values).__name__}"
        )
    inputs = (input, where.positions, _value(input, values, where.shape))
    attributes = (*where.attributes, int(accumulate))
    return record.explicit(INDEX_PUT, inputs, entry.shape(input), attributes)


def index_put_(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """`index_put` in place; returns ``input``."""
    _put(input, _given(input, indices), values, accumulate)
    return input


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """``input`` with the elements of ``source`` where ``index`` points among all its elements.

    Parameters
    ----------
    input : Tensor
    index : Tensor
        int64; positions as in the flattened ``input``, negative ones from its end.
    source : Tensor
        As many elements as ``index``, in the dtype of ``input``.
    accumulate : bool
        Add them instead.

    Raises
    ------
    RuntimeError
        If the numbers of elements or the dtypes differ.
    IndexError
        If a position is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.zeros(2, 2)
    >>> jitgrad.put(x, jitgrad.tensor([1, -1]), jitgrad.tensor([5.0, 7.0])).tolist()
    [[0.0, 5.0], [0.0, 7.0]]
    """
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got"
            f" source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    flat = index_put(input.reshape(-1), (index.reshape(-1),), source.reshape(-1), accumulate)
    return flat.reshape(input.shape)


put_ = in_place(put, apart=True)
