"""The softmax family of `nn.functional`: softmaxes that choose a dim, and samples drawn through one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.ops import reductions

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def _implicit(name: str, input: Tensor, dim: int | None, stacklevel: int) -> int:
    """The dim that PyTorch once chose where none is given."""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include"
        " dim=X as an argument.",
        UserWarning,
        stacklevel=stacklevel,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """``exp(x) / sum(exp(x))`` along a dim; without one it warns and chooses 0 or 1."""
    return reductions.softmax(input, _implicit("softmax", input, dim, _stacklevel), dtype)


def log_softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """``x - logsumexp(x)`` along a dim; without one it warns and chooses 0 or 1."""
    return reductions.log_softmax(input, _implicit("log_softmax", input, dim, _stacklevel), dtype)


def softmin(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """`softmax` of ``-x``."""
    return reductions.softmax(-input, _implicit("softmin", input, dim, _stacklevel), dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample from a distribution over the entries of a dim, with gradients (Jang et al. 2017).

    Parameters
    ----------
    logits : Tensor
        Unnormalised log-probabilities.
    tau : float
        Temperature: the smaller, the nearer to one entry of 1 among zeros.
    hard : bool
        Return just that, with the soft sample's gradients.
    """
    from jitgrad.creation import zeros_like

    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    from jitgrad.random import rand_like

    # Exponential numbers, but no zero, whose logarithm is not finite.
    least = dtypes.finfo(logits.dtype).tiny
    gumbels = -(-(1 - rand_like(logits.detach())).log()).clamp(min=least).log()
    soft = reductions.softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.detach().max(dim, keepdim=True)[1]
    return zeros_like(logits.detach()).scatter_(dim, index, 1.0) - soft.detach() + soft
