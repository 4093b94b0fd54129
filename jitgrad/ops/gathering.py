"""Elements by an index tensor along one dim: gather, scatter, scatter_add, take_along_dim.

The kernels are in `jitgrad.kernels.indexing`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.operands import in_place, index_op, int64_index, is_tensor, number_like
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.recipe import EMBED, Gradients, Step, recipe, zeros
from jitgrad.ops.table import Op
from jitgrad.ops.views import expand, reshape, wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.indexing:"
GATHER = index_op("gather", "Gather", _KERNELS + "gather", _KERNELS + "gather_dx")
SCATTER = index_op(
    "scatter", "Scatter", _KERNELS + "scatter", _KERNELS + "scatter_dx", _KERNELS + "scatter_dsrc"
)
SCATTER_VALUE = index_op("scatter_value", "Scatter1", _KERNELS + "scatter", _KERNELS + "scatter_dx")
SCATTER_ADD = index_op(
    "scatter_add",
    "ScatterAdd",
    _KERNELS + "scatter_add",
    "jitgrad.kernels.blocks:whole_dx",
    _KERNELS + "scatter_dsrc",
)


def _same_dims(x: tuple[int, ...], index: tuple[int, ...], what: str) -> None:
    """PyTorch takes a tensor without dims for one of shape [1]."""
    if max(len(x), 1) != max(len(index), 1):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
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
    index = int64_index(index, "gather(): Expected dtype int32/int64 for index")
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


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
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
    wide_x = (*common[:d], *x[d : d + 1], *common[d + 1 :])
    wide_i = (*common[:d], *i[d : d + 1], *common[d + 1 :])
    return gather(
        input if wide_x == x else expand(input, wide_x),
        d,
        indices if wide_i == i else expand(indices, wide_i),
    )


def _scattered(op: Op, input: Tensor, dim: int, index: Tensor, src: Tensor, number: bool) -> Tensor:
    x, i, s = entry.shape(input), entry.shape(index), entry.shape(src)
    d = wrap_dim(dim, len(x))
    index = int64_index(index, "scatter(): Expected dtype int32/int64 for index")
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
    source = value if src is None else src
    if source is None:
        raise TypeError('scatter() missing 1 required argument: "src"')
    number = not is_tensor(source)
    if number:
        source = number_like(input, source)
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
    if not is_tensor(src):
        raise TypeError(
            f"scatter_add(): argument 'src' (position 3) must be Tensor, not {type(src).__name__}"
        )
    return _scattered(SCATTER_ADD, input, dim, index, src, False)


scatter_ = in_place(scatter, apart=True)
scatter_add_ = in_place(scatter_add, apart=True)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
@recipe(GATHER)
def _gather_recipe(step: Step, g: Tensor) -> Gradients:
    base = zeros(step.input_shape(0), g.dtype)
    return (scatter_add(base, step.integer(0), step.saved(1), g), None)


@recipe(SCATTER, SCATTER_VALUE)
def _scatter_recipe(step: Step, g: Tensor) -> Gradients:
    d, index = step.integer(0), step.saved(1)
    return (scatter(g, d, index, 0.0) if step.wants(0) else None, None, _of_source(step, g))


@recipe(SCATTER_ADD)
def _scatter_add_recipe(step: Step, g: Tensor) -> Gradients:
    return (g, None, _of_source(step, g))


def _of_source(step: Step, g: Tensor) -> Tensor | None:
    """The gradient of what was scattered, of which places beyond the index were not read."""
    if step.op is SCATTER_VALUE or not step.wants(2):
        return None
    picked = gather(g, step.integer(0), step.saved(1))
    shape, have = step.input_shape(2), entry.shape(picked)
    if have == shape:
        return picked
    if 0 in have:
        return zeros(shape, g.dtype)
    strides = [prod(shape[d + 1 :]) for d in range(len(shape))]
    strides += [0] * (col.MAX_DIMS - len(strides))
    return record.explicit(EMBED, (picked,), shape, (*strides, 0))
