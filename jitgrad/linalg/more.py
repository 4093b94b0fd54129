"""Functions of matrices that are composed of the others: triangular systems, exponentials, conditions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad import return_types
from jitgrad.autograd.function import Function
from jitgrad.linalg.checks import LinAlgError, made, need_square, transposed
from jitgrad.linalg.factors import cholesky, qr, svd, svdvals
from jitgrad.linalg.norms import matrix_norm
from jitgrad.linalg.solving import inv, slogdet, solve
from jitgrad.ops.arithmetic import where
from jitgrad.ops.joining import cat
from jitgrad.ops.names import named
from jitgrad.ops.products import matmul

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _triangle(A: Tensor, upper: bool, unit: bool) -> Tensor:
    found = A.triu(int(unit)) if upper else A.tril(-int(unit))
    if unit:
        from jitgrad.creation import eye

        found = found + eye(A.shape[-1], dtype=A.dtype)
    return found


@named("LinalgSolveTriangularBackward0")
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """The ``X`` for which ``A @ X = B`` (``X @ A = B`` unless ``left``), of triangular matrices ``A``."""
    need_square("linalg.solve_triangular", A)
    return solve(_triangle(A, upper, unitriangular), B, left=left)


def triangular_solve(
    b: Tensor,
    A: Tensor,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """`solve_triangular` as it was called before: the solution, and ``A``."""
    matrix = _triangle(A, upper, unitriangular)
    return return_types.triangular_solve((solve(transposed(matrix) if transpose else matrix, b), A))


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is ``L``."""
    return inv(matmul(transposed(L), L) if upper else matmul(L, transposed(L)))


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """The ``X`` for which ``A @ X = B``, of the matrix ``A`` whose Cholesky factor is ``L``."""
    return solve(matmul(transposed(L), L) if upper else matmul(L, transposed(L)), B)


class LinalgMatrixExp(Function):
    """``exp(A)`` by scaling and squaring; its derivative is a block of the exponential of a larger matrix."""

    _node_name = "LinalgMatrixExpBackward0"

    @staticmethod
    def forward(ctx: Any, A: Tensor) -> Tensor:
        from scipy.linalg import expm

        ctx.save_for_backward(A)
        return made(expm(A._array()) if A.numel() else A._array().copy(), A)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (saved,) = ctx.saved_tensors
        n = saved.shape[-1]
        a = transposed(saved)
        block = cat([cat([a, g], -1), cat([a * 0, a], -1)], -2)
        return LinalgMatrixExp.apply(block)[..., :n, n:]


def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices: ``1 + A + A @ A / 2 + ...``."""
    need_square("linalg.matrix_exp", A)
    return LinalgMatrixExp.apply(A)


def logdet(A: Tensor) -> Tensor:
    """The logarithm of determinants; NaN where they are negative."""
    sign, found = slogdet(A)
    return where(sign < 0, math.nan, found)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition of matrices in a norm: 2 unless told."""
    if p is None or p in (2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def _with_info(kind: Any, function: Callable[..., Any], A: Tensor, *more: Tensor) -> Any:
    from jitgrad.creation import zeros

    try:
        return kind((function(A, *more), zeros(A.shape[:-2], dtype=_info_dtype())))
    except LinAlgError:
        failed = A if not more else more[0]
        info = zeros(A.shape[:-2], dtype=_info_dtype()) + 1
        return kind((failed.detach() * math.nan, info))


def _info_dtype() -> Any:
    from jitgrad.dtypes import int32

    return int32


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """`inv`, and for each matrix 0 or, instead of an error, 1."""
    if check_errors:
        inv(A.detach())
    return _with_info(return_types.linalg_inv_ex, inv, A)


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve`, and for each matrix 0 or, instead of an error, 1."""

    def solved(a: Tensor, b: Tensor) -> Tensor:
        return solve(a, b, left=left)

    if check_errors:
        solved(A.detach(), B.detach())
    return _with_info(return_types.linalg_solve_ex, solved, A, B)


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky`, and for each matrix 0 or, instead of an error, 1."""

    def factor(x: Tensor) -> Tensor:
        return transposed(cholesky(x)) if upper else cholesky(x)

    if check_errors:
        factor(A.detach())
    return _with_info(return_types.linalg_cholesky_ex, factor, A)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The products of vectors along a dim, broadcast."""
    return (x * y).sum(dim)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers of each element, from 0 to ``N - 1``, in a last dim."""
    from jitgrad.creation import arange

    return x.unsqueeze(-1) ** arange(x.shape[-1] if N is None else N)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of the linear map that ``A`` is from its last dims to its first ``ind``."""
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    return inv(A.reshape(math.prod(rows), math.prod(columns))).reshape(columns + rows)


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """The ``X`` for which ``tensordot(A, X, X.ndim) = B``; ``dims`` of ``A`` are moved to its end first."""
    x = A
    if dims is not None:
        x = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    columns = tuple(x.shape[B.ndim :])
    return solve(x.reshape(-1, math.prod(columns)), B.reshape(-1)).reshape(columns)


def old_vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element of a vector, falling unless ``increasing``."""
    found = vander(x, N=N)
    return found if increasing else found.flip(-1)


def old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """`svd` as it was called before: with ``V`` in place of its transpose."""
    u, s, vh = svd(input, not some)
    if not compute_uv:
        u, vh = u.detach() * 0, vh.detach() * 0
    return return_types.svd((u, s, transposed(vh)))


def old_qr(input: Tensor, some: bool = True) -> Any:
    """`qr` as it was called before."""
    return return_types.qr(tuple(qr(input, "reduced" if some else "complete")))
