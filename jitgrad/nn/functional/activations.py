"""Activations as functions; their formulas are rows of `jitgrad.ops.pointwise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.ops.elementwise import FUNCTIONS
from jitgrad.ops.reductions import log_softmax, softmax

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]

sigmoid = FUNCTIONS["sigmoid"]
tanh = FUNCTIONS["tanh"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``, optionally in place.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.relu(jitgrad.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return input.relu_() if inplace else FUNCTIONS["relu"](input)
