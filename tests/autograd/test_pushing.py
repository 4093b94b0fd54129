"""Forward mode through custom functions, with PyTorch beside it: ``jvp`` is what counts."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any

import pytest

import jitgrad
from jitgrad.arena import inspect
from jitgrad.autograd import forward_ad


def functions(torch: Any) -> dict[str, Any]:
    """Custom functions whose jvp tells on itself: it is not the derivative of their backward."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(x, w):
            return x * w

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_forward(*inputs, output)
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g * w, g * x

        @staticmethod
        def jvp(ctx, tx, tw):
            x, w, y = ctx.saved_tensors
            return tx * w + tw * x + 100 * tx * y

    class Several(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            ctx.k = k
            count = torch.tensor([1, 2])
            ctx.mark_non_differentiable(count)
            return x * k, count, x + 1

        @staticmethod
        def backward(ctx, g, none, h):
            return g * ctx.k + h, None

        @staticmethod
        def jvp(ctx, tx, tk):
            assert tk is None
            return tx * ctx.k * 10, None, tx.mul_(2)

    class OnlyForward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view(-1)

        @staticmethod
        def jvp(ctx, t):
            return t.view(-1)

    class TooFew(Several):
        @staticmethod
        def jvp(ctx, tx, tk):
            return tx

    class WrongShape(Several):
        @staticmethod
        def jvp(ctx, tx, tk):
            return tx[0], None, tx

    class Neither(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    return {k: v for k, v in locals().items() if k != "torch"}


def outcomes(torch: Any) -> list[Any]:
    """What forward mode gives for each of them."""
    make, unpack = torch.autograd.forward_ad.make_dual, torch.autograd.forward_ad.unpack_dual
    own = functions(torch)
    x, w, t = (torch.tensor(v) for v in ([[0.0, 1.0, 2.0]], [[1.0, 3.0, 4.0]], [[1.0, 2.0, -3.0]]))
    found = []
    with torch.autograd.forward_ad.dual_level():
        d = make(x, t)
        found.append(unpack(own["Product"].apply(d, w)).tangent)
        found.append(unpack(own["Product"].apply(w, d)).tangent)
        found.append(unpack(own["Product"].apply(d, d.exp())).tangent)
        found.append(unpack((own["Product"].apply(d, w).sin() * d).sum()).tangent)
        y, _, z = own["Several"].apply(d * 2, 3)
        found += [unpack(y).tangent, unpack(z).tangent, t]
        found.append(unpack(own["OnlyForward"].apply(d)).tangent)
        leaf = x.clone().requires_grad_()
        y = own["Product"].apply(make(leaf, t), w)
        found += [unpack(y).tangent, torch.autograd.grad(y.sum(), leaf)[0]]
        direction = t.clone().requires_grad_()
        y = unpack(own["Product"].apply(make(x, direction), w)).tangent
        found.append(torch.autograd.grad((y * y).sum(), direction)[0])
    product = own["Product"].apply
    found += torch.func.jvp(lambda x: product(x, w).exp().sum(), (x,), (t,))
    found += torch.autograd.functional.jvp(lambda x: product(x, w), x, t)
    return [f.tolist() for f in found]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_like_pytorch(torch: ModuleType) -> None:
    for ours, theirs in zip(outcomes(jitgrad), outcomes(torch), strict=True):
        assert jitgrad.allclose(jitgrad.tensor(ours), jitgrad.tensor(theirs)), (ours, theirs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("TooFew", RuntimeError, r"invalid number of forward gradients \(expected 3 but got 1\)"),
        ("WrongShape", RuntimeError, "set a forward gradient that has a different size than that"),
        ("Neither", NotImplementedError, "must implement the jvp function for custom"),
    ],
)
def test_errors(torch: ModuleType, name: str, kind: type[Exception], words: str) -> None:
    def tangent(module: Any) -> Any:
        with module.autograd.forward_ad.dual_level():
            x = module.autograd.forward_ad.make_dual(module.ones(3), module.ones(3))
            function = functions(module)[name]
            y = function.apply(x) if name == "Neither" else function.apply(x, 2)[0]
            return module.autograd.forward_ad.unpack_dual(y).tangent

    for module in (jitgrad, torch):
        with pytest.raises(kind, match=words):
            tangent(module)


def test_without_a_jvp_it_goes_by_backward() -> None:
    class Square(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    with forward_ad.dual_level():
        x = forward_ad.make_dual(jitgrad.tensor([3.0]), jitgrad.tensor([2.0]))
        assert forward_ad.unpack_dual(Square.apply(x)).tangent.tolist() == [12.0]


def test_vjp_is_backward_by_another_name(torch: ModuleType) -> None:
    for module in (jitgrad, torch):

        class Triple(module.autograd.Function):  # type: ignore[name-defined,misc]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return x * 3

            @staticmethod
            def vjp(ctx: Any, g: Any) -> Any:
                return g * 3

        x = module.ones(2, requires_grad=True)
        Triple.apply(x).sum().backward()
        assert x.grad.tolist() == [3.0, 3.0]


def test_nothing_is_left_behind() -> None:
    outcomes(jitgrad)
    gc.collect()
    before = inspect.memory_stats()["live_rows"]
    for _ in range(3):
        outcomes(jitgrad)
    gc.collect()
    assert inspect.memory_stats()["live_rows"] == before
