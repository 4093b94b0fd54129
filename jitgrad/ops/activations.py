"""Activations: a formula each, and the functions that users call.

Those that the namespace had from the beginning (relu, sigmoid, tanh) are rows of `jitgrad.ops.pointwise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.errors import not_implemented
from jitgrad.ops.elementwise import FUNCTIONS, need_tensor, record, record_
from jitgrad.ops.pointwise import pointwise
from jitgrad.ops.table import BY_NAME

if TYPE_CHECKING:
    from jitgrad.random import Generator
    from jitgrad.tensor import Tensor

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]

#: What selu is at minus infinity.
SELU_LIMIT = -1.7580993408473766

# ---------------------------------------------------------------- formulas
# Which side a kink belongs to, and what a NaN does, is PyTorch's: see the tests.
pointwise(
    "elu",
    "Elu",
    "where(x <= 0, z * expm1(x), x)",
    "where(x <= 0, g * z * exp(x), g)",
    only="no_int",
)
pointwise(
    "selu",
    "Elu",
    "where(x <= 0, 1.7580993408473766 * expm1(x), 1.0507009873554805 * x)",
    "where(x <= 0, g * 1.7580993408473766 * exp(x), g * 1.0507009873554805)",
    only="no_int",
)
pointwise(
    "celu",
    "Celu",
    "where(x <= 0, z * expm1(x / z), x)",
    "where(x <= 0, g * exp(x / z), g)",
    only="no_int",
)
# x times the normal distribution's function; erfc keeps its digits where that is small.
pointwise(
    "gelu",
    "Gelu",
    "0.5 * x * erfc(-0.7071067811865476 * x)",
    "g * (0.5 * erfc(-0.7071067811865476 * x) + x * 0.3989422804014327 * exp(-0.5 * x * x))",
    only="no_int",
)
# (1 + tanh(t)) / 2 is sigmoid(2 t), which keeps its digits where it is small.
pointwise(
    "gelu_tanh",
    "Gelu",
    "x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))",
    "s = sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x));"
    " g * (s + x * s * (1 - s) * 1.5957691216057308 * (1 + 0.134145 * x * x))",
    only="no_int",
)
pointwise(
    "silu",
    "Silu",
    "x * sigmoid(x)",
    "s = sigmoid(x); g * (s * (1 + x * (1 - s)))",
    only="no_int",
)
# tanh(softplus(x)) is n / (n + 2) for n = e^x (e^x + 2), which is 1 long before it overflows.
pointwise(
    "mish",
    "Mish",
    "e = exp(minimum(x, 20)); n = e * (e + 2); x * (n / (n + 2))",
    "e = exp(minimum(x, 20)); n = e * (e + 2); t = n / (n + 2);"
    " g * (t + x * sigmoid(x) * (1 - t * t))",
    only="no_int",
)
pointwise(
    "hardtanh",
    "Hardtanh",
    "minimum(maximum(x, z), u)",
    "where((x <= z) | (x >= u), 0, g)",
    only="no_bool",
)
pointwise(
    "hardswish",
    "Hardswish",
    "x * minimum(maximum(x + 3, 0), 6) / 6",
    "where(x <= -3, 0, where(x < 3, g * (x / 3 + 0.5), g))",
    only="no_int",
)
pointwise(
    "hardsigmoid",
    "Hardsigmoid",
    "minimum(maximum(x + 3, 0), 6) / 6",
    "where((x > -3) & (x < 3), g / 6, 0)",
    only="no_int",
)
pointwise(
    "leaky_relu",
    "LeakyRelu",
    "where(x > 0, x, x * z)",
    "where(x > 0, g, g * z)",
    only="no_int",
)
# The slope z is drawn for every element in training, and the mean slope otherwise.
pointwise(
    "rrelu",
    "RreluWithNoise",
    "where(x > 0, x, x * z)",
    "where(x > 0, g, g * z)",
    only="no_int",
)
pointwise(
    "prelu",
    "PreluKernel",
    "where(x > 0, x, x * z)",
    "where(x > 0, g, g * z)",
    "where(x > 0, 0, g * x)",
    only="no_int",
)
pointwise(
    "softplus",
    "Softplus",
    "where(x * z > u, x, log1p(exp(x * z)) / z)",
    "where(x * z > u, g, g * sigmoid(x * z))",
    only="no_int",
)
pointwise(
    "softshrink",
    "Softshrink",
    "where(x > z, x - z, where(x < -z, x + z, x * 0))",
    "where(abs(x) <= z, 0, g)",
    only="no_int",
)
pointwise(
    "hardshrink",
    "Hardshrink",
    "where(abs(x) <= z, 0, x)",
    "where(abs(x) <= z, 0, g)",
    only="no_int",
)
pointwise(
    "logsigmoid",
    "LogSigmoid",
    "minimum(x, 0) - log1p(exp(-abs(x)))",
    "g * sigmoid(-x)",
    only="no_int",
)
pointwise(
    "threshold",
    "Threshold",
    "where(x <= z, u, x)",
    "where(x <= z, 0, g)",
    only="no_bool",
)
pointwise(
    "glu",
    "Glu",
    "x * sigmoid(z)",
    "g * sigmoid(z)",
    "s = sigmoid(z); g * x * s * (1 - s)",
    only="no_int",
)


# ---------------------------------------------------------------- functions
def _call(name: str, input: Tensor, *parameters: Any, inplace: bool = False) -> Tensor:
    """A row on a Tensor and its parameters, which would make floats of integers."""
    need_tensor(name, input)
    if parameters and entry.word(input, col.DTYPE) < dtypes.FIRST_FLOAT:
        only_floats = BY_NAME[name].bits & col.OB_NO_INT
        if only_floats or input.dtype is dtypes.bool:
            if name == "hardtanh":
                raise RuntimeError(f"\"hardtanh\" not implemented for '{input.dtype.letter}'")
            raise not_implemented(name, input.dtype)
    return (record_ if inplace else record)(BY_NAME[name], input, *parameters)


def _not_negative(name: str, input: Tensor, slope: float) -> None:
    """In place, the gradient could not tell the sides apart."""
    if slope < 0 and input.requires_grad:
        raise RuntimeError(
            f"In-place {name} with the negative slope {slope} has no gradient; call it out of place"
        )


sigmoid = FUNCTIONS["sigmoid"]
tanh = FUNCTIONS["tanh"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``, optionally in place.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.relu(jitgrad.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return input.relu_() if inplace else FUNCTIONS["relu"](input)


def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return relu(input, True)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    if inplace:
        _not_negative("elu", input, alpha)
    return _call("elu", input, float(alpha), inplace=inplace)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return elu(input, alpha, True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`elu` scaled so that values keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return _call("selu", input, inplace=inplace)


def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return selu(input, True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``; RuntimeError for ``alpha`` 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _call("celu", input, float(alpha), inplace=inplace)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return celu(input, alpha, True)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``x`` times the probability that a normal number is below it (Hendrycks & Gimpel 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Whether to use the approximation by tanh.

    Raises
    ------
    RuntimeError
        For any other ``approximate``.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.gelu(jitgrad.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _call("gelu" if approximate == "none" else "gelu_tanh", input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``."""
    return _call("silu", input, inplace=inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``."""
    return _call("mish", input, inplace=inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Elements held between the two; no gradient at and beyond them.

    Raises
    ------
    ValueError
        If ``min_val`` is above ``max_val``.
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    bounds = _like(input, min_val, max_val)
    return _call("hardtanh", input, *bounds, inplace=inplace)


def _like(input: Tensor, *numbers: float) -> tuple[Any, ...]:
    """Numbers that leave the dtype of ``input`` as it is."""
    kind: Any = float if input.dtype.is_floating_point else int
    return tuple(kind(n) for n in numbers)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return hardtanh(input, min_val, max_val, True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * relu6(x + 3) / 6``."""
    return _call("hardswish", input, inplace=inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``relu6(x + 3) / 6``."""
    return _call("hardsigmoid", input, inplace=inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where positive, else ``negative_slope * x``."""
    if inplace:
        _not_negative("leaky_relu", input, negative_slope)
    return _call("leaky_relu", input, float(negative_slope), inplace=inplace)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return leaky_relu(input, negative_slope, True)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`leaky_relu` with a slope between two numbers: random for each element in training, else the mean.

    Raises
    ------
    RuntimeError
        If ``lower`` is above ``upper``.
    """
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    slope: Any = (lower + upper) / 2
    if training:
        from jitgrad.random import rand_like

        slope = rand_like(input, generator=generator) * (upper - lower) + lower
    return _call("rrelu", input, slope, inplace=inplace)


def rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, True)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` where positive, else ``weight * x``, with a weight for all or one for each channel (dim 1).

    Raises
    ------
    RuntimeError
        If the weight has another size or dtype.
    """
    need_tensor("prelu", input)
    need_tensor("prelu", weight, "weight", 2)
    if weight.dtype is not input.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype.letter} and {weight.dtype.letter}"
        )
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    n = weight.numel()
    if n != 1:
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if n != channels:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers ="
                f" {n} and channel size = {channels}."
            )
        weight = weight.reshape(1, n, *(1,) * (input.ndim - 2))
    elif weight.ndim and input.ndim != 1:
        weight = weight.reshape((1,) * input.ndim)
    return record(BY_NAME["prelu"], input, weight)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x`` is above the threshold."""
    return _call("softplus", input, float(beta), float(threshold))


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + abs(x))``."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    return input - input.tanh()


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``x`` moved towards 0 by ``lambd``, but not beyond; RuntimeError if that is negative."""
    if lambd < 0 and input.dtype.is_floating_point:
        raise RuntimeError(
            f"lambda must be in range [0, {dtypes.finfo(input.dtype).max:g}] for input dtype"
            f" {input.dtype.letter}, but found {lambd:g}"
        )
    return _call("softshrink", input, float(lambd))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``x`` where its absolute value is above ``lambd``, else 0."""
    return _call("hardshrink", input, float(lambd))


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(x))``, right for every ``x``."""
    return _call("logsigmoid", input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``x`` where it is above the threshold, else ``value``."""
    return _call("threshold", input, *_like(input, threshold, value), inplace=inplace)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    below, instead = _like(input, threshold, value)
    return _call("threshold", input, below, instead, inplace=True)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along a dim times the sigmoid of the second.

    Raises
    ------
    RuntimeError
        If the dim's size is odd or there are no dims.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.glu(jitgrad.tensor([3.0, 4.0, 0.0, 0.0])).tolist()
    [1.5, 2.0]
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    n = input.size(dim)
    if n % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % input.ndim} is size {n}"
        )
    first, second = input.narrow(dim, 0, n // 2), input.narrow(dim, n // 2, n // 2)
    return record(BY_NAME["glu"], first, second)
