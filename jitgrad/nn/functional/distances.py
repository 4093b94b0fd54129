"""Distances and similarities between vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.ops.promotion import result_type

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["cosine_similarity", "normalize", "pairwise_distance"]


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
    a, b = x1.to(common), x2.to(common)
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
