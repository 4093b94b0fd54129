"""Quantiles along a dim, and the smallest and largest elements together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.ops.gathering import gather
from jitgrad.ops.names import named
from jitgrad.ops.operands import beside, is_tensor
from jitgrad.ops.reductions import amax, amin
from jitgrad.ops.sorting import sort
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


@named("AminmaxBackward0")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element, of all or along a dim; equal ones share the gradient.

    Raises
    ------
    RuntimeError
        If there is no element.
    """
    dims = range(input.ndim) if dim is None else [wrap_dim(dim, input.ndim)]
    if any(input.shape[d] == 0 for d in dims if input.ndim):
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    over: Any = () if dim is None else dim
    return return_types.aminmax((amin(input, over, keepdim), amax(input, over, keepdim)))


def _levels(name: str, input: Tensor, q: Any) -> tuple[Any, bool]:
    """The levels as an array in the input's dtype, and whether they were a number."""
    if not input.dtype.is_floating_point or input.dtype.code >= dtypes.FIRST_HALF:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if is_tensor(q):
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        levels = q.detach()._values()
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        levels = np.asarray(q, input.dtype.name)
    if not ((levels >= 0) & (levels <= 1)).all():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return np.atleast_1d(levels), levels.ndim == 0


def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str
) -> Tensor:
    levels, one = _levels(name, input, q)
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got"
            f" {interpolation}"
        )
    if dim is None:
        lanes = input.reshape(-1)
    elif input.ndim == 0:
        wrap_dim(dim, 0)
        lanes = input.reshape(1)
    else:
        d = wrap_dim(dim, input.ndim)
        lanes = input.movedim(d, -1)
    ordered = sort(lanes).values
    n = lanes.shape[-1]
    # How many there are is read on the host: so few numbers as the result has.
    numbers = n - lanes.detach().isnan().sum(-1, keepdim=True)._values()
    if name == "quantile":
        # A NaN anywhere is the answer: it stands last.
        ranks = np.where(numbers == n, levels * levels.dtype.type(n - 1), n - 1)
    else:
        ranks = np.maximum(levels * (numbers - 1).astype(levels.dtype), 0)
    rounding = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}.get(interpolation)
    if rounding is not None:
        found = gather(ordered, -1, beside(input, rounding(ranks).astype(np.int64)))
    else:
        below, above = np.floor(ranks), np.ceil(ranks)
        weight = ranks - below if interpolation == "linear" else np.full(ranks.shape, 0.5)
        low, high = (gather(ordered, -1, beside(input, r.astype(np.int64))) for r in (below, above))
        found = low.lerp(high, beside(input, weight.astype(input.dtype.name)))
    if keepdim and input.ndim:
        if dim is None:
            found = found.reshape([*[1] * input.ndim, len(levels)])
        else:
            found = found.unsqueeze(d)
    elif input.ndim == 0:
        found = found.reshape(len(levels))
    return found.squeeze(-1) if one else found.movedim(-1, 0)


def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The value below which a fraction ``q`` of the elements lies, of all or along a dim.

    Parameters
    ----------
    input : Tensor
        float32 or float64; a NaN makes the result NaN.
    q : float or Tensor
        From 0 to 1; a vector of them gives the result a first dim.
    dim : int, optional
        The dim.
    keepdim : bool
        Keep it with size 1.
    interpolation : str
        Between two elements: "linear", "lower", "higher", "midpoint" or "nearest".

    Raises
    ------
    RuntimeError
        If ``input`` is empty or of another dtype, or ``q`` out of range or of another dtype.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.quantile(jitgrad.tensor([1.0, 2.0, 4.0]), 0.75).item()
    3.0
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """`quantile` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
