"""Running products, differences, sums without NaN, mean with variance, norms held in bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.ops.arithmetic import where
from jitgrad.ops.elementwise import FUNCTIONS
from jitgrad.ops.joining import cat
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place, tensor_of
from jitgrad.ops.reductions import Dims, mean, norm, std, var
from jitgrad.ops.reductions import sum as sum_over
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _scan(combine: Callable[[Tensor, Tensor], Tensor], x: Tensor, d: int) -> Tensor:
    """Running results along a dim in log2(n) steps, none of which divides."""
    n = x.shape[d]
    reach = 1
    while reach < n:
        done = x.narrow(d, 0, reach)
        rest = combine(x.narrow(d, reach, n - reach), x.narrow(d, 0, n - reach))
        x = cat([done, rest], d)
        reach *= 2
    return x


@named("CumprodBackward0")
def cumprod(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """Running product along a dim; integers in int64.  Its gradient is right at zeros.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.cumprod(jitgrad.tensor([2.0, 3.0, 4.0]), 0).tolist()
    [2.0, 6.0, 24.0]
    """
    d = wrap_dim(dim, input.ndim)
    if dtype is not None:
        input = input.to(dtype)
    if not input.dtype.is_floating_point and input.is_cuda:
        input = input.to(dtype or dtypes.int64)
    elif not input.dtype.is_floating_point:
        array = np.cumprod(np.atleast_1d(input._array()), axis=d, dtype=np.int64)
        found = tensor_of(array.reshape(tuple(input.shape)))
        return found if dtype is None else found.to(dtype)
    if input.ndim == 0 or input.shape[d] < 2:
        return input.clone()
    return _scan(lambda a, b: a * b, input, d)


@named("LogcumsumexpBackward0")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log(cumsum(exp(x)))`` along a dim, without overflow.

    Raises
    ------
    NotImplementedError
        If ``input`` is not floating point.
    """
    d = wrap_dim(dim, input.ndim)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"logcumsumexp_out_cpu\" not implemented for '{input.dtype.letter}'"
        )
    if input.ndim == 0 or input.shape[d] < 2:
        return input.clone()
    return _scan(FUNCTIONS["logaddexp"], input, d)


def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Differences of neighbours along a dim, ``n`` times over.

    Raises
    ------
    RuntimeError
        If ``input`` has no dims or ``n`` is negative.
    """
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, d) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[d])):
        m = x.shape[d] - 1
        after, before = x.narrow(d, 1, m), x.narrow(d, 0, m)
        x = after ^ before if x.dtype is dtypes.bool else after - before
    return x


# ---------------------------------------------------------------- sums
@named("NansumBackward0")
def nansum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """`sum` with 0 for NaN."""
    if input.dtype.is_floating_point:
        input = input.masked_fill(input.detach().isnan(), 0.0)
    return sum_over(input, dim, keepdim, dtype=dtype)


def nanmean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """`mean` of what is not NaN."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got"
            f" {input.dtype.letter}"
        )
    numbers = sum_over(~input.detach().isnan(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / numbers


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero, of all or along dims (int64)."""
    return sum_over(input.detach() != 0, dim)


def _with_mean(
    name: str,
    spread: Any,
    input: Tensor,
    dim: Any,
    unbiased: bool | None,
    keepdim: bool,
    correction: float | None,
) -> Any:
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name} only support floating point and complex dtypes")
    over = None if isinstance(dim, bool) else dim
    found = spread(input, dim, unbiased, keepdim, correction=correction)
    return found, mean(input, over, keepdim)


@named("VarMeanBackward0")
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """`var`, with its arguments, and `mean`."""
    return _with_mean("var_mean", var, input, dim, unbiased, keepdim, correction)


@named("StdMeanBackward0")
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """`std`, with its arguments, and `mean`."""
    return _with_mean("std_mean", std, input, dim, unbiased, keepdim, correction)


# ---------------------------------------------------------------- norms
@named("RenormBackward0")
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along a dim scaled down to a ``p``-norm of ``maxnorm`` where theirs is larger."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    d = wrap_dim(dim, input.ndim)
    size = norm(input, p, [e for e in range(input.ndim) if e != d], True)
    scale = where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)
    return input * scale


renorm_ = in_place(renorm)
cumprod_ = in_place(cumprod)
