"""Convolutions on the GPU: a thread sums what an element of the result is made of, a block that of a weight.

A transposed convolution is the gradient in the input, and the gradient of a weight is an op of its own, so
that these three are also each other's gradients (`jitgrad.ops.convolution`).  Sizes have three dims of
space, the missing ones of size 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from jitgrad import dtypes
from jitgrad.cuda.copies import dense
from jitgrad.cuda.each import Each, only_floats
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.kernel import Kernel
from jitgrad.cuda.lanes import Fold, Lanes

# An element of the result: image n, map m, place (o0, o1, o2).
_WHERE = """
row = i // Q2
o2 = i - row * Q2
plane = row // Q1
o1 = row - plane * Q1
volume = plane // Q0
o0 = plane - volume * Q0
n = volume // M
m = volume - n * M
group = m // maps
total = A(0)
if has != 0:
    total = A(bias[m])
"""
_CONVOLVED = """
for c in range(channels):
    source = (n * C + group * channels + c) * I0
    weight = (m * channels + c) * K0
    for k0 in range(K0):
        i0 = o0 * S0 - P0 + k0 * D0
        if i0 >= 0 and i0 < I0:
            for k1 in range(K1):
                i1 = o1 * S1 - P1 + k1 * D1
                if i1 >= 0 and i1 < I1:
                    line = ((source + i0) * I1 + i1) * I2
                    tap = ((weight + k0) * K1 + k1) * K2
                    for k2 in range(K2):
                        i2 = o2 * S2 - P2 + k2 * D2
                        if i2 >= 0 and i2 < I2:
                            total += A(x[line + i2]) * A(w[tap + k2])
out[i] = T(total)
"""
_TRANSPOSED = """
for c in range(channels):
    source = (n * C + group * channels + c) * I0
    weight = ((group * channels + c) * maps + m - group * maps) * K0
    for k0 in range(K0):
        t0 = o0 + P0 - k0 * D0
        i0 = t0 // S0
        if t0 >= 0 and i0 < I0 and i0 * S0 == t0:
            for k1 in range(K1):
                t1 = o1 + P1 - k1 * D1
                i1 = t1 // S1
                if t1 >= 0 and i1 < I1 and i1 * S1 == t1:
                    line = ((source + i0) * I1 + i1) * I2
                    tap = ((weight + k0) * K1 + k1) * K2
                    for k2 in range(K2):
                        t2 = o2 + P2 - k2 * D2
                        i2 = t2 // S2
                        if t2 >= 0 and i2 < I2 and i2 * S2 == t2:
                            total += A(x[line + i2]) * A(w[tap + k2])
out[i] = T(total)
"""
_THREE = ("Q", "I", "K", "S", "P", "D")
_PARAMETERS = ", ".join(
    [
        "T* out, T* x, T* w, T* bias, int has, int C, int M, int channels, int maps",
        *(f"int {name}{d}" for name in _THREE for d in range(3)),
    ]
)


@functools.cache
def convolved(dtype: int) -> Each:
    """An element of a convolution."""
    return Each("convolution", dtype, _PARAMETERS, _WHERE + _CONVOLVED)


@functools.cache
def transposed(dtype: int) -> Each:
    """An element of a transposed convolution."""
    return Each("convolution_transposed", dtype, _PARAMETERS, _WHERE + _TRANSPOSED)


def _space(shape: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (5 - len(shape)) + tuple(shape[2:])


@dataclass
class Convolution:
    """A convolution for a dtype, ordinary or transposed."""

    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        x, w = inputs[:2]
        groups, turned = attributes[9], attributes[10]
        source, weight = dense(x), dense(w, 1)
        bias = dense(inputs[2], 2) if len(inputs) == 3 else source
        counts = (x.shape[1], out.shape[1], x.shape[1] // groups, out.shape[1] // groups)
        sizes = (*_space(out.shape), *_space(x.shape), *_space(w.shape), *attributes[:9])
        kernel = transposed(self.dtype) if turned else convolved(self.dtype)
        addresses = (out.address, source, weight, bias)
        kernel.launch(out.numel, *addresses, int(len(inputs) == 3), *counts, *sizes)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield convolved(self.dtype).kernel
        yield transposed(self.dtype).kernel


# ---------------------------------------------------------------- the gradient of a weight
# A lane is a weight's element; its elements are the places of all images.
_LOAD = """
_up = _lane // K2
_k2 = _lane - _up * K2
_m = _up // K1
_k1 = _up - _m * K1
_up = _m // K0
_k0 = _m - _up * K0
_m = _up // channels
_c = _up - _m * channels + _m // maps * channels
_up = _r // Q2
_o2 = _r - _up * Q2
_n = _up // Q1
_o1 = _up - _n * Q1
_up = _n // Q0
_o0 = _n - _up * Q0
_n = _up
_o0 = _o0 * S0 - P0 + _k0 * D0
_o1 = _o1 * S1 - P1 + _k1 * D1
_o2 = _o2 * S2 - P2 + _k2 * D2
x = _T0(0)
z = _T0(0)
if _o0 >= 0 and _o0 < I0 and _o1 >= 0 and _o1 < I1 and _o2 >= 0 and _o2 < I2:
    x = _p_x[(((_n * C + _c) * I0 + _o0) * I1 + _o1) * I2 + _o2]
    z = _p_z[(_n * M + _m) * Q0 * Q1 * Q2 + _r - _n * Q0 * Q1 * Q2]
"""


@functools.cache
def weighed(dtype: int) -> Lanes:
    """A weight's gradient."""
    return Lanes(
        f"convolution_weight_{dtypes.ALL[dtype].name}",
        dtype,
        [("x", dtype), ("z", dtype)],
        [Fold("y", dtype, "0", "x * z", "a + b")],
        "y",
        dtype,
        numbers=["C", "M", "channels", "maps", *(f"{n}{d}" for n in _THREE for d in range(3))],
        load=_LOAD.strip().splitlines(),
    )


@dataclass
class ConvolutionWeight:
    """The gradient of a convolution's weight for a dtype."""

    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        x, g = inputs
        groups = attributes[9]
        counts = (x.shape[1], g.shape[1], x.shape[1] // groups, g.shape[1] // groups)
        sizes = (*_space(g.shape), *_space(x.shape), *_space(out.shape), *attributes[:9])
        places = x.shape[0] * prod(g.shape[2:])
        addresses = [out.address, dense(x), dense(g, 1)]
        numbers = [*counts, *sizes]
        weighed(self.dtype).launch((out.numel, places, 1), addresses, (), None, numbers)

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        yield weighed(self.dtype).form(True)


LAUNCHERS = {
    "convolution": only_floats(Convolution),
    "convolution_weight": only_floats(ConvolutionWeight),
}
