"""Differentiation: the backward pass, grad modes, and the graph as Python sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jitgrad.arena import engine
from jitgrad.autograd.grad_mode import (
    enable_grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["backward", "enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of ``tensors``, weighted by ``grad_tensors``, to the leaves' ``.grad``.

    Parameters
    ----------
    tensors : Tensor or sequence of Tensors
        The roots.
    grad_tensors : Tensor or sequence, optional
        For each root its weight, of its shape and dtype; None for a root of one element means 1.
    retain_graph : bool, optional
        Keep what the graph saved for another pass.

    Raises
    ------
    RuntimeError
        See `Tensor.backward`.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> jitgrad.autograd.backward([x.sum(), (x * x).sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    from jitgrad.tensor import Tensor

    if create_graph or inputs is not None:
        raise NotImplementedError(
            "backward(create_graph=True) and backward(inputs=...) are not there yet: gradients of"
            " first order, to all leaves, are"
        )
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if grad_tensors is None:
        weights: list[Tensor | None] = [None] * len(roots)
    elif isinstance(grad_tensors, Tensor):
        weights = [grad_tensors]
    else:
        weights = list(grad_tensors)
    if len(weights) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(weights)} gradients")
    pairs: list[Tensor | None] = []
    for i, (root, weight) in enumerate(zip(roots, weights, strict=True)):
        pairs += [root, None if weight is None else _weight(i, root, weight)]
    engine.run_backward(bool(retain_graph), *pairs)


def _weight(i: int, root: Tensor, weight: Tensor) -> Tensor:
    from jitgrad.tensor import Tensor

    if not isinstance(weight, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(weight).__name__}")
    if weight.shape != root.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {weight.shape} and output[{i}] has a"
            f" shape of {root.shape}."
        )
    return weight if weight.dtype is root.dtype else weight.detach().to(root.dtype)
