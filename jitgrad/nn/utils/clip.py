"""Gradients held within bounds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from jitgrad.autograd.grad_mode import no_grad
from jitgrad.creation import tensor
from jitgrad.ops.joining import stack
from jitgrad.tensor import Tensor


def _gradients(parameters: Any) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in given if p.grad is not None]


def get_total_norm(
    tensors: Any,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors as if they were one vector.

    Raises
    ------
    RuntimeError
        With ``error_if_nonfinite``, if it is NaN or infinite.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not given:
        return tensor(0.0)
    order = float(norm_type)
    with no_grad():
        norms = [x.detach().norm(order) for x in given]
        total = norms[0] if len(norms) == 1 else stack(norms).norm(order)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {order} for gradients from `parameters` is non-finite, so it"
            " cannot be clipped. To disable this error and scale the gradients by the non-finite norm"
            " anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients in place by ``max_norm / total_norm`` if that is below 1."""
    with no_grad():
        scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for g in _gradients(parameters):
            g.detach().mul_(scale.to(g.dtype))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients in place so that their common norm is at most ``max_norm``.

    Returns
    -------
    Tensor
        The norm before.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(4, requires_grad=True)
    >>> (x * 3).sum().backward()
    >>> jitgrad.nn.utils.clip_grad_norm_([x], 1.0)
    tensor(6.)
    """
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(given), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(given, max_norm, total, foreach)
    return total


def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """`clip_grad_norm_` under its name of old."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of"
        " `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(*args, **kwargs)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Hold every gradient in place between ``-clip_value`` and ``clip_value``."""
    bound = float(clip_value)
    with no_grad():
        for g in _gradients(parameters):
            g.detach().clamp_(-bound, bound)
