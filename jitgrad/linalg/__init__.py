"""Linear algebra: NumPy factorises and solves, the gradients are made of ops, so they have gradients too."""

from __future__ import annotations

from jitgrad.linalg.checks import LinAlgError
from jitgrad.linalg.factors import cholesky, eigh, eigvalsh, qr, svd, svdvals
from jitgrad.linalg.norms import matrix_norm, norm, vector_norm
from jitgrad.linalg.solving import det, inv, lstsq, matrix_rank, pinv, slogdet, solve
from jitgrad.ops.contractions import cross as _cross
from jitgrad.ops.contractions import matrix_power, multi_dot
from jitgrad.ops.names import named
from jitgrad.ops.products import matmul
from jitgrad.tensor import Tensor

__all__ = [
    "LinAlgError",
    "cholesky",
    "cross",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]


@named("LinalgCrossBackward0")
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along a dim of size 3."""
    return _cross(input, other, dim)


for _name, _function in {
    "cholesky": cholesky,
    "det": det,
    "inverse": inv,
    "pinverse": pinv,
    "slogdet": slogdet,
}.items():
    setattr(Tensor, _name, _function)
