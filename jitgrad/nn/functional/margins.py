"""Losses on one or several classes that ask for a margin between scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.creation import arange, zeros
from jitgrad.nn.functional.losses import reduced
from jitgrad.ops.activations import logsigmoid, relu
from jitgrad.ops.cross_entropy import reduction_code

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss"]


def _int64(target: Tensor) -> None:
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.letter}")


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over other classes of ``max(0, margin - x[target] + x[i]) ** p``, over their number.

    Parameters
    ----------
    input : Tensor
        Scores: (N, C), or (C).
    target : Tensor
        Classes, int64: (N), or ().
    p : {1, 2}
        The power.
    weight : Tensor, optional
        (C), by the target's class.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all samples.

    Raises
    ------
    ValueError
        If ``p`` is neither 1 nor 2, or the weight has other than one dim.
    RuntimeError
        If sizes do not fit or a target is no class.
    """
    how = reduction_code(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if input.ndim > 2 or input.numel() == 0:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got:"
            f" {list(input.shape)}"
        )
    _int64(target)
    x = input.reshape(1, -1) if input.ndim < 2 else input
    n, c = x.shape
    if target.numel() != n or target.ndim > 1:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input"
            f" samples (batch size). Expected target size [{n}], but got {list(target.shape)}. Input"
            f" has shape {list(input.shape)}."
        )
    if weight is not None and weight.numel() != c:
        raise RuntimeError(f"inconsistent weight size, expected {c} but got {list(weight.shape)}")
    places = target.reshape(n, 1)
    if bool(((places < 0) | (places >= c)).any()):
        raise RuntimeError("target out of range")
    missing = relu(margin - x.gather(1, places) + x)
    losses = missing if p == 1 else missing * missing
    if weight is not None:
        losses = losses * weight[target].reshape(n, 1)
    losses = losses.masked_fill(arange(c, device=x.device) == places, 0.0).sum(1) / c
    return reduced(losses.reshape(target.shape) if input.ndim < 2 else losses, how)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum of ``max(0, 1 - x[j] + x[i])`` over target classes j and all others i, over the classes.

    Parameters
    ----------
    input : Tensor
        Scores: (N, C), or (C).
    target : Tensor
        Classes, int64, of the shape of ``input``: those of a sample before its first -1.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all samples.

    Raises
    ------
    RuntimeError
        If the shapes differ or a target is no class.
    """
    how = reduction_code(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    _int64(target)
    c = input.shape[-1] if input.ndim else 1
    if bool(((target < -1) | (target >= c)).any()):
        raise RuntimeError("argument #2 'target' is out of range")
    x, t = input.reshape(-1, c), target.reshape(-1, c)
    listed = (t < 0).cumsum(1) == 0
    places = t.masked_fill(~listed, 0)
    wanted = zeros(x.shape, device=x.device).scatter_add(1, places, listed.to(dtypes.float32)) > 0
    missing = relu(1 - x.gather(1, places).unsqueeze(2) + x.unsqueeze(1))
    missing = missing.masked_fill(~listed.unsqueeze(2) | wanted.unsqueeze(1), 0.0)
    losses = missing.sum((1, 2)) / c
    return reduced(losses.reshape(input.shape[:-1]), how)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross-entropy of ``sigmoid(input)``.

    Parameters
    ----------
    input, target : Tensor
        (..., C): scores; 1 and 0.
    weight : Tensor, optional
        (C) or broadcast.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all samples.

    Raises
    ------
    ValueError
        If the reduction is unknown.
    """
    if size_average is None and reduce is None and reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    how = reduction_code(reduction, size_average, reduce)
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.sum(-1) / input.shape[-1], how)
