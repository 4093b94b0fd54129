"""``torch.nn.functional``: linear maps, activations and losses as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.ops.elementwise import FUNCTIONS
from jitgrad.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from jitgrad.ops.products import linear
from jitgrad.ops.reductions import log_softmax, softmax

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "l1_loss",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "smooth_l1_loss",
    "softmax",
    "tanh",
]

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
