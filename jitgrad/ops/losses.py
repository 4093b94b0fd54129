"""Losses: how far a prediction is from its target; the kernels are in `jitgrad.kernels.losses`.

Those of classification are in `jitgrad.ops.cross_entropy`.
"""

from __future__ import annotations

import warnings
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import Fault
from jitgrad.kernels import loss_formulas
from jitgrad.kernels.loss_formulas import Formulas
from jitgrad.ops import record
from jitgrad.ops.cross_entropy import MEAN, cross_entropy, nll_loss, reduction_code
from jitgrad.ops.products import broadcast_shapes
from jitgrad.ops.promotion import result_type
from jitgrad.ops.recipe import Gradients, Recipe, Step, evaluate, recipe
from jitgrad.ops.table import KERNEL, Op, register
from jitgrad.ops.views import expand

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]

_KERNELS = "jitgrad.kernels.losses:"


def _loss(name: str, node: str, kernel: str, weights: int = 0) -> Op:
    """An elementwise loss with so many optional weights, which have no gradient."""
    vjps = (f"{_KERNELS}{kernel}_dx", f"{_KERNELS}{kernel}_dz", *(None,) * weights)
    all_inputs = (1 << (2 + weights)) - 1
    needs = (all_inputs, all_inputs, *(0,) * weights)
    return register(Op(name, node, KERNEL, 2 + weights, _KERNELS + kernel, vjps, needs))


MSE = _loss("mse_loss", "MseLoss", "mse")
L1 = _loss("l1_loss", "L1Loss", "l1")
SMOOTH_L1 = _loss("smooth_l1_loss", "SmoothL1Loss", "smooth_l1")
HUBER = _loss("huber_loss", "HuberLoss", "huber")
BCE = _loss("binary_cross_entropy", "BinaryCrossEntropy", "bce", 1)
BCE_LOGITS = _loss(
    "binary_cross_entropy_with_logits", "BinaryCrossEntropyWithLogits", "bce_logits", 2
)


def _record(
    op: Op, inputs: list[Tensor], how: int, parameter: float = 1.0, extras: int = 0
) -> Tensor:
    shape = () if how else entry.shape(inputs[0])
    return record.explicit(op, inputs, shape, (how, float(parameter), extras))


# ---------------------------------------------------------------- regression
def _pair(input: Tensor, target: Tensor, kernel: str) -> list[Tensor]:
    """Input and target in one shape (with PyTorch's warning if that takes broadcasting) and dtype."""
    pair = [input, target]
    x, t = input.size(), target.size()
    if x != t:
        warnings.warn(
            f"Using a target size ({t}) that is different to the input size ({x}). This will likely"
            " lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=3,
        )
        common = broadcast_shapes(x, t)
        pair = [side if side.size() == common else expand(side, common) for side in pair]
    dtype = input.dtype
    if target.dtype is not dtype:
        dtype = result_type(input, target)
        pair = [side.to(dtype) for side in pair]
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtype.letter}'")
    return pair


def _weighted(loss: Tensor, input: Tensor, weight: Tensor, how: int, over: Any) -> Tensor:
    """A loss of each element, weighted; ``over`` is what the mean divides by."""
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    if how == 0:
        return loss
    return loss.sum() / over if how == MEAN else loss.sum()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared differences, ``(input - target) ** 2``.

    Parameters
    ----------
    input, target : Tensor
        Floating point, of one shape (broadcast with a warning if not).
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all elements.
    weight : Tensor, optional
        One for each element; the mean divides by their sum.

    Raises
    ------
    ValueError
        If the reduction is unknown or the weights have another shape.
    RuntimeError
        If the shapes do not broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.mse_loss(jitgrad.zeros(2), jitgrad.tensor([1.0, 3.0])).item()
    5.0
    """
    how = reduction_code(reduction, size_average, reduce)
    pair = _pair(input, target, "mse_cpu")
    if weight is not None:
        return _weighted(_record(MSE, pair, 0), input, weight, how, weight.sum())
    return _record(MSE, pair, how)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Absolute differences, ``abs(input - target)``; arguments and errors as for `mse_loss`.

    Where they are equal the gradient is 0.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.l1_loss(jitgrad.zeros(2), jitgrad.tensor([1.0, -3.0])).item()
    2.0
    """
    how = reduction_code(reduction, size_average, reduce)
    pair = _pair(input, target, "abs_cpu")
    if weight is not None:
        return _weighted(_record(L1, pair, 0), input, weight, how, weight.sum())
    return _record(L1, pair, how)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """``d*d / (2*beta)`` where ``d = abs(input - target)`` is below ``beta``, else ``d - beta/2``.

    Arguments and errors as for `mse_loss`; RuntimeError also for a negative ``beta``.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.smooth_l1_loss(jitgrad.zeros(2), jitgrad.tensor([1.0, 3.0])).item()
    1.5
    """
    how = reduction_code(reduction, size_average, reduce)
    pair = _pair(input, target, "smooth_l1_cpu")
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _record(SMOOTH_L1, pair, how, beta) if beta else _record(L1, pair, how)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """``d*d / 2`` where ``d = abs(input - target)`` is at most ``delta``, else ``delta*(d - delta/2)``.

    Arguments and errors as for `mse_loss`, but the mean of weighted losses divides by their number;
    RuntimeError also if ``delta`` is not positive.

    Examples
    --------
    >>> import jitgrad
    >>> jitgrad.nn.functional.huber_loss(jitgrad.zeros(2), jitgrad.tensor([1.0, 3.0])).item()
    1.5
    """
    how = reduction_code(reduction, None, None)
    pair = _pair(input, target, "huber_cpu")
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is not None:
        elements = _record(HUBER, pair, 0, delta)
        return _weighted(elements, input, weight, how, elements.numel())
    return _record(HUBER, pair, how, delta)


# ---------------------------------------------------------------- binary cross-entropy
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``-(target * log(input) + (1 - target) * log(1 - input))``, the logarithms at least -100.

    Parameters
    ----------
    input, target : Tensor
        Probabilities, of one shape and floating-point dtype.
    weight : Tensor, optional
        Of each element; broadcast.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all elements.

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is unknown.
    RuntimeError
        If the dtypes differ, the weight does not broadcast, or something is not in [0, 1].

    Examples
    --------
    >>> import jitgrad
    >>> p = jitgrad.tensor([0.0, 1.0])
    >>> jitgrad.nn.functional.binary_cross_entropy(p, jitgrad.ones(2)).item()
    50.0
    """
    how = reduction_code(reduction, size_average, reduce)
    x, t = input.size(), target.size()
    if x != t:
        raise ValueError(
            f"Using a target size ({t}) that is different to the input size ({x}) is deprecated."
            " Please ensure they have the same size."
        )
    inputs = [input, target]
    if weight is not None:
        common = broadcast_shapes(x, weight.size())
        if common != x:
            raise RuntimeError(f"weight of size {weight.size()} does not broadcast to {x}")
        inputs.append(expand(weight.detach(), common))
    dtype = input.dtype
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"binary_cross_entropy\" not implemented for '{dtype.letter}'")
    for other in inputs[1:]:
        if other.dtype is not dtype:
            raise RuntimeError(f"Found dtype {other.dtype.letter} but expected {dtype.letter}")
    try:
        return _record(BCE, inputs, how, extras=0 if weight is None else 1)
    except RuntimeError as error:
        fault = error.__context__
        if isinstance(fault, Fault) and fault.args[0] == col.X_SLOW:
            name = "target" if fault.args[1] else "input"
            raise RuntimeError(f"all elements of {name} should be between 0 and 1") from None
        raise


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(input)``, right for logits of any size.

    Parameters
    ----------
    input : Tensor
        Logits, floating point.
    target : Tensor
        Probabilities, of the shape of ``input``.
    weight : Tensor, optional
        Of each element; broadcast.
    pos_weight : Tensor, optional
        Of ``target``'s part against that of ``1 - target``; broadcast.
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all elements.

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is unknown.
    RuntimeError
        If a weight does not broadcast.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([200.0, -200.0])
    >>> f = jitgrad.nn.functional.binary_cross_entropy_with_logits
    >>> f(x, jitgrad.zeros(2), reduction="none").tolist()
    [200.0, 0.0]
    """
    how = reduction_code(reduction, size_average, reduce)
    x, t = input.size(), target.size()
    if x != t:
        raise ValueError(f"Target size ({t}) must be the same as input size ({x})")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"log_sigmoid_cpu\" not implemented for '{input.dtype.letter}'")
    inputs = [input, target]
    extras = 0
    for bit, given in ((1, weight), (2, pos_weight)):
        if given is not None:
            sides = (x, given.size()) if bit == 1 else (given.size(), x)
            common = broadcast_shapes(*sides)
            if common != x:
                raise RuntimeError(
                    f"output with shape {list(x)} doesn't match the broadcast shape {list(common)}"
                )
            inputs.append(expand(given.detach(), common))
            extras |= bit
    if any(other.dtype is not input.dtype for other in inputs):
        dtype = result_type(*inputs)
        inputs = [other.to(dtype) for other in inputs]
    return _record(BCE_LOGITS, inputs, how, extras=extras)


# ---------------------------------------------------------------- recipes (`jitgrad.ops.recipe`)
def _loss_recipe(loss: Formulas) -> Recipe:
    def recipe_of(step: Step, g: Tensor) -> Gradients:
        values: dict[str, Any] = {"x": step.saved(0), "z": step.saved(1), "u": 1.0, "v": 1.0}
        how, values["k"], extras = step.integer(0), step.real(1), step.integer(2)
        if extras & 1:
            values["u"] = step.saved(2)
        if extras & 2:
            values["v"] = step.saved(3 if extras & 1 else 2)
        if how == MEAN:
            g = g / prod(step.input_shape(0)) if prod(step.input_shape(0)) else g
        slopes = (loss.dx, loss.dz)
        return [
            g * evaluate(slope, values, values["x"]) if step.wants(i) else None
            for i, slope in enumerate(slopes)
        ]

    return recipe_of


for _op, _formulas in {
    MSE: loss_formulas.MSE,
    L1: loss_formulas.L1,
    SMOOTH_L1: loss_formulas.SMOOTH_L1,
    HUBER: loss_formulas.HUBER,
    BCE: loss_formulas.BCE,
    BCE_LOGITS: loss_formulas.BCE_LOGITS,
}.items():
    recipe(_op)(_loss_recipe(_formulas))
