"""Connectionist temporal classification (Graves et al. 2006): checks and reductions of `jitgrad.ops.ctc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.autograd.differentiation import grad
from jitgrad.autograd.function import Function
from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.creation import from_numpy
from jitgrad.dtypes import float32, float64, int64
from jitgrad.nn.functional.losses import reduced
from jitgrad.ops import ctc
from jitgrad.ops.cross_entropy import MEAN, reduction_code
from jitgrad.ops.recipe import Gradients, Step, recipe

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = ["ctc_loss"]


def _lengths(value: Any, n: int, name: str) -> np.ndarray[Any, Any]:
    """Lengths as an array of ``n``; raises RuntimeError."""
    if hasattr(value, "dtype") and getattr(value.dtype, "is_floating_point", False):
        raise RuntimeError(f"{name} must be integral")
    found = np.atleast_1d(np.array(value.tolist() if hasattr(value, "tolist") else value))
    if found.shape != (n,):
        raise RuntimeError(f"{name} must be of size batch_size")
    if n and found.min() < 0:
        raise RuntimeError(f"Expected {name} to have value at least 0, but got value {found.min()}")
    return found.astype(np.int64)


def _padded(targets: Tensor, lengths: np.ndarray[Any, Any], blank: int) -> np.ndarray[Any, Any]:
    """Targets as (N, longest), from that layout or one after the other."""
    given = targets._values()
    longest = int(lengths.max(initial=0))
    if given.ndim == 1:
        if given.size != lengths.sum():
            raise RuntimeError(
                f"Expected targets of size {lengths.sum()}, the sum of target_lengths, but got"
                f" {given.size}"
            )
        found = np.full((len(lengths), longest), blank, np.int64)
        start = 0
        for row, n in zip(found, lengths, strict=True):
            row[:n] = given[start : start + n]
            start += n
        return found
    if given.ndim != 2 or given.shape[0] != len(lengths) or given.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor for argument targets to have size at least {longest} at dimension 1,"
            f" but got size {list(given.shape)}"
        )
    found = given[:, :longest].astype(np.int64)
    found[np.arange(longest) >= lengths[:, None]] = blank
    return found


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of label sequences, over all their alignments with the input.

    Parameters
    ----------
    log_probs : Tensor
        (T, N, C) or (T, C): logarithms of the classes' probabilities at each time (`log_softmax`).
    targets : Tensor
        Classes, no blanks, integers (floats are cut off): (N, S) padded, or one after the other in one dim.
    input_lengths, target_lengths : Tensor or sequence of int
        (N): how much of each is used.
    blank : int
        The class that stands for no label.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by its target's length first.
    zero_infinity : bool
        Losses of targets that do not fit into the input become 0 instead of infinite.

    Raises
    ------
    RuntimeError
        If sizes, lengths or the blank do not fit.

    Notes
    -----
    As in PyTorch the gradient is that of logits: right below a `log_softmax`, whose own gradient
    changes nothing about it.  It has the classes' probabilities added to it, and as in PyTorch can't be
    differentiated again.

    Examples
    --------
    >>> import jitgrad
    >>> uniform = jitgrad.full((2, 1, 4), 0.25).log()
    >>> f = jitgrad.nn.functional.ctc_loss
    >>> round(f(uniform, jitgrad.tensor([[1]]), [2], [1]).exp().item(), 4)  # 3 alignments of 16
    5.3333
    """
    how = reduction_code(reduction, None, None)
    x = log_probs.unsqueeze(1) if log_probs.ndim == 2 else log_probs
    if x.dtype not in (float32, float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{x.dtype.letter}'")
    time, n, classes = x.shape
    if x.numel() == 0:
        raise RuntimeError("log_probs tensor must not be empty")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    targets = targets.to(int64)
    used = _lengths(input_lengths, n, "input_lengths")
    wanted = _lengths(target_lengths, n, "target_lengths")
    if used.max(initial=0) > time:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {time}, but got value {used.max()}"
        )
    if log_probs.ndim == 2 and targets.ndim == 1:
        targets = targets.unsqueeze(0)
    labels = _padded(targets, wanted, blank)
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise RuntimeError("targets must be in label range")
    lengths = from_numpy(np.stack([used, wanted]))
    losses = ctc.losses(x, from_numpy(labels), lengths, blank, zero_infinity)
    if how == MEAN:
        losses = losses / from_numpy(np.maximum(wanted, 1)).to(x.dtype)
    found = reduced(losses, how)
    return found.squeeze(0) if how == 0 and log_probs.ndim == 2 else found


# ---------------------------------------------------------------- recipe (`jitgrad.ops.recipe`)
class _Gradient(Function):
    """The gradient of the losses, which is no derivative of what was computed: it has none itself."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, *arguments: Any) -> Tensor:
        """Of logarithms ``x`` with cotangent ``g``."""
        x = x.detach().requires_grad_()
        with enable_grad():
            (found,) = grad(ctc.losses(x, *arguments), x, g.detach())
        return found

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        """Refused."""
        raise RuntimeError("derivative for aten::_ctc_loss_backward is not implemented")


@recipe(ctc.CTC)
def _ctc_recipe(step: Step, g: Tensor) -> Gradients:
    x, labels, lengths = (step.saved(i) for i in range(3))
    blank, zero_infinity = step.integer(0), step.integer(1) != 0
    return (_Gradient.apply(g, x, labels, lengths, blank, zero_infinity), None, None, None)
