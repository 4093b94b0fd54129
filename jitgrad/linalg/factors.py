"""Factorisations: Cholesky, QR, singular values, eigenvalues of symmetric matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.autograd.function import Function
from jitgrad.linalg.checks import LinAlgError, made, need_matrix, need_square, transposed
from jitgrad.linalg.solving import inv
from jitgrad.ops.diagonals import diag_embed
from jitgrad.ops.products import matmul

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _without_diagonal(x: Tensor) -> Tensor:
    """Differences of pairs, with 1 where a value is compared with itself."""
    from jitgrad.creation import eye

    return x.masked_fill(eye(x.shape[-1], dtype=dtypes.bool), 1.0)


def _mirrored(x: Tensor) -> Tensor:
    """The symmetric matrix with the lower triangle of ``x``."""
    return x.tril() + transposed(x.tril(-1))


# ---------------------------------------------------------------- nodes
class LinalgCholesky(Function):
    """The lower triangular factor."""

    _node_name = "LinalgCholeskyExBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        try:
            y = made(np.linalg.cholesky(a._array()), a)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.cholesky: The factorization could not be completed because the input is not"
                " positive-definite."
            ) from None
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        z = inv(y)
        inner = _mirrored(matmul(transposed(y), g))
        return matmul(matmul(transposed(z), inner), z) * 0.5


class LinalgQr(Function):
    """The reduced factors of matrices with no more columns than rows."""

    _node_name = "LinalgQrBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Any:
        q, r = (made(part, a) for part in np.linalg.qr(a._array()))
        ctx.save_for_backward(q, r)
        return q, r

    @staticmethod
    def backward(ctx: Any, gq: Tensor, gr: Tensor) -> Any:
        q, r = ctx.saved_tensors
        inner = _mirrored(matmul(r, transposed(gr)) - matmul(transposed(gq), q))
        return matmul(gq + matmul(q, inner), transposed(inv(r)))


class LinalgSvd(Function):
    """The singular values and as many vectors."""

    _node_name = "LinalgSvdBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Any:
        parts = np.linalg.svd(a._array(), full_matrices=False)
        u, s, vh = (made(part, a) for part in parts)
        ctx.save_for_backward(u, s, vh)
        return u, s, vh

    @staticmethod
    def backward(ctx: Any, gu: Tensor, gs: Tensor, gvh: Tensor) -> Any:
        u, s, vh = ctx.saved_tensors
        v, gv = transposed(vh), transposed(gvh)
        square = s * s
        gaps = _without_diagonal(square.unsqueeze(-2) - square.unsqueeze(-1))
        of_u, of_v = matmul(transposed(u), gu), matmul(vh, gv)
        left = (of_u - transposed(of_u)) / gaps * s.unsqueeze(-2)
        right = s.unsqueeze(-1) * ((of_v - transposed(of_v)) / gaps)
        found = matmul(matmul(u, left + right + diag_embed(gs)), vh)
        # What the vectors gain outside the space that they span.
        found = found + matmul((gu - matmul(u, of_u)) / s.unsqueeze(-2), vh)
        return found + matmul(u, transposed((gv - matmul(v, of_v)) / s.unsqueeze(-2)))


class LinalgEigh(Function):
    """The eigenvalues and eigenvectors of symmetric matrices."""

    _node_name = "LinalgEighBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor, uplo: Any) -> Any:
        w, v = (made(part, a) for part in np.linalg.eigh(a._array(), uplo))
        ctx.save_for_backward(w, v)
        return w, v

    @staticmethod
    def backward(ctx: Any, gw: Tensor, gv: Tensor) -> Any:
        w, v = ctx.saved_tensors
        gaps = _without_diagonal(w.unsqueeze(-2) - w.unsqueeze(-1))
        inner = matmul(transposed(v), gv) / gaps
        inner = inner - diag_embed(inner.diagonal(0, -2, -1)) + diag_embed(gw)
        return matmul(matmul(v, inner), transposed(v)), None


# ---------------------------------------------------------------- functions
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The triangular ``L`` of ``A = L @ L.T``, for symmetric positive definite matrices.

    Raises
    ------
    RuntimeError
        If they are not square, and `LinAlgError` if one is not positive definite.
    """
    need_square("linalg.cholesky", A)
    y = LinalgCholesky.apply(A)
    return transposed(y) if upper else y


def qr(A: Tensor, mode: Any = "reduced") -> Any:
    """``A = Q @ R`` with orthogonal columns in ``Q`` and a triangular ``R``.

    Gradients are there for "reduced" and no more columns than rows.
    """
    need_matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or"
            " 'complete'"
        )
    if mode == "reduced" and A.shape[-2] >= A.shape[-1]:
        return return_types.linalg_qr(LinalgQr.apply(A))
    if A.requires_grad:
        raise NotImplementedError(
            "linalg.qr: gradients are there for mode='reduced' and matrices with no more columns than"
            " rows"
        )
    found = np.linalg.qr(A._array(), mode)
    if mode == "r":
        from jitgrad.creation import empty

        return return_types.linalg_qr((empty(0, dtype=A.dtype), made(found, A)))
    return return_types.linalg_qr((made(found[0], A), made(found[1], A)))


def svd(A: Tensor, full_matrices: bool = True) -> Any:
    """``A = U @ diag(S) @ Vh``, the singular values in falling order.

    The vectors beyond the number of singular values (``full_matrices``) get no gradient.
    """
    need_matrix("linalg.svd", A)
    u, s, vh = LinalgSvd.apply(A)
    n, m = A.shape[-2:]
    if full_matrices and n != m:
        from jitgrad.ops.joining import cat

        wide, _, tall = np.linalg.svd(A.detach()._array())
        k = min(n, m)
        u = cat([u, made(wide[..., :, k:], A)], -1)
        vh = cat([vh, made(tall[..., k:, :], A)], -2)
    return return_types.linalg_svd((u, s, vh))


def svdvals(A: Tensor) -> Tensor:
    """The singular values in falling order."""
    return svd(A, False).S


def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues in rising order and eigenvectors of symmetric matrices, of which one triangle is read."""
    need_square("linalg.eigh", A)
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return return_types.linalg_eigh(LinalgEigh.apply(A, UPLO))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The ``eigenvalues`` of `eigh`."""
    return eigh(A, UPLO).eigenvalues
