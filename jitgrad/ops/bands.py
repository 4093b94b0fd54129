"""Sums over windows along dims: average pooling and interpolation; kernels in `jitgrad.kernels.bands`.

What is computed along a dim is a banded matrix, made once for each set of sizes and options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jitgrad.arena.engine import entry
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_KERNELS = "jitgrad.kernels.bands:"
BAND = register(
    Op("band", "Band", KERNEL, 3, _KERNELS + "band", (_KERNELS + "band_dx",), (6, 0, 0))
)


class Band(NamedTuple):
    """A banded matrix as the kernel takes it: see `jitgrad.kernels.bands`."""

    plan: Tensor
    weights: Tensor
    width: int
    other: int
    size: int


def make(begin: Ints, length: Ints, weights: Floats, size: int) -> Band:
    """A band of windows that move on with the place (none begins or ends before the one before).

    ``weights`` has a row for each place, of the longest window; ``size`` is how many elements there are.
    """
    from jitgrad.creation import from_numpy

    n, width = weights.shape
    # The places whose windows hold an element follow each other as well.
    elements = np.arange(size)
    first = np.searchsorted(begin + length, elements, side="right")
    counts = np.maximum(np.searchsorted(begin, elements, side="right") - first, 0)
    other = int(counts.max(initial=0))
    place = first[:, None] + np.arange(other)
    there = np.arange(other) < counts[:, None]
    place = np.where(there, place, 0)
    term = np.where(there, elements[:, None] - begin[place], 0) if n else place
    turned = np.where(there, weights[place, term], 0.0) if n else np.zeros((size, other))
    plan = np.concatenate([begin, length, first, counts]).astype(np.int64)
    flat = np.concatenate([weights.ravel(), turned.ravel()]).astype(np.float64)
    return Band(from_numpy(plan), from_numpy(flat), width, other, n)


def apply(x: Tensor, dim: int, band: Band) -> Tensor:
    """The band's sums along a dim."""
    shape = entry.shape(x)
    before, after = prod(shape[:dim]), prod(shape[dim + 1 :])
    attributes = (before, shape[dim], band.size, after, band.width, band.other, 0)
    new = (*shape[:dim], band.size, *shape[dim + 1 :])
    return record.explicit(BAND, (x, band.plan, band.weights), new, attributes)


def along(x: Tensor, bands: Sequence[Band]) -> Tensor:
    """A band along each of the last dims: first those that leave fewer elements, from the outermost on."""
    lead = x.ndim - len(bands)
    sizes = entry.shape(x)[lead:]
    order = [d for d, b in enumerate(bands) if b.size <= sizes[d]]
    order += [d for d, b in reversed([*enumerate(bands)]) if b.size > sizes[d]]
    for d in order:
        x = apply(x, lead + d, bands[d])
    return x


@recipe(BAND)
def _band_recipe(step: Step, g: Tensor) -> Gradients:
    a, n_in, n_out, b, width, other, turned = (step.integer(k) for k in range(7))
    attributes = (a, n_out, n_in, b, width, other, 1 - turned)
    inputs = (g, step.saved(1), step.saved(2))
    return (record.explicit(BAND, inputs, step.input_shape(0), attributes), None, None)


# ---------------------------------------------------------------- averages
def _windows(begin: Ints, end: Ints, weight: Floats, size: int) -> Band:
    """Windows in which all elements weigh the same."""
    length = end - begin
    width = int(length.max(initial=1))
    rows = np.where(np.arange(width) < length[:, None], weight[:, None], 0.0)
    return make(begin, length, rows, size)


@lru_cache(256)
def average(
    size: int, out: int, kernel: int, stride: int, padding: int, include_pad: bool, whole: bool
) -> Band:
    """Windows of average pooling; ``whole``: sums instead of averages."""
    begin = np.arange(out) * stride - padding
    end = np.minimum(begin + kernel, size + padding)
    padded = end - begin
    begin, end = np.maximum(begin, 0), np.minimum(end, size)
    end = np.maximum(end, begin)
    count = padded if include_pad else end - begin
    weight = np.ones(out) if whole else 1.0 / np.maximum(count, 1)
    return _windows(begin, end, weight, size)


def adaptive_windows(size: int, out: int) -> tuple[Ints, Ints]:
    """Where ``out`` windows over ``size`` elements begin and end; each is as long as it needs to be."""
    places = np.arange(out)
    return places * size // max(out, 1), -(-(places + 1) * size // max(out, 1))


@lru_cache(256)
def adaptive(size: int, out: int) -> Band:
    """Windows of adaptive average pooling."""
    begin, end = adaptive_windows(size, out)
    return _windows(begin, end, 1.0 / np.maximum(end - begin, 1), size)


@lru_cache(64)
def neighbours(size: int, count: int) -> Band:
    """Of each element ``count`` neighbours, each weighing 1 / count; those that are missing are zeros."""
    places = np.arange(size)
    begin = np.maximum(places - count // 2, 0)
    end = np.minimum(places - count // 2 + count, size)
    return _windows(begin, end, np.full(size, 1.0 / count), size)


# ---------------------------------------------------------------- interpolation
def scale_of(size: int, out: int, align: bool, factor: float | None, kind: Any) -> Any:
    """How far apart neighbours of the result lie in the input, in the dtype that PyTorch computes in."""
    if align:
        return kind(size - 1) / kind(out - 1) if out > 1 else kind(0)
    return kind(1.0 / factor) if factor is not None and factor > 0 else kind(size) / kind(out)


def _merged(index: Ints, weights: Floats, size: int) -> Band:
    """A band from columns of positions that are neighbours, or the same at the rims, where weights add up."""
    begin = index.min(axis=1)
    length = index.max(axis=1) - begin + 1
    rows = np.zeros((len(index), int(length.max(initial=1))))
    for k in range(index.shape[1]):
        rows[np.arange(len(index)), index[:, k] - begin] += weights[:, k]
    return make(begin, length, rows, size)


@lru_cache(256)
def linear(size: int, out: int, align: bool, factor: float | None, double: bool) -> Band:
    """Between the two nearest elements."""
    kind: Any = np.float64 if double else np.float32
    scale = scale_of(size, out, align, factor, kind)
    places = np.arange(out, dtype=kind)
    at = places * scale if align else np.maximum((places + kind(0.5)) * scale - kind(0.5), kind(0))
    low = np.minimum(at.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = np.clip(at - low.astype(kind), 0, 1).astype(np.float64)
    return _merged(np.stack([low, high], 1), np.stack([1 - part, part], 1), size)


@lru_cache(256)
def cubic(size: int, out: int, align: bool, factor: float | None, double: bool) -> Band:
    """Between the four nearest elements, by cubic convolution with a = -0.75."""
    kind: Any = np.float64 if double else np.float32
    scale = scale_of(size, out, align, factor, kind)
    places = np.arange(out, dtype=kind)
    at = places * scale if align else (places + kind(0.5)) * scale - kind(0.5)
    low = np.floor(at)
    t = np.clip(at - low, 0, 1).astype(np.float64)
    weights = np.stack(
        [_cubic(1 + t, -0.75), _cubic(t, -0.75), _cubic(1 - t, -0.75), _cubic(2 - t, -0.75)], 1
    )
    index = np.clip(low.astype(np.int64)[:, None] + np.arange(-1, 3), 0, size - 1)
    return _merged(index, weights, size)


def _cubic(x: Floats, a: float) -> Floats:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: Floats) -> Floats:
    return np.maximum(1 - np.abs(x), 0)


@lru_cache(256)
def antialiased(size: int, out: int, align: bool, factor: float | None, name: str) -> Band:
    """Interpolation that averages over all elements that a place of a smaller result stands for."""
    filters: dict[str, tuple[Callable[[Floats], Floats], float]] = {
        "bilinear": (_triangle, 1.0),
        "bicubic": (lambda x: _cubic(x, -0.5), 2.0),
    }
    function, reach = filters[name]
    scale = float(scale_of(size, out, align, factor, np.float64))
    wide = max(scale, 1.0)
    centre = (np.arange(out) + 0.5) * scale
    begin = np.maximum((centre - reach * wide + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach * wide + 0.5).astype(np.int64), size)
    length = end - begin
    terms = np.arange(int(length.max(initial=1)))
    rows = function((terms + begin[:, None] - centre[:, None] + 0.5) / wide)
    rows = np.where(terms < length[:, None], rows, 0.0)
    return make(begin, length, rows / rows.sum(1, keepdims=True), size)


def places_after(size: int, kernel: int, stride: int, padding: int, dilation: int, up: bool) -> int:
    """How many windows fit; ``up``: also a last one that hangs over the end, if it begins before it."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (ceil(span / stride) if up else span // stride) + 1
    return out - 1 if up and (out - 1) * stride >= size + padding else out
