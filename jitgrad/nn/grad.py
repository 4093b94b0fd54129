"""The gradients of convolutions with respect to input and weight, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.autograd import grad
from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.nn import functional as F
from jitgrad.ops.recipe import zeros
from jitgrad.tensor import Tensor

Ints = int | Sequence[int]


def _gradients(n: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    convolve: Any = getattr(F, f"conv{n}d")

    def of_input(
        input_size: Sequence[int],
        weight: Tensor,
        grad_output: Tensor,
        stride: Ints = 1,
        padding: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> Tensor:
        with enable_grad():
            x = zeros(input_size, weight.dtype).requires_grad_()
            y = convolve(x, weight.detach(), None, stride, padding, dilation, groups)
        return grad(y, x, grad_output)[0]

    def of_weight(
        input: Tensor,
        weight_size: Sequence[int],
        grad_output: Tensor,
        stride: Ints = 1,
        padding: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> Tensor:
        with enable_grad():
            w = zeros(weight_size, input.dtype).requires_grad_()
            y = convolve(input.detach(), w, None, stride, padding, dilation, groups)
        return grad(y, w, grad_output)[0]

    for function, what in ((of_input, "input"), (of_weight, "weight")):
        function.__name__ = function.__qualname__ = f"conv{n}d_{what}"
        function.__doc__ = f"The gradient of `conv{n}d` with respect to its {what}."
    return of_input, of_weight


conv1d_input, conv1d_weight = _gradients(1)
conv2d_input, conv2d_weight = _gradients(2)
conv3d_input, conv3d_weight = _gradients(3)
