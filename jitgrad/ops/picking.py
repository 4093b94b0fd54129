"""Blocks of a tensor along a dim, and elements by flat position or mask; repeat_interleave, embedding.

The kernels are in `jitgrad.kernels.blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.memory_overlap import need_apart, need_one_place_each, warn_expanded
from jitgrad.ops.operands import (
    beside,
    index_op,
    int64_index,
    is_tensor,
    nonzero_positions,
    number_like,
)
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.recipe import Gradients, Step, recipe, zeros
from jitgrad.ops.table import BY_NAME, Op, register_in_place
from jitgrad.ops.views import expand, flatten, unbind, unsqueeze, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.blocks:"


def _pick(name: str, node: str, dx: str = "index_dx") -> Op:
    return index_op(name, node, _KERNELS + "index", _KERNELS + dx)


def _put(name: str, node: str, forward: str, dx: str, dsource: str) -> Op:
    return index_op(name, node, _KERNELS + forward, _KERNELS + dx, _KERNELS + dsource)


INDEX_SELECT = _pick("index_select", "IndexSelect")
TAKE = _pick("take", "Take")
MASKED_SELECT = _pick("masked_select", "MaskedSelect")
EMBEDDING = _pick("embedding", "Embedding", "embedding_dx")
INDEX_ADD = _put("index_add", "IndexAdd", "index_add", "whole_dx", "index_add_dsource")
INDEX_FILL = _put("index_fill", "IndexFill", "index_put", "index_put_dx", "index_put_dvalues")
INDEX_COPY = _put("index_copy", "IndexCopy", "index_put", "index_put_dx", "index_put_dvalues")
INDEX_ADD_ = register_in_place(INDEX_ADD)
INDEX_FILL_ = register_in_place(INDEX_FILL, _KERNELS + "index_put_")
INDEX_COPY_ = register_in_place(INDEX_COPY, _KERNELS + "index_put_")


# ---------------------------------------------------------------- blocks along a dim
def _along(x: tuple[int, ...], d: int, n: int) -> tuple[int, ...]:
    """A, K, n, B, no negative positions: the attributes of the ops of `jitgrad.kernels.blocks`."""
    return prod(x[:d]), x[d] if x else 1, n, prod(x[d + 1 :]), 0


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The positions of a dim that ``index`` names, in its order.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    dim : int
        The dim.
    index : Tensor
        1-D (or one element), int64 or int32, not negative.

    Returns
    -------
    Tensor
        As ``input``, with the size of ``index`` along the dim.

    Raises
    ------
    IndexError
        If ``dim`` or an index is out of range, or ``index`` is no vector.
    RuntimeError
        If ``index`` is of another dtype.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.index_select(jitgrad.arange(3), 0, jitgrad.tensor([2, 2])).tolist()
    [2, 2]
    """
    x = entry.shape(input)
    d = wrap_dim(dim, len(x))
    index = int64_index(index, "index_select(): Expected dtype int32 or int64 for index")
    n = index.numel()
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if not x and n != 1:
        raise RuntimeError(
            f"index_select(): Index to scalar can have only 1 value, got {n} value(s)"
        )
    shape = (*x[:d], n, *x[d + 1 :]) if x else ()
    try:
        return record.explicit(INDEX_SELECT, (input, index), shape, _along(x, d, n))
    except IndexError:
        raise IndexError("index out of range in self") from None


def _vector(name: str, index: Tensor) -> Tensor:
    if index.ndim > 1:
        raise IndexError(
            f"{name}_(): Index is supposed to be a vector, but got dim: {index.ndim} with type:"
            f" {index.dtype.letter} and size: {sizes(entry.shape(index))}"
        )
    return int64_index(
        index,
        f"{name}_(): Expected dtype int32/int64 for index but got: {index.dtype.letter}",
    )


def _blocks_at(
    op: Op,
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    more: int | float,
    over: Op | None = None,
) -> Tensor:
    """An op that changes blocks of a dim: checks what `index_add` and `index_copy` share.

    In place with ``over``, its row for that.
    """
    x, s = entry.shape(input), entry.shape(source)
    d = wrap_dim(dim, len(x))
    index = _vector(op.name, index)
    n = index.numel()
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"{op.name}_(): self ({input.dtype.letter}) and source ({source.dtype.letter}) must have"
            " the same scalar type"
        )
    have = s[d] if d < len(s) else 1
    if (*x[:d], *x[d + 1 :]) != (*s[:d], *s[d + 1 :]):
        if have == n or len(s) == len(x):
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified"
                f" dimension. Got self.shape = {sizes(x)} source.shape = {sizes(s)}"
            )
    if have != n or len(s) != len(x):
        raise RuntimeError(
            f"{op.name}_(): Number of indices ({n}) should be equal to source.size(dim): ({have}),"
            f" for dim: {d}"
        )
    attributes = (*_along(x, d, n), more)
    try:
        if over is None:
            return record.explicit(op, (input, index, source), x, attributes)
        return _write(op, over, (input, index, source), attributes)
    except IndexError as error:
        raise RuntimeError(str(error)) from None


def _write(
    op: Op, over: Op, inputs: Sequence[Tensor], attributes: Sequence[int | float], apart: int = 3
) -> Tensor:
    """An op of this family in place; its first ``apart`` inputs may not share elements with the target."""
    x = inputs[0]
    need_apart(x, *inputs[1:apart])
    # index_add reads and writes row by row; the others go where the strides say.
    return record.explicit_(op, over, inputs, attributes, strided=over is not INDEX_ADD_)


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """A copy of ``input`` with ``alpha`` times the blocks of ``source`` added along a dim.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    dim : int
        The dim along which ``index`` counts.
    index : Tensor
        1-D, int64 or int32, not negative; equal ones add up.
    source : Tensor
        As ``input``, with the size of ``index`` along the dim.

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit, or an index is out of range.
    IndexError
        If ``dim`` is out of range or ``index`` is no vector.

    Examples
    --------
    >>> import jitgrad
    >>> i = jitgrad.tensor([1, 1])
    >>> jitgrad.index_add(jitgrad.zeros(2), 0, i, jitgrad.ones(2), alpha=3).tolist()
    [0.0, 6.0]
    """
    return _blocks_at(INDEX_ADD, input, dim, index, source, _factor(input, alpha))


def _factor(input: Tensor, alpha: Any) -> int | float:
    return float(alpha) if input.dtype.is_floating_point else int(alpha)


def index_add_(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """`index_add` in place; returns ``input``."""
    need_one_place_each(input)
    factor = _factor(input, alpha)
    return _blocks_at(INDEX_ADD, input, dim, index, source, factor, INDEX_ADD_)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the blocks of ``source`` put along a dim; else as `index_add`.

    Examples
    --------
    >>> import jitgrad
    >>> i = jitgrad.tensor([1])
    >>> jitgrad.index_copy(jitgrad.zeros(2), 0, i, jitgrad.ones(1)).tolist()
    [0.0, 1.0]
    """
    return _blocks_at(INDEX_COPY, input, dim, index, source, 0)


def index_copy_(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`index_copy` in place; returns ``input``."""
    need_one_place_each(input)
    return _blocks_at(INDEX_COPY, input, dim, index, source, 0, INDEX_COPY_)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` with one number (or 0-dim tensor) at the positions of a dim.

    Raises
    ------
    IndexError
        If ``dim`` or an index is out of range, or ``index`` is no vector.
    RuntimeError
        If ``value`` has dims, or ``index`` is of another dtype than int64 or int32.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.index_fill(jitgrad.zeros(3), 0, jitgrad.tensor([0, 2]), 7).tolist()
    [7.0, 0.0, 7.0]
    """
    inputs, attributes = _filled(input, dim, index, value)
    return record.explicit(INDEX_FILL, inputs, entry.shape(input), attributes)


def index_fill_(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`index_fill` in place; returns ``input``."""
    warn_expanded("index_fill_", input, "tensor[mask] = scalar")
    inputs, attributes = _filled(input, dim, index, value)
    return _write(INDEX_FILL, INDEX_FILL_, inputs, attributes, 2)


def _filled(
    input: Tensor, dim: int, index: Tensor, value: Any
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, ...]]:
    """The inputs of the op, and its attributes."""
    x = entry.shape(input)
    d = wrap_dim(dim, len(x))
    index = _vector("index_fill", index)
    if not is_tensor(value):
        value = number_like(input, value)
    elif value.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {value.ndim} dimension(s)."
        )
    return (input, index, value.to(input.dtype)), (*_along(x, d, index.numel()), 0)


def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of ``input``, seen as flat, in the shape of ``index`` (int64; negative ones wrap).

    Raises
    ------
    IndexError
        If an index is out of range.
    RuntimeError
        If ``index`` is not int64.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.take(jitgrad.arange(4).view(2, 2), jitgrad.tensor([3, -4])).tolist()
    [3, 0]
    """
    if index.dtype is not dtypes.int64:
        raise RuntimeError(
            f"take(): Expected a long tensor for index, but got {index.dtype.letter}"
        )
    n = input.numel()
    attributes = (1, n, index.numel(), 1, 1)
    try:
        return record.explicit(TAKE, (input, index), entry.shape(index), attributes)
    except IndexError as error:
        wrong = str(error).split()[1]
        raise IndexError(
            f"out of range: tried to access index {wrong} on a tensor of {n} elements."
        ) from None


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a matrix.

    Parameters
    ----------
    weight : Tensor
        (rows, width).
    indices : Tensor
        Any shape; int64 or int32, not negative.
    padding_idx : int
        A row that gets no gradient; -1 for none.
    scale_grad_by_freq : bool
        Divide each row's gradient by how often it was picked.
    sparse : bool
        Accepted and ignored: gradients are dense.

    Returns
    -------
    Tensor
        (\\*indices.shape, width).

    Raises
    ------
    IndexError
        If an index is out of range.
    RuntimeError
        If ``weight`` is no matrix, or ``indices`` of another dtype.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.embedding(jitgrad.eye(2), jitgrad.tensor([1, 1])).tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    w = entry.shape(weight)
    if len(w) != 2:
        raise RuntimeError("'weight' must be 2-D")
    indices = int64_index(
        indices,
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long,"
        f" Int; but got torch.{indices.dtype.letter}Tensor instead (while checking arguments for"
        " embedding)",
    )
    i = entry.shape(indices)
    attributes = (1, w[0], indices.numel(), w[1], 0, padding_idx, int(scale_grad_by_freq))
    try:
        return record.explicit(EMBEDDING, (weight, indices), (*i, w[1]), attributes)
    except IndexError:
        raise IndexError("index out of range in self") from None


# ---------------------------------------------------------------- masks
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where a bool mask is True (both broadcast), as a vector in row-major order.

    Raises
    ------
    RuntimeError
        If the mask is not bool, or the shapes do not broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0, 3.0])
    >>> jitgrad.masked_select(x, x > 1).tolist()
    [2.0, 3.0]
    """
    if mask.dtype is not dtypes.bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    x, m = entry.shape(input), entry.shape(mask)
    common = x if x == m else broadcast_shapes(m, x)
    source = input if x == common else expand(input, common)
    positions = nonzero_positions(mask if m == common else expand(mask, common))
    n = positions.numel()
    return record.explicit(MASKED_SELECT, (source, positions), (n,), (1, prod(common), n, 1, 0))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where elements are not zero: an (n, dims) int64 matrix, or a tuple of a vector for each dim.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nonzero(jitgrad.tensor([[0, 3], [4, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    x = input.detach()
    if as_tuple:
        return unbind(nonzero_positions(x if x.ndim else unsqueeze(x, 0), True), 1)
    return nonzero_positions(x, True)


def argwhere(input: Tensor) -> Tensor:
    """`nonzero` as a matrix, under NumPy's name."""
    return nonzero(input)


# ---------------------------------------------------------------- repetition of elements
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each position of a dim several times in a row.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype; seen as flat without a dim.
    repeats : int or Tensor
        How often: for all, or for each position of the dim.  Alone, ``input`` is this, and positions
        are repeated.

    Raises
    ------
    RuntimeError
        If a number is negative, or there is not one for each position.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.repeat_interleave(jitgrad.tensor([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    from jitgrad.creation import arange

    if repeats is None:
        return repeat_interleave(arange(input.shape[0], device=input.device), input)
    if dim is None:
        return repeat_interleave(flatten(input), repeats, 0)
    x = entry.shape(input)
    d = wrap_dim(dim, len(x))
    if not x:
        return repeat_interleave(unsqueeze(input, 0), repeats, 0)
    times = repeats._values() if is_tensor(repeats) else np.asarray(repeats)
    if times.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if (times < 0).any():
        given = (
            "repeats can not be negative" if is_tensor(repeats) else "Repeats must be non-negative"
        )
        raise RuntimeError(given)
    if times.ndim == 1 and times.size not in (1, x[d]):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) ="
            f" {times.size} and input.size({d}) = {x[d]}"
        )
    return index_select(input, d, beside(input, np.repeat(np.arange(x[d]), times)))


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
def _positions(step: Step) -> Tensor:
    """Positions along the picked dim, none of them negative."""
    found = step.saved(1).reshape(-1)
    if not step.integer(4):
        return found
    return record.pointwise(BY_NAME["where"], found < 0, found + step.integer(1), found)


def _added(step: Step, g: Tensor, positions: Tensor) -> Tensor:
    a, k, n, b = (step.integer(i) for i in range(4))
    base = zeros((a, k, b), g.dtype)
    return index_add(base, 1, positions, g.reshape(a, n, b)).reshape(step.input_shape(0))


def _picked(step: Step, g: Tensor) -> Tensor:
    a, k, n, b = (step.integer(i) for i in range(4))
    found = index_select(g.reshape(a, k, b), 1, _positions(step))
    shape = step.input_shape(2)
    # One element that was put everywhere gets the sum.
    return found.sum().reshape(shape) if prod(shape) == 1 else found.reshape(shape)


@recipe(INDEX_SELECT, TAKE, MASKED_SELECT)
def index_recipe(step: Step, g: Tensor) -> Gradients:
    """The gradient goes back to where it was picked."""
    return (_added(step, g, _positions(step)), None)


@recipe(EMBEDDING)
def _embedding_recipe(step: Step, g: Tensor) -> Gradients:
    positions = _positions(step)
    k, n, b = step.integer(1), step.integer(2), step.integer(3)
    padding, by_frequency = step.integer(5), step.integer(6)
    rows = g.reshape(n, b)
    if by_frequency:
        ones = zeros((n,), g.dtype) + 1
        counts = index_add(zeros((k,), g.dtype), 0, positions, ones)
        rows = rows / index_select(counts, 0, positions).unsqueeze(1)
    if padding >= 0:
        rows = rows.masked_fill((positions == padding).unsqueeze(1), 0.0)
    return (index_add(zeros((k, b), g.dtype), 0, positions, rows), None)


@recipe(INDEX_ADD, INDEX_ADD_)
def _index_add_recipe(step: Step, g: Tensor) -> Gradients:
    source = _picked(step, g) * step.real(5) if step.wants(2) else None
    return (g, None, source)


@recipe(INDEX_FILL, INDEX_FILL_, INDEX_COPY, INDEX_COPY_)
def put_recipe(step: Step, g: Tensor) -> Gradients:
    """Where something was put (and not added), the old value gets no gradient, and what was put gets it."""
    x = None
    if step.wants(0):
        a, k, b = step.integer(0), step.integer(1), step.integer(3)
        added = bool(step.integer(5))
        x = g if added else index_fill(g.reshape(a, k, b), 1, _positions(step), 0.0)
        x = x.reshape(step.input_shape(0))
    return (x, None, _picked(step, g) if step.wants(2) else None)
