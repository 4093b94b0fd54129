"""Gradients of gradients: every call of `tests.calls` against PyTorch, and what create_graph means."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.ops.recipe import has_recipe
from jitgrad.ops.table import FUNCTION, LEAF, OPS
from tests.calls import CALLS, Call

DIFFERENTIABLE = [c for c in CALLS if any(o.grad and o.kind == "float" for o in c.operands)]


def second_order(T: ModuleType, call: Call) -> list[Any] | None:  # noqa: N803
    """The gradients of a call in float64, and those of a function of the gradients."""
    inputs = []
    for data, operand in zip(call.data("float64"), call.operands, strict=True):
        grad = operand.grad and operand.kind == "float"
        inputs.append(
            T.tensor(data.tolist(), dtype=getattr(T, str(data.dtype)), requires_grad=grad)
        )
        inputs[-1] = (
            inputs[-1]
            if data.size
            else T.zeros(data.shape, dtype=getattr(T, str(data.dtype)), requires_grad=grad)
        )
    leaves = [x for x in inputs if x.requires_grad]
    found = call.function(T, *inputs)
    outputs = [
        y
        for y in (found if isinstance(found, (tuple, list)) else [found])
        if isinstance(y, T.Tensor) and y.requires_grad
    ]
    if not outputs:
        return None
    total = sum(
        (y * (T.arange(y.numel(), dtype=y.dtype) * 0.37 + 1).reshape(y.shape)).sum()
        for y in outputs
    )
    first = T.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    inner = [g for g in first if g is not None and g.requires_grad]
    answer = [None if g is None else (g + 0).detach().numpy() for g in first]
    if inner:
        mixed = sum((g * g + (g * 0.3).sin()).sum() for g in inner)
        second = T.autograd.grad(mixed, leaves, allow_unused=True)
        answer += [None if g is None else (g + 0).detach().numpy() for g in second]
    else:
        answer += [None for _ in leaves]
    return answer


@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=lambda c: c.name)
def test_second_order_agrees_with_pytorch(call: Call) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = second_order(torch, call)
        ours = second_order(jitgrad, call)
    assert (ours is None) == (theirs is None)
    for i, (a, b) in enumerate(zip(ours or (), theirs or (), strict=True)):
        # None and zeros are the same gradient: which one comes is up to how an op is composed.
        shape = (a if a is not None else b if b is not None else np.zeros(1)).shape
        a, b = (np.zeros(shape) if v is None else v for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=f"gradient {i}")


def test_every_differentiable_op_has_a_recipe() -> None:
    missing = [
        op.name
        for op in OPS
        if not op.name.startswith("custom_")
        and op.differentiable
        and op not in (LEAF, FUNCTION)
        and not has_recipe(op)
    ]
    assert not missing


def test_three_orders_of_a_polynomial() -> None:
    x = jitgrad.tensor([2.0, -1.0], dtype=jitgrad.float64, requires_grad=True)
    y = (x**5).sum()
    for expected in (lambda v: 5 * v**4, lambda v: 20 * v**3, lambda v: 60 * v**2):
        (y,) = jitgrad.autograd.grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.detach().numpy(), expected(x.detach().numpy()), rtol=1e-12)
        y = y.sum()


def test_backward_with_create_graph_adds_a_gradient_with_history() -> None:
    x = jitgrad.tensor([2.0, 3.0], requires_grad=True)
    with pytest.warns(UserWarning, match="reference cycle"):
        (x**3).sum().backward(create_graph=True)
    assert x.grad is not None
    first = x.grad
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [12.0, 18.0]
    x.grad = None


def test_create_graph_retains_the_graph_unless_told() -> None:
    x = jitgrad.tensor([2.0], requires_grad=True)
    y = x.exp()
    jitgrad.autograd.grad(y, x, create_graph=True)
    jitgrad.autograd.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        jitgrad.autograd.grad(y, x, create_graph=True)


def test_saved_values_changed_in_place_are_noticed() -> None:
    x = jitgrad.tensor([2.0], requires_grad=True)
    y = x.exp()
    with jitgrad.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        jitgrad.autograd.grad(y, x, create_graph=True)


class Cube(jitgrad.autograd.Function):
    """Saves an input and an output."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x * x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.saved_tensors
        return g * 3 * y / x


def test_double_backward_through_a_function_that_saves_its_output() -> None:
    x = jitgrad.tensor([2.0], dtype=jitgrad.float64, requires_grad=True)
    (g,) = jitgrad.autograd.grad(Cube.apply(x), x, create_graph=True)
    (h,) = jitgrad.autograd.grad(g, x, create_graph=True)
    (i,) = jitgrad.autograd.grad(h, x)
    assert [g.item(), h.item(), i.item()] == [12.0, 12.0, 6.0]


class Both(jitgrad.autograd.Function):
    """Two outputs, one of them saved."""

    @staticmethod
    def forward(ctx: Any, x: Any, z: Any) -> Any:
        p = x * z
        ctx.save_for_backward(x, z, p)
        return p, x + z

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, z, p = ctx.saved_tensors
        return g * p / x + h, g * p / z + h


def test_double_backward_through_several_outputs() -> None:
    x = jitgrad.tensor([2.0], dtype=jitgrad.float64, requires_grad=True)
    z = jitgrad.tensor([3.0], dtype=jitgrad.float64, requires_grad=True)
    p, s = Both.apply(x, z)
    g = jitgrad.autograd.grad((p * s).sum(), (x, z), create_graph=True)
    # x z (x + z): the second derivatives are 2 z, 2 x + 2 z, 2 x.
    rows = [jitgrad.autograd.grad(v, (x, z), retain_graph=True) for v in g]
    assert [[v.item() for v in row] for row in rows] == [
        pytest.approx([6.0, 10.0]),
        pytest.approx([10.0, 4.0]),
    ]


def test_once_differentiable_says_so_at_the_second_backward() -> None:
    class Once(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        @jitgrad.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = jitgrad.tensor([2.0], requires_grad=True)
    (g,) = jitgrad.autograd.grad((Once.apply(x) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_hooks_of_nodes_of_built_in_ops_see_and_replace() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    seen = []

    def hook(inputs: Any, outputs: Any) -> Any:
        seen.append((inputs[0].tolist(), outputs[0].tolist()))
        return (inputs[0] * 10, *inputs[1:])

    handle = y.grad_fn.register_hook(hook)
    y.sum().backward(retain_graph=True)
    assert seen == [([3.0, 3.0], [1.0, 1.0])]
    assert x.grad.tolist() == [30.0, 30.0]
    x.grad = None
    (g,) = jitgrad.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [30.0, 30.0]
    handle.remove()
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_nothing_leaks_in_a_loop() -> None:
    x = jitgrad.ones(3, requires_grad=True)

    def step() -> None:
        (g,) = jitgrad.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        x.grad = None

    step()
    before = jitgrad.memory_stats()
    for _ in range(50):
        step()
    after = jitgrad.memory_stats()
    assert after["live_rows"] == before["live_rows"]
    assert after["live_storages"] == before["live_storages"]
