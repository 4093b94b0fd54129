"""Gradient edges, nodes called by hand, hooks on several gradients, and what a pass does at its end."""

from __future__ import annotations

from typing import Any

import pytest

import jitgrad
from jitgrad.autograd.graph import get_gradient_edge, register_multi_grad_hook


def test_an_edge_is_an_input() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    edge = get_gradient_edge(y)
    assert type(edge.node).__name__ == "MulBackward0"
    assert edge.output_nr == 0
    (found,) = jitgrad.autograd.grad((y * 3).sum(), edge)
    assert found.tolist() == [3.0, 3.0]
    leaf = get_gradient_edge(x)
    assert type(leaf.node).__name__ == "AccumulateGrad"
    (y * 3).sum().backward(inputs=[leaf])
    assert x.grad is not None
    assert x.grad.tolist() == [6.0, 12.0]


def test_an_edge_ends_with_a_change_in_place() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    edge = get_gradient_edge(y)
    y.mul_(5)
    with pytest.raises(RuntimeError, match="changed in place"):
        jitgrad.autograd.grad(y.sum(), edge)


def test_no_edge_without_a_gradient() -> None:
    with pytest.raises(RuntimeError, match="not possible to get the gradient edge"):
        get_gradient_edge(jitgrad.ones(2))


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_on_several_gradients_that_are_not_all_there(create_graph: bool) -> None:
    x, y = (jitgrad.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    seen: list[Any] = []

    def hook(gradients: Any) -> None:
        seen.append([None if g is None else g.tolist() for g in gradients])

    def run(z: jitgrad.Tensor) -> None:
        jitgrad.autograd.grad(z.sum(), [x, y], create_graph=create_graph, allow_unused=True)

    handle = register_multi_grad_hook((x, y), hook)
    run(x * 2)
    run(x * y)
    run(x * 3)
    assert seen == [[[2.0, 2.0], None], [[1.0, 2.0], [1.0, 2.0]], [[3.0, 3.0], None]]
    handle.remove()
    run(x * y)
    assert len(seen) == 3


def test_any_of_several_gradients_once_a_pass() -> None:
    x, y = (jitgrad.tensor([1.0], requires_grad=True) for _ in range(2))
    seen: list[Any] = []
    register_multi_grad_hook((x, y), lambda g: seen.append(g.item()), mode="any")
    (x + y).sum().backward()
    (x * 2).sum().backward()
    assert len(seen) == 2


def test_a_node_is_a_function() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * jitgrad.tensor([3.0, 4.0])
    assert y.grad_fn(jitgrad.ones(2))[0].tolist() == [3.0, 4.0]
    assert x.sin().grad_fn(jitgrad.ones(2)).tolist() == x.detach().cos().tolist()
    y.grad_fn.next_functions[0][0](jitgrad.ones(2))
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_names() -> None:
    x = jitgrad.tensor([1.0], requires_grad=True)
    leaf = (x * 2).grad_fn.next_functions[0][0]
    assert leaf.name() == "torch::autograd::AccumulateGrad"
    assert type(leaf).__name__ == "AccumulateGrad"


def _x(t: Any) -> Any:
    return t.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: t.autograd.grad(x.sum(), []),
        lambda t, x: x.sum().backward(inputs=[]),
        lambda t, x: x.sum().backward(inputs=[x, 5]),
        lambda t, x: x.backward([1.0, 1.0]),
        lambda t, x: t.autograd.backward([x * 1, x * 2], [t.ones(2)]),
        lambda t, x: setattr(x * 2, "requires_grad", True),
        lambda t, x: setattr(x * 2, "requires_grad", False),
        lambda t, x: setattr(x, "data", 5),
        lambda t, x: setattr(x, "data", t.ones(2, dtype=t.int64)),
        lambda t, x: setattr(x, "grad", t.ones(3)),
        lambda t, x: (x * 2)[0].detach_(),
        lambda t, x: (x.register_post_accumulate_grad_hook(lambda p: 5), x.sum().backward()),
        lambda t, x: (x.register_hook(lambda g: g.double()), x.sum().backward()),
        lambda t, x: t.autograd.graph.register_multi_grad_hook([x], print, mode="bad"),
    ],
)
def test_errors(call: Any, torch: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch, _x(torch))
    with pytest.raises(type(theirs.value)) as mine:
        call(jitgrad, _x(jitgrad))
    assert str(mine.value) == str(theirs.value)


def _function(t: Any, **methods: Any) -> Any:
    made = {name: staticmethod(f) for name, f in methods.items()}
    return type("F", (t.autograd.Function,), made)


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: (
            _function(t, forward=lambda c, v: v * 2, vjp=lambda c, g: g * 7)
            .apply(x)
            .sum()
            .backward()
        ),
        lambda t, x: (
            _function(t, forward=lambda c, v: v * 2, vjp=lambda c, g: g, backward=lambda c, g: g)
            .apply(x)
            .sum()
            .backward()
        ),
        lambda t, x: (
            _function(t, forward=lambda c, v: v * 2, backward=lambda c, g: "a")
            .apply(x)
            .sum()
            .backward()
        ),
        lambda t, x: (
            _function(t, forward=lambda c, v, k: v * k, backward=lambda c, g: (g, g))
            .apply(x, 3)
            .sum()
            .backward()
        ),
        lambda t, x: (x * 2).requires_grad_(True),
        lambda t, x: (x * 2).requires_grad_(False),
    ],
)
def test_functions_and_flags(call: Any, torch: Any) -> None:
    def found(module: Any) -> Any:
        x = _x(module)
        try:
            call(module, x)
        except Exception as error:
            return type(error), str(error)
        return None if x.grad is None else x.grad.tolist()

    assert found(jitgrad) == found(torch)


def test_random_numbers_inside_vmap() -> None:
    x = jitgrad.zeros(3, 2)

    def draw(v: Any) -> Any:
        return v + jitgrad.rand(2)

    with pytest.raises(RuntimeError, match="randomness error mode"):
        jitgrad.vmap(draw)(x)
    same = jitgrad.vmap(draw, randomness="same")(x)
    assert jitgrad.equal(same[0], same[2])
    other = jitgrad.vmap(draw, randomness="different")(x)
    assert not jitgrad.equal(other[0], other[2])
    with pytest.raises(RuntimeError, match="data-dependent control"):
        jitgrad.vmap(lambda v: v if v.sum() > 0 else -v)(x)
