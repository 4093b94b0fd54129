"""Layers that change the shape only."""

from __future__ import annotations

from typing import Any

from jitgrad.nn.module import Module
from jitgrad.tensor import Tensor


class Flatten(Module):
    """The dims from ``start_dim`` to ``end_dim`` as one; by default all but the first.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.Flatten()(jitgrad.ones(2, 3, 4)).shape
    jitgrad.Size([2, 12])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The input in another shape."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dim as several of these sizes.

    Raises
    ------
    TypeError
        If ``dim`` is no int or the sizes are no tuple of ints.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.Unflatten(1, (3, 4))(jitgrad.ones(2, 12)).shape
    jitgrad.Size([2, 3, 4])
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError("unflattened_size must be a tuple of tuples when dim is a str")
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(
                f"unflattened_size must be a tuple of ints, but found type"
                f" {type(unflattened_size).__name__}"
            )
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(
                    "unflattened_size must be tuple of ints, but found element of type"
                    f" {type(size).__name__} at pos {i}"
                )
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """The input in another shape."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


__all__ = ["Flatten", "Unflatten"]
