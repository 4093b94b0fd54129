"""Schedulers against PyTorch's: 30 steps, state dicts, errors, warnings."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad

Make = Callable[[Any, Any], Any]  # (the module lr_scheduler, an optimiser) -> a scheduler


class Halves:
    """A function with an attribute, which a state dict keeps."""

    def __init__(self) -> None:
        self.base = 0.5

    def __call__(self, epoch: int) -> float:
        return self.base**epoch


CASES: dict[str, Make] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 1 / (e + 1)),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, Halves()]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.95),
    "multiplicative list": lambda s, o: s.MultiplicativeLR(o, [Halves(), lambda e: 1 - 0.01 * e]),
    "step": lambda s, o: s.StepLR(o, 4, gamma=0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [1, 7, 7, 20], gamma=0.3),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=6),
    "constant default": lambda s, o: s.ConstantLR(o),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.1, end_factor=0.8, total_iters=9),
    "linear default": lambda s, o: s.LinearLR(o),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=12, power=2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=7, eta_min=0.01),
    "cosine long": lambda s, o: s.CosineAnnealingLR(o, T_max=50),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=5, eta_min=0.001),
    "restarts longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2),
    "one cycle": lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=32),
    "one cycle three": lambda s, o: s.OneCycleLR(
        o, [0.5, 1.0], epochs=4, steps_per_epoch=8, three_phase=True, anneal_strategy="linear"
    ),
    "one cycle plain": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=30, pct_start=0.5, cycle_momentum=False, div_factor=5.0
    ),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "cyclic 2": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], [0.1, 0.3], step_size_up=3, step_size_down=6, mode="triangular2"
    ),
    "cyclic exp": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, step_size_up=4, mode="exp_range", gamma=0.9, base_momentum=0.7
    ),
    "cyclic own": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, step_size_up=4, scale_fn=Halves(), cycle_momentum=False
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=5), s.ExponentialLR(o, 0.9), s.StepLR(o, 2, 0.5)],
        milestones=[5, 15],
    ),
    "sequential nested": lambda s, o: s.SequentialLR(
        o,
        [
            s.SequentialLR(o, [s.ConstantLR(o, 0.5, 3), s.ConstantLR(o, 0.1, 9)], milestones=[4]),
            s.CosineAnnealingLR(o, 10),
        ],
        milestones=[10],
    ),
    "chained": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, total_iters=4), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 8)]
    ),
}


def optimizers(t: Any, kind: str = "SGD", lr: Any = 0.2) -> Any:
    a, b = t.ones(1, requires_grad=True), t.ones(1, requires_grad=True)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(t.optim, kind)([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=lr, **options)


def rates(optimizer: Any, scheduler: Any, steps: int) -> list[Any]:
    found = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append([float(group["lr"]) for group in optimizer.param_groups])
        found[-1] += [float(lr) for lr in scheduler.get_last_lr()]
        for group in optimizer.param_groups:
            momenta = (group.get("momentum"), group.get("betas", [None])[0])
            found[-1] += [value for value in momenta if value is not None]
    return found


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")  # nested, in PyTorch too
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
def test_thirty_steps(torch: ModuleType, name: str, kind: str) -> None:
    make = CASES[name]
    both = []
    states = []
    for t in (jitgrad, torch):
        optimizer = optimizers(t, kind)
        scheduler = make(t.optim.lr_scheduler, optimizer)
        first = [float(g["lr"]) for g in optimizer.param_groups]
        both.append([first, *rates(optimizer, scheduler, 30)])
        states.append((scheduler.state_dict(), [set(g) for g in optimizer.param_groups]))
    for found, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    (mine, groups), (theirs, expected) = states
    assert set(mine) - {"_last_lr"} == set(theirs) - {"_last_lr"}
    assert groups == expected


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")  # nested, in PyTorch too
@pytest.mark.parametrize("name", CASES)
def test_state_dict_goes_on_where_it_was(torch: ModuleType, name: str) -> None:
    make = CASES[name]
    for t in (jitgrad, torch):
        # In either library's optimiser and scheduler, jitgrad takes over.
        one = optimizers(t)
        scheduler = make(t.optim.lr_scheduler, one)
        rates(one, scheduler, 7)
        two = optimizers(jitgrad)
        other = make(jitgrad.optim.lr_scheduler, two)
        other.load_state_dict(copy.deepcopy(scheduler.state_dict()))
        for mine, theirs in zip(two.param_groups, one.param_groups, strict=True):
            mine.update({k: v for k, v in theirs.items() if k != "params"})
        assert other.get_last_lr() == scheduler.get_last_lr()
        np.testing.assert_allclose(
            rates(two, other, 10), rates(one, scheduler, 10), rtol=1e-12, atol=1e-15
        )


def test_a_named_step_is_found_in_closed_form(torch: ModuleType) -> None:
    for name in ("step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine"):
        both = []
        for t in (jitgrad, torch):
            optimizer = optimizers(t)
            scheduler = CASES[name](t.optim.lr_scheduler, optimizer)
            optimizer.step()
            found = []
            for epoch in (3, 11, 0, 6):
                with pytest.warns(UserWarning, match="The epoch parameter"):
                    scheduler.step(epoch)
                found.append(list(scheduler.get_last_lr()))
            both.append(found)
        np.testing.assert_allclose(*both, rtol=1e-12)


def test_warm_restarts_take_fractions(torch: ModuleType) -> None:
    both = []
    for t in (jitgrad, torch):
        for mult in (1, 2):
            optimizer = optimizers(t)
            scheduler = t.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, mult)
            found = []
            for epoch in (0.5, 2.25, 3.9, 4.1, 13.0, 30.5, 1.0):
                scheduler.step(epoch)
                found.append(list(scheduler.get_last_lr()))
            both.append(found)
    np.testing.assert_allclose(both[:2], both[2:], rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "mode": "max", "threshold": 0.1, "factor": 0.5},
        {"patience": 0, "threshold_mode": "abs", "threshold": 0.2, "cooldown": 3},
        {"patience": 1, "mode": "max", "threshold_mode": "abs", "min_lr": [0.01, 0.05]},
        {"patience": 0, "eps": 0.05},
    ],
    ids=str,
)
def test_plateau(torch: ModuleType, options: dict[str, Any]) -> None:
    metrics = np.random.default_rng(0).normal(size=30).cumsum().tolist()
    both = []
    for t in (jitgrad, torch):
        optimizer = optimizers(t)
        scheduler = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        found = []
        for i, metric in enumerate(metrics):
            scheduler.step(t.tensor(metric, dtype=t.float64))
            found.append([g["lr"] for g in optimizer.param_groups] + scheduler.get_last_lr())
            if i == 10:
                saved = copy.deepcopy(scheduler.state_dict())
                scheduler = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
                scheduler.load_state_dict(saved)
        both.append((found, scheduler.state_dict()))
    np.testing.assert_allclose(both[0][0], both[1][0], rtol=1e-12)
    assert both[0][1] == both[1][1]


def test_the_order_of_steps_is_watched() -> None:
    s = jitgrad.optim.lr_scheduler
    optimizer = optimizers(jitgrad)
    scheduler = s.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    optimizer = optimizers(jitgrad)
    scheduler = s.StepLR(optimizer, 1)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match=r"`optimizer.step\(\)` has been overridden"):
        scheduler.step()
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = optimizers(jitgrad)
        scheduler = s.StepLR(optimizer, 1)
        optimizer.step()
        scheduler.step()
        scheduler.step()


def test_a_tensor_rate_stays_that_tensor(torch: ModuleType) -> None:
    both = []
    for t in (jitgrad, torch):
        lr = t.tensor(0.4, dtype=t.float64)
        w = t.ones(1, requires_grad=True)
        optimizer = t.optim.SGD([w], lr=lr)
        scheduler = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] is lr
        both.append(float(lr))
        assert float(scheduler.get_last_lr()[0]) == float(lr)
        assert scheduler.get_last_lr()[0] is not lr
    assert both[0] == both[1] == 0.2


BAD: list[Make] = [
    lambda s, o: s.StepLR(3, 1),
    lambda s, o: s.StepLR(o, 1, last_epoch=3),
    lambda s, o: s.LambdaLR(o, [abs]),
    lambda s, o: s.MultiplicativeLR(o, [3, 4]),
    lambda s, o: s.ConstantLR(o, factor=2),
    lambda s, o: s.LinearLR(o, start_factor=0),
    lambda s, o: s.LinearLR(o, end_factor=2),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, eta_min="a"),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 1).step(-1),
    lambda s, o: s.OneCycleLR(o, 0.1),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=-1),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=3.5, steps_per_epoch=1),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2.0),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="no"),
    lambda s, o: s.OneCycleLR(o, [0.1], 10),
    lambda s, o: rates(o, s.OneCycleLR(o, 0.1, 10), 12),
    lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="no"),
    lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o, mode="no"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="no"),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1.0]),
    lambda s, o: s.SequentialLR(o, [], []),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1), s.ReduceLROnPlateau(o)], [1]),
    lambda s, o: s.SequentialLR(o, [3], []),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), s.StepLR(copy.deepcopy(o), 1)]),
    lambda s, o: s.LRScheduler(o),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_mistakes_are_refused_as_pytorch_does(torch: ModuleType, number: int) -> None:
    make = BAD[number]
    errors = (ValueError, TypeError, KeyError, NotImplementedError)
    with pytest.raises(errors) as wanted:
        make(torch.optim.lr_scheduler, optimizers(torch))
    with pytest.raises(errors) as found:
        make(jitgrad.optim.lr_scheduler, optimizers(jitgrad))
    assert found.type is wanted.type
    assert str(found.value) == str(wanted.value)


def test_momentum_is_needed_to_cycle_it() -> None:
    w = jitgrad.ones(1, requires_grad=True)
    for make in (
        lambda o: jitgrad.optim.lr_scheduler.CyclicLR(o, 0.1, 0.2),
        lambda o: jitgrad.optim.lr_scheduler.OneCycleLR(o, 0.1, 5),
    ):
        with pytest.raises(ValueError, match="must support momentum or beta1"):
            make(jitgrad.optim.Adagrad([w]))
