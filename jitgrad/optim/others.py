"""Averaged stochastic gradient descent, and resilient backpropagation."""

from __future__ import annotations

import functools
from typing import Any

from jitgrad import creation
from jitgrad.optim.adam import decay
from jitgrad.optim.optimizer import Group
from jitgrad.optim.ruled import (
    RuleOptimizer,
    at_least_zero,
    check_lr,
    scalar,
    statements,
    zeros,
)
from jitgrad.optim.rules import Numbers, Rule
from jitgrad.tensor import Tensor


@functools.cache
def _asgd(decays: bool, maximize: bool) -> Rule:
    return Rule(
        "asgd",
        ("ax",),
        ("step", "eta", "mu"),
        ("lr", "lambd", "alpha", "t0", "weight_decay"),
        "step = step + 1; rate = eta; share = mu; shrink = 1 - lambd * eta;"
        " eta = stored(lr / (1 + lambd * lr * step) ** alpha, single);"
        " mu = stored(1 / maximum(1, step - t0), single)",
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, False),
            "param = param * shrink - rate * grad",
            "ax = where(share == 1, param, ax + (param - ax) * share)",
        ),
    )


class ASGD(RuleOptimizer):
    """Gradient descent with a falling rate that also keeps the mean of the parameters (state ``ax``).

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr, lambd, alpha : float
        The rate is ``lr / (1 + lambd * lr * step) ** alpha``; ``lambd`` is a decay of the parameter too.
    t0 : float
        Step from which the mean is taken.
    weight_decay : float
        Times the parameter, added to the gradient.
    maximize : bool
        Go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        names = ("lr", "lambd", "alpha", "t0", "weight_decay")
        values = tuple(float(group[name]) for name in names)
        return _asgd(values[4] != 0, bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {
            "step": scalar(0.0, group),
            "eta": scalar(float(group["lr"]), group),
            "mu": scalar(1.0, group),
            "ax": zeros(p),
        }


@functools.cache
def _rprop(maximize: bool) -> Rule:
    return Rule(
        "rprop",
        ("prev", "step_size"),
        ("step",),
        ("down", "up", "least", "most"),
        "step = step + 1",
        statements(
            "grad = -grad" if maximize else "",
            "turn = grad * prev",
            "factor = where(turn > 0, up, where(turn < 0, down, 1))",
            "step_size = minimum(maximum(step_size * factor, least), most)",
            "grad = where(turn < 0, 0, grad)",
            "param = param - where(grad > 0, step_size, where(grad < 0, -step_size, 0))",
            "prev = grad",
        ),
    )


class Rprop(RuleOptimizer):
    """Steps by the gradient's sign only, larger while it stays and smaller when it turns.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr : float
        The first step's size.
    etas : (float, float)
        Factors of the size when the sign turns, and when it stays.
    step_sizes : (float, float)
        The smallest and the largest size.
    maximize : bool
        Go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = tuple(float(v) for v in (*group["etas"], *group["step_sizes"]))
        return _rprop(bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {
            "step": scalar(0.0, group),
            "prev": zeros(p),
            "step_size": creation.full_like(p, float(group["lr"])),
        }
