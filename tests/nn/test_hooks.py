"""Hooks of all modules, hooks of old, and rules of members at the edges, against PyTorch."""

from __future__ import annotations

import importlib
import pickle
from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails

REGISTER = [
    "register_module_forward_pre_hook",
    "register_module_forward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_parameter_registration_hook",
    "register_module_buffer_registration_hook",
    "register_module_module_registration_hook",
]


def _everywhere(T: Any) -> Any:
    file = importlib.import_module(f"{T.__name__}.nn.modules.module")
    log: list[Any] = []
    handles = [
        getattr(file, name)(
            lambda module, *more, name=name: log.append((name, type(module).__name__, len(more)))
        )
        for name in REGISTER
    ]
    try:
        net = T.nn.Sequential(T.nn.Linear(2, 2), T.nn.BatchNorm1d(2))
        net.scale = T.nn.Parameter(T.ones(1))
        net[0].register_forward_hook(lambda *_: log.append("own"))
        net[0].register_forward_pre_hook(lambda *_: log.append("own before"))
        net(T.tensor([[1.0, 2.0], [0.0, 1.0]]).requires_grad_()).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    n = len(log)
    net(T.ones(2, 2))
    return [*log[:n], log[n:]]


def test_hooks_of_all_modules(torch: ModuleType) -> None:
    check(torch, _everywhere)


def _changing(T: Any) -> Any:
    file = importlib.import_module(f"{T.__name__}.nn.modules.module")
    log: list[Any] = []

    def after(module: Any, args: Any, kwargs: Any, result: Any) -> Any:
        log.append((len(args), sorted(kwargs)))
        return None if result is None else result * 2

    def swap(module: Any, name: str, param: Any) -> Any:
        return T.nn.Parameter(param.detach() * 0 + 3)

    handles = [
        file.register_module_forward_hook(after, with_kwargs=True),
        file.register_module_forward_hook(lambda *_: log.append("always"), always_call=True),
        file.register_module_parameter_registration_hook(swap),
        file.register_module_full_backward_hook(lambda m, into, out: (into[0] * 10,)),
    ]
    try:
        layer = T.nn.PReLU()
        x = T.ones(1, 2).requires_grad_()
        y = layer(x)
        y.sum().backward()
        try:
            layer(input=3)
        except (AttributeError, TypeError):
            log.append("failed")
    finally:
        for handle in handles:
            handle.remove()
    return [y, x.grad, log]


def test_hooks_of_all_modules_that_change_things(torch: ModuleType) -> None:
    check(torch, _changing)


def _old(T: Any) -> Any:
    layer = T.nn.Linear(2, 3)
    seen: list[Any] = []
    handle = layer.register_backward_hook(lambda m, into, out: seen.append((len(into), out)))
    layer(T.ones(1, 2).requires_grad_()).sum().backward()
    handle.remove()
    layer(T.ones(1, 2)).sum().backward()
    return seen


def test_backward_hooks_of_old(torch: ModuleType) -> None:
    check(torch, _old)


@pytest.mark.parametrize("step", [1, -1])
def test_both_kinds_of_backward_hooks(torch: ModuleType, step: int) -> None:
    def program(T: Any) -> None:
        layer = T.nn.ReLU()
        for name in ["register_backward_hook", "register_full_backward_hook"][::step]:
            getattr(layer, name)(print)

    fails(torch, program)


def _unused(T: Any) -> Any:
    class Three(T.nn.Module):
        def forward(self, x: Any, y: Any, z: Any) -> Any:
            return x * 2, y * 3, z + 1, "text"

    module, seen = Three(), []
    module.register_full_backward_hook(lambda m, into, out: seen.append((into, out)))
    x, y = (T.ones(2).requires_grad_() for _ in range(2))
    module(x, y, T.ones(2))[0].sum().backward()
    return [seen, x.grad, y.grad]


def test_zeros_come_to_inputs_that_are_not_used(torch: ModuleType) -> None:
    check(torch, _unused)


def _state_hooks(T: Any) -> Any:
    log: list[Any] = []
    net = T.nn.Sequential(T.nn.Linear(1, 1))
    net[0]._register_state_dict_hook(lambda m, state, prefix, local: log.append(prefix))
    net[0]._register_load_state_dict_pre_hook(lambda state, prefix, *_: log.append(len(state)))
    net[0]._register_load_state_dict_pre_hook(
        lambda m, state, *_: log.append(type(m).__name__), with_module=True
    )
    net.load_state_dict(net.state_dict())
    other = T.nn.ReLU()
    other._register_state_dict_hook(lambda *_: {"x": 1})
    return [log, other.state_dict()]


def test_state_hooks_of_old(torch: ModuleType) -> None:
    check(torch, _state_hooks)


def _positional(T: Any) -> Any:
    found: Any = OrderedDict()
    T.nn.Linear(1, 1).state_dict(found, "q.", True)
    T.nn.ReLU().state_dict(found)
    return [list(found), found["q.weight"].requires_grad]


def test_positional_arguments_of_state_dict(torch: ModuleType) -> None:
    check(torch, _positional)


def test_a_module_with_state_hooks_can_be_pickled() -> None:
    layer = jitgrad.nn.Linear(1, 1)
    layer.register_state_dict_post_hook(print)
    layer._register_load_state_dict_pre_hook(print)
    assert list(pickle.loads(pickle.dumps(layer)).parameters()) == list(layer.parameters())


# ---------------------------------------------------------------- members
def _buffer_over_plain(T: Any) -> None:
    module = T.nn.Module()
    module.plain = 3
    module.plain = T.nn.Buffer(T.ones(1))


def _buffer_too_early(T: Any) -> None:
    class Early(T.nn.Module):
        def __init__(self) -> None:
            self.x = T.nn.Buffer(T.ones(1))

    Early()


@pytest.mark.parametrize(
    "program",
    [
        _buffer_over_plain,
        _buffer_too_early,
        lambda T: setattr(T.nn.Linear(1, 1), "weight", T.nn.ReLU),
        lambda T: T.nn.Module().add_module("a", T.nn.Parameter(T.ones(1))),
        lambda T: T.nn.Module().register_buffer("a", T.nn.ReLU),
        lambda T: T.nn.Parameter([1.0]),
        lambda T: T.nn.ReLU().to(T.float32, copy=True),
        lambda T: T.nn.ReLU().to_empty(),
    ],
)
def test_member_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


@pytest.mark.parametrize("program", [lambda m: m.to([]), lambda m: m.to(foo=1)])
def test_wrong_arguments_of_to(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn.Linear(1, 1)), "to() received an invalid combination")


def _buffer_again(T: Any) -> Any:
    module = T.nn.Module()
    module.register_buffer("a", T.zeros(1))
    module.register_buffer("b", T.zeros(1))
    module.a = T.nn.Buffer(T.ones(2), persistent=False)
    return [[name for name, _ in module.named_buffers()], list(module.state_dict())]


def test_a_buffer_keeps_its_place(torch: ModuleType) -> None:
    check(torch, _buffer_again)


def _next_init(T: Any) -> Any:
    class Other:
        def __init__(self, value: int = 0) -> None:
            self.value = value

    class Both(T.nn.Module, Other):
        call_super_init = True

        def __init__(self) -> None:
            super().__init__(value=5)

    return Both().value


def test_call_super_init(torch: ModuleType) -> None:
    check(torch, _next_init)


def _zeroed(T: Any) -> Any:
    layer = T.nn.Linear(1, 1)
    layer.weight.grad = T.ones(1, 1, requires_grad=True) * 2
    layer.zero_grad(set_to_none=False)
    return layer.weight.grad


def test_zero_grad_cuts_the_graph(torch: ModuleType) -> None:
    check(torch, _zeroed)


@pytest.mark.parametrize(
    "program",
    [
        lambda T: len(list(T.nn.Sequential(*[T.nn.ReLU()] * 2).modules(remove_duplicate=False))),
        lambda T: str(T.nn.Linear(1, 1).to(float).weight.dtype),
        lambda T: str(T.nn.Linear(1, 1).to("cpu", T.float64, True).weight.dtype),
        lambda T: type(T.nn.ReLU().load_state_dict({})).__name__,
        lambda T: T.nn.ReLU().dump_patches,
    ],
)
def test_small_things(torch: ModuleType, program: Any) -> None:
    check(torch, program)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("module", "Module register_module_forward_hook"),
        ("batchnorm", "_BatchNorm _NormBase BatchNorm2d"),
        ("instancenorm", "_InstanceNorm"),
        ("utils", "_single _pair _triple _quadruple _ntuple"),
        ("conv", "_ConvNd _ConvTransposeNd Conv2d ConvTranspose1d"),
        ("dropout", "_DropoutNd"),
        ("pooling", "_MaxPoolNd _AdaptiveAvgPoolNd"),
        ("lazy", "LazyModuleMixin"),
        ("container", "Sequential ModuleList"),
        ("loss", "CrossEntropyLoss _Loss _WeightedLoss"),
        ("rnn", "LSTM"),
        ("sparse", "Embedding"),
    ],
)
def test_files_of_layers(torch: ModuleType, file: str, names: str) -> None:
    theirs = importlib.import_module(f"torch.nn.modules.{file}")
    ours = importlib.import_module(f"jitgrad.nn.modules.{file}")
    for name in names.split():
        assert hasattr(theirs, name)
        assert hasattr(ours, name)
    assert jitgrad.nn.modules.Linear is jitgrad.nn.Linear


def test_tuples() -> None:
    from jitgrad.nn.modules.utils import _ntuple, _pair

    assert _pair(3) == (3, 3)
    assert _pair([1, 2]) == (1, 2)
    assert _ntuple(4)("ab") == ("a", "b")


def test_prefixes(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        utils = importlib.import_module(f"{T.__name__}.nn.modules.utils")
        state = T.nn.DataParallel(T.nn.Sequential(T.nn.Linear(1, 1))).state_dict()
        utils.consume_prefix_in_state_dict_if_present(state, "module.")
        return [list(state), dict(state._metadata)]

    check(torch, program)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions_as_functions(torch: ModuleType, n: int) -> None:
    def program(T: Any) -> Any:
        grad = importlib.import_module(f"{T.__name__}.nn.grad")
        x, w = T.ones(1, 2, *[4] * n), T.arange(2.0 * 2**n).reshape(1, 2, *[2] * n)
        y = getattr(T.nn.functional, f"conv{n}d")(x, w, None, 2, 1)
        g = T.arange(float(y.numel())).reshape(y.shape)
        found = [getattr(grad, f"conv{n}d_input")(x.shape, w, g, 2, 1)]
        return [*found, getattr(grad, f"conv{n}d_weight")(x, w.shape, g, 2, 1)]

    check(torch, program)


def test_the_handles_class() -> None:
    from jitgrad.utils.hooks import RemovableHandle

    assert isinstance(jitgrad.nn.ReLU().register_forward_hook(print), RemovableHandle)
