"""The pointwise ops as functions: what the table's rows look like from Python.

`FUNCTIONS` holds one function a row that PyTorch has under the same name; those with more to them (a
scaled add, powers, clamps) are written out below.  `INPLACE` holds the in-place methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import Fault, call, entry
from jitgrad.ops import pointwise as _rows
from jitgrad.ops.table import BY_NAME, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

CLONE = BY_NAME["clone"]
_ADD, _SUB, _MUL, _DIV, _POW = (BY_NAME[n] for n in ("add", "sub", "mul", "div", "pow"))
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


_NUMBERS = (float, int, bool)


def _need_tensor(name: str, value: Any, argument: str = "input", position: int = 1) -> None:
    """Refuse a number where PyTorch takes a Tensor only; the recorder refuses everything else."""
    if type(value) in _NUMBERS:
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Tensor,"
            f" not {type(value).__name__}"
        )


def _need_one_tensor(name: str, input: Any, other: Any) -> None:
    """Refuse two numbers."""
    if type(other) in _NUMBERS:
        _need_tensor(name, input)


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

        def function(input: Tensor) -> Tensor:
            _need_tensor(name, input)
            return method(input)

    else:
        number_first, tensor_second = name in _NUMBER_FIRST, name in _TENSOR_SECOND

        def function(input: Tensor, other: Any) -> Tensor:  # type: ignore[misc]
            if number_first:
                _need_one_tensor(name, input, other)
            else:
                _need_tensor(name, input)
            if tensor_second:
                _need_tensor(name, other, "other", 2)
            return method(input, other)

    return _described(name, op, function)


def _described(name: str, op: Op, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    gradients = "; ".join(f"``{vjp}``" for vjp in op.vjps if vjp) or "none"
    about = _ABOUT[op.nin].format(formula=op.forward)
    function.__doc__ = f"{about}\n\nGradient, for the cotangent g: {gradients}.\n"
    return function


#: namespace name -> row, where they differ.
_ALIASES = {
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
_UNARY = (
    "neg reciprocal sqrt rsqrt abs sign exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos"
    " atan sinh cosh tanh sigmoid relu erf erfc ceil floor trunc logical_not isnan isinf isfinite"
    " asinh acosh atanh sinc deg2rad rad2deg frac sgn"
).split()
_BINARY = (
    "mul remainder fmod maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and"
    " bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift atan2 hypot logaddexp logaddexp2 xlogy"
    " copysign fmax fmin"
).split()
# PyTorch takes numbers in these places and nowhere else.
_NUMBER_FIRST = {
    "mul",
    "remainder",
    "xlogy",
    *(name for name in _BINARY if name.startswith("bitwise_")),
}
_TENSOR_SECOND = {
    *"maximum minimum atan2 hypot logaddexp logaddexp2 fmax fmin".split(),
    *(name for name in _BINARY if name.startswith("logical_")),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _function(name, BY_NAME[name]) for name in [*_UNARY, *_BINARY]
}
METHODS: dict[str, Callable[..., Any]] = {
    name: _described(name, BY_NAME[name], _method(BY_NAME[name]))
    for name in [*_UNARY, *_BINARY]
    if name not in _TENSOR_SECOND
}
for _alias, _name in _ALIASES.items():
    if _name in FUNCTIONS:
        FUNCTIONS[_alias] = FUNCTIONS[_name]
        METHODS[_alias] = METHODS.get(_name, FUNCTIONS[_name])

maximum, minimum = FUNCTIONS["maximum"], FUNCTIONS["minimum"]


# ---------------------------------------------------------------- with more to them
def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.add(jitgrad.ones(2), 3, alpha=2).tolist()
    [7.0, 7.0]
    """
    _need_one_tensor("add", input, other)
    if alpha == 1:
        return record(_ADD, input, other)
    return record(BY_NAME["add_scaled"], input, other, _checked_alpha(input, other, alpha))


def _checked_alpha(input: Any, other: Any, alpha: Any) -> Any:
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
    _need_one_tensor("sub", input, other)
    if alpha == 1:
        return record(_SUB, input, other)
    return record(BY_NAME["sub_scaled"], input, other, _checked_alpha(input, other, alpha))


subtract = sub


def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``other - alpha * input``."""
    _need_tensor("rsub", input)
    return sub(other, input, alpha=alpha)


def _division(rounding_mode: str | None) -> Op:
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
    _need_one_tensor("div", input, other)
    return record(_division(rounding_mode), input, other)


def true_divide(input: Tensor, other: Any) -> Tensor:
    """``input / other``: integers give floats."""
    return div(input, other)


def floor_divide(input: Tensor, other: Any) -> Tensor:
    """``input // other``, rounded towards minus infinity."""
    return div(input, other, rounding_mode="floor")


divide = div


def _power(input: Any, exponent: Any) -> tuple[Op, tuple[Any, ...]]:
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
    _need_one_tensor("pow", input, exponent)
    op, operands = _power(as_operand(input), as_operand(exponent))
    return record(op, *operands)


def square(input: Tensor) -> Tensor:
    """``input * input``; bools count as integers.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.square(jitgrad.tensor([-3.0, 2.0])).tolist()
    [9.0, 4.0]
    """
    _need_tensor("square", input)
    return record(*_square(input))


def _square(input: Tensor) -> tuple[Any, ...]:
    if input.dtype is dtypes.bool:
        return BY_NAME["pow_int"], input, 2
    return BY_NAME["square"], input


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit the other way; for bools `logical_not`."""
    _need_tensor("bitwise_not", input)
    return _invert(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even; with ``decimals`` to so many places."""
    _need_tensor("round", input)
    if decimals == 0:
        return record(BY_NAME["round"], input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"round\" with decimals not implemented for '{input.dtype.letter}'"
        )
    scale = 10.0 ** abs(decimals)
    scaled = input * scale if decimals > 0 else input / scale
    rounded = record(BY_NAME["round"], scaled)
    return rounded / scale if decimals > 0 else rounded * scale


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
    _need_tensor("clamp", input)
    op, bounds = _clamp(min, max)
    return record(op, input, *bounds)


def _clamp(low: Any, high: Any) -> tuple[Op, tuple[Any, ...]]:
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if high is None:
        return BY_NAME["clamp_low"], (low,)
    if low is None:
        return BY_NAME["clamp_high"], (high,)
    numbers = type(low) in _NUMBERS and type(high) in _NUMBERS
    return BY_NAME["clamp" if numbers else "clamp_tensor"], (low, high)


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Elements held above ``min``."""
    _need_tensor("clamp_min", input)
    return record(BY_NAME["clamp_min"], input, min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Elements held below ``max``."""
    _need_tensor("clamp_max", input)
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
    _need_tensor("masked_fill", input)
    _need_scalar(value)
    return record(BY_NAME["masked_fill"], input, mask, value)


def _need_scalar(value: Any) -> None:
    if type(value) not in _NUMBERS and getattr(value, "ndim", 0) > 0:
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
    _check_lerp(input, end)
    return record(BY_NAME["lerp"], input, end, weight)


def _check_lerp(input: Tensor, end: Any) -> None:
    _need_tensor("lerp", input)
    _need_tensor("lerp", end, "end", 2)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"lerp\" not implemented for '{input.dtype.letter}'")
    if end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {input.dtype} for `end` but got dtype {end.dtype}")


def _need_tensors(name: str, input: Any, tensor1: Any, tensor2: Any) -> None:
    _need_tensor(name, input)
    _need_tensor(name, tensor1, "tensor1", 2)
    _need_tensor(name, tensor2, "tensor2", 3)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    _need_tensors("addcmul", input, tensor1, tensor2)
    return record(BY_NAME["addcmul"], input, tensor1, tensor2, value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    _need_tensors("addcdiv", input, tensor1, tensor2)
    return record(BY_NAME["addcdiv"], input, tensor1, tensor2, value)


def clone(input: Tensor) -> Tensor:
    """A copy; gradients flow through it to the original."""
    return record(CLONE, input)


FUNCTIONS |= {
    f.__name__: f
    for f in (
        add,
        sub,
        rsub,
        div,
        true_divide,
        floor_divide,
        pow,
        round,
        clamp,
        clamp_min,
        clamp_max,
        where,
        masked_fill,
        lerp,
        addcmul,
        addcdiv,
        clone,
        square,
        bitwise_not,
    )
} | {"subtract": sub, "divide": div, "clip": clamp}


# ---------------------------------------------------------------- operators
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
    return pow(self, other) if _operand(as_operand(other)) else NotImplemented


def _reflected_power(self: Tensor, other: Any) -> Any:
    return pow(other, self) if _operand(as_operand(other)) else NotImplemented


def _invert(self: Tensor) -> Tensor:
    name = "logical_not" if self.dtype is dtypes.bool else "bitwise_not"
    return record(BY_NAME[name], self)


OPERATORS: dict[str, Callable[..., Any]] = {
    "__pow__": _power_operator,
    "__rpow__": _reflected_power,
    "__invert__": _invert,
    "__neg__": METHODS["neg"],
    "__abs__": METHODS["abs"],
    "__pos__": lambda self: self,
}
for _symbol, _name in {
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
}.items():
    OPERATORS[f"__{_symbol}__"] = _operator(BY_NAME[_name])
    OPERATORS[f"__r{_symbol}__"] = _operator(BY_NAME[_name], swapped=True)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    OPERATORS[f"__{_name}__"] = _operator(BY_NAME[_name])


# ---------------------------------------------------------------- in place
def _inplace(name: str, op: Op) -> Callable[..., Tensor]:
    def method(self: Tensor, *others: Any) -> Tensor:
        return record_(op, self, *others)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}` in place; returns the tensor."
    return method


INPLACE: dict[str, Callable[..., Tensor]] = {
    f"{name}_": _inplace(f"{name}_", BY_NAME[name])
    for name in [*_UNARY, *_BINARY, "round", "clamp_min", "clamp_max"]
    if name not in ("isnan", "isinf", "isfinite")
}


def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self += alpha * other``."""
    if alpha == 1:
        return record_(_ADD, self, other)
    return record_(BY_NAME["add_scaled"], self, other, alpha)


def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """``self -= alpha * other``."""
    if alpha == 1:
        return record_(_SUB, self, other)
    return record_(BY_NAME["sub_scaled"], self, other, alpha)


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``self /= other``."""
    return record_(_division(rounding_mode), self, other)


def pow_(self: Tensor, exponent: Any) -> Tensor:
    """``self **= exponent``."""
    op, operands = _power(self, exponent)
    return record_(op, *operands)


def square_(self: Tensor) -> Tensor:
    """`square` in place."""
    return record_(*_square(self))


def bitwise_not_(self: Tensor) -> Tensor:
    """`bitwise_not` in place."""
    return record_(BY_NAME["logical_not" if self.dtype is dtypes.bool else "bitwise_not"], self)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`masked_fill` in place."""
    _need_scalar(value)
    return record_(BY_NAME["masked_fill"], self, mask, value)


def lerp_(self: Tensor, end: Tensor, weight: Any) -> Tensor:
    """`lerp` in place."""
    _check_lerp(self, end)
    return record_(BY_NAME["lerp"], self, end, weight)


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp` in place."""
    op, bounds = _clamp(min, max)
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
    "floor_divide_": _inplace("floor_divide_", BY_NAME["div_floor"]),
}
INPLACE |= {
    f"{alias}_": INPLACE[f"{name}_"]
    for alias, name in _ALIASES.items()
    if f"{name}_" in INPLACE and f"{alias}_" not in INPLACE and alias != "special_expit"
}

for _symbol, _name in {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "floordiv": "div_floor",
    "mod": "remainder",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}.items():
    OPERATORS[f"__i{_symbol}__"] = _inplace(f"__i{_symbol}__", BY_NAME[_name])
OPERATORS["__ipow__"] = pow_
