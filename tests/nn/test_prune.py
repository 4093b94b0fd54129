"""Pruning against PyTorch: masks, values, gradients, one method after the other, and taking it away."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails, results

WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def prune(T: Any) -> Any:
    return importlib.import_module(f"{T.__name__}.nn.utils.prune")


def layer(T: Any) -> Any:
    made = T.nn.Linear(4, 3)
    made.load_state_dict({"weight": T.tensor(WEIGHT), "bias": T.tensor([0.5, -1.0, 2.0])})
    return made


def shown(T: Any, module: Any) -> Any:
    found = [
        type(module.weight).__name__,
        list(module.state_dict()),
        len(module._forward_pre_hooks),
    ]
    x = np.arange(8, dtype="float32").reshape(2, 4)
    return [*found, module.weight, results(T, module, x), prune(T).is_pruned(module)]


#: One step: the function, and its arguments after the name.
STEPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "share": ("l1_unstructured", (0.5,)),
    "odd share": ("l1_unstructured", (0.26,)),
    "number": ("l1_unstructured", (3,)),
    "none": ("l1_unstructured", (0,)),
    "all": ("l1_unstructured", (1.0,)),
    "row": ("ln_structured", (1, 2, 0)),
    "columns": ("ln_structured", (0.5, 1, -1)),
    "identity": ("identity", ()),
}


def taken(T: Any, module: Any, step: str) -> Any:
    name, arguments = STEPS[step]
    return getattr(prune(T), name)(module, "weight", *arguments)


@pytest.mark.parametrize("step", STEPS)
def test_one_step(torch: ModuleType, step: str) -> None:
    check(torch, lambda T: shown(T, taken(T, layer(T), step)))


@pytest.mark.parametrize("first", ["share", "row", "columns", "identity"])
@pytest.mark.parametrize("second", ["odd share", "number", "row"])
def test_two_steps(torch: ModuleType, first: str, second: str) -> None:
    check(torch, lambda T: shown(T, taken(T, taken(T, layer(T), first), second)))


def test_three_steps_with_a_mask(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        module = taken(T, taken(T, layer(T), "number"), "odd share")
        prune(T).custom_from_mask(module, "weight", T.tensor([[1, 0, 1, 1]] * 3))
        prune(T).l1_unstructured(module, "bias", 1)
        return [shown(T, module), module.bias]

    check(torch, program)


def test_scores(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        scores = T.tensor(WEIGHT[::-1].copy())
        module = prune(T).l1_unstructured(layer(T), "weight", 5, importance_scores=scores)
        method = prune(T).L1Unstructured(2)
        return [module.weight_mask, method.prune(T.tensor([1.0, -3.0, 0.5, 2.0]))]

    check(torch, program)


def test_taken_away(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        module = taken(T, layer(T), "share")
        original = module.weight_orig
        assert prune(T).remove(module, "weight") is module
        return [shown(T, module), module.weight is original]

    check(torch, program)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("amount", [0.5, 5])
def test_several_as_one(torch: ModuleType, times: int, amount: float) -> None:
    def program(T: Any) -> Any:
        net = T.nn.Sequential(layer(T), layer(T))
        with T.no_grad():
            net[1].weight.mul_(0.5)
        places = [(net[0], "weight"), (net[1], "weight"), (net[1], "bias")]
        for _ in range(times):
            prune(T).global_unstructured(places, prune(T).L1Unstructured, amount=amount)
        return net.state_dict()

    check(torch, program)


def test_training_leaves_the_zeros(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        module = taken(T, layer(T), "share")
        optimizer = T.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(T.ones(2, 4)).pow(2).sum().backward()
            optimizer.step()
        module(T.ones(1, 4))
        return [module.weight, module.weight_orig]

    check(torch, program)


@pytest.mark.parametrize("dim", [0, 1])
def test_random_choices(dim: int) -> None:
    p = prune(jitgrad)
    seen = {str(p.random_unstructured(layer(jitgrad), "weight", 5).weight_mask) for _ in range(9)}
    assert len(seen) > 3
    mask = p.random_unstructured(layer(jitgrad), "weight", 5).weight_mask
    assert int((mask == 0).sum()) == 5
    mask = p.random_structured(layer(jitgrad), "weight", 2, dim).weight_mask
    assert int((mask.sum(1 - dim) == 0).sum()) == 2


@pytest.mark.parametrize(
    "program",
    [
        lambda p, m: p.l1_unstructured(m, "weight", 13),
        lambda p, m: p.l1_unstructured(m, "weight", -1),
        lambda p, m: p.l1_unstructured(m, "weight", 1.5),
        lambda p, m: p.l1_unstructured(m, "weight", "a"),
        lambda p, m: p.l1_unstructured(m, "zz", 1),
        lambda p, m: p.l1_unstructured(m, "weight", 1, importance_scores=m.bias),
        lambda p, m: p.ln_structured(m, "weight", 1, 2, 5),
        lambda p, m: p.remove(m, "weight"),
        lambda p, m: p.global_unstructured([(m, "weight")], p.LnStructured, amount=1, n=2, dim=0),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(prune(T), layer(T)))
