"""Comparing whole tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    from jitgrad.tensor import Tensor

    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def _need_tensors(name: str, input: Any, other: Any) -> None:
    for place, argument, value in ((1, "input", input), (2, "other", other)):
        if not is_tensor(value):
            raise TypeError(
                f"{name}(): argument '{argument}' (position {place}) must be Tensor,"
                f" not {type(value).__name__}"
            )


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.equal(jitgrad.tensor([1, 2]), jitgrad.tensor([1, 2]))
    True
    """
    _need_tensors("equal", input, other)
    if input.shape != other.shape:
        return False
    return bool((input.detach() == other.detach()).all())


def isclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:
    """Elementwise ``|input - other| <= atol + rtol * |other|``; infinities must be equal."""
    _need_tensors("isclose", input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.letter} did not match {other.dtype.letter}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    a, b = input.detach(), other.detach()
    close = a == b
    if a.dtype.is_floating_point:
        bound = b.abs() * rtol + atol
        near = (a - b).abs() <= bound
        close = close | (near & (b.abs() != math.inf) & (a.abs() != math.inf))
        if equal_nan:
            close = close | (a.isnan() & b.isnan())
    elif rtol or atol:
        close = close | ((a - b).abs() <= b.abs() * rtol + atol)
    return close


def allclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-05,
    atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:
    """Whether all elements are close (see `isclose`)."""
    _need_tensors("allclose", input, other)
    return bool(isclose(input, other, rtol, atol, equal_nan).all())
