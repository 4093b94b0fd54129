"""Distances and similarities as layers."""

from __future__ import annotations

from jitgrad.nn.functional.distances import cosine_similarity, pairwise_distance
from jitgrad.nn.module import Module
from jitgrad.tensor import Tensor


class PairwiseDistance(Module):
    """`jitgrad.nn.functional.pairwise_distance`."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Of the last dim."""
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """`jitgrad.nn.functional.cosine_similarity`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Along the dim."""
        return cosine_similarity(x1, x2, self.dim, self.eps)


__all__ = [
    "CosineSimilarity",
    "PairwiseDistance",
]
