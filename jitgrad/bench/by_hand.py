"""Gradients written by hand, in NumPy: what one has to beat who needs just this one derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.bench.programs import Array, ByHand


def _exp(g: Any, x: Array) -> list[Array]:
    return [g * np.exp(x)]


def _relu(g: Any, x: Array) -> list[Array]:
    np.maximum(x, 0)
    return [g * (x > 0)]


def _sigmoid(g: Any, x: Array) -> list[Array]:
    y = 1 / (1 + np.exp(-x))
    return [g * y * (1 - y)]


def _tanh(g: Any, x: Array) -> list[Array]:
    y = np.tanh(x)
    return [g * (1 - y * y)]


def _sum(g: Any, x: Array) -> list[Array]:
    x.sum()
    return [np.full_like(x, g)]


def _mean(g: Any, x: Array) -> list[Array]:
    x.mean(-1)
    return [np.broadcast_to((g / x.shape[-1])[:, None], x.shape).copy()]


def _var(g: Any, x: Array) -> list[Array]:
    d = x - x.mean(-1, keepdims=True)
    (d * d).sum(-1)
    d *= (2 * g / (x.shape[-1] - 1))[:, None]
    return [d]


def _softmax(g: Any, x: Array) -> list[Array]:
    y = np.exp(x - x.max(-1, keepdims=True))
    y /= y.sum(-1, keepdims=True)
    return [y * (g - (g * y).sum(-1, keepdims=True))]


def _logsumexp(g: Any, x: Array) -> list[Array]:
    y = np.exp(x - x.max(-1, keepdims=True))
    total = y.sum(-1, keepdims=True)
    np.log(total)
    y *= g[:, None] / total
    return [y]


def _add(g: Any, x: Array, z: Array) -> list[Array]:
    x + z
    return [g.copy(), g.copy()]


def _mul(g: Any, x: Array, z: Array) -> list[Array]:
    x * z
    return [g * z, g * x]


def _mm(g: Any, x: Array, z: Array) -> list[Array]:
    x @ z
    return [g @ z.T, x.T @ g]


#: Value and gradients of ops, the value computed and dropped.
OPS: dict[str, ByHand] = {
    "exp": _exp, "relu": _relu, "sigmoid": _sigmoid, "tanh": _tanh, "sum": _sum, "mean": _mean, "var": _var,
    "softmax": _softmax, "logsumexp": _logsumexp, "add": _add, "mul": _mul, "mm": _mm,
}  # fmt: skip


def chain(g: Any, x: Array, nodes: int) -> list[Array]:
    """Multiply and add by turns, then the way back."""
    y, slope = x, np.full_like(x, g)
    for _ in range(nodes // 2):
        y = y * 1.0001
        y = y + 0.5
    y.sum()
    for _ in range(nodes // 2):
        slope = slope * 1.0001
    return [slope]


def expression(g: Any, x: Array, y: Array) -> list[Array]:
    """``(x * y).exp().sum()``."""
    e = np.exp(x * y)
    e.sum()
    e *= g
    return [e * y, e * x]


def rosenbrock(g: Any, x: Array) -> list[Array]:
    """Rosenbrock's function."""
    a, b = x[:-1], x[1:]
    d, rest = b - a * a, 1.0 - a
    (100.0 * d * d + rest * rest).sum()
    found = np.zeros_like(x)
    found[:-1] = -400.0 * a * d - 2.0 * rest
    found[1:] += 200.0 * d
    return [g * found]


def mixture(g: Any, x: Array, means: Array, scales: Array, weights: Array) -> list[Array]:
    """Minus the log-likelihood of a mixture of Gaussians: responsibilities, then weighted sums."""
    inverse = np.exp(-scales)
    d = (x - means) * inverse  # (points, components, dims)
    each = -0.5 * (d * d).sum(-1) - scales.sum(-1) + weights
    p = np.exp(each - each.max(-1, keepdims=True))
    total = p.sum(-1, keepdims=True)
    np.log(total).sum()
    p /= total
    p *= -g / len(x)
    prior = np.exp(weights - weights.max())
    prior /= prior.sum()
    by_component = p.sum(0)
    moved = np.einsum("nk,nkd->kd", p, d)
    squared = np.einsum("nk,nkd,nkd->kd", p, d, d)
    return [moved * inverse, squared - by_component[:, None], by_component + g * prior]


def layer_norm(g: Any, x: Array, w: Array, b: Array) -> list[Array]:
    """Rows normalized, with weight and bias."""
    d = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)
    d *= inverse
    d * w + b
    gw = g * w
    centred = gw - gw.mean(-1, keepdims=True) - d * (gw * d).mean(-1, keepdims=True)
    return [inverse * centred, (g * d).sum(0), g.sum(0)]
