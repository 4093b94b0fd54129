"""The elementwise losses as formulas: for the kernels, and for recipes of higher orders.

``x`` is the input, ``z`` the target, ``u`` a weight and ``v`` the weight of positive targets (1 where
there is none), ``k`` the loss's parameter.
"""

from __future__ import annotations

from typing import NamedTuple


class Formulas(NamedTuple):
    """A loss, and its slope in the input and in the target."""

    value: str
    dx: str
    dz: str


MSE = Formulas("(x - z) * (x - z)", "2 * (x - z)", "2 * (z - x)")
L1 = Formulas("abs(x - z)", "sign(x - z)", "sign(z - x)")
SMOOTH_L1 = Formulas(
    "d = abs(x - z); where(d < k, 0.5 * d * d / k, d - 0.5 * k)",
    "minimum(maximum((x - z) / k, -1), 1)",
    "minimum(maximum((z - x) / k, -1), 1)",
)
HUBER = Formulas(
    "d = abs(x - z); where(d <= k, 0.5 * d * d, k * (d - 0.5 * k))",
    "minimum(maximum(x - z, -k), k)",
    "minimum(maximum(z - x, -k), k)",
)
# Logarithms are held above -100 and the slope's denominator above 1e-12, as PyTorch does, so that a
# probability of 0 or 1 gives neither an infinity nor a NaN.
BCE = Formulas(
    "((z - 1) * maximum(log1p(-x), -100) - z * maximum(log(x), -100)) * u",
    "(x - z) / maximum((1 - x) * x, 1e-12) * u",
    "(maximum(log1p(-x), -100) - maximum(log(x), -100)) * u",
)
# log(1 + exp(-x)) = log1p(exp(-abs(x))) + max(-x, 0), which does not overflow.
BCE_LOGITS = Formulas(
    "s = log1p(exp(-abs(x))) + maximum(-x, 0); ((1 - z) * x + ((v - 1) * z + 1) * s) * u",
    "(sigmoid(x) * ((v - 1) * z + 1) - v * z) * u",
    "s = log1p(exp(-abs(x))) + maximum(-x, 0); ((v - 1) * s - x) * u",
)
