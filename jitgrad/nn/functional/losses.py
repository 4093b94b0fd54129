"""Losses as functions: with kernels of their own (`jitgrad.ops.losses`), or composed of other ops.

Those on classes are in `jitgrad.nn.functional.margins`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.creation import ones_like, zeros_like
from jitgrad.nn.functional.distances import pairwise_distance
from jitgrad.ops.activations import logsigmoid
from jitgrad.ops.arithmetic import where
from jitgrad.ops.cross_entropy import MEAN, reduction_code
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

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def need_no_options(options: None) -> None:
    """Refuse what would have PyTorch compute `linear_cross_entropy` in chunks."""
    if options is not None:
        raise NotImplementedError(
            "linear_cross_entropy: options (chunks) are not supported; pass None"
        )


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: None = None,
) -> Tensor:
    """`cross_entropy` of scores that a linear layer computes.

    Parameters
    ----------
    input : Tensor
        (N, K) or (K).
    linear_weight : Tensor
        (C, ..., K) for C classes: a score for each class and each of the further dims.
    target : Tensor
        (N, ...) classes or (N, C, ...) probabilities of them, without N if the input has none.
    linear_bias : Tensor, optional
        (C, ...).
    weight, reduction, ignore_index, label_smoothing
        As for `cross_entropy`; None is its default of ``ignore_index``.

    Raises
    ------
    RuntimeError
        If the input has other dims, or its last size is not that of the weight.
    NotImplementedError
        If ``options`` is not None.

    Examples
    --------
    >>> import jitgrad
    >>> f = jitgrad.nn.functional
    >>> f.linear_cross_entropy(jitgrad.ones(1, 2), jitgrad.zeros(4, 2), jitgrad.tensor([3]))
    tensor(1.3863)
    """
    need_no_options(options)
    if input.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got"
            f" {input.shape[-1]} and {linear_weight.shape[-1]}, respectively"
        )
    rows = linear_weight.shape[:-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    scores = linear(input, linear_weight.reshape(-1, input.shape[-1]), bias)
    return cross_entropy(
        scores.reshape([*input.shape[:-1], *rows]),
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


def reduced(loss: Tensor, how: int) -> Tensor:
    """The losses of all elements, reduced as `reduction_code` says."""
    if how == 0:
        return loss
    return loss.mean() if how == MEAN else loss.sum()


# ---------------------------------------------------------------- between distributions
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """``target * (log(target) - input)``: the Kullback-Leibler divergence from log-probabilities.

    Parameters
    ----------
    input : Tensor
        Log-probabilities.
    target : Tensor
        Probabilities; log-probabilities with ``log_target``.  Broadcast.
    reduction : {"mean", "batchmean", "sum", "none"}
        "batchmean" divides the sum by the size of the first dim.

    Raises
    ------
    ValueError
        If the reduction is unknown.
    """
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            UserWarning,
            stacklevel=2,
        )
    batchmean = reduction == "batchmean"
    how = reduction_code("sum" if batchmean else reduction, size_average, reduce)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        # 0 * log(0) is 0.
        positive = where(target == 0, 1.0, target)
        loss = target * (positive.log() - input)
    found = reduced(loss, how)
    return found / input.size(0) if batchmean and input.ndim else found


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of counts under Poisson distributions.

    Parameters
    ----------
    input : Tensor
        The mean, or its logarithm with ``log_input``.
    target : Tensor
        Counts; broadcast.
    full : bool
        Add Stirling's approximation of ``log(target!)`` where the target is above 1.
    eps : float
        Added to the mean before its logarithm is taken.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all elements.
    """
    how = reduction_code(reduction, size_average, reduce)
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        # Of 1 where it is not used: the logarithm of 0 would leave NaN in the gradient.
        n = where(target > 1, target, 1.0)
        stirling = n * n.log() - n + 0.5 * (2 * math.pi * n).log()
        loss = loss + stirling.masked_fill(target <= 1, 0.0)
    return reduced(loss, how)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of targets under normal distributions.

    Parameters
    ----------
    input, target : Tensor
        Means and samples.
    var : Tensor or float
        Variances: of the shape of ``input``, without its last dim, or with that of size 1; at least
        ``eps`` (which has no gradient).
    full : bool
        Add the constant ``log(2 pi) / 2``.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all elements.

    Raises
    ------
    ValueError
        If a variance is negative or does not fit, or the reduction is unknown.
    """
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        variance = var * ones_like(input)
    elif bool((var.detach() < 0).any()):
        raise ValueError("var has negative entry/entries")
    else:
        variance = var
    x, v = tuple(input.shape), tuple(variance.shape)
    if v != x:
        if x[:-1] == v:
            variance = variance.unsqueeze(-1)
        elif len(x) != len(v) or sum(a != b for a, b in zip(x, v, strict=True)) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    variance = variance.clone()
    with no_grad():
        variance.clamp_(min=eps)
    loss = 0.5 * (variance.log() + (input - target) ** 2 / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction_code(reduction, None, None))


# ---------------------------------------------------------------- targets 1 and -1
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target * input))`` for targets 1 and -1."""
    how = reduction_code(reduction, size_average, reduce)
    return reduced(-logsigmoid(target * input), how)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, ``max(0, margin - input)`` where it is -1."""
    how = reduction_code(reduction, size_average, reduce)
    far = where(target != 1, (margin - input).clamp_min(0), 0.0)
    near = where(target != -1, input, 0.0)
    return reduced(far + near, how)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``: which of two should be larger.

    Raises
    ------
    RuntimeError
        If the numbers of dims differ.
    """
    how = reduction_code(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes:"
            f" input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), how)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Parameters
    ----------
    input1, input2 : Tensor
        (N, D), or (D).
    target : Tensor
        (N), or ().

    Raises
    ------
    RuntimeError
        If the numbers of dims do not fit.
    """
    how = reduction_code(reduction, size_average, reduce)
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        sizes = f"{list(input1.shape)} and {list(input2.shape)}"
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs"
            f" with sizes {sizes}."
        )
    d = target.ndim
    tiny = 1e-12
    squares = ((input1 * input1).sum(d) + tiny) * ((input2 * input2).sum(d) + tiny)
    cos = (input1 * input2).sum(d) / squares.sqrt()
    zeros = zeros_like(cos.detach())
    near = where(target == 1, 1 - cos, zeros)
    far = where(target == -1, (cos - margin).clamp_min(0), zeros)
    return reduced(near + far, how)


# ---------------------------------------------------------------- triplets
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, d being the ``p``-norm.

    With ``swap`` the distance from positive to negative is used where it is smaller.

    Raises
    ------
    ValueError
        If the margin is not positive.
    RuntimeError
        If the numbers of dims differ.
    """
    how = reduction_code(reduction, size_average, reduce)
    return _triplet(
        lambda a, b: pairwise_distance(a, b, p, eps), anchor, positive, negative, margin, swap, how
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance; `pairwise_distance` by default."""
    how = reduction_code(reduction, None, None)
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(distance, anchor, positive, negative, margin, swap, how)


def _triplet(
    distance: Callable[[Tensor, Tensor], Tensor],
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float,
    swap: bool,
    how: int,
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of"
            f" dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative"
            f" {negative.ndim}D inputs"
        )
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + distance(anchor, positive) - far).clamp_min(0), how)
