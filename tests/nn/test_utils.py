"""nn.utils against PyTorch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.nn.both import check, fails


def leaves(T: Any, *scales: float) -> list[Any]:
    """Leaves with gradients, one without."""
    found = []
    for i, scale in enumerate(scales):
        x = T.arange(3.0 + i).requires_grad_()
        (x * x * scale).sum().backward()
        found.append(x)
    return [*found, T.ones(2).requires_grad_()]


@pytest.mark.parametrize("norm", [2, 1, float("inf"), 3.5])
@pytest.mark.parametrize("most", [1.0, 1e6, 0.0])
def test_clip_grad_norm(torch: ModuleType, norm: float, most: float) -> None:
    def program(T: Any) -> Any:
        xs = leaves(T, 1.0, -2.0)
        total = T.nn.utils.clip_grad_norm_(iter(xs), most, norm)
        return [total, [x.grad for x in xs]]

    check(torch, program)


def test_clip_one_tensor_and_keep_the_gradient_object(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = leaves(T, 5.0)[0]
        before = x.grad
        T.nn.utils.clip_grad_norm_(x, 0.5)
        T.nn.utils.clip_grad_value_(x, 0.1)
        return [x.grad, x.grad is before, T.nn.utils.clip_grad_norm_([], 1.0)]

    check(torch, program)


def test_clip_grad_value(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        xs = leaves(T, 1.0, -2.0)
        T.nn.utils.clip_grad_value_(xs, 1.5)
        return [x.grad for x in xs]

    check(torch, program)


def test_get_total_norm(torch: ModuleType) -> None:
    check(torch, lambda T: T.nn.utils.get_total_norm([T.ones(3), T.ones(2, 2) * 2]))


def test_norm_that_is_not_finite(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        xs = leaves(T, float("inf"))
        return T.nn.utils.clip_grad_norm_(xs, 1.0, error_if_nonfinite=True)

    fails(torch, program)


def test_vectors(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        m = T.nn.Linear(2, 3)
        T.nn.utils.vector_to_parameters(T.arange(9.0), m.parameters())
        vector = T.nn.utils.parameters_to_vector(m.parameters())
        vector.sum().backward()
        return [m.weight, m.bias, vector, m.weight.grad]

    check(torch, program)
    fails(
        torch, lambda T: T.nn.utils.vector_to_parameters([1.0], T.nn.Linear(1, 1).parameters()), ""
    )
