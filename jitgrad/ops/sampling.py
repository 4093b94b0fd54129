"""An image read at points between its pixels; composed of other ops."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.arena.engine import entry
from jitgrad.errors import sizes
from jitgrad.ops.gathering import gather

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_PADDINGS = ("zeros", "border", "reflection")


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where the pixels of an image come from under affine maps: points for `grid_sample`.

    Parameters
    ----------
    theta : Tensor
        (n, 2, 3) or (n, 3, 4), floating point.
    size : sequence of int
        (n, channels, height, width), or with depth.
    align_corners : bool, optional
        Whether -1 and 1 are the middles of the outer pixels or the image's edges.

    Returns
    -------
    Tensor
        (n, height, width, 2), or (n, depth, height, width, 3).

    Raises
    ------
    ValueError
        If ``theta`` is not floating point, or shapes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> theta = jitgrad.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> jitgrad.nn.functional.affine_grid(theta, (1, 1, 1, 2), align_corners=True).tolist()
    [[[[-1.0, 0.0], [1.0, 0.0]]]]
    """
    from jitgrad.creation import linspace
    from jitgrad.ops.joining import stack

    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since"
            " 1.3.0. Please specify align_corners=True if the old behavior is desired. See the"
            " documentation of affine_grid for details.",
            stacklevel=2,
        )
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    shape = tuple(int(s) for s in size)
    if len(shape) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively."
            f" Got size {sizes(shape)}."
        )
    n = len(shape) - 2
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size"
            f" {sizes(shape)}. Got {sizes(theta.shape)}."
        )
    if min(shape) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {sizes(shape)}")
    axes = []
    for d, steps in enumerate(shape[2:]):
        line = theta.new_zeros(1)
        if steps > 1:
            line = linspace(-1, 1, steps, dtype=theta.dtype, device=theta.device)
        if not align_corners:
            line = line * ((steps - 1) / steps)
        axes.append(line.reshape([-1 if e == d else 1 for e in range(n)]).expand(shape[2:]))
    points = stack([*reversed(axes), theta.new_ones(shape[2:])], -1)
    flat = points.reshape(1, -1, n + 1).expand(shape[0], prod(shape[2:]), n + 1)
    return (flat @ theta.transpose(1, 2)).reshape(shape[0], *shape[2:], n)


def _place(points: Tensor, size: int, align: bool) -> Tensor:
    """Coordinates from -1 to 1 as places of pixels."""
    if align:
        return (points + 1) * ((size - 1) / 2)
    return ((points + 1) * size - 1) / 2


def _inside(x: Tensor, size: int) -> Tensor:
    return x.clamp(0, size - 1)


def _reflected(x: Tensor, size: int, align: bool) -> Tensor:
    """Places beyond the rim turned back, at the outer pixels' middles or at the image's edges."""
    low, span = (0.0, float(size - 1)) if align else (-0.5, float(size))
    if span == 0:
        return x * 0
    x = (x - low).abs()
    turns = (x / span).floor().detach()
    rest = x - turns * span
    return rest.where(turns % 2 == 0, span - rest) + low


def _bound(x: Tensor, size: int, padding: str, align: bool) -> Tensor:
    if padding == "border":
        return _inside(x, size)
    if padding == "reflection":
        return _inside(_reflected(x, size, align), size)
    return x


def _read(flat: Tensor, space: Sequence[int], corner: Sequence[Tensor]) -> Tensor:
    """Pixels at whole places (n, points); zeros outside."""
    index: Any = 0
    valid: Any = None
    for x, size in zip(corner, space, strict=True):
        here = (x >= 0) & (x <= size - 1)
        valid = here if valid is None else valid & here
        # A place that is no number reads pixel 0, and counts as outside.
        whole = x.where(here, x.new_zeros(()))
        index = index * size + whole.long()
    n, channels = flat.shape[:2]
    index = index.unsqueeze(1).expand(n, channels, index.shape[1])
    return gather(flat, 2, index) * valid.unsqueeze(1).to(flat.dtype)


def _cubic(t: Tensor) -> list[Tensor]:
    """The weights of four neighbours, at distance 1 + t, t, 1 - t and 2 - t, for a = -0.75."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images read at points.

    Parameters
    ----------
    input : Tensor
        (n, channels, height, width) or (n, channels, depth, height, width), floating point.
    grid : Tensor
        (n, ..., 2) or (n, ..., 3), of the input's dtype: x, y (and z) of each point, from -1 to 1.
    mode : {"bilinear", "nearest", "bicubic"}
        How pixels are mixed; bicubic for images without depth only.
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside.
    align_corners : bool, optional
        Whether -1 and 1 are the middles of the outer pixels or the image's edges.

    Returns
    -------
    Tensor
        (n, channels, ...), with the dims of ``grid``.

    Raises
    ------
    ValueError
        If a mode is unknown.
    RuntimeError
        If shapes or dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[[[1.0, 3.0]]]])
    >>> points = jitgrad.tensor([[[[0.0, 0.0], [1.0, 0.0]]]])
    >>> jitgrad.nn.functional.grid_sample(x, points, align_corners=True).tolist()
    [[[[2.0, 3.0]]]]
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but"
            f" got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection',"
            f" but got: '{padding_mode}'"
        )
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since"
            " 1.3.0. Please specify align_corners=True if the old behavior is desired. See the"
            " documentation of grid_sample for details.",
            stacklevel=2,
        )
    x, p = entry.shape(input), entry.shape(grid)
    n = len(x) - 2
    if n not in (2, 3) or len(p) != len(x):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got"
            f" input with sizes {sizes(x)} and grid with sizes {sizes(p)}"
        )
    if x[0] != p[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes"
            f" {sizes(x)} and grid with sizes {sizes(p)}"
        )
    if p[-1] != n:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with sizes"
            f" {sizes(p)}"
        )
    if 0 in x[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes"
            f" {sizes(x)}"
        )
    if input.dtype is not grid.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has"
            f" {input.dtype} and grid has {grid.dtype}"
        )
    if mode == "bicubic" and n == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    align = bool(align_corners)
    space = x[2:]
    flat = input.reshape(*x[:2], prod(space))
    points = grid.reshape(p[0], prod(p[1:-1]), n)
    # The grid names the last dim first.
    at = [_place(points[:, :, n - 1 - d], size, align) for d, size in enumerate(space)]
    if mode != "bicubic":
        at = [_bound(a, size, padding_mode, align) for a, size in zip(at, space, strict=True)]
    y: Any
    if mode == "nearest":
        y = _read(flat, space, [a.detach().round() for a in at])
        if grid.requires_grad:
            # Zeros as gradients of the points, and not none.
            still = points.where(points.isfinite(), points.new_zeros(())) * 0
            y = y + still.sum(2).unsqueeze(1)
    else:
        low = [a.detach().floor() for a in at]
        parts = [a - f for a, f in zip(at, low, strict=True)]
        if mode == "bilinear":
            steps, weights = range(2), [[1 - t, t] for t in parts]
        else:
            steps, weights = range(-1, 3), [_cubic(t) for t in parts]
        y = 0
        for offsets in product(steps, repeat=n):
            corner = [f + o for f, o in zip(low, offsets, strict=True)]
            if mode == "bicubic":
                pairs = zip(corner, space, strict=True)
                corner = [_bound(c, size, padding_mode, align) for c, size in pairs]
            weight: Any = 1
            for row, o in zip(weights, offsets, strict=True):
                weight = weight * row[o - steps[0]]
            y = y + _read(flat, space, corner) * weight.unsqueeze(1)
    return y.reshape(*x[:2], *p[1:-1])
