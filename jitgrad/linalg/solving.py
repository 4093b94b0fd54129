"""Inverses, systems of equations, determinants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes, return_types
from jitgrad.autograd.function import Function
from jitgrad.errors import sizes
from jitgrad.linalg.checks import LinAlgError, made, need_matrix, need_square, transposed
from jitgrad.ops.names import name as naming
from jitgrad.ops.names import named
from jitgrad.ops.operands import tensor_of
from jitgrad.ops.products import broadcast_shapes, matmul

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


# ---------------------------------------------------------------- nodes
class LinalgInv(Function):
    """The inverse."""

    _node_name = "LinalgInvExBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        try:
            y = made(np.linalg.inv(a._array()), a)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.inv: The inversion could not be completed because the input matrix is singular"
                f" (shape {sizes(a.shape)})."
            ) from None
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return -matmul(matmul(transposed(y), g), transposed(y))


class LinalgSolve(Function):
    """The solution of ``a @ x = b``, matrices in batches of one shape."""

    _node_name = "LinalgSolveExBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        try:
            x = made(np.linalg.solve(a._array(), b._array()), a)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "torch.linalg.solve: The solver failed because the input matrix is singular."
            ) from None
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = ctx.saved_tensors
        of_b = LinalgSolve.apply(transposed(a), g)
        return -matmul(of_b, transposed(x)), of_b


class LinalgDet(Function):
    """The determinant."""

    _node_name = "LinalgDetBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        y = made(np.linalg.det(a._array()), a)
        ctx.save_for_backward(a, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, y = ctx.saved_tensors
        if bool((y.detach() != 0).all()):
            return (g * y).unsqueeze(-1).unsqueeze(-1) * transposed(inv(a))
        return g.unsqueeze(-1).unsqueeze(-1) * made(_cofactors(a.detach()._array()), a)


def _cofactors(a: Any) -> Any:
    """The gradient of the determinant where there is no inverse: from the singular values."""
    u, s, v = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.repeat(s[..., None, :], n, axis=-2)
    others[..., np.arange(n), np.arange(n)] = 1
    sign = np.linalg.det(u) * np.linalg.det(v)
    return (u * others.prod(-1)[..., None, :]) @ v * sign[..., None, None]


class LinalgSlogdet(Function):
    """The sign and the logarithm of the determinant."""

    _node_name = "LinalgSlogdetBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Any:
        sign, log = (made(part, a) for part in np.linalg.slogdet(a._array()))
        ctx.save_for_backward(a)
        ctx.mark_non_differentiable(sign)
        return sign, log

    @staticmethod
    def backward(ctx: Any, _: Tensor, g: Tensor) -> Any:
        (a,) = ctx.saved_tensors
        return g.unsqueeze(-1).unsqueeze(-1) * transposed(inv(a))


class LinalgPinv(Function):
    """The pseudo-inverse; its gradient supposes that the rank stays as it is."""

    _node_name = "LinalgPinvBackward0"

    @staticmethod
    def forward(ctx: Any, a: Tensor, rcond: float) -> Tensor:
        p = made(np.linalg.pinv(a._array(), rcond), a)
        ctx.save_for_backward(a, p)
        return p

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, p = ctx.saved_tensors
        h, q = transposed(g), transposed(p)
        k = matmul(h, p)
        kq = matmul(k, q)
        found = kq - transposed(matmul(p, k)) - matmul(matmul(a, p), kq)
        return found + matmul(matmul(q, p), h - matmul(k, a)), None


# ---------------------------------------------------------------- functions
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices (..., n, n).

    Raises
    ------
    RuntimeError
        If they are not square, and `LinAlgError`, which is one, if one is singular.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.linalg.inv(jitgrad.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    need_square("linalg.inv", A)
    return LinalgInv.apply(A)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The ``X`` of ``A @ X = B`` (``X @ A = B`` if not ``left``); ``B`` may hold vectors.

    Raises
    ------
    RuntimeError
        If sizes do not fit, and `LinAlgError` if a matrix is singular.
    """
    need_square("linalg.solve", A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    b = B.unsqueeze(-1) if vector else B
    if not left and not vector:
        return transposed(solve(transposed(A), transposed(B)))
    if b.ndim < 2 or b.shape[-2] != A.shape[-1]:
        n, m = A.shape[-2:]
        raise RuntimeError(
            "linalg.solve: Incompatible shapes of A and B for the equation AX = B"
            f" ({n}x{m} and {'x'.join(str(k) for k in b.shape[-2:])})"
        )
    if B.dtype is not A.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type"
            f" {A.dtype.letter} and B of type {B.dtype.letter} instead"
        )
    batch = broadcast_shapes(A.shape[:-2], b.shape[:-2])
    x = LinalgSolve.apply(A.expand([*batch, *A.shape[-2:]]), b.expand([*batch, *b.shape[-2:]]))
    return naming(x.squeeze(-1), "LinalgSolveExBackward0") if vector else x


def det(A: Tensor) -> Tensor:
    """The determinants of square matrices.

    Where a determinant is 0, gradients are right to first order only.
    """
    need_square("linalg.det", A)
    return LinalgDet.apply(A)


def slogdet(A: Tensor) -> Any:
    """The sign of the determinant, and the logarithm of its absolute value."""
    need_square("linalg.slogdet", A)
    return return_types.linalg_slogdet(LinalgSlogdet.apply(A))


def pinv(
    A: Tensor,
    rcond: float | None = None,
    *,
    rtol: float | None = None,
    hermitian: bool = False,
) -> Tensor:
    """The pseudo-inverse of matrices: singular values below ``rtol`` of the largest count as 0."""
    need_matrix("linalg.pinv", A)
    bound = rcond if rtol is None else rtol
    if bound is None:
        bound = max(A.shape[-2:]) * dtypes.finfo(A.dtype).eps
    return LinalgPinv.apply(A, bound)


@named("LinalgLstsqBackward0")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None) -> Any:
    """The ``X`` for which ``A @ X`` is nearest to ``B``, with the squared residuals and the rank."""
    need_matrix("linalg.lstsq", A)
    vector = B.ndim == A.ndim - 1
    b = B.unsqueeze(-1) if vector else B
    if b.ndim < 2 or b.shape[-2] != A.shape[-2]:
        raise RuntimeError(
            "linalg.lstsq: input.size(-2) should match other.size(-2), got shapes"
            f" {sizes(A.shape)} and {sizes(B.shape)}"
        )
    x = matmul(pinv(A, rcond), b)
    rank = matrix_rank(A)
    n, m = A.shape[-2:]
    full = n > m and bool((rank == m).all())
    from jitgrad.creation import empty

    residuals = (matmul(A, x) - b).square().sum(-2) if full else empty(0, dtype=A.dtype)
    found = (x.squeeze(-1) if vector else x, residuals, rank, empty(0, dtype=A.dtype))
    return return_types.linalg_lstsq(found)


def matrix_rank(A: Tensor, *, rtol: float | None = None) -> Tensor:
    """How many singular values are above ``rtol`` times the largest (int64)."""
    need_matrix("linalg.matrix_rank", A)
    found = np.linalg.matrix_rank(A.detach()._array(), rtol=rtol)
    return tensor_of(np.asarray(found, np.int64))
