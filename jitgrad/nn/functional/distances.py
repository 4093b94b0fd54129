"""Distances and similarities between vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.ops.contractions import cdist
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.promotion import result_type

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["cosine_similarity", "normalize", "pairwise_distance", "pdist"]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dim, broadcast; lengths count as ``eps`` at least.

    Examples
    --------
    >>> import jitgrad
    >>> f = jitgrad.nn.functional.cosine_similarity
    >>> f(jitgrad.tensor([3.0, 0.0]), jitgrad.tensor([1.0, 0.0]), dim=0)
    tensor(1.)
    """
    common = result_type(x1, x2)
    shape = broadcast_shapes(x1.shape, x2.shape)
    a, b = x1.to(common).expand(shape), x2.to(common).expand(shape)
    lengths = []
    for x in (a, b):
        length = x.norm(2, dim, keepdim=True).clone()
        with no_grad():
            length.clamp_(min=eps)
        lengths.append(length)
    return ((a / lengths[0]) * (b / lengths[1])).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The ``p``-norm of ``x1 - x2 + eps`` along the last dim, broadcast."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The ``p``-norm distances of all pairs of rows (N, M), as a vector: 0 and 1, 0 and 2, ..., 1 and 2, ...

    Raises
    ------
    RuntimeError
        If ``input`` is no matrix of floating point, or ``p`` is negative.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.pdist(jitgrad.tensor([[0.0], [1.0], [3.0]]))
    tensor([1., 3., 2.])
    """
    from jitgrad.ops.diagonals import triu_indices

    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.shape[0]
    first, second = triu_indices(n, n, 1).unbind(0)
    a, b = (input.index_select(0, rows).unsqueeze(1) for rows in (first, second))
    return cdist(a, b, p).reshape(-1)


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Vectors along a dim over their ``p``-norm, which counts as ``eps`` at least.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.normalize(jitgrad.tensor([3.0, 4.0]), dim=0)
    tensor([0.6000, 0.8000])
    """
    found = input / input.norm(p, dim, keepdim=True).clamp_min(eps)
    return found if out is None else out.copy_(found)
