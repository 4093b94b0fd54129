"""Ops of one's own, in Python: a scalar formula, or a pair of Numba functions on arrays."""

from jitgrad.custom.arrays import ArrayOp, arrays
from jitgrad.custom.scalar import PointwiseOp, pointwise
from jitgrad.kernels.formula import FormulaError

__all__ = ["ArrayOp", "FormulaError", "PointwiseOp", "arrays", "pointwise"]
