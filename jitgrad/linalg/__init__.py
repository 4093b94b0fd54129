"""Linear algebra: NumPy factorises and solves, the gradients are made of ops, so they have gradients too."""

from __future__ import annotations

from jitgrad.linalg.checks import LinAlgError
from jitgrad.linalg.factors import cholesky, eigh, eigvalsh, qr, svd, svdvals
from jitgrad.linalg.more import (
    cholesky_ex,
    cholesky_inverse,
    cholesky_solve,
    cond,
    inv_ex,
    logdet,
    matrix_exp,
    old_qr,
    old_svd,
    old_vander,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
    triangular_solve,
    vander,
    vecdot,
)
from jitgrad.linalg.norms import matrix_norm, norm, vector_norm
from jitgrad.linalg.solving import det, inv, lstsq, matrix_rank, pinv, slogdet, solve
from jitgrad.ops.contractions import cross as _cross
from jitgrad.ops.contractions import matrix_power, multi_dot
from jitgrad.ops.names import named
from jitgrad.ops.products import matmul
from jitgrad.tensor import Tensor

__all__ = [
    "cholesky_inverse",
    "cholesky_solve",
    "logdet",
    "old_qr",
    "old_svd",
    "old_vander",
    "triangular_solve",
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "inv_ex",
    "lstsq",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dims (a view)."""
    return A.diagonal(offset, dim1, dim2)


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
    "logdet": logdet,
    "matrix_exp": matrix_exp,
    "cholesky_inverse": cholesky_inverse,
    "cholesky_solve": cholesky_solve,
    "triangular_solve": triangular_solve,
    "svd": old_svd,
    "qr": old_qr,
}.items():
    setattr(Tensor, _name, _function)
