"""Python's operators on Tensors: ``+``, ``**``, ``==``, ``+=`` ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import Fault
from jitgrad.ops import arithmetic
from jitgrad.ops.assigning import in_place_method, pow_
from jitgrad.ops.elementwise import METHODS, as_operand
from jitgrad.ops.table import BY_NAME, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _operator(op: Op, swapped: bool = False) -> Callable[[Tensor, Any], Any]:
    number = op.number

    def method(self: Tensor, other: Any) -> Any:
        try:
            if swapped:
                return entry.pointwise(number, other, self)
            return entry.pointwise(number, self, other)
        except Fault:
            other = as_operand(other)
            if not _operand(other):
                return NotImplemented
            if swapped:
                return call(entry.pointwise, number, other, self)
            return call(entry.pointwise, number, self, other)

    return method


def _operand(value: Any) -> bool:
    from jitgrad.tensor import Tensor

    return isinstance(value, (bool, int, float, Tensor))


def _power_operator(self: Tensor, other: Any) -> Any:
    return arithmetic.pow(self, other) if _operand(as_operand(other)) else NotImplemented


def _reflected_power(self: Tensor, other: Any) -> Any:
    return arithmetic.pow(other, self) if _operand(as_operand(other)) else NotImplemented


OPERATORS: dict[str, Callable[..., Any]] = {
    "__pow__": _power_operator,
    "__rpow__": _reflected_power,
    "__invert__": arithmetic.invert,
    "__neg__": METHODS["neg"],
    "__abs__": METHODS["abs"],
    "__pos__": lambda self: self,
}
_ROWS = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "floordiv": "div_floor",
    "mod": "remainder",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
for _symbol, _name in _ROWS.items():
    OPERATORS[f"__{_symbol}__"] = _operator(BY_NAME[_name])
    OPERATORS[f"__r{_symbol}__"] = _operator(BY_NAME[_name], swapped=True)
    OPERATORS[f"__i{_symbol}__"] = in_place_method(f"__i{_symbol}__", BY_NAME[_name])
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    OPERATORS[f"__{_name}__"] = _operator(BY_NAME[_name])
OPERATORS["__ipow__"] = pow_
