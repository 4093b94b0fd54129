"""Products made of products: added, crossed, chained, raised to powers; distances."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from jitgrad.errors import sizes
from jitgrad.ops.einsum import tensordot
from jitgrad.ops.joining import stack
from jitgrad.ops.names import named
from jitgrad.ops.operands import in_place
from jitgrad.ops.products import bmm, broadcast_shapes, dot, matmul, mm, mv, outer
from jitgrad.ops.reductions import norm
from jitgrad.ops.views import wrap_dim

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def _scaled_sum(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """``beta * input + alpha * product``; a ``beta`` of 0 hides NaN in the input, as in BLAS."""
    input.expand(product.shape)  # raises if it does not fit
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return (input if beta == 1 else input * beta) + product


@named("AddmvBackward0")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * mat @ vec``."""
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


@named("AddrBackward0")
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    for k, vec in enumerate((vec1, vec2), 1):
        if vec.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{k}, but got {vec.ndim}-D")
    return _scaled_sum(input, outer(vec1, vec2), beta, alpha)


@named("BaddbmmBackward0")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * batch1 @ batch2``, a product for each matrix of two batches."""
    return _scaled_sum(input, bmm(batch1, batch2), beta, alpha)


@named("AddbmmBackward0")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input`` plus ``alpha`` times the sum of the products of two batches of matrices."""
    if batch1.ndim == 3 and batch2.ndim == 3 and batch1.shape[0] != batch2.shape[0]:
        raise RuntimeError(
            f"batch1 and batch2 must have same number of batches, got {batch1.shape[0]} and"
            f" {batch2.shape[0]}"
        )
    return _scaled_sum(input, bmm(batch1, batch2).sum(0), beta, alpha)


addmv_, addr_, baddbmm_, addbmm_ = (in_place(f) for f in (addmv, addr, baddbmm, addbmm))
ger, vdot = outer, dot


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dims of both; with a number, the product."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes"
            f" {sizes(input.shape)} and {sizes(other.shape)}"
        )
    return tensordot(input, other, ([input.ndim - 1], [other.ndim - 1]))


@named("UnsafeViewBackward0")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: ``other`` times each element of ``input``, in its place.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.kron(jitgrad.tensor([1, 2]), jitgrad.tensor([1, 10])).tolist()
    [1, 10, 2, 20]
    """
    n = max(input.ndim, other.ndim)
    left = (1,) * (n - input.ndim) + tuple(input.shape)
    right = (1,) * (n - other.ndim) + tuple(other.shape)
    if not n:
        return input * other
    # Dims are joined one at a time, so that no more than one is needed besides.
    x, y = input.reshape(left), other.reshape(right)
    for d in range(n):
        x = x.repeat_interleave(right[d], d)
        y = y.tile([left[d] if e == d else 1 for e in range(n)])
    return x * y


@named("LinalgCrossBackward0")
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dim of size 3 (the first of that size unless told)."""
    if dim is None:
        warnings.warn(
            "Using torch.cross without specifying the dim arg is deprecated. Please either pass the dim"
            " explicitly or simply use torch.linalg.cross.",
            stacklevel=2,
        )
        dim = next((d for d, n in enumerate(input.shape) if n == 3), -1)
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    d = wrap_dim(dim, input.ndim)
    n, m = input.shape[d], other.shape[d]
    if (n, m) != (3, 3):
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {n} and {m}"
        )
    common = broadcast_shapes(input.shape, other.shape)
    a, b = input.expand(common).unbind(d), other.expand(common).unbind(d)
    parts = [a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return stack(parts, d)


# ---------------------------------------------------------------- chains and powers
def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices (the first and last may be vectors), in the cheapest order.

    Raises
    ------
    RuntimeError
        If there are fewer than two, or sizes do not fit.
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    row, column = chain[0].ndim == 1, chain[-1].ndim == 1
    for k, x in enumerate(chain):
        ends = k in (0, len(chain) - 1)
        if x.ndim != 2 and not (ends and x.ndim == 1):
            raise RuntimeError(
                f"multi_dot(): tensor {k} must be {'1D or ' if ends else ''}2D but got {x.ndim}D"
            )
    for k, (a, b) in enumerate(zip(chain, chain[1:], strict=False)):
        if a.shape[-1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {k} and {k + 1} with shapes {sizes(a.shape)} and"
                f" {sizes(b.shape)} cannot be multiplied"
            )
    chain[0] = chain[0].unsqueeze(0) if row else chain[0]
    chain[-1] = chain[-1].unsqueeze(1) if column else chain[-1]
    found = _multiplied(chain)
    if row:
        found = found.squeeze(0)
    return found.squeeze(-1) if column else found


def _multiplied(chain: list[Tensor]) -> Tensor:
    """The product in the order with the fewest multiplications (dynamic programming)."""
    n = len(chain)
    edge = [chain[0].shape[0], *(x.shape[1] for x in chain)]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            ways = [
                (cost[i][k] + cost[k + 1][j] + edge[i] * edge[k + 1] * edge[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], cut[i][j] = min(ways)

    def part(i: int, j: int) -> Tensor:
        return chain[i] if i == j else mm(part(i, cut[i][j]), part(cut[i][j] + 1, j))

    return part(0, n - 1)


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices; `linalg.multi_dot` is its newer name."""
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


def matrix_power(input: Tensor, n: int) -> Tensor:
    """A square matrix (or a batch of them) times itself; negative powers are those of the inverse.

    Raises
    ------
    RuntimeError
        If the matrix is not square, or has no inverse where one is needed.
    """
    from jitgrad.linalg.checks import need_square

    need_square("linalg.matrix_power", input, halves=True)
    if n < 0:
        from jitgrad.linalg.solving import inv

        return matrix_power(inv(input), -n)
    if n == 0:
        from jitgrad.creation import eye

        return (
            eye(input.shape[-1], dtype=input.dtype, device=input.device).expand(input.shape).clone()
        )
    result = None
    while n:
        if n & 1:
            result = input if result is None else matmul(result, input)
        n >>= 1
        if n:
            input = matmul(input, input)
    assert result is not None
    return result


# ---------------------------------------------------------------- distances
@named("DistBackward0")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The ``p``-norm of the difference."""
    return norm(input - other, p)


@named("CdistBackward0")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The ``p``-norm distances of all rows of ``x1`` (..., n, k) from those of ``x2`` (..., m, k).

    Raises
    ------
    RuntimeError
        If the rows differ in length, ``p`` is negative, or the dtype is not floating point.
    """
    for k, x in enumerate((x1, x2), 1):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, X{k} got: {x.ndim}D")
        if not x.dtype.is_floating_point:
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, X{k} got: {x.dtype.letter}"
            )
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if p == math.inf and x1.shape[-1] == 0:
        return difference.sum(-1)
    return norm(difference, p, -1)
