"""Parametrizations against PyTorch."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, copy_state, fails, results


def both(torch: ModuleType, make: Any) -> dict[str, Any]:
    found = {"jitgrad": make(jitgrad), "torch": make(torch)}
    copy_state(torch, found["jitgrad"], found["torch"])
    return found


def symmetric(T: Any) -> Any:
    class Symmetric(T.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x: Any) -> Any:
            return x.triu()

    return Symmetric()


def scaled(T: Any) -> Any:
    class Scaled(T.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    return Scaled()


def test_values_gradients_and_assignment(torch: ModuleType) -> None:
    def make(T: Any) -> Any:
        P = T.nn.utils.parametrize
        m = T.nn.Linear(3, 3).double()
        assert P.register_parametrization(m, "weight", symmetric(T)) is m
        return m

    modules = both(torch, make)
    x = np.arange(6.0).reshape(2, 3)

    def program(T: Any) -> Any:
        m, P = modules[T.__name__], T.nn.utils.parametrize
        found = [results(T, m, x)["parameters"], list(m.state_dict()), type(m).__name__, m.weight]
        found.append([P.is_parametrized(m), P.is_parametrized(m, "bias")])
        m.weight = T.ones(3, 3, dtype=T.float64)
        found.append(m.weight)
        P.register_parametrization(m, "weight", scaled(T))
        found.append(m.weight)
        P.remove_parametrizations(m, "weight")
        return [*found, type(m).__name__, list(m.state_dict()), m.weight]

    check(torch, program)


def test_a_copy_keeps_its_parametrization() -> None:
    P = jitgrad.nn.utils.parametrize
    m = P.register_parametrization(jitgrad.nn.Linear(3, 3), "weight", symmetric(jitgrad))
    twin = copy.deepcopy(m)
    P.remove_parametrizations(m, "weight")
    assert isinstance(m.weight, jitgrad.nn.Parameter)
    assert (twin.weight == m.weight).all()
    original = twin.parametrizations.weight.original.detach().clone()
    P.remove_parametrizations(twin, "weight", leave_parametrized=False)
    assert (twin.weight == original).all()
    assert type(twin) is jitgrad.nn.Linear


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(torch: ModuleType, dim: int | None) -> None:
    modules = both(
        torch,
        lambda T: T.nn.utils.parametrizations.weight_norm(T.nn.Linear(3, 4).double(), dim=dim),
    )
    x = np.arange(6.0).reshape(2, 3)
    check(torch, lambda T: results(T, modules[T.__name__], x), rtol=1e-9)


@pytest.mark.parametrize("layer", ["Linear", "Conv1d", "ConvTranspose1d"])
def test_spectral_norm(torch: ModuleType, layer: str) -> None:
    sizes = (3, 4) if layer == "Linear" else (3, 4, 2)
    modules = both(
        torch,
        lambda T: T.nn.utils.parametrizations.spectral_norm(getattr(T.nn, layer)(*sizes).double()),
    )
    x = np.arange(6.0).reshape(2, 3) if layer == "Linear" else np.arange(30.0).reshape(2, 3, 5)

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        first = results(T, m, x / 10)
        m.eval()
        return [first, m(T.tensor(x))]

    check(torch, program, rtol=1e-8)


@pytest.mark.parametrize(
    "program",
    [
        lambda P, T: P.register_parametrization(T.nn.Linear(1, 1), "foo", scaled(T)),
        lambda P, T: P.register_parametrization(T.nn.Linear(2, 3), "weight", T.nn.Flatten(0)),
        lambda P, T: P.remove_parametrizations(T.nn.Linear(1, 1), "weight"),
        lambda P, T: setattr(
            P.register_parametrization(T.nn.Linear(1, 1), "weight", scaled(T)),
            "weight",
            T.ones(1, 1),
        ),
        lambda P, T: T.nn.utils.parametrizations.spectral_norm(T.nn.ReLU()),
        lambda P, T: T.nn.utils.parametrizations.spectral_norm(
            T.nn.Linear(2, 2), n_power_iterations=0
        ),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn.utils.parametrize, T), "")
