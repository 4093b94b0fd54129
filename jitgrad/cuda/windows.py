"""Pooling, sums over windows and elements by maps on the GPU: `jitgrad.kernels` says what each takes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

from jitgrad.cuda import copies, picking, reductions
from jitgrad.cuda.copies import dense
from jitgrad.cuda.each import Each, launcher, only_floats
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.joining import zeros
from jitgrad.cuda.pointwise import number
from jitgrad.cuda.target import FLOAT64, INT64


# ---------------------------------------------------------------- max pooling
@functools.cache
def pooled(dtype: int) -> Each:
    """The largest element of a window, and where it stands: the first of equal ones, the last NaN."""
    text = f"""
line = i // o2
j = i - line * o2
plane = line // o1
row = line - plane * o1
up = plane // o0
layer = plane - up * o0
d0 = windows[layer]
n0 = windows[o0 + layer]
h0 = windows[2 * o0 + row]
n1 = windows[2 * o0 + o1 + row]
w0 = windows[2 * (o0 + o1) + j]
n2 = windows[2 * (o0 + o1) + o2 + j]
start = up * size
best = T({reductions.LOWEST[dtype]})
place = L(-1)
if n0 > 0 and n1 > 0 and n2 > 0:
    place = (d0 * h + h0) * w + w0
    best = x[start + place]
for a in range(n0):
    for b in range(n1):
        first = ((d0 + a * s0) * h + h0 + b * s1) * w + w0
        for c in range(n2):
            v = x[start + first + c * s2]
            if v > best or v != v:
                best = v
                place = first + c * s2
out[i] = best
where[i] = place
"""
    parameters = (
        "T* out, T* x, int* where, int* windows, int size, int h, int w, int o0, int o1, int o2,"
        " int s0, int s1, int s2"
    )
    return Each("pooled", dtype, parameters, text)


def _pool(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    x, where, windows = inputs
    n = attributes[0]
    space = (1,) * (3 - n) + x.shape[len(x.shape) - n :]
    counts = (1,) * (3 - n) + out.shape[len(out.shape) - n :]
    addresses = (out.address, dense(x), where.address, windows.address)
    numbers = (prod(space), *space[1:], *counts, *attributes[1:4])
    pooled(dtype).launch(out.numel, *addresses, *numbers)


# ---------------------------------------------------------------- sums over windows
@functools.cache
def banded(dtype: int) -> Each:
    """A sum over a window along a dim, with weights."""
    text = """
block = i // B
b = i - block * B
a = block // n
j = block - a * n
start = (a * K + begin[j]) * B + b
total = A(0)
for t in range(length[j]):
    total += A(weights[j * row + t]) * A(x[start + t * B])
out[i] = T(total)
"""
    parameters = (
        "T* out, T* x, int* begin, int* length, real* weights, int row, int K, int n, int B"
    )
    return Each("banded", dtype, parameters, text)


def _band(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    x, plan, weights = inputs
    _, n_in, n_out, b, width, other, turned = attributes[:7]
    if turned:
        # Behind the band, of n_in places, stands its transpose, of n_out.
        begin, at, row = plan.address + 2 * n_in * 8, weights.address + n_in * width * 8, other
    else:
        begin, at, row = plan.address, weights.address, width
    length = begin + n_out * 8
    addresses = (out.address, dense(x), begin, length, at)
    banded(dtype).launch(out.numel, *addresses, row, n_in, n_out, b)


# ---------------------------------------------------------------- maps
@functools.cache
def mapped(dims: int) -> Each:
    """Where in the small tensor an element of the mapped one stands, by the maps of its last dims."""
    lines = ["rest = i", "offset = L(0)", "there = True", "step = L(1)"]
    for d in reversed(range(dims)):
        lines += [f"up = rest // n{d}", f"k = maps[m{d} + rest - up * n{d}]", "rest = up"]
        lines += ["if k < 0:", "    there = False", "offset += k * step", f"step *= s{d}"]
    lines += ["out[i] = offset + rest * step if there else missing"]
    sizes = "".join(f", int n{d}, int s{d}, int m{d}" for d in range(dims))
    return Each(
        f"mapped{dims}", INT64, f"int* out, int* maps, int missing{sizes}", "\n".join(lines)
    )


@functools.cache
def filled(dtype: int) -> Each:
    """The elements at positions, and something else where there is none."""
    text = """
k = names[i]
out[i] = x[k] if k < size else T(fill)
"""
    return Each("filled", dtype, "T* out, T* x, int* names, int size, real fill", text)


def _names(big: Geometry, small: Geometry, maps: Geometry, first: int) -> int:
    """Of each element of the mapped tensor its position in the small one, or how many that has."""
    names = copies.room(big.numel * 8, 4)
    dims = len(big.shape) - first
    numbers, start = [], 0
    for d in range(first, len(big.shape)):
        numbers += [big.shape[d], small.shape[d], start]
        start += big.shape[d]
    mapped(dims).launch(big.numel, names, dense(maps, 1), small.numel, *numbers)
    return names


def _remap(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    x, maps = inputs
    fill = float(number(attributes[1], FLOAT64))
    names = _names(out, x, maps, attributes[0])
    filled(dtype).launch(out.numel, out.address, dense(x), names, x.numel, fill)


def _unmap(
    dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]
) -> None:
    y, maps = inputs
    zeros(dtype).launch(out.numel, out.address)
    if y.numel == 0:
        return
    names = _names(y, out, maps, attributes[0])
    blocks = (1, out.numel, y.numel, 1)
    picking.add_at(dtype, out.address, out.address, dense(y), 1, names, blocks)


#: Most maps have one to three dims.
_MAPS = tuple((lambda dtype, dims=dims: mapped(dims)) for dims in (1, 2, 3))
LAUNCHERS = {
    "max_pool1d": launcher(_pool, pooled),
    "max_pool2d": launcher(_pool, pooled),
    "max_pool3d": launcher(_pool, pooled),
    "band": only_floats(launcher(_band, banded)),
    "remap": launcher(_remap, filled, places=_MAPS),
    "unmap": launcher(_unmap, zeros, picking.added, places=(*_MAPS, *picking.ADDING)),
}
