"""Picking and placing elements by index tensors: gather, scatter, index_select, take, embedding.

The kernels are in `jitgrad.kernels.blocks` (whole blocks along a dim) and `jitgrad.kernels.indexing`
(one element an index).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import expand, flatten, reshape, unsqueeze, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_BLOCKS = "jitgrad.kernels.blocks:"
_PLACES = "jitgrad.kernels.indexing:"


def _op(
    name: str, node: str, module: str, forward: str, dx: str, dsource: str | None = None
) -> Op:
    """An op on (input, index) or (input, index, source), whose gradients read the index."""
    vjps: tuple[str | None, ...] = (module + dx, None)
    needs: tuple[int, ...] = (0 if dx == "whole_dx" else 2, 0)
    if dsource is not None:
        vjps, needs = (*vjps, module + dsource), (*needs, 2)
    return register(Op(name, node, KERNEL, len(vjps), module + forward, vjps, needs))


INDEX_SELECT = _op("index_select", "IndexSelect", _BLOCKS, "index", "index_dx")
TAKE = _op("take", "Take", _BLOCKS, "index", "index_dx")
MASKED_SELECT = _op("masked_select", "MaskedSelect", _BLOCKS, "index", "index_dx")
EMBEDDING = _op("embedding", "Embedding", _BLOCKS, "index", "embedding_dx")
INDEX_ADD = _op("index_add", "IndexAdd", _BLOCKS, "index_add", "whole_dx", "index_add_dsource")
INDEX_FILL = _op(
    "index_fill", "IndexFill", _BLOCKS, "index_put", "index_put_dx", "index_put_dvalues"
)
INDEX_COPY = _op(
    "index_copy", "IndexCopy", _BLOCKS, "index_put", "index_put_dx", "index_put_dvalues"
)
GATHER = _op("gather", "Gather", _PLACES, "gather", "gather_dx")
SCATTER = _op("scatter", "Scatter", _PLACES, "scatter", "scatter_dx", "scatter_dsrc")
SCATTER_VALUE = _op("scatter_value", "Scatter1", _PLACES, "scatter", "scatter_dx")
SCATTER_ADD = _op("scatter_add", "ScatterAdd", _PLACES, "scatter_add", "whole_dx", "scatter_dsrc")


def _int64(index: Tensor, error: str) -> Tensor:
    """An index as int64; raises RuntimeError for other dtypes than int32 and int64."""
    code = entry.word(index, col.DTYPE)
    if code == dtypes.int64.code:
        return index
    if code != dtypes.int32.code:
        raise RuntimeError(error)
    return index.to(dtypes.int64)


def _assign(x: Tensor, new: Tensor) -> Tensor:
    """Have ``x`` take over the value of ``new``, with its history if it has one."""
    if new.requires_grad:
        if x.is_leaf and x.requires_grad:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        return record.rebase(x, new)
    from jitgrad.ops.elementwise import copy_

    return copy_(x, new)


def _inplace(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _assign(input, function(input, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"`{function.__name__}` in place; returns ``input``."
    return method


def _number(x: Tensor, value: Any) -> Tensor:
    """A number as a tensor without dims, in the dtype of ``x``."""
    from jitgrad.creation import empty
    from jitgrad.ops.elementwise import fill_

    return fill_(empty((), dtype=x.dtype), value)


# ---------------------------------------------------------------- one element an index
def _same_dims(x: tuple[int, ...], index: tuple[int, ...], what: str) -> None:
    """PyTorch takes a tensor without dims for one of shape [1]."""
    if max(len(x), 1) != max(len(index), 1):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")


def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: None = None
) -> Tensor:
    """For each place of ``index``, the element of ``input`` that it names along a dim.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    dim : int
        The dim along which ``index`` counts.
    index : Tensor
        int64 or int32, not negative; as many dims as ``input``, and but for ``dim`` not larger.

    Returns
    -------
    Tensor
        Of the shape of ``index``.

    Raises
    ------
    RuntimeError
        If the shapes or the dtype do not fit, or an index is out of range.
    IndexError
        If ``dim`` is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> jitgrad.gather(x, 1, jitgrad.tensor([[1], [0]])).tolist()
    [[2.0], [3.0]]
    """
    x, i = entry.shape(input), entry.shape(index)
    d = wrap_dim(dim, len(x))
    index = _int64(index, "gather(): Expected dtype int32/int64 for index")
    if 0 not in i:
        _same_dims(x, i, "input")
        for e, (n, m) in enumerate(zip(i, x, strict=False)):
            if n > m and e != d:
                raise RuntimeError(
                    f"Size does not match at dimension {e} expected index {sizes(i)} to be no larger"
                    f" than self {sizes(x)} apart from dimension {d}"
                )
    try:
        return record.explicit(GATHER, (input, index), i, (d,))
    except IndexError as error:
        raise RuntimeError(str(error)) from None


def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: None = None
) -> Tensor:
    """`gather` with ``input`` and ``indices`` broadcast in the other dims; flat without a dim.

    Raises
    ------
    RuntimeError
        If the numbers of dims differ, sizes do not broadcast, or an index is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[3.0, 1.0], [2.0, 4.0]])
    >>> jitgrad.take_along_dim(x, x.argmax(1, keepdim=True), 1).tolist()
    [[3.0], [4.0]]
    """
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    x, i = entry.shape(input), entry.shape(indices)
    if len(x) != len(i):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions,"
            f" but got {len(x)} dimensions for input, and {len(i)} dimensions for indices"
        )
    d = wrap_dim(dim, len(x))
    common = broadcast_shapes((*x[:d], 1, *x[d + 1 :]), (*i[:d], 1, *i[d + 1 :]))
    wide_x, wide_i = (*common[:d], *x[d : d + 1], *common[d + 1 :]), None
    wide_i = (*common[:d], *i[d : d + 1], *common[d + 1 :])
    input = input if wide_x == x else expand(input, wide_x)
    indices = indices if wide_i == i else expand(indices, wide_i)
    return gather(input, d, indices)


def _scattered(
    op: Op, input: Tensor, dim: int, index: Tensor, src: Tensor, number: bool
) -> Tensor:
    x, i, s = entry.shape(input), entry.shape(index), entry.shape(src)
    d = wrap_dim(dim, len(x))
    index = _int64(index, "scatter(): Expected dtype int32/int64 for index")
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if 0 not in i:
        _same_dims(x, i, "self")
        if not number:
            _same_dims(s, i, "src")
        fits = all(n <= m or e == d for e, (n, m) in enumerate(zip(i, x, strict=False)))
        if not number:
            fits = fits and all(n <= m for n, m in zip(i or (1,), s or (1,), strict=True))
        if not fits:
            raise RuntimeError(
                f"Expected index {sizes(i)} to be no larger than self {sizes(x)} apart from dimension"
                f" {d}" + ("" if number else f" and to be no larger size than src {sizes(s)}")
            )
    try:
        return record.explicit(op, (input, index, src), x, (d,))
    except IndexError as error:
        raise RuntimeError(str(error)) from None


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """A copy of ``input`` with elements of ``src`` put where ``index`` names along a dim.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype.
    dim : int
        The dim along which ``index`` counts.
    index : Tensor
        int64 or int32, not negative; as many dims as ``input``, and but for ``dim`` not larger.
    src : Tensor or number
        In the dtype of ``input``, in no dim smaller than ``index``; a number (or ``value``) for all.
        Where indices meet, one of the elements stays; each of them gets the gradient.
    reduce : "add", optional
        Add instead (PyTorch prefers `scatter_add`).

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit, or an index is out of range.
    IndexError
        If ``dim`` is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.scatter(jitgrad.zeros(3), 0, jitgrad.tensor([2, 0]), 5.0).tolist()
    [5.0, 0.0, 5.0]
    """
    from jitgrad.tensor import Tensor

    source = value if src is None else src
    if source is None:
        raise TypeError('scatter() missing 1 required argument: "src"')
    number = not isinstance(source, Tensor)
    if number:
        source = _number(input, source)
    if reduce is None:
        return _scattered(SCATTER_VALUE if number else SCATTER, input, dim, index, source, number)
    if reduce != "add":
        raise NotImplementedError(f"scatter(reduce={reduce!r}): only 'add' is there")
    return _scattered(SCATTER_ADD, input, dim, index, source, number)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``input`` with elements of ``src`` added where ``index`` names along a dim.

    Parameters and errors as for `scatter`; where indices meet, the elements add up.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.scatter_add(jitgrad.zeros(2), 0, jitgrad.tensor([1, 1]), jitgrad.ones(2)).tolist()
    [0.0, 2.0]
    """
    from jitgrad.tensor import Tensor

    if not isinstance(src, Tensor):
        raise TypeError(
            f"scatter_add(): argument 'src' (position 3) must be Tensor, not {type(src).__name__}"
        )
    return _scattered(SCATTER_ADD, input, dim, index, src, False)


# ---------------------------------------------------------------- blocks along a dim
def _along(x: tuple[int, ...], d: int, n: int) -> tuple[int, ...]:
    """A, K, n, B, no negative positions: the attributes of the ops of `jitgrad.kernels.blocks`."""
    return prod(x[:d]), x[d] if x else 1, n, prod(x[d + 1 :]), 0


def index_select(input: Tensor, dim: int, index: Tensor, *, out: None = None) -> Tensor:
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
    index = _int64(index, "index_select(): Expected dtype int32 or int64 for index")
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
    return _int64(
        index,
        f"{name}_(): Expected dtype int32/int64 for index but got: {index.dtype.letter}",
    )


def _blocks_at(
    op: Op, input: Tensor, dim: int, index: Tensor, source: Tensor, more: int | float
) -> Tensor:
    """An op that changes blocks of a dim: checks what `index_add` and `index_copy` share."""
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
    try:
        return record.explicit(op, (input, index, source), x, (*_along(x, d, n), more))
    except IndexError as error:
        raise RuntimeError(str(error)) from None


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1, out: None = None
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
    factor = float(alpha) if input.dtype.is_floating_point else int(alpha)
    return _blocks_at(INDEX_ADD, input, dim, index, source, factor)


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
    from jitgrad.tensor import Tensor

    x = entry.shape(input)
    d = wrap_dim(dim, len(x))
    index = _vector("index_fill", index)
    if not isinstance(value, Tensor):
        value = _number(input, value)
    elif value.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {value.ndim} dimension(s)."
        )
    inputs = (input, index, value.to(input.dtype))
    return record.explicit(INDEX_FILL, inputs, x, (*_along(x, d, index.numel()), 0))


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
    indices = _int64(
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
def masked_select(input: Tensor, mask: Tensor, *, out: None = None) -> Tensor:
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
    if x != m:
        common = broadcast_shapes(x, m)
        input = input if x == common else expand(input, common)
        mask = mask if m == common else expand(mask, common)
    positions = _from_numpy(np.flatnonzero(mask._array()))
    n = positions.numel()
    attributes = (1, input.numel(), n, 1, 0)
    return record.explicit(MASKED_SELECT, (input, positions), (n,), attributes)


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    from jitgrad.creation import from_numpy

    return from_numpy(array)


def nonzero(input: Tensor, *, as_tuple: bool = False, out: None = None) -> Any:
    """Where elements are not zero: an (n, dims) int64 matrix, or a tuple of a vector for each dim.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nonzero(jitgrad.tensor([[0, 3], [4, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    array = input.detach()._array()
    if as_tuple:
        return tuple(_from_numpy(i) for i in np.atleast_1d(array).nonzero())
    return _from_numpy(np.ascontiguousarray(np.argwhere(array)))


def argwhere(input: Tensor) -> Tensor:
    """`nonzero` as a matrix, under NumPy's name."""
    return nonzero(input)


# ---------------------------------------------------------------- repetition of elements
def repeat_interleave(
    input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each position of a dim several times in a row.

    Parameters
    ----------
    input : Tensor
        Any shape and dtype; seen as flat without a dim.
    repeats : int or Tensor
        How often: for all, or for each position of the dim.

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
    from jitgrad.tensor import Tensor

    if dim is None:
        input, dim = flatten(input), 0
    x = entry.shape(input)
    d = wrap_dim(dim, len(x))
    if not x:
        return repeat_interleave(unsqueeze(input, 0), repeats, 0)
    times = repeats._array() if isinstance(repeats, Tensor) else np.asarray(repeats)
    if times.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if (times < 0).any():
        raise RuntimeError("Repeats must be non-negative")
    if times.ndim == 1 and times.size not in (1, x[d]):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) ="
            f" {times.size} and input.size({d}) = {x[d]}"
        )
    return index_select(input, d, _from_numpy(np.repeat(np.arange(x[d]), times)))


scatter_ = _inplace(scatter)
scatter_add_ = _inplace(scatter_add)
index_add_ = _inplace(index_add)
index_copy_ = _inplace(index_copy)
index_fill_ = _inplace(index_fill)
