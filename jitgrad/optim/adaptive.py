"""Optimisers that divide by the root of past squares: Adagrad, Adadelta, RMSprop."""

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
def _adagrad(decays: bool, maximize: bool) -> Rule:
    return Rule(
        "adagrad",
        ("sum",),
        ("step",),
        ("lr", "lr_decay", "eps", "weight_decay"),
        "step = step + 1; rate = lr / (1 + (step - 1) * lr_decay)",
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, False),
            "sum = sum + grad * grad",
            "param = param - rate * grad / (sqrt(sum) + eps)",
        ),
    )


class Adagrad(RuleOptimizer):
    """Steps by the gradient over the root of the sum of all squares so far.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr, lr_decay : float
        The rate is ``lr / (1 + (step - 1) * lr_decay)``.
    weight_decay : float
        Times the parameter, added to the gradient.
    initial_accumulator_value : float
        What the sum begins with.
    eps : float
        Added to the root.
    maximize : bool
        Go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        at_least_zero(lr_decay, "Invalid lr_decay value: {}")
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        at_least_zero(initial_accumulator_value, "Invalid initial_accumulator_value value: {}")
        at_least_zero(eps, "Invalid epsilon value: {}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(self._new_state(group, p))

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        names = ("lr", "lr_decay", "eps", "weight_decay")
        values = tuple(float(group[name]) for name in names)
        return _adagrad(values[3] != 0, bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        start = self.defaults["initial_accumulator_value"]
        return {"step": scalar(0.0, group), "sum": creation.full_like(p, start)}


@functools.cache
def _adadelta(decays: bool, maximize: bool) -> Rule:
    return Rule(
        "adadelta",
        ("square_avg", "acc_delta"),
        ("step",),
        ("lr", "rho", "eps", "weight_decay"),
        "step = step + 1; rest = 1 - rho",
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, False),
            "square_avg = square_avg * rho + grad * grad * rest",
            "delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * grad",
            "acc_delta = acc_delta * rho + delta * delta * rest",
            "param = param - lr * delta",
        ),
    )


class Adadelta(RuleOptimizer):
    """Steps that are as large as the past steps, by the gradient over its root mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr : float
        Factor of the step.
    rho : float
        Factor of the moving means.
    eps : float
        Added under both roots.
    weight_decay : float
        Times the parameter, added to the gradient.
    maximize : bool
        Go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        at_least_zero(eps, "Invalid epsilon value: {}")
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = tuple(float(group[name]) for name in ("lr", "rho", "eps", "weight_decay"))
        return _adadelta(values[3] != 0, bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {"step": scalar(0.0, group), "square_avg": zeros(p), "acc_delta": zeros(p)}


@functools.cache
def _rmsprop(decays: bool, momentum: bool, centered: bool, maximize: bool) -> Rule:
    tensors = ["square_avg"]
    tensors += ["momentum_buffer"] if momentum else []
    tensors += ["grad_avg"] if centered else []
    return Rule(
        "rmsprop",
        tuple(tensors),
        ("step",),
        ("lr", "alpha", "eps", "weight_decay", "momentum"),
        "step = step + 1; rest = 1 - alpha",
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, False),
            "square_avg = square_avg * alpha + grad * grad * rest",
            "grad_avg = grad_avg + (grad - grad_avg) * rest" if centered else "",
            "root = sqrt(square_avg - grad_avg * grad_avg) + eps"
            if centered
            else "root = sqrt(square_avg) + eps",
            "momentum_buffer = momentum_buffer * momentum + grad / root;"
            " param = param - lr * momentum_buffer"
            if momentum
            else "param = param - lr * grad / root",
        ),
    )


class RMSprop(RuleOptimizer):
    """Steps by the gradient over its root mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr : float
        Learning rate.
    alpha : float
        Factor of the moving means.
    eps : float
        Added to the root.
    weight_decay : float
        Times the parameter, added to the gradient.
    momentum : float
        Factor of the past steps.
    centered : bool
        Divide by the deviation from the mean gradient instead.
    maximize : bool
        Go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        at_least_zero(eps, "Invalid epsilon value: {}")
        at_least_zero(momentum, "Invalid momentum value: {}")
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        at_least_zero(alpha, "Invalid alpha value: {}")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("momentum", 0)  # came later than the others

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        names = ("lr", "alpha", "eps", "weight_decay", "momentum")
        values = tuple(float(group[name]) for name in names)
        rule = _rmsprop(
            values[3] != 0, values[4] > 0, bool(group["centered"]), bool(group["maximize"])
        )
        return rule, values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        state = {"step": scalar(0.0, group), "square_avg": zeros(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros(p)
        if group["centered"]:
            state["grad_avg"] = zeros(p)
        return state
