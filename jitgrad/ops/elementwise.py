"""The pointwise ops as functions: what the table's rows look like from Python.

`FUNCTIONS` holds one function a row that PyTorch has under the same name; those with more to them (a
scaled add, powers, clamps) are in `jitgrad.ops.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.arena.engine import call, entry
from jitgrad.arena.header import Fault
from jitgrad.ops import pointwise as _rows
from jitgrad.ops.table import BY_NAME, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

CLONE = BY_NAME["clone"]
assert _rows.__doc__


def as_operand(value: Any) -> Any:
    """An operand that the recorder takes: NumPy numbers become Python's, arrays become Tensors."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        from jitgrad.creation import from_numpy

        return from_numpy(value)
    return value


def record(op: Op, *operands: Any) -> Tensor:
    """A pointwise op on operands of any kind; raises TypeError for what is no number and no Tensor."""
    try:
        return entry.pointwise(op.number, *operands)
    except Fault:
        return call(entry.pointwise, op.number, *[as_operand(o) for o in operands])


def record_(op: Op, *operands: Any) -> Tensor:
    """`record` in place of the first operand."""
    try:
        return entry.pointwise_(op.number, *operands)
    except Fault:
        return call(entry.pointwise_, op.number, *[as_operand(o) for o in operands])


NUMBERS = (float, int, bool)


def need_tensor(name: str, value: Any, argument: str = "input", position: int = 1) -> None:
    """Refuse a number where PyTorch takes a Tensor only; the recorder refuses everything else."""
    if type(value) in NUMBERS:
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Tensor,"
            f" not {type(value).__name__}"
        )


def need_one_tensor(name: str, input: Any, other: Any) -> None:
    """Refuse two numbers."""
    if type(other) in NUMBERS:
        need_tensor(name, input)


_ABOUT = {
    1: "``{formula}`` of every element.",
    2: "``{formula}`` of every pair of elements of x (input) and z (other), broadcast.",
}


def _method(op: Op) -> Callable[..., Tensor]:
    """The op as a Tensor method: its first operand needs no check, which is a third of a small op's time."""
    number = op.number
    if op.nin == 1:

        def unary(self: Tensor) -> Tensor:
            try:
                return entry.pointwise(number, self)
            except Fault:
                return call(entry.pointwise, number, self)

        return unary

    def binary(self: Tensor, other: Any) -> Tensor:
        try:
            return entry.pointwise(number, self, other)
        except Fault:
            return call(entry.pointwise, number, self, as_operand(other))

    return binary


def _function(name: str, op: Op) -> Callable[..., Tensor]:
    """The op as a function of the namespace."""
    method = _method(op)
    if op.nin == 1:

        def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
            need_tensor(name, input)
            return method(input) if out is None else written(name, out, method(input))

    else:
        number_first, tensor_second = name in _NUMBER_FIRST, name in _TENSOR_SECOND

        def function(input: Tensor, other: Any, *, out: Tensor | None = None) -> Tensor:  # type: ignore[misc]
            if number_first:
                need_one_tensor(name, input, other)
            else:
                need_tensor(name, input)
            if tensor_second:
                need_tensor(name, other, "other", 2)
            return method(input, other) if out is None else written(name, out, method(input, other))

    return _described(name, op, function)


def written(name: str, out: Any, result: Tensor) -> Any:
    """A result in the tensor given as ``out=``."""
    from jitgrad.ops.out import write_out

    return write_out(name, out, result, exact=False)


def _described(name: str, op: Op, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    gradients = "; ".join(f"``{vjp}``" for vjp in op.vjps if vjp) or "none"
    about = _ABOUT[op.nin].format(formula=op.forward)
    function.__doc__ = f"{about}\n\nGradient, for the cotangent g: {gradients}.\n"
    return function


#: namespace name -> row, where they differ.
ALIASES = {
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "negative": "neg",
    "absolute": "abs",
    "floor_divide": "div_floor",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "special_expit": "sigmoid",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "fix": "trunc",
}
UNARY = (
    "neg reciprocal sqrt rsqrt abs sign exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos"
    " atan sinh cosh tanh sigmoid relu erf erfc ceil floor trunc logical_not isnan isinf isfinite"
    " asinh acosh atanh sinc deg2rad rad2deg frac sgn"
).split()
BINARY = (
    "mul remainder fmod maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and"
    " bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift atan2 hypot logaddexp logaddexp2 xlogy"
    " copysign fmax fmin"
).split()
# PyTorch takes numbers in these places and nowhere else.
_NUMBER_FIRST = {
    "mul",
    "remainder",
    "xlogy",
    *(name for name in BINARY if name.startswith("bitwise_")),
}
_TENSOR_SECOND = {
    *"maximum minimum atan2 hypot logaddexp logaddexp2 fmax fmin".split(),
    *(name for name in BINARY if name.startswith("logical_")),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _function(name, BY_NAME[name]) for name in [*UNARY, *BINARY]
}
METHODS: dict[str, Callable[..., Any]] = {
    name: _described(name, BY_NAME[name], _method(BY_NAME[name]))
    for name in [*UNARY, *BINARY]
    if name not in _TENSOR_SECOND
}
for _alias, _name in ALIASES.items():
    if _name in FUNCTIONS:
        FUNCTIONS[_alias] = FUNCTIONS[_name]
        METHODS[_alias] = METHODS.get(_name, FUNCTIONS[_name])

maximum, minimum = FUNCTIONS["maximum"], FUNCTIONS["minimum"]
