"""The gates of recurrent cells: what one sequence does in one step, forward and back.

``forward(x, made, bias, has_bias, kept, cells, c, h, y, n)`` on n units: x is what the step gets from the
layer's input and made the product of the weight and the hidden state, n of each gate after those of another.
It writes the hidden state to h and y, an LSTM's cell to c and the one before to cells, and what backward
reads to kept.

``backward(kept, cells, before, dh, carry, g, dx, dr, n)`` takes the cotangent of the hidden state, ``dh + g``
(a GRU's: ``dh + carry + g``), and of an LSTM's cell, carry.  It writes the gradients of x to dx, of made to
dr where that is another, and to carry what goes to the step before past the weight.  Imported by the
compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from jitgrad.kernels.lowlevel import TYPES, at, jit
from jitgrad.kernels.scalars import environment


@dataclass(frozen=True)
class Cell:
    """A kind of cell.

    Attributes
    ----------
    gates, kept, states : int
        Of each unit: rows of the weight, values that backward reads, numbers of a state.
    bias : bool
        Whether the products with the hidden state have a bias of their own, so that their gradient is not
        that of the input's part.
    forward, backward : callable
        Make the jitted functions for a dtype code.
    """

    gates: int
    kept: int
    states: int
    bias: bool
    forward: Callable[[int], Any]
    backward: Callable[[int], Any]


@cache
def _lstm_forward(dtype: int) -> Any:
    space = environment(dtype, {"sigmoid", "tanh"})
    sigmoid, tanh = space["sigmoid"], space["tanh"]

    @jit
    def units(xi, xf, xu, xo, mi, mf, mu, mo, ki, kf, ku, ko, cells, c, h, y, n):
        for j in range(n):
            i = sigmoid(xi[j] + mi[j])
            f = sigmoid(xf[j] + mf[j])
            u = tanh(xu[j] + mu[j])
            o = sigmoid(xo[j] + mo[j])
            ki[j] = i
            kf[j] = f
            ku[j] = u
            ko[j] = o
            before = c[j]
            cells[j] = before
            cell = f * before + i * u
            c[j] = cell
            hidden = o * tanh(cell)
            h[j] = hidden
            y[j] = hidden

    @jit
    def forward(x, made, bias, has_bias, kept, cells, c, h, y, n):
        units(
            x,
            at(x, n),
            at(x, 2 * n),
            at(x, 3 * n),
            made,
            at(made, n),
            at(made, 2 * n),
            at(made, 3 * n),
            kept,
            at(kept, n),
            at(kept, 2 * n),
            at(kept, 3 * n),
            cells,
            c,
            h,
            y,
            n,
        )

    return forward


@cache
def _lstm_backward(dtype: int) -> Any:
    tanh, one = environment(dtype, {"tanh"})["tanh"], TYPES[dtype](1)

    @jit
    def units(ki, kf, ku, ko, cells, dh, carry, g, di, df, du, do, n):
        for j in range(n):
            i, f, u, o, before = ki[j], kf[j], ku[j], ko[j], cells[j]
            t = tanh(f * before + i * u)
            d = dh[j] + g[j]
            e = carry[j] + d * o * (one - t * t)
            di[j] = e * u * i * (one - i)
            df[j] = e * before * f * (one - f)
            du[j] = e * i * (one - u * u)
            do[j] = d * t * o * (one - o)
            carry[j] = e * f

    @jit
    def backward(kept, cells, before, dh, carry, g, dx, dr, n):
        units(
            kept,
            at(kept, n),
            at(kept, 2 * n),
            at(kept, 3 * n),
            cells,
            dh,
            carry,
            g,
            dx,
            at(dx, n),
            at(dx, 2 * n),
            at(dx, 3 * n),
            n,
        )

    return backward


@cache
def _gru_forward(dtype: int) -> Any:
    space = environment(dtype, {"sigmoid", "tanh"})
    sigmoid, tanh = space["sigmoid"], space["tanh"]
    zero = TYPES[dtype](0)

    @jit
    def units(xr, xz, xu, mr, mz, mu, br, bz, bu, has_bias, kr, kz, ku, km, h, y, n):
        for j in range(n):
            r = sigmoid(xr[j] + (mr[j] + (br[j] if has_bias else zero)))
            z = sigmoid(xz[j] + (mz[j] + (bz[j] if has_bias else zero)))
            m = mu[j] + (bu[j] if has_bias else zero)
            u = tanh(xu[j] + r * m)
            kr[j] = r
            kz[j] = z
            ku[j] = u
            km[j] = m
            hidden = u + z * (h[j] - u)
            h[j] = hidden
            y[j] = hidden

    @jit
    def forward(x, made, bias, has_bias, kept, cells, c, h, y, n):
        units(
            x,
            at(x, n),
            at(x, 2 * n),
            made,
            at(made, n),
            at(made, 2 * n),
            bias,
            at(bias, n),
            at(bias, 2 * n),
            has_bias,
            kept,
            at(kept, n),
            at(kept, 2 * n),
            at(kept, 3 * n),
            h,
            y,
            n,
        )

    return forward


@cache
def _gru_backward(dtype: int) -> Any:
    one = TYPES[dtype](1)

    @jit
    def units(kr, kz, ku, km, before, dh, carry, g, dxr, dxz, dxu, drr, drz, dru, n):
        for j in range(n):
            r, z, u = kr[j], kz[j], ku[j]
            d = dh[j] + carry[j] + g[j]
            du = d * (one - z) * (one - u * u)
            dz = d * (before[j] - u) * z * (one - z)
            dr = du * km[j] * r * (one - r)
            dxr[j] = dr
            drr[j] = dr
            dxz[j] = dz
            drz[j] = dz
            dxu[j] = du
            dru[j] = du * r
            carry[j] = d * z

    @jit
    def backward(kept, cells, before, dh, carry, g, dx, dr, n):
        units(
            kept,
            at(kept, n),
            at(kept, 2 * n),
            at(kept, 3 * n),
            before,
            dh,
            carry,
            g,
            dx,
            at(dx, n),
            at(dx, 2 * n),
            dr,
            at(dr, n),
            at(dr, 2 * n),
            n,
        )

    return backward


def _rnn_forward(name: str) -> Callable[[int], Any]:
    @cache
    def make(dtype: int) -> Any:
        space = environment(dtype, {"tanh", "where"})
        tanh, where, zero = space["tanh"], space["where"], TYPES[dtype](0)

        @jit
        def relu(x):
            return where(x <= zero, zero, x)

        apply = tanh if name == "tanh" else relu

        @jit
        def forward(x, made, bias, has_bias, kept, cells, c, h, y, n):
            for j in range(n):
                hidden = apply(x[j] + made[j])
                kept[j] = hidden
                h[j] = hidden
                y[j] = hidden

        return forward

    return make


def _rnn_backward(name: str) -> Callable[[int], Any]:
    @cache
    def make(dtype: int) -> Any:
        where = environment(dtype, {"where"})["where"]
        zero, one = TYPES[dtype](0), TYPES[dtype](1)

        @jit
        def tanh_slope(y, d):
            return d * (one - y * y)

        @jit
        def relu_slope(y, d):
            return where(y <= zero, zero, d)

        slope = tanh_slope if name == "tanh" else relu_slope

        @jit
        def backward(kept, cells, before, dh, carry, g, dx, dr, n):
            for j in range(n):
                dx[j] = slope(kept[j], dh[j] + g[j])

        return backward

    return make


LSTM = Cell(4, 4, 2, False, _lstm_forward, _lstm_backward)
GRU = Cell(3, 4, 1, True, _gru_forward, _gru_backward)
RNN_TANH = Cell(1, 1, 1, False, _rnn_forward("tanh"), _rnn_backward("tanh"))
RNN_RELU = Cell(1, 1, 1, False, _rnn_forward("relu"), _rnn_backward("relu"))
