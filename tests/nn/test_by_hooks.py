"""Weights that hooks compute, layers that are joined, and other helpers, against PyTorch."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, copy_state, fails, results

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
nn = jitgrad.nn


def both(torch: ModuleType, make: Any) -> dict[str, Any]:
    modules = {T.__name__: make(T) for T in (jitgrad, torch)}
    copy_state(torch, modules["jitgrad"], modules["torch"])
    return modules


LAYERS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("Linear", (3, 4), (2, 3)),
    ("Conv1d", (3, 4, 2), (2, 3, 5)),
    ("ConvTranspose1d", (3, 4, 2), (2, 3, 5)),
]


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize(("name", "sizes", "shape"), LAYERS)
def test_weight_norm(torch: ModuleType, name: str, sizes: Any, shape: Any, dim: int | None) -> None:
    modules = both(
        torch, lambda T: T.nn.utils.weight_norm(getattr(T.nn, name)(*sizes).double(), dim=dim)
    )

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        found = [list(m.state_dict()), type(m.weight).__name__, results(T, m, np.ones(shape))]
        m = T.nn.utils.remove_weight_norm(m)
        return [*found, list(m.state_dict()), m.weight, type(m.weight).__name__]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"n_power_iterations": 3}, {"dim": 1}])
@pytest.mark.parametrize(("name", "sizes", "shape"), LAYERS)
def test_spectral_norm(torch: ModuleType, name: str, sizes: Any, shape: Any, options: Any) -> None:
    modules = both(
        torch, lambda T: T.nn.utils.spectral_norm(getattr(T.nn, name)(*sizes).double(), **options)
    )

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        found = [list(m.state_dict()), dict(m.state_dict()._metadata)]
        x = np.ones(shape)
        found += [results(T, m, x), results(T, m, x), results(T, m.eval(), x)]
        m = T.nn.utils.remove_spectral_norm(m.train())
        return [*found, list(m.state_dict()), m.weight, m.training, dict(m.state_dict()._metadata)]

    check(torch, program, rtol=1e-9)


@pytest.mark.parametrize(
    "program",
    [
        lambda u, n: u.weight_norm(u.weight_norm(n.Linear(1, 1))),
        lambda u, n: u.remove_weight_norm(n.Linear(1, 1)),
        lambda u, n: u.spectral_norm(n.Linear(1, 1), n_power_iterations=0),
        lambda u, n: u.spectral_norm(u.spectral_norm(n.Linear(1, 1))),
        lambda u, n: u.remove_spectral_norm(n.Linear(1, 1)),
        lambda u, n: u.fuse_conv_bn_eval(n.Conv1d(1, 1, 1), n.BatchNorm1d(1)),
        lambda u, n: u.skip_init(n.ReLU),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn.utils, T.nn))


def test_new_weight_norm_takes_old_state(torch: ModuleType) -> None:
    old = nn.utils.weight_norm(nn.Linear(2, 3))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    assert str(new.load_state_dict(old.state_dict())) == "<All keys matched successfully>"
    x = jitgrad.ones(1, 2)
    assert jitgrad.equal(new(x), old(x))


# ---------------------------------------------------------------- joined layers
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("name", "sizes", "shape", "transpose"),
    [(*LAYERS[1], False), (*LAYERS[2], True), (*LAYERS[0], None)],
)
def test_fusion(
    torch: ModuleType, name: str, sizes: Any, shape: Any, transpose: bool | None, affine: bool
) -> None:
    rng = np.random.default_rng(0)
    mean, var = rng.normal(size=4), rng.random(4) + 0.5
    affine = affine or transpose is None  # PyTorch fails without, after a linear layer
    modules = both(torch, lambda T: getattr(T.nn, name)(*sizes, bias=affine).double())

    def program(T: Any) -> Any:
        first, bn = modules[T.__name__].eval(), T.nn.BatchNorm1d(4, affine=affine).double().eval()
        bn.running_mean.copy_(T.tensor(mean))
        bn.running_var.copy_(T.tensor(var))
        u = T.nn.utils
        if transpose is None:
            fused = u.fuse_linear_bn_eval(first, bn)
        else:
            fused = u.fuse_conv_bn_eval(first, bn, transpose)
        x = T.tensor(rng.normal(size=shape) * 0 + 0.7)
        assert T.allclose(fused(x), bn(first(x)))
        return [fused.weight, fused.bias, fused(x), type(fused).__name__]

    check(torch, program, rtol=1e-9)


def test_modules_without_initialisation(torch: ModuleType) -> None:
    jitgrad.manual_seed(0)
    wanted = jitgrad.rand(3)
    jitgrad.manual_seed(0)
    assert nn.utils.skip_init(nn.Linear, 2, out_features=3).weight.shape == (3, 2)
    assert jitgrad.equal(jitgrad.rand(3), wanted)
    check(torch, lambda T: repr(T.nn.utils.skip_init(T.nn.Conv2d, 2, 3, kernel_size=1)))


def test_functional_call_where_it_was_of_old(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        stateless = importlib.import_module(f"{T.__name__}.nn.utils.stateless")
        layer = T.nn.Linear(2, 1)
        state = {"weight": T.ones(1, 2), "bias": T.zeros(1)}
        return stateless.functional_call(layer, state, T.tensor([2.0, 3.0]))

    check(torch, program)


@pytest.mark.parametrize(
    "state", [{"weight": 1, "bias": 2, "zz": 3}, {"weight": 1}, {"weight": 1, "zz": 2}]
)
def test_names_that_do_not_fit(torch: ModuleType, state: Any) -> None:
    def program(T: Any) -> None:
        given = {name: T.ones(1, 1) for name in state}
        T.func.functional_call(T.nn.Linear(1, 1), given, T.ones(1), strict=True)

    fails(torch, program)


def test_gradients_clipped_under_the_old_name(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        p = T.nn.Parameter(T.ones(4))
        p.grad = T.full((4,), 3.0)
        return [T.nn.utils.clip_grad_norm([p], 1.0), p.grad]

    check(torch, program)


# ---------------------------------------------------------------- parametrize
def _counting(T: Any) -> Any:
    class Counting(T.nn.Module):
        calls = 0

        def forward(self, x: Any) -> Any:
            Counting.calls += 1
            return x * 2

        def right_inverse(self, x: Any) -> Any:
            return x / 2

    return Counting


def test_cached(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        P, Counting = T.nn.utils.parametrize, _counting(T)
        m = P.register_parametrization(T.nn.Linear(2, 2), "weight", Counting())
        seen = [Counting.calls]
        for _ in range(2):
            with P.cached(), P.cached():
                assert m.weight is m.weight
            seen.append(Counting.calls)
            assert m.weight is not m.weight
        return [[b - a for a, b in zip(seen, seen[1:], strict=False)], Counting.calls - seen[-1]]

    check(torch, program)


def test_transfer(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        P, Counting = T.nn.utils.parametrize, _counting(T)
        a = T.nn.Linear(2, 2)
        P.register_parametrization(a, "weight", Counting())
        P.register_parametrization(a, "bias", Counting())
        b, c = T.nn.Linear(2, 2), T.nn.Linear(2, 2)
        P.transfer_parametrizations_and_params(a, b)
        P.transfer_parametrizations_and_params(a, c, "bias")
        P.transfer_parametrizations_and_params(T.nn.Linear(2, 2), c)
        same = b.parametrizations.weight.original is a.parametrizations.weight.original
        kinds = [P.type_before_parametrizations(m).__name__ for m in (a, b, T.nn.ReLU())]
        return [list(b.state_dict()), list(c.state_dict()), same, kinds]

    check(torch, program)


@pytest.mark.parametrize("wrong", ["shape", "dtype", "inverse"])
def test_parametrizations_that_do_not_fit(torch: ModuleType, wrong: str) -> None:
    def program(T: Any) -> None:
        class Wrong(T.nn.Module):
            def forward(self, x: Any) -> Any:
                return x[:1] if wrong == "shape" else x.double() if wrong == "dtype" else x

            if wrong == "inverse":

                def right_inverse(self, x: Any) -> Any:
                    return 3

        T.nn.utils.parametrize.register_parametrization(T.nn.Linear(2, 2), "weight", Wrong())

    fails(torch, program)


def test_packed_sequences_in_other_dtypes(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        packed = T.nn.utils.rnn.pack_sequence([T.tensor([1.0, 2.0]), T.tensor([3.0])])
        kinds = "double float half long int short char byte cpu".split()
        return [[getattr(packed, kind)().data for kind in kinds], packed.is_pinned()]

    check(torch, program)
