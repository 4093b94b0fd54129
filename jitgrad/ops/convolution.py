"""Convolutions in 1 to 3 dims, and transposed ones; the kernels are in `jitgrad.kernels.convolution`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from jitgrad.arena.engine import entry
from jitgrad.dtypes import dtype as DType  # noqa: N812 - "dtype" is an argument's name elsewhere
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.convolution:"
CONVOLUTION = register(
    Op(
        "convolution",
        "Convolution",
        KERNEL,
        3,
        _KERNELS + "convolution",
        tuple(_KERNELS + f"convolution_d{name}" for name in "xwb"),
        (2, 1, 0),
    )
)
# The gradient of a weight, which has gradients itself: from an ordinary convolution's input and a cotangent
# of its result.
CONVOLUTION_WEIGHT = register(
    Op(
        "convolution_weight",
        "ConvolutionBackward",
        KERNEL,
        2,
        _KERNELS + "convolution_weight",
        (_KERNELS + "convolution_weight_dx", _KERNELS + "convolution_weight_dg"),
        (2, 1),
    )
)

Sizes = int | Sequence[int]
_C_NAMES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int64": "long int",
}


def spread_sizes(value: Any, n: int, name: str, function: str) -> tuple[int, ...]:
    """An argument that is one integer for all ``n`` dims, or one for each.

    Raises
    ------
    TypeError
        If it is neither.
    RuntimeError
        If there are too few or too many.
    """
    try:
        found = tuple(map(index, value)) if isinstance(value, (tuple, list)) else (index(value),)
    except TypeError:
        raise TypeError(
            f"{function}(): argument '{name}' must be tuple of ints, not {type(value).__name__}"
        ) from None
    if len(found) == 1:
        return found * n
    if len(found) != n:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the"
            f" convolution dimensions, but got {name}={list(found)}"
        )
    return found


def _check_tensors(function: str, tensors: dict[str, Any]) -> None:
    from jitgrad.tensor import Tensor

    for name, value in tensors.items():
        if not isinstance(value, Tensor) and not (name == "bias" and value is None):
            raise TypeError(
                f"{function}(): argument '{name}' must be Tensor, not {type(value).__name__}"
            )


def _check_dtypes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    dtype: DType = input.dtype
    if bias is not None and bias.dtype is not dtype:
        names = (_C_NAMES.get(t.dtype.name, t.dtype.name) for t in (input, bias))
        raise RuntimeError("Input type ({}) and bias type ({}) should be the same".format(*names))
    if weight.dtype is not dtype:
        raise RuntimeError(f"expected scalar type {dtype.letter} but found {weight.dtype.letter}")
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"convolution\" not implemented for '{dtype.letter}'")


def _check_numbers(
    stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> None:
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")


def _check_shapes(
    x: tuple[int, ...], w: tuple[int, ...], bias: Tensor | None, groups: int, transposed: bool
) -> None:
    """Channels, groups and bias; ``x`` with its batch."""
    given = "transposed=1" if transposed else f"groups={groups}"
    if w[0] < groups:
        raise RuntimeError(
            f"Given {given}, expected weight to be at least {groups} at dimension 0, but got weight"
            f" of size {sizes(w)} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given {given}, expected weight to be divisible by {groups} at dimension 0, but got"
            f" weight of size [{sizes(w)}] instead"
        )
    channels, maps = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    if x[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {sizes(w)}, expected input{sizes(x)} to have {channels}"
            f" channels, but got {x[1]} channels instead"
        )
    if min(w[2:]) == 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got weight {sizes(w)}")
    if bias is not None and bias.shape != (maps,):
        raise RuntimeError(
            f"Given {given + ', ' if transposed else ''}weight of size {sizes(w)}, expected bias to be"
            f" 1-dimensional with {maps} elements, but got bias of size {sizes(bias.shape)} instead"
        )
    if 0 in x[2:]:
        raise RuntimeError(
            f"Only zero batch or zero channel inputs are supported, but got input shape: {sizes(x)}"
        )


def _batched(input: Tensor, weight: Tensor, n: int, function: str) -> tuple[Tensor, bool]:
    x, w = entry.shape(input), entry.shape(weight)
    if len(x) not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {function}, but got input"
            f" of size: {sizes(x)}"
        )
    if len(w) != n + 2:
        raise RuntimeError(
            f"Expected {n + 2}-dimensional weight for {n + 2}-dimensional input {sizes(x)}, but got"
            f" weight of size {sizes(w)} instead"
        )
    return (input.unsqueeze(0), False) if len(x) == n + 1 else (input, True)


def _record(
    inputs: list[Tensor],
    shape: Sequence[int],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    transposed: bool,
) -> Tensor:
    lead = 3 - len(stride)
    attributes = [
        *(1,) * lead,
        *stride,
        *(0,) * lead,
        *padding,
        *(1,) * lead,
        *dilation,
        groups,
        int(transposed),
    ]
    return record.explicit(CONVOLUTION, inputs, shape, attributes)


def _joined(sizes_: Sequence[int]) -> str:
    return "(" + " x ".join(map(str, sizes_)) + ")"


def _convolve(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    function = f"conv{n}d"
    _check_tensors(function, {"input": input, "weight": weight, "bias": bias})
    input, batched = _batched(input, weight, n, function)
    steps = spread_sizes(stride, n, "stride", function)
    apart = spread_sizes(dilation, n, "dilation", function)
    x, w = entry.shape(input), entry.shape(weight)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        total = [0] * n
        if padding == "same":
            if max(steps) != 1:
                raise RuntimeError("padding='same' is not supported for strided convolutions")
            total = [d * (k - 1) for d, k in zip(apart, w[2:], strict=True)]
        before = tuple(t // 2 for t in total)
    else:
        before = spread_sizes(padding, n, "padding", function)
        total = [2 * p for p in before]
    _check_numbers(steps, before, apart, groups)
    _check_shapes(x, w, bias, groups, False)
    wide = [size + t for size, t in zip(x[2:], total, strict=True)]
    windows = [d * (k - 1) + 1 for d, k in zip(apart, w[2:], strict=True)]
    if any(k > size for k, size in zip(windows, wide, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: {_joined(wide)}. Kernel size:"
            f" {_joined(windows)}. Kernel size can't be greater than actual input size"
        )
    _check_dtypes(input, weight, bias)
    shape = [(size - k) // s + 1 for size, k, s in zip(wide, windows, steps, strict=True)]
    inputs = [input, weight] if bias is None else [input, weight, bias]
    y = _record(inputs, (x[0], w[0], *shape), steps, before, apart, groups, False)
    return y if batched else y.squeeze(0)


def _transpose(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    function = f"conv_transpose{n}d"
    _check_tensors(function, {"input": input, "weight": weight, "bias": bias})
    input, batched = _batched(input, weight, n, function)
    steps = spread_sizes(stride, n, "stride", function)
    before = spread_sizes(padding, n, "padding", function)
    more = spread_sizes(output_padding, n, "output_padding", function)
    apart = spread_sizes(dilation, n, "dilation", function)
    x, w = entry.shape(input), entry.shape(weight)
    _check_numbers(steps, before, apart, groups)
    if min(more) < 0:
        raise RuntimeError("negative output_padding is not supported")
    _check_shapes(x, w, bias, groups, True)
    if any(m >= s and m >= d for m, s, d in zip(more, steps, apart, strict=True)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got output_padding:"
            f" {more} stride: {steps} dilation: {apart}"
        )
    shape = [
        (size - 1) * s - 2 * p + d * (k - 1) + m + 1
        for size, s, p, d, k, m in zip(x[2:], steps, before, apart, w[2:], more, strict=True)
    ]
    if min(shape) <= 0:
        raise RuntimeError(
            f"Given input size per channel: {_joined(x[2:])}. Calculated output size per channel:"
            f" {_joined(shape)}. Output size is too small"
        )
    _check_dtypes(input, weight, bias)
    inputs = [input, weight] if bias is None else [input, weight, bias]
    y = _record(inputs, (x[0], w[1] * groups, *shape), steps, before, apart, groups, True)
    return y if batched else y.squeeze(0)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over one dim; see `conv2d`.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[1.0, 2.0, 4.0]])
    >>> jitgrad.nn.functional.conv1d(x, jitgrad.tensor([[[-1.0, 1.0]]])).tolist()
    [[1.0, 2.0]]
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over two dims: the weight slid over the input, its products with each window summed.

    Parameters
    ----------
    input : Tensor
        (n, channels, height, width), or without n.
    weight : Tensor
        (maps, channels / groups, kernel height, kernel width).
    bias : Tensor, optional
        (maps).
    stride, dilation : int or sequence of int
        How far windows, and the elements in a window, lie apart.
    padding : int, sequence of int, "valid" or "same"
        Zeros on either side; "same" keeps the input's size.
    groups : int
        The channels and maps fall into so many groups that know nothing of each other.

    Returns
    -------
    Tensor
        (n, maps, height, width), or without n; floating point.

    Raises
    ------
    RuntimeError
        If sizes or dtypes do not fit, or a number is out of its range.
    TypeError
        If something is no Tensor or no integer.

    Examples
    --------
    >>> import jitgrad
    >>> x, w = jitgrad.ones(1, 3, 3), jitgrad.ones(1, 1, 3, 3)
    >>> jitgrad.nn.functional.conv2d(x, w, padding=1).tolist()
    [[[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]]
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over three dims; see `conv2d`."""
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transposed convolution over one dim; see `conv_transpose2d`."""
    return _transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transposed convolution: each element of the input adds a multiple of the weight to the result.

    It is the gradient of `conv2d` in its input.

    Parameters
    ----------
    input : Tensor
        (n, channels, height, width), or without n.
    weight : Tensor
        (channels, maps / groups, kernel height, kernel width).
    bias : Tensor, optional
        (maps).
    stride, padding, dilation : int or sequence of int
        Those of the convolution that this one transposes.
    output_padding : int or sequence of int
        How much larger the result is at its end: several sizes have convolutions of one size.
    groups : int
        As in `conv2d`.

    Raises
    ------
    RuntimeError
        If sizes or dtypes do not fit, or a number is out of its range.
    TypeError
        If something is no Tensor or no integer.

    Examples
    --------
    >>> import jitgrad
    >>> x, w = jitgrad.tensor([[[1.0, 2.0]]]), jitgrad.ones(1, 1, 1, 2)
    >>> jitgrad.nn.functional.conv_transpose2d(x, w, stride=(1, 2)).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    return _transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transposed convolution over three dims; see `conv_transpose2d`."""
    return _transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
def _attributes(step: Step, transposed: int) -> list[int]:
    """Stride, padding, dilation and groups of a row, for an ordinary or a transposed convolution."""
    return [*(step.integer(k) for k in range(10)), transposed]


@recipe(CONVOLUTION)
def _convolution_recipe(step: Step, g: Tensor) -> Gradients:
    found: list[Tensor | None] = [None] * step.inputs
    transposed = step.integer(10)
    if step.wants(0):
        attributes = _attributes(step, 1 - transposed)
        found[0] = record.explicit(CONVOLUTION, (g, step.saved(1)), step.input_shape(0), attributes)
    if step.wants(1):
        pair = (g, step.saved(0)) if transposed else (step.saved(0), g)
        attributes = _attributes(step, 0)
        found[1] = record.explicit(CONVOLUTION_WEIGHT, pair, step.input_shape(1), attributes)
    if step.inputs == 3 and step.wants(2):
        found[2] = g.sum([0, *range(2, len(step.shape))])
    return found


@recipe(CONVOLUTION_WEIGHT)
def _weight_recipe(step: Step, g: Tensor) -> Gradients:
    found: list[Tensor | None] = [None, None]
    for i in (0, 1):
        if step.wants(i):
            # With the cotangent as weight: what the input gets is a transposed convolution.
            attributes = _attributes(step, 1 - i)
            pair = (step.saved(1 - i), g)
            found[i] = record.explicit(CONVOLUTION, pair, step.input_shape(i), attributes)
    return found
