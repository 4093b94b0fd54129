"""The pointwise ops in place: one kernel reads its operand and writes the result over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.ops.arithmetic import (
    ADD,
    SUB,
    check_lerp,
    clamp_row,
    division_row,
    need_scalar,
    power_row,
    square_row,
)
from jitgrad.ops.elementwise import ALIASES, BINARY, UNARY, record_
from jitgrad.ops.memory_overlap import need_one_place_each, overlaps_itself, warn_expanded
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.table import BY_NAME, Op
from jitgrad.sequences import check_fill

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def in_place_method(name: str, op: Op) -> Callable[..., Tensor]:
    def method(self: Tensor, *others: Any) -> Tensor:
        return record_(op, self, *others)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}` in place; returns the tensor."
    return method


INPLACE: dict[str, Callable[..., Tensor]] = {
    f"{name}_": in_place_method(f"{name}_", BY_NAME[name])
    for name in [*UNARY, *BINARY, "round", "clamp_min", "clamp_max"]
    if name not in ("isnan", "isinf", "isfinite")
}


def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self += alpha * other``."""
    if alpha == 1:
        return record_(ADD, self, other)
    return record_(BY_NAME["add_scaled"], self, other, alpha)


def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self -= alpha * other``."""
    if alpha == 1:
        return record_(SUB, self, other)
    return record_(BY_NAME["sub_scaled"], self, other, alpha)


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``self /= other``."""
    return record_(division_row(rounding_mode), self, other)


def pow_(self: Tensor, exponent: Any) -> Tensor:
    """``self **= exponent``."""
    op, operands = power_row(self, exponent)
    return record_(op, *operands)


def square_(self: Tensor) -> Tensor:
    """`square` in place."""
    return record_(*square_row(self))


def bitwise_not_(self: Tensor) -> Tensor:
    """`bitwise_not` in place."""
    return record_(BY_NAME["logical_not" if self.dtype is dtypes.bool else "bitwise_not"], self)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`masked_fill` in place."""
    need_scalar(value)
    if is_tensor(value) and entry.memory(value) == entry.memory(self):
        value = value.clone()
    if is_tensor(mask) and overlaps_itself(self):
        warn_expanded("masked_fill_", self, "tensor[mask] = scalar")
        _fill_expanded(self, mask, value)
        return self
    return record_(BY_NAME["masked_fill"], self, mask, value)


def _fill_expanded(self: Tensor, mask: Tensor, value: Any) -> None:
    """Fill each place of an expanded tensor that the mask marks for one of the elements there."""
    if self.requires_grad or getattr(value, "requires_grad", False):
        need_one_place_each(self)
    marked = mask.expand(self.shape)
    for d, step in enumerate(self.stride()):
        if step == 0 and self.shape[d] > 1:
            self = self.narrow(d, 0, 1)
            marked = marked.any(d, keepdim=True)
    record_(BY_NAME["masked_fill"], self, marked, value)


def lerp_(self: Tensor, end: Tensor, weight: Any) -> Tensor:
    """`lerp` in place."""
    check_lerp(self, end)
    return record_(BY_NAME["lerp"], self, end, weight)


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp` in place."""
    op, bounds = clamp_row(min, max)
    return record_(op, self, *bounds)


def addcmul_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``self += value * tensor1 * tensor2``."""
    return record_(BY_NAME["addcmul"], self, tensor1, tensor2, value)


def addcdiv_(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``self += value * tensor1 / tensor2``."""
    return record_(BY_NAME["addcdiv"], self, tensor1, tensor2, value)


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Take the elements of ``src``, broadcast and converted.

    Raises
    ------
    RuntimeError
        If ``src`` does not broadcast to this tensor's shape.
    """
    return record_(BY_NAME["copy"], self, src)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to a number (or a 0-dim tensor's)."""
    if getattr(value, "ndim", 0) > 0:
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
        )
    check_fill(value, self.dtype)
    return record_(BY_NAME["copy"], self, value)


def zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    return record_(BY_NAME["copy"], self, 0)


INPLACE |= {
    f.__name__: f
    for f in (
        add_,
        sub_,
        div_,
        pow_,
        clamp_,
        addcmul_,
        addcdiv_,
        copy_,
        fill_,
        zero_,
        square_,
        bitwise_not_,
        masked_fill_,
        lerp_,
    )
} | {
    "true_divide_": div_,
    "subtract_": sub_,
    "multiply_": INPLACE["mul_"],
    "clip_": clamp_,
    "floor_divide_": in_place_method("floor_divide_", BY_NAME["div_floor"]),
}
INPLACE |= {
    f"{alias}_": INPLACE[f"{name}_"]
    for alias, name in ALIASES.items()
    if f"{name}_" in INPLACE and f"{alias}_" not in INPLACE and alias != "special_expit"
}
