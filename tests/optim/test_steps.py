"""Every optimiser against PyTorch's: 20 steps for every option, state and state dicts included."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad

FLAT = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
    ("SGD", {"weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"betas": (0.4, 0.95), "eps": 1e-2, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "maximize": True}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.5, "amsgrad": True, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adagrad", {"maximize": True, "eps": 1e-2}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.5, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "alpha": 0.9, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("RAdam", {}),
    ("RAdam", {"betas": (0.9, 0.8), "weight_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "maximize": True, "eps": 1e-3}),
    ("ASGD", {}),
    ("ASGD", {"lambd": 0.1, "alpha": 0.5, "t0": 5, "weight_decay": 0.1}),
    ("ASGD", {"maximize": True, "t0": 2}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-2, 0.3), "maximize": True}),
]
IDS = [name + "".join(f"-{key}" for key in options) for name, options in FLAT]
SHAPES = [(3,), (2, 4), (), (0, 2), (5, 3), (7,)]


def same(found: Any, wanted: Any) -> None:
    """Compare nested state, tensors by value and dtype."""
    if hasattr(wanted, "detach"):
        assert str(found.dtype).partition(".")[2] == str(wanted.dtype).partition(".")[2]
        assert tuple(found.shape) == tuple(wanted.shape)
        tolerance = 1e-10 if str(wanted.dtype).endswith("64") else 2e-6
        np.testing.assert_allclose(
            found.detach().numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance
        )
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert type(found) is type(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    else:
        assert found == wanted
        assert type(found) is type(wanted)


def parameters(T: Any, dtype: str) -> list[Any]:
    rng = np.random.default_rng(1)
    made = [T.tensor(rng.normal(size=s).tolist(), dtype=getattr(T, dtype)) for s in SHAPES]
    made = [p.reshape(s) for p, s in zip(made, SHAPES, strict=True)]
    # The last but one lies transposed in memory, the last is every other element.
    made[-2] = made[-2].t().contiguous().t()
    made[-1] = T.zeros(14, dtype=getattr(T, dtype))[::2].copy_(made[-1])
    return [p.requires_grad_() for p in made]


def give_gradients(params: list[Any], step: int) -> None:
    """Uneven gradients; the first parameter has none in steps 0 and 7."""
    for k, p in enumerate(params):
        if k == 0 and step in (0, 7):
            continue
        ((p * (k + 1) - 0.3 * (step % 3)) ** 2).sum().mul(0.2).backward()


def run(T: Any, optimizer: Any, params: list[Any], steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        give_gradients(params, step)
        optimizer.step()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), FLAT, ids=IDS)
def test_twenty_steps(torch: ModuleType, name: str, options: dict[str, Any], dtype: str) -> None:
    found, wanted = parameters(jitgrad, dtype), parameters(torch, dtype)
    mine = getattr(jitgrad.optim, name)(found, **options)
    theirs = getattr(torch.optim, name)(wanted, **options)
    run(jitgrad, mine, found, range(20))
    run(torch, theirs, wanted, range(20))
    same(list(found), list(wanted))
    same(
        {k: dict(sorted(v.items())) for k, v in sorted(mine.state_dict()["state"].items())},
        {k: dict(sorted(v.items())) for k, v in sorted(theirs.state_dict()["state"].items())},
    )
    same(mine.state_dict()["param_groups"], theirs.state_dict()["param_groups"])
    assert repr(mine) == repr(theirs)


def converted(value: Any, T: Any) -> Any:
    """The same with tensors of another library."""
    if hasattr(value, "detach"):
        dtype = getattr(T, str(value.dtype).partition(".")[2])
        return T.tensor(value.detach().numpy().tolist(), dtype=dtype).reshape(tuple(value.shape))
    if isinstance(value, dict):
        return {key: converted(item, T) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(converted(item, T) for item in value)
    return value


@pytest.mark.parametrize(("name", "options"), FLAT, ids=IDS)
def test_state_dicts_go_both_ways(torch: ModuleType, name: str, options: dict[str, Any]) -> None:
    for a, b in ((jitgrad, torch), (torch, jitgrad)):
        first = parameters(a, "float64")
        one = getattr(a.optim, name)(first, **options)
        run(a, one, first, range(4))
        second = [converted(p, b).requires_grad_() for p in first]
        two = getattr(b.optim, name)(second, **options)
        two.load_state_dict(converted(copy.deepcopy(one.state_dict()), b))
        run(a, one, first, range(4, 8))
        run(b, two, second, range(4, 8))
        for p, q in zip(first, second, strict=True):
            np.testing.assert_allclose(
                p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-10
            )


def test_large_parameters_on_threads_and_strided(torch: ModuleType) -> None:
    jitgrad.set_num_threads(2)
    rng = np.random.default_rng(0)
    start, slope = rng.normal(size=(2, 300, 401)).astype(np.float32)
    for transposed in (False, True):
        made = []
        for T in (jitgrad, torch):  # noqa: N806
            p, g = T.tensor(start), T.tensor(slope)
            p = (p.t().contiguous().t() if transposed else p).requires_grad_()
            optimizer = T.optim.Adam([p], lr=0.1, weight_decay=0.1)
            for _ in range(3):
                p.grad = g
                optimizer.step()
            made.append(p.detach().numpy())
        np.testing.assert_allclose(*made, rtol=1e-5, atol=1e-6)
