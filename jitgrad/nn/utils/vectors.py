"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from jitgrad.ops.joining import cat
from jitgrad.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, one after the other."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Put the elements of a vector into parameters.

    Raises
    ------
    TypeError
        If it is no Tensor.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(
            f"expected torch.Tensor, but got: {type(vec).__module__}.{type(vec).__name__}"
        )
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = vec[start : start + n].reshape(p.shape).detach()
        start += n
