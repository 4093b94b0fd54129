"""Norms of vectors and matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.linalg.checks import need_floats, need_matrix
from jitgrad.linalg.factors import svdvals
from jitgrad.ops import reductions
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The ``ord``-norm over all elements or dims."""
    need_floats("linalg.vector_norm", x)
    return reductions.norm(x, ord, dim, keepdim, dtype)


def matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """A norm of matrices in two dims: "fro", "nuc", 2, -2, 1, -1, inf or -inf.

    Raises
    ------
    RuntimeError
        If there are no two dims, or there is no such norm.
    """
    need_matrix("linalg.matrix_norm", A, halves=True)
    x = A if dtype is None else A.to(dtype)
    rows, columns = (wrap_dim(d, x.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return reductions.norm(x, 2, (rows, columns), keepdim)
    matrices = x.movedim((rows, columns), (-2, -1))
    if ord == "nuc":
        found = svdvals(matrices).sum(-1)
    elif isinstance(ord, (int, float)) and abs(ord) in (1, 2, math.inf):
        if abs(ord) == 2:
            values = svdvals(matrices)
        else:
            values = matrices.abs().sum(-2 if abs(ord) == 1 else -1)
        found = values.amax(-1) if ord > 0 else values.amin(-1)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if keepdim:
        for d in sorted((rows, columns)):
            found = found.unsqueeze(d)
    return found


def norm(
    A: Tensor,
    ord: float | str | None = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """A vector norm along one dim (or of all elements without ``ord``), a matrix norm in two dims."""
    if dim is not None:
        dims = (dim,) if isinstance(dim, int) else tuple(dim)
    elif ord is None:
        dims = None
    elif A.ndim in (1, 2):
        dims = tuple(range(A.ndim))
    else:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got"
            f" {A.ndim}D."
        )
    if ord is not None and dims is not None and len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: the order {ord} is one of matrices, in two dims")
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)
