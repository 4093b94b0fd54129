"""Steps that autograd records: what they do, and the gradients that flow through them, against PyTorch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"maximize": True}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("Adamax", {}),
    ("ASGD", {}),
    ("Rprop", {}),
]


def steps(T: Any, name: str, options: dict[str, Any], n: int) -> Any:
    """``n`` steps of a tensor with history by gradients with history, and back through all of them."""
    start, x = (T.tensor([a, -0.5, 2.0], dtype=T.float64).requires_grad_() for a in (1.0, 0.3))
    w = start * 1
    optimizer = getattr(T.optim, name)([w], lr=0.1, differentiable=True, **options)
    for i in range(n):
        w.grad = x * (i + 1.0) + x * x * 0.3
        optimizer.step()
    (w * T.tensor([1.0, 2.0, -1.0], dtype=T.float64)).sum().backward()
    return [w, start.grad, x.grad]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_one_step(torch: ModuleType, name: str, options: dict[str, Any]) -> None:
    def program(T: Any) -> Any:
        found = steps(T, name, options, 1)
        # No gradient or zeros: the update depends on the sign only.
        return found[:2] if name == "Rprop" else found

    check(torch, program, rtol=1e-6)


# A sign has no slope, and nothing flows through SGD's first momentum.
SMOOTH = [o for o in OPTIONS if o[0] != "Rprop" and not (o[0] == "SGD" and "momentum" in o[1])]


@pytest.mark.parametrize(("name", "options"), SMOOTH)
def test_gradients_through_several_steps(name: str, options: dict[str, Any]) -> None:
    """Against differences of what the jitted steps give."""
    _, _, gradient = steps(jitgrad, name, options, 3)

    def value(x: np.ndarray[Any, Any]) -> float:
        w = jitgrad.tensor([1.0, -0.5, 2.0], dtype=jitgrad.float64).requires_grad_()
        optimizer = getattr(jitgrad.optim, name)([w], lr=0.1, **options)
        for i in range(3):
            w.grad = jitgrad.tensor(x * (i + 1.0) + x * x * 0.3)
            optimizer.step()
        return float(w.detach().numpy() @ np.array([1.0, 2.0, -1.0]))

    x, h = np.array([0.3, -0.5, 2.0]), 1e-5
    for i in range(3):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slope = (value(up) - value(down)) / (2 * h)
        assert abs(slope - gradient[i].item()) < 1e-5 * max(1.0, abs(slope))


@pytest.mark.parametrize("name", sorted({name for name, _ in OPTIONS}))
def test_plain_tensors_and_state(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        p, idle = T.ones(2), T.ones(1)
        p.grad = T.tensor([0.5, -0.25])
        optimizer = getattr(T.optim, name)([p, idle], differentiable=True)
        optimizer.step()
        optimizer.step()
        state = optimizer.state_dict()["state"]
        return [p, idle, {str(k): v for k, v in state.items()}, repr(optimizer)]

    check(torch, program)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_errors(torch: ModuleType, name: str) -> None:
    def leaf(T: Any) -> None:
        p = T.nn.Parameter(T.ones(2))
        p.grad = T.ones(2)
        getattr(T.optim, name)([p], differentiable=True).step()

    fails(torch, leaf, "a leaf Variable that requires grad")
    fails(
        torch,
        lambda T: getattr(T.optim, name)([T.ones(1)], differentiable=True, fused=True),
        "`fused` does not support `differentiable`",
    )
    fails(torch, lambda T: getattr(T.optim, name)([T.ones(1).requires_grad_() * 1]), "non-leaf")
