"""Special functions whose values are SciPy's: Bessel, normal distribution, entropy, incomplete gamma."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import return_types
from jitgrad.ops.arithmetic import where
from jitgrad.ops.elementwise import need_tensor
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place, is_tensor, tensor_of
from jitgrad.ops.special import floating, lgamma

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Pointwise = Callable[["Tensor"], "Tensor"]
Slope = Callable[["Tensor", "Tensor"], "Tensor"]
_classes: dict[str, Any] = {}


def _made(node: str, name: str, slope: Slope) -> Any:
    """The differentiable function of that name in SciPy; ``slope(x, y)`` is its derivative."""
    # Importing it takes a fifth of the time that `import jitgrad` takes.
    from scipy import special

    from jitgrad.autograd.function import Function

    value = getattr(special, name)

    class Special(Function):
        _node_name = f"{node}Backward0"

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = tensor_of(value(x._array()), x.dtype)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g * slope(*ctx.saved_tensors)

    return Special


def _function(
    name: str, node: str, slope: Slope, about: str, scipy: str = ""
) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        need_tensor(name, input)
        if node not in _classes:
            _classes[node] = _made(node, scipy or name, slope)
        return _classes[node].apply(floating(input))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = about
    return function


def _i1_slope(x: Tensor, y: Tensor) -> Tensor:
    return where(x == 0, 0.5, i0(x) - y / x)


def _i1e_slope(x: Tensor, y: Tensor) -> Tensor:
    return where(x == 0, 0.5, i0e(x) - y * (x.sign() + x.reciprocal()))


_ROOT = math.sqrt(2 * math.pi)

i0: Pointwise = _function(
    "i0", "I0", lambda x, y: i1(x), "The modified Bessel function of order 0."
)
i0e: Pointwise = _function(
    "i0e", "SpecialI0E", lambda x, y: i1e(x) - x.sign() * y, "``exp(-|x|) * i0(x)``."
)
i1: Pointwise = _function("i1", "SpecialI1", _i1_slope, "The modified Bessel function of order 1.")
i1e: Pointwise = _function("i1e", "SpecialI1E", _i1e_slope, "``exp(-|x|) * i1(x)``.")
ndtr: Pointwise = _function(
    "ndtr",
    "SpecialNdtr",
    lambda x, y: (-x * x / 2).exp() / _ROOT,
    "The area below the standard normal density up to each element.",
)
ndtri: Pointwise = _function(
    "ndtri", "SpecialNdtri", lambda x, y: (y * y / 2).exp() * _ROOT, "The inverse of `ndtr`."
)
log_ndtr: Pointwise = _function(
    "log_ndtr",
    "SpecialLogNdtr",
    lambda x, y: math.sqrt(2 / math.pi) / erfcx(-x / math.sqrt(2)),
    "The logarithm of `ndtr`.",
)
entr: Pointwise = _function(
    "entr", "SpecialEntr", lambda x, y: where(x == 0, math.inf, -x.log() - 1), "``-x * log(x)``."
)
erfcx: Pointwise = _function(
    "erfcx",
    "SpecialErfcx",
    lambda x, y: 2 * x * y - 2 / math.sqrt(math.pi),
    "``exp(x * x) * erfc(x)``.",
)
i0_ = in_place(i0, reads=True)


# ---------------------------------------------------------------- of two operands
def _two(name: str, input: Tensor, other: Tensor, function: Any) -> Tensor:
    need_tensor(name, input)
    need_tensor(name, other, "other", 2)
    from jitgrad.ops.promotion import result_type

    dtype = result_type(input, other)
    a, b = input.detach().to(dtype)._array(), other.detach().to(dtype)._array()
    return tensor_of(function(a, b), dtype)


def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number from ``input`` on the way to ``other``, broadcast; no gradient flows."""
    return _two("nextafter", input, other, np.nextafter)


def zeta(input: Any, other: Any) -> Tensor:
    """The Hurwitz zeta function of ``input`` with the offset ``other``; no gradient flows."""
    from scipy import special

    from jitgrad.creation import as_tensor

    x, q = (v if is_tensor(v) else as_tensor(float(v)) for v in (input, other))
    return _two("zeta", floating(x), floating(q), special.zeta)


def _gamma_slope(a: Tensor, x: Tensor) -> Tensor:
    return ((a - 1) * x.log() - x - lgamma(a)).exp()


def _incomplete(name: str, node: str, sign: int) -> Any:
    from scipy import special

    from jitgrad.autograd.function import Function

    class Incomplete(Function):
        _node_name = f"{node}Backward0"

        @staticmethod
        def forward(ctx: Any, a: Tensor, x: Tensor) -> Tensor:
            ctx.save_for_backward(a, x)
            return _two(node.lower(), a, x, getattr(special, name))

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            a, x = ctx.saved_tensors
            if ctx.needs_input_grad[0]:
                raise NotImplementedError(f"the derivative for 'self' is not implemented ({node})")
            return None, sign * g * _gamma_slope(a, x)

    return Incomplete


def igamma(input: Tensor, other: Tensor) -> Tensor:
    """The regularised lower incomplete gamma function; gradients flow to ``other`` only."""
    if "Igamma" not in _classes:
        _classes["Igamma"] = _incomplete("gammainc", "Igamma", 1)
    return _classes["Igamma"].apply(floating(input), floating(other))


def igammac(input: Tensor, other: Tensor) -> Tensor:
    """``1 - igamma(input, other)``."""
    if "Igammac" not in _classes:
        _classes["Igammac"] = _incomplete("gammaincc", "Igammac", -1)
    return _classes["Igammac"].apply(floating(input), floating(other))


def xlog1py(input: Any, other: Any) -> Tensor:
    """``input * log1p(other)``, 0 where ``input`` is 0 and ``other`` no NaN."""
    x = input if is_tensor(input) else other.new_tensor(float(input))
    z = other if is_tensor(other) else x.new_tensor(float(other))
    logarithm = z.log1p()
    infinite = (x == 0) & logarithm.isinf()
    return where(infinite, 0.0, x * logarithm)


@named("MvlgammaBackward0")
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``.

    Raises
    ------
    RuntimeError
        If ``p`` is not positive.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = floating(input)
    halves = x.new_tensor([(1 - j) / 2 for j in range(1, p + 1)])
    return lgamma(x.unsqueeze(-1) + halves).sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


def angle(input: Tensor) -> Tensor:
    """0, or pi for what is negative; the angle of a real number."""
    need_tensor("angle", input)
    x = floating(input).detach()
    return where(x.isnan(), x, where(x < 0, math.pi, 0.0).to(x.dtype))


@named("FrexpBackward0")
def frexp(input: Tensor) -> Any:
    """``mantissa * 2 ** exponent``, the mantissa from 0.5 to 1 (int32 exponents)."""
    need_tensor("frexp", input)
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"torch.frexp() only supports floating-point dtypes, but got {input.dtype.letter}"
        )
    _, exponent = np.frexp(input.detach()._array())
    whole = tensor_of(exponent.astype(np.int32))
    scale = tensor_of(np.exp2(-exponent.astype(np.float64)), input.dtype)
    return return_types.frexp((input * scale, whole))
