"""Ops along dims: reductions, softmax, running sums; their kernels are in `jitgrad.kernels`:
`sums`, `extremes`, `spreads` and `softmaxes`.

A gradient is either a formula in ``g``, ``x``, ``y`` (broadcast along the lanes) and ``n``, the number of
elements of a lane, or the name of a kernel.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes, return_types
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header
from jitgrad.errors import sizes
from jitgrad.kernels import formula
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, along, lane_dims, lane_size, recipe, zeros
from jitgrad.ops.shortcuts import F, shortcut
from jitgrad.ops.table import KERNEL, LANES, Op, register
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Dims = int | Sequence[int] | None

_KERNELS = "jitgrad.kernels."
_BITS = {
    "same_shape": col.OB_SAME_SHAPE,
    "not_empty": col.OB_NOT_EMPTY,
    "no_int": col.OB_NO_INT | col.OB_NO_BOOL,
}


def lanes(
    name: str,
    node: str,
    kernel: str,
    dx: str | None = None,
    *,
    dx_kernel: str | None = None,
    reads: str = "",
    rule: str = "first",
    only: str = "",
    dims_node: str = "",
) -> Op:
    """Add an op along dims, with its gradient as a formula or as a kernel that ``reads`` x, y or both.

    ``kernel`` is "file:function" in `jitgrad.kernels`; the gradient's stands in the same file.
    """
    used = formula.names(dx) if dx else set(reads)
    needs = (1 if "x" in used else 0) | (col.SAVED_OUT if "y" in used else 0)
    bits = reduce(or_, (_BITS[b] for b in only.split()), 0) | (col.OB_FORMULA if dx else 0)
    file = kernel.partition(":")[0]
    vjp = dx or (f"{_KERNELS}{file}:{dx_kernel}" if dx_kernel else None)
    return register(
        Op(
            name,
            node,
            LANES,
            1,
            _KERNELS + kernel,
            (vjp,),
            (needs,),
            rule,
            bits=bits,
            aliases=1 if dx == "g" else 0,
            dims_node=dims_node,
        )
    )


SUM = lanes("sum", "Sum", "sums:sum_", "g", rule="sum", dims_node="Sum1")
MEAN = lanes("mean", "Mean", "sums:sum_", "g / n", only="no_int", dims_node="Mean1")
PROD = lanes(
    "prod", "Prod", "sums:prod", dx_kernel="prod_dx", reads="x", rule="sum", dims_node="Prod1"
)
AMAX = lanes("amax", "Amax", "extremes:amax", dx_kernel="extreme_dx", reads="xy", only="not_empty")
AMIN = lanes("amin", "Amin", "extremes:amin", dx_kernel="extreme_dx", reads="xy", only="not_empty")
MAX = lanes("max", "Max1", "extremes:amax", dx_kernel="extreme_dx", reads="xy", only="not_empty")
MIN = lanes("min", "Min1", "extremes:amin", dx_kernel="extreme_dx", reads="xy", only="not_empty")
ARGMAX = lanes("argmax", "Argmax", "extremes:argmax", rule="index", only="not_empty")
ARGMIN = lanes("argmin", "Argmin", "extremes:argmin", rule="index", only="not_empty")
ALL = lanes("all", "All", "sums:all_", rule="truth")
ANY = lanes("any", "Any", "sums:any_", rule="truth")
VAR = lanes("var", "Var", "spreads:var", dx_kernel="var_dx", reads="xy", only="no_int")
STD = lanes("std", "Std", "spreads:var", dx_kernel="var_dx", reads="xy", only="no_int")
NORM = lanes(
    "norm", "LinalgVectorNorm", "spreads:norm", dx_kernel="norm_dx", reads="xy", only="no_int"
)
LOGSUMEXP = lanes("logsumexp", "Logsumexp", "softmaxes:logsumexp", "g * exp(x - y)", only="no_int")
SOFTMAX = lanes(
    "softmax",
    "Softmax",
    "softmaxes:softmax",
    dx_kernel="softmax_dx",
    reads="y",
    only="no_int same_shape",
)
LOG_SOFTMAX = lanes(
    "log_softmax",
    "LogSoftmax",
    "softmaxes:log_softmax",
    dx_kernel="log_softmax_dx",
    reads="y",
    only="no_int same_shape",
)
CUMSUM = lanes(
    "cumsum", "Cumsum", "sums:cumsum", dx_kernel="cumsum_dx", rule="sum", only="same_shape"
)

# The values that max(dim) and min(dim) return: where the positions point.
TAKE_EXTREME = {
    name: register(
        Op(
            f"{name}_dim",
            node,
            KERNEL,
            2,
            "jitgrad.kernels.indexing:gather",
            ("jitgrad.kernels.indexing:gather_dx", None),
            (2, 0),
        )
    )
    for name, node in (("max", "Max"), ("min", "Min"))
}


def _over_lanes(op: Op, keepdim: str = "keepdim", attributes: str = "") -> Callable[[F], F]:
    """Shortcuts of a reduction over everything and over one dim."""
    over_all = ("dim is None", f"entry.lanes(number, input, 0, 0, {keepdim}{attributes})")
    over_one = (
        "type(dim) is int",
        f"entry.lanes(number, input, 1, dim, 2 | {keepdim}{attributes})",
    )
    ways = [(f"dtype is None and {c}", call) for c, call in (over_all, over_one)]
    return shortcut(*ways, entry=entry, number=op.number)


def _floating(x: Tensor, dtype: dtypes.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


@_over_lanes(SUM, attributes=", 0")
def sum(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Sum over all elements or over dims; integers and bools are summed in int64.

    float32 is summed in float64, so 10^7 terms lose nothing.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.sum(jitgrad.tensor([[1, 2], [3, 4]]), 0).tolist()
    [4, 6]
    """
    if dtype is not None:
        input = input.to(dtype)
    return record.lanes(SUM, input, dim, keepdim, 0)


@_over_lanes(MEAN, attributes=", 1")
def mean(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Mean over all elements or over dims; floating point only.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.mean(jitgrad.tensor([1.0, 4.0])).item()
    2.5
    """
    return record.lanes(MEAN, _floating(input, dtype), dim, keepdim, 1)


def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Product over all elements or over one dim; its gradient is right at zeros."""
    return record.lanes(PROD, _floating(input, dtype), dim, keepdim)


def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """Largest element over dims; equal ones share the gradient evenly."""
    _need_elements("amax", input, dim)
    return record.lanes(AMAX, input, dim, keepdim)


def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """Smallest element over dims; equal ones share the gradient evenly."""
    _need_elements("amin", input, dim)
    return record.lanes(AMIN, input, dim, keepdim)


def _need_elements(name: str, input: Tensor, dim: Any) -> None:
    if (dim is None or dim == ()) and input.numel() == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            " Specify the reduction dim with the 'dim' argument."
        )


def _extreme(
    name: str, whole: Op, where: Op, pair: str, input: Tensor, dim: Any, keepdim: bool
) -> Any:
    if dim is None:
        _need_elements(name, input, None)
        return record.lanes(whole, input)
    from jitgrad.tensor import Tensor

    if isinstance(dim, Tensor):
        from jitgrad.ops import elementwise

        return getattr(elementwise, pair)(input, dim)
    d = wrap_dim(dim, input.ndim)
    if input.ndim == 0:
        indices = record.lanes(where, input)
        return return_types.extremes(name, record.lanes(whole, input), indices)
    if input.shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    indices = record.lanes(where, input.detach(), d, True)
    values = record.explicit(TAKE_EXTREME[name], (input, indices), indices.shape, (d,))
    if not keepdim:
        values, indices = values.squeeze(d), indices.squeeze(d)
        # Not the user's op: the node is that of the maximum.
        entry.flag(values, col.F_IMPLICIT, 1)
    return return_types.extremes(name, values, indices)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Largest element: of all, along a dim (with its position), or of two tensors elementwise.

    Of equal elements along a dim the first is returned and gets the gradient; over all elements they
    share it.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.max(jitgrad.tensor([[1.0, 5.0], [7.0, 2.0]]), 1).indices.tolist()
    [1, 0]
    """
    return _extreme("max", MAX, ARGMAX, "maximum", input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Smallest element, as `max`."""
    return _extreme("min", MIN, ARGMIN, "minimum", input, dim, keepdim)


def _arg(name: str, op: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is None and input.numel() == 0:
        raise IndexError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
        )
    if dim is None and input.ndim != 1:
        flat = input.detach().reshape(-1)
        found = record.lanes(op, flat)
        return found.reshape((1,) * input.ndim) if keepdim else found
    return record.lanes(op, input.detach(), dim, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the first largest element, of all (flattened) or along a dim."""
    return _arg("argmax", ARGMAX, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the first smallest element, of all (flattened) or along a dim."""
    return _arg("argmin", ARGMIN, input, dim, keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether no element is zero, of all or along dims."""
    return record.lanes(ALL, input, dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element is not zero, of all or along dims."""
    return record.lanes(ANY, input, dim, keepdim)


def lane_length(x: Tensor, dim: Any) -> int:
    """How many elements a reduction over dims takes together; dims that are wrong count as long ones."""
    if dim is None or dim == () or dim == []:
        return x.numel()
    shape, n = entry.shape(x), 1
    for d in (dim,) if isinstance(dim, int) else dim:
        if not -len(shape) <= d < len(shape):
            return 1 if not shape else 1 << 62
        n *= shape[d]
    return n


def _spread(
    op: Op,
    root: int,
    input: Tensor,
    dim: Any,
    unbiased: bool | None,
    correction: float | None,
    keepdim: bool,
) -> Tensor:
    if isinstance(dim, bool):
        # var(x, unbiased): PyTorch's older signature.
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise TypeError(f"{op.name}(): give either unbiased or correction, not both")
    if lane_length(input, dim) <= correction:
        warnings.warn(
            f"{op.name}(): degrees of freedom is <= 0. Correction should be strictly less than the"
            " reduction factor (input numel divided by output numel).",
            UserWarning,
            stacklevel=4,
        )
    return record.lanes(op, input, dim, keepdim, float(correction), root)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over all elements or dims, divided by ``n - correction`` (1 unless told).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.var(jitgrad.tensor([1.0, 3.0])).item()
    2.0
    """
    return _spread(VAR, 0, input, dim, unbiased, correction, keepdim)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation, the root of `var`."""
    return _spread(STD, 1, input, dim, unbiased, correction, keepdim)


def norm(
    input: Tensor,
    p: float | str | None = 2,
    dim: Dims = None,
    keepdim: bool = False,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Vector ``p``-norm over all elements or dims; its gradient where the norm is 0 is 0."""
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(
            f"norm(): there are no matrix norms here but the Frobenius norm, got p={p!r}"
        )
    order = 2.0 if p is None or p == "fro" else float(p)
    if order < 0 or order == math.inf:
        names = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
        if 0 in [input.shape[d] for d in names]:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {order} norm on an empty dimension"
                f" (shape {sizes(input.shape)})"
            )
    return record.lanes(NORM, _floating(input, dtype), dim, keepdim, order)


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` along dims, without overflow."""
    if dim is None:
        raise TypeError(
            "logsumexp(): argument 'dim' (position 2) must be tuple of ints, not NoneType"
        )
    x = input if input.dtype.is_floating_point else input.to(default_dtype())
    return record.lanes(LOGSUMEXP, x, dim, keepdim)


def default_dtype() -> dtypes.dtype:
    """The dtype that Python floats become."""
    return dtypes.ALL[header.item(col.H_DEFAULT_DTYPE)]


def _soft(op: Op, input: Tensor, dim: int | None, dtype: dtypes.dtype | None) -> Tensor:
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {op.name} has been deprecated. Change the call to include"
            " dim=X as an argument.",
            stacklevel=3,
        )
        dim = 0 if input.ndim in (0, 1, 3) else 1
    return record.lanes(op, _floating(input, dtype), dim)


def softmax(input: Tensor, dim: int | None = None, dtype: dtypes.dtype | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along a dim.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.softmax(jitgrad.zeros(4), 0).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return _soft(SOFTMAX, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: dtypes.dtype | None = None) -> Tensor:
    """``x - logsumexp(x)`` along a dim."""
    return _soft(LOG_SOFTMAX, input, dim, dtype)


def cumsum(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """Running sum along a dim; integers in int64."""
    return record.lanes(CUMSUM, _floating(input, dtype), dim)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
@recipe(PROD)
def _prod_recipe(step: Step, g: Tensor) -> Gradients:
    x = step.saved(0)
    dims = lane_dims(step)
    kept = [d for d in range(x.ndim) if d not in dims]
    lanes_last = x.permute([*kept, *dims]).reshape([*(x.shape[d] for d in kept), -1])
    # The product of the others, which also where something is 0 is right and can be differentiated.
    n = lanes_last.shape[-1]
    from jitgrad.creation import eye

    others = lanes_last.unsqueeze(-2).expand([*lanes_last.shape[:-1], n, n])
    others = others.masked_fill(eye(n, dtype=dtypes.bool), 1.0)
    slope = record.lanes(PROD, others, -1)
    order = [*kept, *dims]
    slope = slope.reshape([x.shape[d] for d in order])
    return (along(step, g) * slope.permute([order.index(d) for d in range(x.ndim)]),)


@recipe(AMAX, AMIN, MAX, MIN)
def _extreme_recipe(step: Step, g: Tensor) -> Gradients:
    x = step.saved(0).detach()
    y = along(step, step.result.detach())
    # As in PyTorch, NaN counts as equal to NaN.
    mask = ((x == y) | ((x != x) & (y != y))).to(g.dtype)
    dims = lane_dims(step)
    share = mask / mask.sum(dims, True) if dims else mask
    return (along(step, g) * share,)


@recipe(VAR, STD)
def _spread_recipe(step: Step, g: Tensor) -> Gradients:
    x, dims = step.saved(0), lane_dims(step)
    over = lane_size(step) - step.real(col.A_FIRST)
    centred = x - x.mean(dims, True) if dims else x - x
    # PyTorch divides by zero here, where there are no degrees of freedom.
    factor = along(step, g) * (2.0 / over if over else math.inf)
    if step.op is STD:
        y = along(step, step.result)
        factor = (factor / (y * 2)).masked_fill(y == 0, 0.0)
    return (factor * centred,)


@recipe(NORM)
def _norm_recipe(step: Step, g: Tensor) -> Gradients:
    x, p = step.saved(0), step.real(col.A_FIRST)
    y, g = along(step, step.result), along(step, g)
    if p == 0:
        return (zeros(x.shape, x.dtype),)
    if p == 1:
        return (g * x.sign(),)
    if p == 2:
        return (x * (g / y).masked_fill(y == 0, 0.0),)
    if math.isinf(p):
        most = (x.abs() == y).to(g.dtype)
        dims = lane_dims(step)
        share = most / most.sum(dims, True) if dims else most
        return (x.sign() * (g * share.detach()),)
    slope = (x.sign() * x.abs() ** (p - 1)).masked_fill((x == 0) if p < 2 else (y == 0), 0.0)
    return (slope * (g / y ** (p - 1)).masked_fill(y == 0, 0.0),)


@recipe(SOFTMAX)
def _softmax_recipe(step: Step, g: Tensor) -> Gradients:
    y = step.result
    product = g * y
    return (product - y * product.sum(lane_dims(step), True) if y.ndim else product - product,)


@recipe(LOG_SOFTMAX)
def _log_softmax_recipe(step: Step, g: Tensor) -> Gradients:
    y = step.result
    total = g.sum(lane_dims(step), True) if y.ndim else g
    return (g - y.exp() * total,)


@recipe(CUMSUM)
def _cumsum_recipe(step: Step, g: Tensor) -> Gradients:
    if not g.ndim:
        return (g,)
    (d,) = lane_dims(step)
    return (g.flip(d).cumsum(d).flip(d),)


@recipe(*TAKE_EXTREME.values())
def _take_extreme_recipe(step: Step, g: Tensor) -> Gradients:
    shape = step.input_shape(0)
    return (zeros(shape, g.dtype).scatter_add(step.integer(0), step.saved(1), g), None)
