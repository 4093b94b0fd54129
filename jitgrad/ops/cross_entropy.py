"""Losses of classification: nll_loss and cross_entropy; the kernel is in `jitgrad.kernels.losses`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.creation import is_on_gpu
from jitgrad.errors import sizes
from jitgrad.ops import record
from jitgrad.ops.recipe import Gradients, Step, recipe, zeros
from jitgrad.ops.reductions import LOG_SOFTMAX, log_softmax
from jitgrad.ops.table import KERNEL, Op, register

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_KERNELS = "jitgrad.kernels.losses:"


def _nll(name: str, node: str) -> Op:
    vjps = (_KERNELS + "nll_dx", None, None)
    return register(Op(name, node, KERNEL, 3, _KERNELS + "nll", vjps, (6, 0, 0)))


NLL = _nll("nll_loss", "NllLoss")
NLL_PLACES = _nll("nll_loss_nd", "NllLoss2D")

_LOG_SOFTMAX, _NLL, _INT64 = LOG_SOFTMAX.number, NLL.number, dtypes.int64.code
#: The codes that `jitgrad.kernels.losses` knows.
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
MEAN = _REDUCTIONS["mean"]


def old_arguments(
    reduction: str, size_average: bool | None, reduce: bool | None, stacklevel: int = 4
) -> str:
    """What PyTorch's former arguments say instead of ``reduction``, with a warning if they are given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        reduction = "none"
    else:
        reduction = "sum" if size_average is False else "mean"
    warnings.warn(
        "size_average and reduce args will be deprecated, please use"
        f" reduction='{reduction}' instead.",
        UserWarning,
        stacklevel=stacklevel,
    )
    return reduction


def reduction_code(reduction: str, size_average: bool | None, reduce: bool | None) -> int:
    """How to reduce; the two flags are PyTorch's older way to say it and win.

    Raises
    ------
    ValueError
        If ``reduction`` is not "none", "mean" or "sum".
    """
    reduction = old_arguments(reduction, size_average, reduce)
    code = _REDUCTIONS.get(reduction)
    if code is None:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return code


# ---------------------------------------------------------------- nll_loss
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of each target, weighted and reduced.

    Parameters
    ----------
    input : Tensor
        Log-probabilities, floating point: (classes), (N, classes) or (N, classes, ...).
    target : Tensor
        Classes, int64 or uint8: (), (N) or (N, ...).
    weight : Tensor, optional
        (classes), in the dtype of ``input``; the mean divides by the sum of the targets' weights.
    ignore_index : int
        Targets that count for nothing.
    reduction : {"mean", "sum", "none"}
        With "none" the result has the target's shape.

    Raises
    ------
    IndexError
        If a target is no class.
    ValueError
        If the batch sizes differ or the reduction is unknown.
    RuntimeError
        If other sizes or the dtypes do not fit.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([[-1.0, -2.0], [-3.0, -0.5]])
    >>> jitgrad.nn.functional.nll_loss(x, jitgrad.tensor([0, 1])).item()
    0.75
    """
    how = reduction_code(reduction, size_average, reduce)
    return _nll_loss(input, target, weight, ignore_index, how)


def _nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, how: int
) -> Tensor:
    x, t = entry.shape(input), entry.shape(target)
    _check_sizes(x, t)
    if target.dtype is dtypes.uint8:
        target = target.to(dtypes.int64)
    elif target.dtype is not dtypes.int64:
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {target.dtype.letter}"
        )
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"nll_loss_out_frame\" not implemented for '{input.dtype.letter}'"
        )
    inputs = [input, target]
    if weight is not None:
        n = x[0] if len(x) == 1 else x[1]
        if entry.shape(weight) != (n,):
            raise RuntimeError(
                f"weight tensor should be defined either for all {n} classes or no classes but got"
                f" weight tensor of shape: {sizes(entry.shape(weight))}"
            )
        if weight.dtype is not input.dtype:
            raise RuntimeError(
                f"expected scalar type {input.dtype.letter} but found {weight.dtype.letter}"
            )
        inputs.append(weight.detach())
    op = NLL if len(x) <= 2 else NLL_PLACES
    if is_on_gpu(input) and how:
        # The kernel of the CPU leaves the sum of the weights on the host.
        losses = record.explicit(op, inputs, () if len(x) == 1 else t, (ignore_index, 0, 0))
        return (
            losses.sum() / _weights(target, weight, ignore_index) if how == MEAN else losses.sum()
        )
    shape = () if how or len(x) == 1 else t
    try:
        return record.explicit(op, inputs, shape, (ignore_index, how, 0))
    except IndexError as error:
        wrong = str(error).split()[1]
        raise IndexError(f"Target {wrong} is out of bounds.") from None


def _weights(target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """The sum of the weights of all targets' classes, or how many are not ignored."""
    ignored = target == ignore_index
    if weight is None:
        return (~ignored).sum()
    picked = weight.detach()[target.reshape(-1).masked_fill(ignored.reshape(-1), 0)]
    return picked.masked_fill(ignored.reshape(-1), 0.0).sum()


def _check_sizes(x: tuple[int, ...], t: tuple[int, ...]) -> None:
    if not x:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if len(x) == 1:
        if t not in ((), (1,)):
            raise ValueError(
                f"For 1D input, 1D target must have size 1, but got target size: {t[0]}"
            )
        return
    batch = t[0] if t else 0
    if not t or x[0] != batch:
        raise ValueError(
            f"Expected input batch_size ({x[0]}) to match target batch_size ({batch})."
        )
    if t == (x[0], *x[2:]):
        return
    if len(x) == 2:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if len(x) == 4 and len(t) != 3:
        raise RuntimeError(
            "only batches of spatial targets supported (3D tensors) but got targets of dimension:"
            f" {len(t)}"
        )
    if len(x) == 4:
        raise RuntimeError(f"size mismatch (got input: {sizes(x)} , target: {sizes(t)}")
    raise RuntimeError(f"Expected target size {sizes((x[0], *x[2:]))}, got {sizes(t)}")


# ---------------------------------------------------------------- cross_entropy
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy between the softmax of ``input`` and targets: classes or class probabilities.

    Parameters
    ----------
    input : Tensor
        Logits, floating point: (classes), (N, classes) or (N, classes, ...).
    target : Tensor
        Classes (int64 or uint8), of the shape of ``input`` without the classes; or probabilities
        (floating point), of the shape of ``input``.
    weight : Tensor, optional
        (classes), in the dtype of ``input``.
    ignore_index : int
        Targets that count for nothing; for classes only.
    reduction : {"mean", "sum", "none"}
        With "none" the result has the shape of ``input`` without the classes.
    label_smoothing : float
        How much of each target is spread over all classes, at most 1.

    Raises
    ------
    IndexError, ValueError, RuntimeError
        As for `nll_loss`; RuntimeError also if ``label_smoothing`` is above 1 or classes have the
        shape of probabilities.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.zeros(2, 4)
    >>> round(jitgrad.nn.functional.cross_entropy(x, jitgrad.tensor([0, 3])).item(), 4)
    1.3863
    """
    if (
        weight is None
        and reduction == "mean"
        and label_smoothing == 0.0
        and size_average is None
        and reduce is None
    ):
        # (N, classes) and (N) classes, the loss of most training loops: the kernel checks the shapes.
        try:
            if entry.word(target, col.DTYPE) == _INT64:
                code = entry.word(input, col.DTYPE)
                y = entry.lanes(_LOG_SOFTMAX, input, 1, 1, 0)
                return entry.explicit(_NLL, code, code, 2, y, target, 0, ignore_index, MEAN, 1)
        except Fault:
            pass
    how = reduction_code(reduction, size_average, reduce)
    x = entry.shape(input)
    d = 0 if len(x) == 1 else 1
    if label_smoothing > 0:
        _check_smoothing(label_smoothing)
    if x == entry.shape(target):
        if ignore_index >= 0 and target.dtype.is_floating_point:
            raise RuntimeError("ignore_index is not supported for floating point target")
        if not target.dtype.is_floating_point:
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got"
                f" {target.dtype.letter}"
            )
        _check_smoothing(label_smoothing)
        return _of_probabilities(input, target, weight, how, label_smoothing, d)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"log_softmax_lastdim_kernel_impl\" not implemented for '{input.dtype.letter}'"
        )
    _check_sizes(x, entry.shape(target))
    if label_smoothing > 0:
        return _smoothed(input, target, weight, ignore_index, how, label_smoothing, d)
    return _nll_loss(log_softmax(input, d), target, weight, ignore_index, how)


def _check_smoothing(label_smoothing: float) -> None:
    if label_smoothing > 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, how: int, smoothing: float, d: int
) -> Tensor:
    x = entry.shape(input)
    logs = log_softmax(input, d)
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / x[d]
    if weight is not None:
        if entry.shape(weight) != (x[d],):
            raise RuntimeError(
                f"cross_entropy: weight tensor should be defined either for all {x[d]} classes or no"
                f" classes but got weight tensor of shape: {sizes(entry.shape(weight))}"
            )
        target = target * _along(weight, d, len(x))
    products = logs * target
    if how == _REDUCTIONS["none"]:
        return -products.sum(d)
    total = -products.sum()
    return total / (input.numel() / x[d]) if how == MEAN else total


def _along(weight: Tensor, d: int, ndim: int) -> Tensor:
    """Class weights as a tensor that broadcasts along dim ``d``."""
    return weight.reshape([*(-1 if e == d else 1 for e in range(ndim))])


def _smoothed(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    how: int,
    smoothing: float,
    d: int,
) -> Tensor:
    """The part of the target's class, and that of the uniform distribution over all classes."""
    logs = log_softmax(input, d)
    sharp = _nll_loss(logs, target, weight, ignore_index, how)
    spread = logs if weight is None else logs * _along(weight, d, input.ndim)
    target = target.reshape(()) if input.ndim == 1 else target
    # uint8 would pick as a mask.
    target = target.to(dtypes.int64)
    ignored = target == ignore_index
    smooth = (-spread.sum(d)).masked_fill(ignored, 0.0)
    if how != _REDUCTIONS["none"]:
        smooth = smooth.sum()
    if how == MEAN:
        smooth = smooth / _weights(target, weight, ignore_index)
    return sharp * (1 - smoothing) + smooth * (smoothing / input.shape[d])


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
@recipe(NLL, NLL_PLACES)
def _nll_recipe(step: Step, g: Tensor) -> Gradients:
    shape = step.input_shape(0)
    d = 0 if len(shape) == 1 else 1
    target = step.saved(1).reshape([*shape[:d], 1, *shape[d + 1 :]])
    ignored = target == step.integer(0)
    target = target.masked_fill(ignored, 0)
    how = step.integer(1)
    share = -g if how else -g.reshape(target.shape)
    if how == MEAN:
        share = share / step.real(3)
    share = share.expand(target.shape)
    if step.inputs == 3:
        share = share * step.saved(2).detach()[target]
    share = share.masked_fill(ignored, 0.0)
    # No two of them meet.
    return (zeros(shape, g.dtype).scatter(d, target, share), None, None)
