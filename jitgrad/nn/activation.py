"""Activations as layers."""

from __future__ import annotations

from jitgrad.nn import functional
from jitgrad.nn.module import Module
from jitgrad.tensor import Tensor


class ReLU(Module):
    """``max(x, 0)``, optionally in place.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.ReLU()(jitgrad.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return functional.relu(input, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return functional.sigmoid(input)


class Tanh(Module):
    """``tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise."""
        return functional.tanh(input)
