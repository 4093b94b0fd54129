"""Kernels of losses: elementwise ones, each from a formula, and the negative log-likelihood.

With a reduction the whole loss is one pass over its inputs that adds up in float64, and each gradient one
more.  Forward ``kernel(H, row)``, backward ``kernel(H, args)`` with ``args = [row, input, where to write,
cotangent]``.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from jitgrad.arena.columns import (
    ATTR,
    DTYPE,
    H_DETAIL,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    SHAPE,
    X_INDEX,
    X_MEMORY,
    X_SLOW,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.dtypes import int64 as _int64
from jitgrad.kernels import formula
from jitgrad.kernels.loss_formulas import BCE, BCE_LOGITS, HUBER, L1, MSE, SMOOTH_L1, Formulas
from jitgrad.kernels.lowlevel import (
    OPTIONS,
    POINTERS,
    TYPES,
    bits,
    from_bits,
    jit,
    jit_sum,
    words,
)
from jitgrad.kernels.reading import clear, dense, done
from jitgrad.kernels.scalars import environment

Kernel = Callable[[Any, Any], Any]
Maker = Callable[[int], Kernel]

#: How a loss is reduced (attribute 0 of the elementwise losses, 1 of nll_loss).
ELEMENTS, MEAN, SUM = range(3)
INT64 = _int64.code

# Further attributes of an elementwise loss: its parameter, and bit 0 if there is a weight, bit 1 if there
# is a pos_weight.
_REDUCTION, _PARAMETER, _EXTRAS = ATTR, ATTR + 1, ATTR + 2


# ---------------------------------------------------------------- elementwise
@cache
def _scalar(text: str, dtype: int) -> Any:
    """Jitted: a formula in x (input), z (target), u (weight), v (pos_weight) and k (parameter)."""
    statements, value = formula.typed(text)
    lines = ["def f(x, z, u, v, k):", *(f" {s}" for s in statements), f" return _T({value})"]
    space = environment(dtype, formula.names(text))
    exec(compile("\n".join(lines), f"<loss {text}>", "exec"), space)
    # By force: a call in the loop would keep it scalar.
    return numba.njit(forceinline=True, **OPTIONS)(space["f"])


@jit
def extra(H, p, bit):
    """`dense` of an input that may be missing: the weight (bit 1) or pos_weight (bit 2)."""
    have = p[_EXTRAS]
    if have & bit == 0:
        return 64, NONE
    return dense(H, input_at(p, 3 if bit == 2 and have & 1 else 2))


def _forward(text: str, weighted: bool, unit: bool) -> Maker:
    """A loss; ``unit``: its inputs have to lie between 0 and 1."""

    def make(dtype: int) -> Kernel:
        pointer, ty = POINTERS[dtype], TYPES[dtype]
        value = _scalar(text, dtype)

        @jit
        def each(y, x, z, u, v, n, k, has_u, has_v):
            for i in range(n):
                y[i] = value(x[i], z[i], u[i] if has_u else ty(1), v[i] if has_v else ty(1), k)

        @jit_sum
        def total(x, z, u, v, n, k, has_u, has_v):
            added = 0.0
            for i in range(n):
                added += value(x[i], z[i], u[i] if has_u else ty(1), v[i] if has_v else ty(1), k)
            return added

        @jit
        def outside(x, n):
            bad = False
            for i in range(n):
                bad |= not ((x[i] >= ty(0)) & (x[i] <= ty(1)))
            return bad

        def kernel(H, out):
            p = row_at(H, out)
            n = row_at(H, input_at(p, 0))[NUMEL]
            ax, sx = dense(H, input_at(p, 0))
            az, sz = dense(H, input_at(p, 1))
            au, su = extra(H, p, 1)
            av, sv = extra(H, p, 2)
            status = 0
            if ax == 0 or az == 0 or au == 0 or av == 0:
                status = X_MEMORY
            elif unit and (outside(pointer(ax), n) or outside(pointer(az), n)):
                words(H)[H_DETAIL] = 0 if outside(pointer(ax), n) else 1
                status = X_SLOW
            else:
                x, z, u, v = pointer(ax), pointer(az), pointer(au), pointer(av)
                has_u = weighted and p[_EXTRAS] & 1 != 0
                has_v = weighted and p[_EXTRAS] & 2 != 0
                k = ty(from_bits(p[_PARAMETER]))
                y = pointer(data_of(H, out))
                if p[_REDUCTION] == ELEMENTS:
                    each(y, x, z, u, v, n, k, has_u, has_v)
                else:
                    added = total(x, z, u, v, n, k, has_u, has_v)
                    y[0] = ty(added / n if p[_REDUCTION] == MEAN else added)
            done(H, sx)
            done(H, sz)
            done(H, su)
            done(H, sv)
            return status

        return kernel

    return make


def _backward(text: str, weighted: bool) -> Maker:
    """The gradient of a loss in one of its inputs, from the formula of its slope."""

    def make(dtype: int) -> Kernel:
        pointer, ty = POINTERS[dtype], TYPES[dtype]
        slope = _scalar(text, dtype)

        @jit
        def each(dx, g, x, z, u, v, n, k, has_u, has_v):
            for i in range(n):
                dx[i] = g[i] * slope(
                    x[i], z[i], u[i] if has_u else ty(1), v[i] if has_v else ty(1), k
                )

        @jit
        def same(dx, g, x, z, u, v, n, k, has_u, has_v):
            for i in range(n):
                dx[i] = g * slope(x[i], z[i], u[i] if has_u else ty(1), v[i] if has_v else ty(1), k)

        def kernel(H, args_):
            args = words(args_)
            p = row_at(H, args[0])
            n = row_at(H, input_at(p, 0))[NUMEL]
            ax, sx = dense(H, input_at(p, 0))
            az, sz = dense(H, input_at(p, 1))
            au, su = extra(H, p, 1)
            av, sv = extra(H, p, 2)
            status = 0
            if ax == 0 or az == 0 or au == 0 or av == 0:
                status = X_MEMORY
            else:
                x, z, u, v = pointer(ax), pointer(az), pointer(au), pointer(av)
                has_u = weighted and p[_EXTRAS] & 1 != 0
                has_v = weighted and p[_EXTRAS] & 2 != 0
                k = ty(from_bits(p[_PARAMETER]))
                dx = pointer(args[2])
                g = pointer(args[3])
                if p[_REDUCTION] == ELEMENTS:
                    each(dx, g, x, z, u, v, n, k, has_u, has_v)
                else:
                    scale = ty(g[0] / (n * 1.0)) if p[_REDUCTION] == MEAN else g[0]
                    same(dx, scale, x, z, u, v, n, k, has_u, has_v)
            done(H, sx)
            done(H, sz)
            done(H, su)
            done(H, sv)
            return status

        return kernel

    return make


def _loss(
    loss: Formulas, *, weighted: bool = False, unit: bool = False
) -> tuple[Maker, Maker, Maker]:
    """A loss and its gradients in the input and in the target."""
    return (
        _forward(loss.value, weighted, unit),
        _backward(loss.dx, weighted),
        _backward(loss.dz, weighted),
    )


mse, mse_dx, mse_dz = _loss(MSE)
l1, l1_dx, l1_dz = _loss(L1)
smooth_l1, smooth_l1_dx, smooth_l1_dz = _loss(SMOOTH_L1)
huber, huber_dx, huber_dz = _loss(HUBER)
bce, bce_dx, bce_dz = _loss(BCE, weighted=True, unit=True)
bce_logits, bce_logits_dx, bce_logits_dz = _loss(BCE_LOGITS, weighted=True)


# ---------------------------------------------------------------- negative log-likelihood
# Inputs: log-probabilities (N, C, ...) or (C), targets (N, ...) int64, and perhaps class weights (C).
# Attributes: the ignored target, the reduction, 1 if the kernel has to check the usual case of (N, C) and
# (N) itself; forward adds the sum of the weights (float64 bits).
_IGNORED, _HOW, _CHECK, _WEIGHTS = ATTR, ATTR + 1, ATTR + 2, ATTR + 3


@jit
def classes(q):
    """(C, places after each class) of the log-probabilities' row."""
    if q[NDIM] == 1:
        return q[SHAPE], 1
    places = 1
    for d in range(2, q[NDIM]):
        places *= q[SHAPE + d]
    return q[SHAPE + 1], places


def nll(dtype: int) -> Kernel:
    """Minus the log-probability of each target."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        q = row_at(H, input_at(p, 0))
        t = row_at(H, input_at(p, 1))
        if p[_CHECK] != 0 and (
            q[NDIM] != 2
            or t[NDIM] != 1
            or t[SHAPE] != q[SHAPE]
            or t[DTYPE] != INT64
            or q[DTYPE] != dtype
        ):
            return X_SLOW
        ax, sx = dense(H, input_at(p, 0))
        at_, st = dense(H, input_at(p, 1))
        aw, sw = 64, NONE
        weighted = p[NIN] == 3
        if weighted:
            aw, sw = dense(H, input_at(p, 2))
        status = 0
        if ax == 0 or at_ == 0 or aw == 0:
            status = X_MEMORY
        else:
            C, S = classes(q)
            x, target, weight = pointer(ax), words(at_), pointer(aw)
            y = pointer(data_of(H, out))
            elements = p[_HOW] == ELEMENTS
            total = 0.0
            weights = 0.0
            for i in range(t[NUMEL]):
                c = target[i]
                value = 0.0
                if c != p[_IGNORED]:
                    if c < 0 or c >= C:
                        h = words(H)
                        h[H_DETAIL] = 1
                        h[H_DETAIL + 1] = c
                        h[H_DETAIL + 2] = C
                        status = X_INDEX
                        break
                    w = weight[c] * 1.0 if weighted else 1.0
                    n = i // S
                    value = -w * x[(n * C + c) * S + i - n * S]
                    total += value
                    weights += w
                if elements:
                    y[i] = ty(value)
            if not elements:
                y[0] = ty(total / weights if p[_HOW] == MEAN else total)
            p[_WEIGHTS] = bits(weights)
        done(H, sx)
        done(H, st)
        done(H, sw)
        return status

    return kernel


def nll_dx(dtype: int) -> Kernel:
    """Minus the weight of each target's class at its place, over the sum of the weights for the mean."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        q = row_at(H, input_at(p, 0))
        t = row_at(H, input_at(p, 1))
        at_, st = dense(H, input_at(p, 1))
        aw, sw = 64, NONE
        weighted = p[NIN] == 3
        if weighted:
            aw, sw = dense(H, input_at(p, 2))
        status = 0
        if at_ == 0 or aw == 0:
            status = X_MEMORY
        else:
            C, S = classes(q)
            target, weight = words(at_), pointer(aw)
            dx = pointer(args[2])
            g = pointer(args[3])
            clear(dx, q[NUMEL], ty(0))
            elements = p[_HOW] == ELEMENTS
            scale = 1.0 / from_bits(p[_WEIGHTS]) if p[_HOW] == MEAN else 1.0
            for i in range(t[NUMEL]):
                c = target[i]
                # Out of range only if the target's memory was changed behind our back.
                if c != p[_IGNORED] and c >= 0 and c < C:
                    w = weight[c] * 1.0 if weighted else 1.0
                    n = i // S
                    dx[(n * C + c) * S + i - n * S] = ty(-w * scale * g[i if elements else 0])
        done(H, st)
        done(H, sw)
        return status

    return kernel
