"""Images in other sizes: interpolation, shuffled pixels, windows as columns, sampling at points."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import floor, prod
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops import bands
from jitgrad.ops.average_pooling import adaptive_average
from jitgrad.ops.convolution import Sizes, spread_sizes
from jitgrad.ops.names import name as naming
from jitgrad.ops.names import named
from jitgrad.ops.operands import beside
from jitgrad.ops.padding import Ints, pad, remapped
from jitgrad.ops.picking import index_add, index_select
from jitgrad.ops.recipe import zeros

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_DIMS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_PLAIN = ("nearest", "area", "nearest-exact")


def _nearest(size: int, out: int, factor: float | None, exact: bool) -> Ints:
    # In float32, as PyTorch does: another rounding would pick other elements.
    scale = bands.scale_of(size, out, False, factor, np.float32)
    places = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    return np.minimum(np.floor(places * scale).astype(np.int64), size - 1)


def _target(
    x: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The sizes of the result, and the factors that places are computed with (None: from the sizes)."""
    space = x[2:]
    n = len(space)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given = size if scale_factor is None else scale_factor
    each = list(given) if isinstance(given, (tuple, list)) else [given] * n
    if len(each) != n:
        what = "output size of" if scale_factor is None else "scale_factor of"
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with"
            f" spatial dimensions of {list(space)} and {what} {given}."
        )
    if scale_factor is None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return [index(s) for s in each], [None] * n
    out = [floor(s * float(f)) for s, f in zip(space, each, strict=True)]
    return out, [None] * n if recompute else [float(f) for f in each]


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The input in another size.

    Parameters
    ----------
    input : Tensor
        (n, channels, and 1 to 3 dims); floating point, for nearest any dtype.
    size : int or sequence of int, optional
        The new sizes.
    scale_factor : float or sequence of float, optional
        Or what the sizes are multiplied by.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"}
        How elements are chosen or mixed.
    align_corners : bool, optional
        Whether the first and last elements keep their places (rather than the input's outer edges).
    recompute_scale_factor : bool, optional
        Compute places from the sizes instead of from ``scale_factor``.
    antialias : bool
        Average over all elements that a place stands for; bilinear and bicubic only.

    Raises
    ------
    ValueError
        If options contradict each other.
    NotImplementedError
        If the mode is not for such a shape.
    RuntimeError
        If a size is not positive.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[[1.0, 3.0]]])
    >>> jitgrad.nn.functional.interpolate(x, 4).tolist()
    [[[1.0, 1.0, 3.0, 3.0]]]
    >>> jitgrad.nn.functional.interpolate(x, 3, mode="linear", align_corners=True).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    x = entry.shape(input)
    if mode in _PLAIN and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear |"
            " bicubic | trilinear"
        )
    out, factors = _target(x, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic") and len(x) == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as"
            " input"
        )
    fits = 3 <= len(x) <= 5 and (mode in _PLAIN or len(x) == _DIMS.get(mode))
    if not fits and mode in ("linear", "bilinear", "trilinear") and 3 <= len(x) <= 5:
        raise NotImplementedError(
            f"Got {len(x)}D input, but {mode} mode needs {_DIMS[mode]}D input"
        )
    if not fits:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported"
            f" (got {len(x)}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area |"
            f" nearest-exact (got {mode})"
        )
    if min(out) <= 0 or min(x[2:]) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {sizes(x[2:])} and output"
            f" {out}"
        )
    if mode.startswith("nearest"):
        exact = mode == "nearest-exact"
        pairs = zip(x[2:], out, factors, strict=True)
        found = remapped(input, _nearest, [(s, o, f, exact) for s, o, f in pairs])
        return naming(found, f"UpsampleNearest{'Exact' * exact}{len(out)}DBackward0")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"upsample_{mode}\" not implemented for '{input.dtype.letter}'")
    if mode == "area":
        return adaptive_average(len(out), input, out)
    align = bool(align_corners)
    double = input.dtype is dtypes.float64
    each = []
    for s, o, f in zip(x[2:], out, factors, strict=True):
        if antialias:
            each.append(bands.antialiased(s, o, align, f, mode))
        else:
            kind = bands.cubic if mode == "bicubic" else bands.linear
            each.append(kind(s, o, align, f, double))
    node = f"Upsample{mode.capitalize()}{len(out)}D{'Aa' * antialias}"
    return naming(bands.along(input, each), f"{node}Backward0")


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its old name."""
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode nearest, under its old name."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode bilinear and aligned corners, under its old name."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, "bilinear", True)


# ---------------------------------------------------------------- shuffled pixels and channels
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Groups of r * r channels spread as blocks of pixels: (..., c*r*r, h, w) to (..., c, h*r, w*r).

    Raises
    ------
    RuntimeError
        If the shape does not fit or the factor is not positive.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.pixel_shuffle(jitgrad.arange(4.0).view(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    x, r = entry.shape(input), upscale_factor
    if len(x) < 3:
        raise RuntimeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with"
            f" {len(x)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = x
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of"
            f" upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    y = input.reshape(prod(lead) * (c // (r * r)), r, r, h, w).permute(0, 3, 1, 4, 2)
    return y.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """`pixel_shuffle` undone.

    Raises
    ------
    RuntimeError
        If the shape does not fit or the factor is not positive.
    """
    x, r = entry.shape(input), downscale_factor
    if len(x) < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with"
            f" {len(x)} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = x
    for name, n, d in (("height", h, -2), ("width", w, -1)):
        if n % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but"
                f" input.size({d})={n} is not divisible by {r}"
            )
    y = input.reshape(prod(lead) * c, h // r, r, w // r, r).permute(0, 2, 4, 1, 3)
    return y.reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels dealt out: the first of each of the groups, then the second, and so on.

    Raises
    ------
    RuntimeError
        If the channels can't be divided into so many groups.
    """
    x = entry.shape(input)
    if len(x) < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {sizes(x)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if x[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {x[1]} channels and {groups} groups."
        )
    return input.reshape(x[0], groups, x[1] // groups, prod(x[2:])).transpose(1, 2).reshape(x)


# ---------------------------------------------------------------- windows as columns
def _columns(
    space: Sequence[int],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> tuple[Any, list[int], list[int]]:
    """Positions of the windows' elements in the padded space, its sizes, and how many windows there are."""
    if min(kernel) <= 0 or min(stride) <= 0 or min(dilation) <= 0:
        raise RuntimeError(
            f"kernel size, dilation and stride should be greater than zero, but got {kernel},"
            f" {dilation}, {stride}"
        )
    if min(padding) < 0:
        raise RuntimeError(f"padding should be non-negative, but got {padding}")
    wide = [s + 2 * p for s, p in zip(space, padding, strict=True)]
    counts = [
        (s - d * (k - 1) - 1) // t + 1
        for s, k, d, t in zip(wide, kernel, dilation, stride, strict=True)
    ]
    if min(counts) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(space)}, kernel_size={kernel}, dilation={dilation},"
            f" padding={padding}, calculated shape of the array of sliding blocks as {tuple(counts)},"
            " but its components must be at least one."
        )
    rows, columns = (
        np.arange(k)[:, None] * d + np.arange(n) * t
        for k, d, n, t in zip(kernel, dilation, counts, stride, strict=True)
    )
    # (kernel rows, kernel columns, window rows, window columns)
    places = rows[:, None, :, None] * wide[1] + columns[None, :, None, :]
    return places.reshape(-1).astype(np.int64), wide, counts


def _pairs(function: str, **options: Sizes) -> list[tuple[int, ...]]:
    return [spread_sizes(value, 2, name, function) for name, value in options.items()]


@named("Im2ColBackward0")
def unfold(
    input: Tensor,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Each window as a column: (n, channels, height, width) to (n, channels * elements, windows).

    Raises
    ------
    RuntimeError
        If the input has other dims, a number is out of its range or no window fits.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.unfold(jitgrad.arange(4.0).view(1, 2, 2), (2, 1)).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    x = entry.shape(input)
    if len(x) not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero"
            f" dimensions for input, but got: {sizes(x)}"
        )
    options = _pairs(
        "unfold", kernel_size=kernel_size, dilation=dilation, stride=stride, padding=padding
    )
    places, _, counts = _columns(x[-2:], *options)
    (p0, p1), kernel = options[3], options[0]
    wide = pad(input, (p1, p1, p0, p0)) if p0 or p1 else input
    flat = wide.reshape(*x[:-2], prod(entry.shape(wide)[-2:]))
    y = index_select(flat, flat.ndim - 1, beside(input, places))
    return y.reshape(*x[:-3], x[-3] * prod(kernel), prod(counts))


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """`unfold` turned round: columns added up where their windows lie.

    Raises
    ------
    RuntimeError
        If the input's shape is not that of such columns.

    Examples
    --------
    >>> import jitgrad
    >>> columns = jitgrad.ones(2, 2)
    >>> jitgrad.nn.functional.fold(columns, (1, 3), (1, 2)).tolist()
    [[[1.0, 2.0, 1.0]]]
    """
    x = entry.shape(input)
    if len(x) not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero"
            f" dimensions for input, but got: {sizes(x)}"
        )
    (space,) = _pairs("fold", output_size=output_size)
    options = _pairs(
        "fold", kernel_size=kernel_size, dilation=dilation, stride=stride, padding=padding
    )
    kernel, (p0, p1) = options[0], options[3]
    if x[-2] % prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got"
            f" input.size(1)={x[-2]} and kernel_size={kernel}."
        )
    places, wide, counts = _columns(space, *options)
    if x[-1] != prod(counts):
        raise RuntimeError(
            f"Given output_size={space}, kernel_size={kernel}, expected size of input's dimension 2 to"
            f" match the calculated number of sliding blocks {counts[0]} * {counts[1]} ="
            f" {prod(counts)}, but got input.size(2)={x[-1]}."
        )
    channels = x[-2] // prod(kernel)
    flat = input.reshape(*x[:-2], channels, prod(kernel) * x[-1])
    start = zeros((*x[:-2], channels, prod(wide)), input.dtype, input.device)
    y = index_add(start, start.ndim - 1, beside(input, places), flat)
    y = y.reshape(*x[:-2], channels, *wide)
    return pad(y, (-p1, -p1, -p0, -p0)) if p0 or p1 else y
