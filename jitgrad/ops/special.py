"""Pointwise functions that are more than a row of the table: special functions, defaults, compositions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.ops import arithmetic
from jitgrad.ops.elementwise import record, record_
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place, is_tensor, tensor_of
from jitgrad.ops.table import BY_NAME

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _need_tensor(name: str, value: Any, argument: str = "input", position: int = 1) -> None:
    if not is_tensor(value):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Tensor,"
            f" not {type(value).__name__}"
        )


# ---------------------------------------------------------------- rows with defaults
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, with ``x`` held between ``eps`` and ``1 - eps`` if that is given.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.logit(jitgrad.tensor([0.5])).item()
    0.0
    """
    _need_tensor("logit", input)
    return record(BY_NAME["logit"], input, -1.0 if eps is None else float(eps))


def logit_(input: Tensor, eps: float | None = None) -> Tensor:
    """`logit` in place."""
    return record_(BY_NAME["logit"], input, -1.0 if eps is None else float(eps))


def _replacements(
    input: Tensor, nan: float | None, posinf: float | None, neginf: float | None
) -> tuple[float, float, float]:
    limits = dtypes.finfo(input.dtype)
    return (
        0.0 if nan is None else float(nan),
        limits.max if posinf is None else float(posinf),
        limits.min if neginf is None else float(neginf),
    )


def nan_to_num(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """NaN replaced by a number (0), infinities by numbers (the largest and smallest of the dtype).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nan_to_num(jitgrad.tensor([jitgrad.nan, 2.0]), 1.0).tolist()
    [1.0, 2.0]
    """
    _need_tensor("nan_to_num", input)
    if not input.dtype.is_floating_point:
        return input.clone()
    return record(BY_NAME["nan_to_num"], input, *_replacements(input, nan, posinf, neginf))


def nan_to_num_(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """`nan_to_num` in place."""
    if not input.dtype.is_floating_point:
        return input
    return record_(BY_NAME["nan_to_num"], input, *_replacements(input, nan, posinf, neginf))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, and ``values`` at zero.  It has no gradient.

    Raises
    ------
    RuntimeError
        If the dtypes differ.
    """
    _need_tensor("heaviside", input)
    _need_tensor("heaviside", values, "values", 2)
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    if input.dtype is dtypes.bool:
        return input | values
    return record(BY_NAME["heaviside"], input, values)


def signbit(input: Tensor) -> Tensor:
    """Whether the sign is negative, that of -0.0 too (bool)."""
    _need_tensor("signbit", input)
    if input.dtype.is_floating_point:
        return record(BY_NAME["signbit"], input)
    return input < 0


# ---------------------------------------------------------------- compositions
def positive(input: Tensor) -> Tensor:
    """The tensor itself.

    Raises
    ------
    RuntimeError
        If it is bool.
    """
    _need_tensor("positive", input)
    if input.dtype is dtypes.bool:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in float64."""
    base, power = (x.to(dtypes.float64) if is_tensor(x) else float(x) for x in (input, exponent))
    return arithmetic.pow(base, power)


@named("LdexpBackward0")
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """``input * 2 ** other``."""
    _need_tensor("ldexp", input)
    _need_tensor("ldexp", other, "other", 2)
    power = arithmetic.pow(2.0, other)
    if input.dtype.is_floating_point and not other.dtype.is_floating_point:
        # The power of an integer is a float32; the product has the dtype of the first factor.
        return input.to(dtypes.promote_types(input.dtype, power.dtype)).mul(power).to(input.dtype)
    return input * power


def isposinf(input: Tensor) -> Tensor:
    """Where elements are infinity (bool)."""
    _need_tensor("isposinf", input)
    return input == np.inf


def isneginf(input: Tensor) -> Tensor:
    """Where elements are minus infinity (bool)."""
    _need_tensor("isneginf", input)
    return input == -np.inf


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex numbers here (bool)."""
    _need_tensor("isreal", input)
    from jitgrad.creation import ones_like

    return ones_like(input.detach(), dtype=dtypes.bool)


def _of_integers(name: str, function: Any, input: Tensor, other: Tensor) -> Tensor:
    from jitgrad.ops.promotion import result_type

    _need_tensor(name, input)
    _need_tensor(name, other, "other", 2)
    common = result_type(input, other)
    if common.is_floating_point or common is dtypes.bool:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{common.letter}'")
    return tensor_of(function(input._array(), other._array()), common)


def gcd(input: Tensor, other: Tensor) -> Tensor:
    """Greatest common divisor of integers, broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.gcd(jitgrad.tensor([12, 7]), jitgrad.tensor(8)).tolist()
    [4, 1]
    """
    return _of_integers("gcd", np.gcd, input, other)


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """Least common multiple of integers, broadcast."""
    return _of_integers("lcm", np.lcm, input, other)


gcd_, lcm_ = in_place(gcd), in_place(lcm)
ldexp_ = in_place(ldexp)


# ---------------------------------------------------------------- SciPy's
def _scipy(function: Any, x: Tensor, *more: Any) -> Tensor:
    return tensor_of(function(*more, x._array()), x.dtype)


def floating(input: Tensor) -> Tensor:
    from jitgrad.ops.reductions import default_dtype

    return input if input.dtype.is_floating_point else input.to(default_dtype())


def _functions() -> dict[str, Any]:
    """The functions whose values are SciPy's, as nodes with a gradient that is made of ops."""
    # Importing it takes a fifth of the time that `import jitgrad` takes.
    from scipy import special as scipy_special

    from jitgrad.autograd.function import Function

    class Erfinv(Function):
        _node_name = "ErfinvBackward0"

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = _scipy(scipy_special.erfinv, x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (y,) = ctx.saved_tensors
            return g * (y * y).exp() * 0.886226925452758

    class Lgamma(Function):
        _node_name = "LgammaBackward0"

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return _scipy(scipy_special.gammaln, x)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return g * digamma(x)

    class Digamma(Function):
        _node_name = "DigammaBackward0"

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            values = scipy_special.digamma(x._array())
            # As in PyTorch: infinite with the sign turned at the two zeros, NaN at the other poles.
            values = np.where(x._array() == 0, -np.copysign(np.inf, x._array()), values)
            return tensor_of(values, x.dtype)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return g * polygamma(1, x)

    class Polygamma(Function):
        _node_name = "PolygammaBackward0"

        @staticmethod
        def forward(ctx: Any, n: int, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            ctx.n = n
            return _scipy(scipy_special.polygamma, x, n)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return None, g * polygamma(ctx.n + 1, x)

    return {f.__name__: f for f in (Erfinv, Lgamma, Digamma, Polygamma)}


_cache: dict[str, Any] = {}


def _apply(name: str, *args: Any) -> Tensor:
    if not _cache:
        _cache.update(_functions())
    return _cache[name].apply(*args)


def erfinv(input: Tensor) -> Tensor:
    """The inverse of `erf`, for elements from -1 to 1.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.erfinv(jitgrad.tensor([0.0, 1.0])).tolist()
    [0.0, inf]
    """
    _need_tensor("erfinv", input)
    return _apply("Erfinv", floating(input))


def lgamma(input: Tensor) -> Tensor:
    """The logarithm of the absolute value of the gamma function."""
    _need_tensor("lgamma", input)
    return _apply("Lgamma", floating(input))


def digamma(input: Tensor) -> Tensor:
    """The derivative of `lgamma`."""
    _need_tensor("digamma", input)
    return _apply("Digamma", floating(input))


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of `digamma`.

    Raises
    ------
    RuntimeError
        If ``n`` is negative.
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return digamma(input) if n == 0 else _apply("Polygamma", n, floating(input))


erfinv_, lgamma_, digamma_ = (in_place(f, reads=True) for f in (erfinv, lgamma, digamma))
