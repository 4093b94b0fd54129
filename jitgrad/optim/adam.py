"""Adam and AdamW."""

from __future__ import annotations

import functools
from typing import Any

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

#: The moving means of the gradient and of its square, as all of Adam's relatives keep them.
MOMENTS = (
    "exp_avg = exp_avg + (grad - exp_avg) * rest1;"
    " exp_avg_sq = exp_avg_sq * beta2 + grad * grad * rest2"
)
#: What the moments and their bias corrections need.
BEFORE = (
    "step = step + 1; rest1 = 1 - beta1; rest2 = 1 - beta2; bias1 = 1 - beta1 ** step;"
    " bias2 = 1 - beta2 ** step; shrink = 1 - lr * weight_decay"
)
NUMBERS = ("lr", "beta1", "beta2", "eps", "weight_decay")


def decay(on: bool, decoupled: bool) -> str:
    """The statement of a weight decay: of the parameter itself if decoupled, else in the gradient."""
    if not on:
        return ""
    return "param = param * shrink" if decoupled else "grad = grad + weight_decay * param"


def numbers(group: Group) -> Numbers:
    """The values of `NUMBERS`."""
    beta1, beta2 = group["betas"]
    return (
        float(group["lr"]),
        float(beta1),
        float(beta2),
        float(group["eps"]),
        float(group["weight_decay"]),
    )


@functools.cache
def _rule(decays: bool, decoupled: bool, amsgrad: bool, maximize: bool) -> Rule:
    return Rule(
        "adam",
        ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq"),
        ("step",),
        NUMBERS,
        statements(BEFORE, "size = lr / bias1; root = sqrt(bias2)"),
        statements(
            "grad = -grad" if maximize else "",
            decay(decays, decoupled),
            MOMENTS,
            "max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq); square = max_exp_avg_sq"
            if amsgrad
            else "square = exp_avg_sq",
            "param = param - size * exp_avg / (sqrt(square) / root + eps)",
        ),
    )


class Adam(RuleOptimizer):
    """Adam: steps by the gradient's moving mean over the root of its moving mean square.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr : float
        Learning rate.
    betas : (float, float)
        Factors of the moving means.
    eps : float
        Added to the root, after the correction of its bias.
    weight_decay : float
        Times the parameter, added to the gradient; with ``decoupled_weight_decay`` taken off the parameter.
    amsgrad : bool
        Divide by the largest mean square so far.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> w = jitgrad.ones(2, requires_grad=True)
    >>> optimizer = jitgrad.optim.Adam([w], lr=0.1)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     ((w - 3) ** 2).sum().backward()
    ...     optimizer.step()
    >>> bool(((w - 3).abs() < 0.1).all())
    True
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        check_lr(lr)
        at_least_zero(eps, "Invalid epsilon value: {}")
        check_betas(betas)
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        kinds = {type(beta) for beta in betas}
        if kinds != {float} and kinds != {Tensor}:
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                if foreach and not capturable:
                    raise ValueError(
                        f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
                    )
                if beta.numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        values = numbers(group)
        rule = _rule(
            values[4] != 0,
            bool(group["decoupled_weight_decay"]),
            bool(group["amsgrad"]),
            bool(group["maximize"]),
        )
        return rule, values

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        state = {"step": scalar(0.0, group), "exp_avg": zeros(p), "exp_avg_sq": zeros(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros(p)
        return state


class AdamW(Adam):
    """`Adam` with the weight decay taken off the parameter instead of added to the gradient."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
