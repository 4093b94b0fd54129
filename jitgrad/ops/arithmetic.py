"""Pointwise functions with more to them than a row: scaled sums, divisions, powers, clamps, choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.ops.elementwise import NUMBERS, as_operand, need_one_tensor, need_tensor, record
from jitgrad.ops.names import name
from jitgrad.ops.table import BY_NAME, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

CLONE = BY_NAME["clone"]
ADD, SUB, _DIV, _POW = (BY_NAME[n] for n in ("add", "sub", "div", "pow"))


def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.add(jitgrad.ones(2), 3, alpha=2).tolist()
    [7.0, 7.0]
    """
    need_one_tensor("add", input, other)
    if alpha == 1:
        return record(ADD, input, other)
    return record(BY_NAME["add_scaled"], input, other, checked_alpha(input, other, alpha))


def checked_alpha(input: Any, other: Any, alpha: Any) -> Any:
    """``alpha`` in the category of the operands, to whose dtype it adds nothing."""
    from jitgrad.ops.promotion import result_type

    common = result_type(input, other)
    if isinstance(alpha, float) and not common.is_floating_point:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if isinstance(alpha, bool) and common is not dtypes.bool:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    return bool(alpha) if common is dtypes.bool else alpha


def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``, broadcast."""
    need_one_tensor("sub", input, other)
    if alpha == 1:
        return record(SUB, input, other)
    return record(BY_NAME["sub_scaled"], input, other, checked_alpha(input, other, alpha))


subtract = sub


def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``other - alpha * input``."""
    need_tensor("rsub", input)
    return sub(other, input, alpha=alpha)


def division_row(rounding_mode: str | None) -> Op:
    if rounding_mode is None:
        return _DIV
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found"
            f" '{rounding_mode}'"
        )
    return BY_NAME[f"div_{rounding_mode}"]


def div(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``, broadcast; rounded towards minus infinity or zero if asked.

    Raises
    ------
    RuntimeError
        If ``rounding_mode`` is not None, "floor" or "trunc", or an integer is divided by zero.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.div(jitgrad.tensor([7, -7]), 2, rounding_mode="floor").tolist()
    [3, -4]
    """
    need_one_tensor("div", input, other)
    return record(division_row(rounding_mode), input, other)


def true_divide(input: Tensor, other: Any) -> Tensor:
    """``input / other``: integers give floats."""
    return div(input, other)


def floor_divide(input: Tensor, other: Any) -> Tensor:
    """``input // other``, rounded towards minus infinity."""
    return div(input, other, rounding_mode="floor")


divide = div


def power_row(input: Any, exponent: Any) -> tuple[Op, tuple[Any, ...]]:
    """The row that computes a power fastest, and its operands."""
    from jitgrad.tensor import Tensor

    if type(exponent) in (int, float) and isinstance(input, Tensor):
        floating = input.dtype.is_floating_point
        if exponent == 2:
            if floating or (type(exponent) is int and input.dtype is not dtypes.bool):
                return BY_NAME["square"], (input,)
        elif floating and exponent == 3:
            return BY_NAME["cube"], (input,)
        elif floating and exponent == 0.5:
            return BY_NAME["pow_half"], (input,)
        elif floating and exponent == -1:
            return BY_NAME["pow_inverse"], (input,)
    from jitgrad.ops.promotion import result_type

    if not result_type(input, exponent).is_floating_point:
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return BY_NAME["pow_int"], (input, exponent)
    if isinstance(exponent, Tensor):
        return BY_NAME["pow_tensor"], (input, exponent)
    return _POW, (input, exponent)


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``, broadcast; either may be a number.

    Raises
    ------
    RuntimeError
        If integers are raised to a negative number.  (Negative integers in a tensor of exponents give
        what is left of the fraction: 0, or 1 and -1 for these bases.)

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.pow(jitgrad.tensor([2.0, 3.0]), 2).tolist()
    [4.0, 9.0]
    """
    need_one_tensor("pow", input, exponent)
    op, operands = power_row(as_operand(input), as_operand(exponent))
    return record(op, *operands)


def square(input: Tensor) -> Tensor:
    """``input * input``; bools count as integers.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.square(jitgrad.tensor([-3.0, 2.0])).tolist()
    [9.0, 4.0]
    """
    need_tensor("square", input)
    return record(*square_row(input))


def square_row(input: Tensor) -> tuple[Any, ...]:
    if input.dtype is dtypes.bool:
        return BY_NAME["pow_int"], input, 2
    return BY_NAME["square"], input


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit the other way; for bools `logical_not`."""
    need_tensor("bitwise_not", input)
    return record(BY_NAME["logical_not" if input.dtype is dtypes.bool else "bitwise_not"], input)


def invert(self: Tensor) -> Tensor:
    if self.dtype.is_floating_point:
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    name = "logical_not" if self.dtype is dtypes.bool else "bitwise_not"
    return record(BY_NAME[name], self)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even; with ``decimals`` to so many places."""
    need_tensor("round", input)
    if decimals == 0:
        return record(BY_NAME["round"], input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"round\" with decimals not implemented for '{input.dtype.letter}'"
        )
    scale = 10.0 ** abs(decimals)
    scaled = input * scale if decimals > 0 else input / scale
    rounded = record(BY_NAME["round"], scaled)
    return name(rounded / scale if decimals > 0 else rounded * scale, "RoundBackward1")


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements held between ``min`` and ``max`` (numbers or tensors; either may be None).

    Raises
    ------
    RuntimeError
        If both are None.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.clamp(jitgrad.tensor([-1.0, 0.5, 3.0]), 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    need_tensor("clamp", input)
    op, bounds = clamp_row(min, max)
    return record(op, input, *bounds)


def clamp_row(low: Any, high: Any) -> tuple[Op, tuple[Any, ...]]:
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if high is None:
        return BY_NAME["clamp_low"], (low,)
    if low is None:
        return BY_NAME["clamp_high"], (high,)
    numbers = type(low) in NUMBERS and type(high) in NUMBERS
    return BY_NAME["clamp" if numbers else "clamp_tensor"], (low, high)


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Elements held above ``min``."""
    need_tensor("clamp_min", input)
    return record(BY_NAME["clamp_min"], input, min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Elements held below ``max``."""
    need_tensor("clamp_max", input)
    return record(BY_NAME["clamp_max"], input, max)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Elements of ``input`` where ``condition``, else of ``other``, broadcast; alone: `nonzero`.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.where(jitgrad.tensor([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    if input is None and other is None:
        from jitgrad.ops.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    return record(BY_NAME["where"], condition, input, other)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` with ``value`` (a number or a 0-dim tensor) where ``mask`` (bool) is True.

    Raises
    ------
    RuntimeError
        If the mask is not bool or does not broadcast, or the value has dims.
    """
    need_tensor("masked_fill", input)
    need_scalar(value)
    return record(BY_NAME["masked_fill"], input, mask, value)


def need_scalar(value: Any) -> None:
    if type(value) not in NUMBERS and getattr(value, "ndim", 0) > 0:
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {value.ndim} dimension(s)."
        )


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)``.

    Raises
    ------
    NotImplementedError
        If ``input`` is not floating point.
    RuntimeError
        If ``end`` is of another dtype.
    """
    check_lerp(input, end)
    return record(BY_NAME["lerp"], input, end, weight)


def check_lerp(input: Tensor, end: Any) -> None:
    need_tensor("lerp", input)
    need_tensor("lerp", end, "end", 2)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"lerp\" not implemented for '{input.dtype.letter}'")
    if end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {input.dtype} for `end` but got dtype {end.dtype}")


def need_tensors(name: str, input: Any, tensor1: Any, tensor2: Any) -> None:
    need_tensor(name, input)
    need_tensor(name, tensor1, "tensor1", 2)
    need_tensor(name, tensor2, "tensor2", 3)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    need_tensors("addcmul", input, tensor1, tensor2)
    return record(BY_NAME["addcmul"], input, tensor1, tensor2, value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    need_tensors("addcdiv", input, tensor1, tensor2)
    return record(BY_NAME["addcdiv"], input, tensor1, tensor2, value)


def clone(input: Tensor) -> Tensor:
    """A copy; gradients flow through it to the original."""
    need_tensor("clone", input)
    return record(CLONE, input)
