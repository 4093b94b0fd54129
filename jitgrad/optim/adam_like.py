"""Adam's relatives: RAdam, NAdam, Adamax."""

from __future__ import annotations

import functools
from typing import Any

from jitgrad.optim.adam import BEFORE, MOMENTS, NUMBERS, decay, numbers
from jitgrad.optim.optimizer import Group
from jitgrad.optim.ruled import (
    RuleOptimizer,
    at_least_zero,
    check_betas,
    check_lr,
    scalar,
    statements,
    zeros,
)
from jitgrad.optim.rules import Numbers, Rule
from jitgrad.tensor import Tensor


def _check(lr: Any, betas: Any, eps: float, weight_decay: float) -> None:
    check_lr(lr)
    at_least_zero(eps, "Invalid epsilon value: {}")
    check_betas(betas)
    at_least_zero(weight_decay, "Invalid weight_decay value: {}")


@functools.cache
def _radam(decays: bool, decoupled: bool, maximize: bool) -> Rule:
    return Rule(
        "radam",
        ("exp_avg", "exp_avg_sq"),
        ("step",),
        NUMBERS,
        statements(
            BEFORE,
            "limit = 2 / (1 - beta2) - 1; rho = limit - 2 * step * beta2 ** step / bias2",
            "rect = sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))",
            "root = sqrt(bias2)",
        ),
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, decoupled),
            MOMENTS,
            "scale = where(rho > 5, root / (sqrt(exp_avg_sq) + eps) * rect, 1)",
            "param = param - exp_avg / bias1 * lr * scale",
        ),
    )


class RAdam(RuleOptimizer):
    """Adam that leaves its division out while the mean square rests on too few gradients.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr, betas, eps, weight_decay, decoupled_weight_decay, maximize
        As for `Adam`.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = numbers(group)
        decoupled = bool(group["decoupled_weight_decay"])
        return _radam(values[4] != 0, decoupled, bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {"step": scalar(0.0, group), "exp_avg": zeros(p), "exp_avg_sq": zeros(p)}


@functools.cache
def _nadam(decays: bool, decoupled: bool, maximize: bool) -> Rule:
    return Rule(
        "nadam",
        ("exp_avg", "exp_avg_sq"),
        ("step", "mu_product"),
        (*NUMBERS, "momentum_decay"),
        statements(
            BEFORE,
            "mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))",
            "after = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))",
            # PyTorch multiplies in the dtype of the state.
            "mu_product = stored(mu_product * stored(mu, single), single)",
            "now = lr * (1 - mu) / (1 - mu_product); ahead = lr * after / (1 - mu_product * after)",
        ),
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, decoupled),
            MOMENTS,
            "root = sqrt(exp_avg_sq / bias2) + eps",
            "param = param - now * grad / root - ahead * exp_avg / root",
        ),
    )


class NAdam(RuleOptimizer):
    """Adam with Nesterov's momentum.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr, betas, eps, weight_decay, decoupled_weight_decay, maximize
        As for `Adam`.
    momentum_decay : float
        How fast the momentum grows to ``betas[0]``.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        at_least_zero(momentum_decay, "Invalid momentum_decay value: {}")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = numbers(group)
        decoupled = bool(group["decoupled_weight_decay"])
        rule = _nadam(values[4] != 0, decoupled, bool(group["maximize"]))
        return rule, (*values, float(group["momentum_decay"]))

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {
            "step": scalar(0.0, group),
            "mu_product": scalar(1.0, group),
            "exp_avg": zeros(p),
            "exp_avg_sq": zeros(p),
        }


@functools.cache
def _adamax(decays: bool, maximize: bool) -> Rule:
    return Rule(
        "adamax",
        ("exp_avg", "exp_inf"),
        ("step",),
        NUMBERS,
        statements(BEFORE, "size = lr / bias1"),
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, False),
            "exp_avg = exp_avg + (grad - exp_avg) * rest1",
            "exp_inf = maximum(exp_inf * beta2, abs(grad) + eps)",
            "param = param - size * exp_avg / exp_inf",
        ),
    )


class Adamax(RuleOptimizer):
    """Adam with the largest gradient, fading, in place of the mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr, betas, eps, weight_decay, maximize
        As for `Adam`.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = numbers(group)
        return _adamax(values[4] != 0, bool(group["maximize"])), values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        return {"step": scalar(0.0, group), "exp_avg": zeros(p), "exp_inf": zeros(p)}
