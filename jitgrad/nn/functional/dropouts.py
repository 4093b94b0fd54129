"""Dropout: elements, or whole channels, that are left out at random in training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jitgrad.ops.activations import SELU_LIMIT
from jitgrad.ops.elementwise import record, record_
from jitgrad.ops.pointwise import DROPOUT
from jitgrad.random import rand

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input: Tensor, p: float, shape: Sequence[int], inplace: bool) -> Tensor:
    """Each entry of a shape that broadcasts is dropped with probability ``p``, the rest scaled."""
    uniform = rand(tuple(shape), dtype=input.dtype, device=input.device)
    return (record_ if inplace else record)(DROPOUT, input, uniform, 1.0 - p)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, elements become 0 with probability ``p`` and others are divided by ``1 - p``.

    Raises
    ------
    ValueError
        If ``p`` is not between 0 and 1.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(1000)
    >>> y = jitgrad.nn.functional.dropout(x, 0.25)
    >>> 200 < (y == 0).sum().item() < 300
    True
    """
    _check(p)
    if not training or p == 0.0:
        return input
    return _dropped(input, p, input.shape, inplace)


def _channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Whole channels (N, C) at a time."""
    if not training or p == 0.0:
        return input
    return _dropped(input, p, (*input.shape[:2], *(1,) * (input.ndim - 2)), inplace)


def _unbatched(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Of (C, ...): the result is a view of what was computed with a batch of one."""
    found = _channels(input.unsqueeze(0), p, training, inplace)
    return input if inplace else found.squeeze(0)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`dropout` of whole channels: (N, C, L), (N, C) counting as (C, L).

    Raises
    ------
    ValueError
        If ``p`` is not between 0 and 1.
    RuntimeError
        For other numbers of dims.
    """
    _check(p)
    n = input.ndim
    if n not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {n}D input. Note that dropout1d"
            " exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel"
            " dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    return (_unbatched if n == 2 else _channels)(input, p, training, inplace)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`dropout` of whole channels: (N, C, H, W); a warning for other numbers of dims than 4."""
    _check(p)
    n = input.ndim
    if n not in (3, 4):
        warnings.warn(
            f"dropout2d: Received a {n}-D input to dropout2d, which is deprecated and will result in"
            " an error in a future release. To retain the behavior and silence this warning, please"
            " use dropout instead. Note that dropout2d exists to provide channel-wise dropout on"
            " inputs with 2 spatial dimensions, a channel dimension, and an optional batch dimension"
            " (i.e. 3D or 4D inputs).",
            stacklevel=2,
        )
    if n == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout"
            " behavior is desired - input is interpreted as shape (N, C, L), where C is the channel"
            " dim. This behavior will change in a future release to interpret the input as one"
            " without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise"
            " dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    return _channels(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`dropout` of whole channels: (N, C, D, H, W) or (C, D, H, W)."""
    _check(p)
    n = input.ndim
    if n not in (4, 5):
        warnings.warn(
            f"dropout3d: Received a {n}-D input to dropout3d, which is deprecated and will result in"
            " an error in a future release. To retain the behavior and silence this warning, please"
            " use dropout instead. Note that dropout3d exists to provide channel-wise dropout on"
            " inputs with 3 spatial dimensions, a channel dimension, and an optional batch dimension"
            " (i.e. 4D or 5D inputs).",
            stacklevel=2,
        )
    return (_unbatched if n == 4 else _channels)(input, p, training, inplace)


# ---------------------------------------------------------------- for SELU
def _alpha(input: Tensor, p: float, training: bool, shape: Sequence[int], inplace: bool) -> Tensor:
    """Dropped elements become SELU's limit at -inf; then mean and variance are put right."""
    _check(p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input.mul_(0) if inplace else input * 0
    keep = (rand(tuple(shape), dtype=input.dtype, device=input.device) < 1.0 - p).to(input.dtype)
    a = 1.0 / math.sqrt((SELU_LIMIT * SELU_LIMIT * p + 1) * (1 - p))
    shift = (1 - keep) * (SELU_LIMIT * a) - SELU_LIMIT * a * p
    scale = keep * a
    return input.mul_(scale).add_(shift) if inplace else input * scale + shift


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`dropout` that keeps mean and variance of values from SELU (Klambauer et al. 2017)."""
    return _alpha(input, p, training, input.shape, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels (N, C)."""
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2))
    return _alpha(input, p, training, shape, inplace)
