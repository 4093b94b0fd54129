"""Pooling by averages and p-norms: bands (`jitgrad.ops.bands`) along one dim after another."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.arena.engine import entry
from jitgrad.ops import bands
from jitgrad.ops.convolution import Sizes, spread_sizes
from jitgrad.ops.names import named
from jitgrad.ops.windows import adaptive_sizes, batched_shape, window_counts

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _check_floating(input: Tensor, function: str) -> None:
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"{function}\" not implemented for '{input.dtype.letter}'")


def _average(
    n: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    function = f"avg_pool{n}d"
    x = batched_shape(input, n, function)
    kernel = spread_sizes(kernel_size, n, "kernel_size", function)
    steps = kernel if stride in (None, []) else spread_sizes(stride, n, "stride", function)
    pads = spread_sizes(padding, n, "padding", function)
    out = window_counts(x, kernel, steps, pads, (1,) * n, ceil_mode)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    _check_floating(input, function)
    each = [
        bands.average(*of, count_include_pad, divisor is not None)
        for of in zip(x[len(x) - n :], out, kernel, steps, pads, strict=True)
    ]
    y = bands.along(input, each)
    return y if divisor is None else y / divisor


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average of each window along the last dim; see `avg_pool2d`."""
    return _average(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@named("AvgPool2DBackward0")
def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window along the last two dims.

    Parameters
    ----------
    input : Tensor
        (n, channels, height, width) or without n; floating point.
    kernel_size, stride, padding : int or sequence of int
        Size of the windows, how far they lie apart (their size by default), zeros at either side.
    ceil_mode : bool
        Have a last window that hangs over the end.
    count_include_pad : bool
        Whether the zeros at the sides count as elements.
    divisor_override : int, optional
        What sums are divided by instead of the number of elements.

    Raises
    ------
    RuntimeError
        If the input has other dims, a number is out of its range or no window fits.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.avg_pool2d(jitgrad.arange(4.0).view(1, 2, 2), 2).tolist()
    [[[1.5]]]
    """
    return _average(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@named("AvgPool3DBackward0")
def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window along the last three dims; see `avg_pool2d`."""
    return _average(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def adaptive_average(n: int, input: Tensor, output_size: Any) -> Tensor:
    """Adaptive average pooling over the last ``n`` dims."""
    function = f"adaptive_avg_pool{n}d"
    x, out = adaptive_sizes(input, output_size, n, function)
    _check_floating(input, function)
    each = [bands.adaptive(size, o) for size, o in zip(x[len(x) - n :], out, strict=True)]
    return bands.along(input, each)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of ``output_size`` windows that cover the last dim."""
    return adaptive_average(1, input, output_size)


@named("AdaptiveAvgPool2DBackward0")
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of windows that cover the last two dims, ``output_size`` of them along each (None: all).

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.adaptive_avg_pool2d(jitgrad.arange(4.0).view(1, 2, 2), 1).tolist()
    [[[1.5]]]
    """
    return adaptive_average(2, input, output_size)


@named("AdaptiveAvgPool3DBackward0")
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Averages of windows that cover the last three dims; see `adaptive_avg_pool2d`."""
    return adaptive_average(3, input, output_size)


# ---------------------------------------------------------------- p-norms
def _lp(
    n: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> Tensor:
    kernel = spread_sizes(kernel_size, n, "kernel_size", f"lp_pool{n}d")
    mean = _average(n, input**norm_type, kernel, stride, 0, ceil_mode, True, None)
    # A negative sum has no root: PyTorch takes it for zero.
    return (mean.sign() * mean.abs().relu() * prod(kernel)) ** (1.0 / norm_type)


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window along the last dim (without absolute values)."""
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window along the last two dims (without absolute values)."""
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of each window along the last three dims (without absolute values)."""
    return _lp(3, input, norm_type, kernel_size, stride, ceil_mode)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``input / (k + alpha * mean) ** beta``, with the mean square of ``size`` neighbouring channels.

    Raises
    ------
    ValueError
        If the input has less than three dims.
    """
    x = entry.shape(input)
    if len(x) < 3:
        raise ValueError(
            "Expected 3D or higher dimensionality                         "
            f" input (got {len(x)} dimensions)"
        )
    if input.numel() == 0:
        return input
    mean = bands.apply(input * input, 1, bands.neighbours(x[1], size))
    return input / (mean * alpha + k) ** beta
