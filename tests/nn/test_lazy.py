"""Lazy layers against PyTorch: what they are before the first call, and after it."""

from __future__ import annotations

import copy
import pickle
import warnings
from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails

nn = jitgrad.nn
LAYERS = {
    "LazyLinear": ((4,), (2, 3)),
    **{f"LazyConv{n}d": ((4, 3), (2, 3, *[5] * n)) for n in (1, 2, 3)},
    **{f"LazyConvTranspose{n}d": ((4, 3), (2, 3, *[5] * n)) for n in (1, 2, 3)},
    **{f"LazyBatchNorm{n}d": ((), (2, 3, *[5] * n)) for n in (1, 2, 3)},
    **{f"LazyInstanceNorm{n}d": ((), (2, 3, *[5] * n)) for n in (1, 2, 3)},
}


def layer(T: Any, name: str, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lazy modules are a new feature
        return getattr(T.nn, name)(*LAYERS[name][0], **options)


def described(module: Any) -> Any:
    shapes = [(k, list(v.shape)) for k, v in module.state_dict().items()]
    return [repr(module), type(module).__name__, shapes, module.has_uninitialized_params()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in LAYERS),
        ("LazyLinear", {"bias": False}),
        ("LazyConv2d", {"bias": False, "stride": 2, "padding": 1}),
        ("LazyConv1d", {"padding": "same", "padding_mode": "reflect", "dilation": 2}),
        ("LazyConvTranspose2d", {"stride": 2, "output_padding": 1, "dilation": 2}),
        ("LazyBatchNorm1d", {"affine": False}),
        ("LazyBatchNorm2d", {"track_running_stats": False, "eps": 0.1}),
    ],
)
def test_first_call(torch: ModuleType, name: str, options: Any) -> None:
    def program(T: Any) -> Any:
        module = layer(T, name, **options)
        before = [repr(module), list(module.state_dict()), len(list(module.parameters()))]
        y = module(T.ones(LAYERS[name][1]))
        shapes = [(k, list(v.shape)) for k, v in module.state_dict().items()]
        types = [type(p).__name__ for p in module.parameters()]
        again = module(T.ones(LAYERS[name][1])).shape
        return [before, repr(module), type(module).__name__, shapes, types, y.shape, again]

    check(torch, program)


@pytest.mark.parametrize("name", [n for n in LAYERS if "Instance" not in n])
def test_loading_gives_shapes(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        first, second = layer(T, name), layer(T, name)
        first(T.ones(LAYERS[name][1]))
        result = second.load_state_dict(first.state_dict())
        found = [str(result), type(second).__name__]
        y = second.eval()(T.ones(LAYERS[name][1]))
        return [*found, type(second).__name__, T.equal(y, first.eval()(T.ones(LAYERS[name][1])))]

    check(torch, program)


def test_state_without_shapes_goes_round() -> None:
    first, second = nn.LazyLinear(3), nn.LazyLinear(3)
    state = first.state_dict()
    assert str(second.load_state_dict(state)) == "<All keys matched successfully>"
    assert second.has_uninitialized_params()
    for module in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert module(jitgrad.ones(2, 5)).shape == (2, 3)
        assert type(module) is nn.Linear
        assert not module._forward_pre_hooks
    assert first.has_uninitialized_params()


def test_dtype_and_optimiser(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        module = layer(T, "LazyLinear").double()
        optimizer = T.optim.SGD(module.parameters(), 0.1)
        module(T.ones(1, 2, dtype=T.float64)).sum().backward()
        before = module.weight.detach().clone()
        optimizer.step()
        return [str(module.weight.dtype), (module.weight - before).detach()]

    check(torch, program)


def test_in_a_sequence(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        net = T.nn.Sequential(layer(T, "LazyConv2d"), T.nn.Flatten(), layer(T, "LazyLinear"))
        net(T.ones(1, 2, 4, 4))
        return repr(net)

    check(torch, program)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda p, T: p.shape, "Can't access the shape of an uninitialized parameter"),
        (lambda p, T: p + 1, "Attempted to use an uninitialized parameter"),
        (lambda p, T: p.numel(), "Attempted to use an uninitialized parameter"),
        (lambda p, T: p[0], "Attempted to use an uninitialized parameter"),
        (lambda p, T: layer(T, "LazyConv2d")(T.ones(2, 3)), "Expected 3D (unbatched) or 4D"),
        (lambda p, T: layer(T, "LazyConv2d", groups=2)(T.ones(3, 5, 5)), "in_channels must be"),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str) -> None:
    fails(torch, lambda T: program(layer(T, "LazyLinear").weight, T), says)


def test_parameters_without_shape(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        p, b = T.nn.UninitializedParameter(), T.nn.UninitializedBuffer()
        found = [repr(p), repr(b), p.requires_grad, b.requires_grad, T.nn.parameter.is_lazy(p)]
        p.materialize((2, 3))
        b.materialize((4,), dtype=T.float64)
        return [*found, type(p).__name__, type(b).__name__, p.shape, b.dtype is T.float64]

    check(torch, program)


def test_a_lazy_module_of_ones_own() -> None:
    from jitgrad.nn.modules.lazy import LazyModuleMixin

    class Scale(LazyModuleMixin, nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.UninitializedParameter()

        def initialize_parameters(self, x: Any) -> None:
            self.weight.materialize(x.shape[1:])
            nn.init.ones_(self.weight)

        def forward(self, x: Any) -> Any:
            return x * self.weight

    module = Scale()
    assert module(jitgrad.ones(2, 3)).tolist() == [[1.0] * 3] * 2
    assert type(module) is Scale

    class Empty(LazyModuleMixin, nn.Module):  # type: ignore[misc]
        pass

    with pytest.raises(NotImplementedError, match="initialize_parameters"):
        Empty()(1)
