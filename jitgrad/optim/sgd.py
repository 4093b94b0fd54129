"""Stochastic gradient descent."""

from __future__ import annotations

import functools
from typing import Any

from jitgrad import creation
from jitgrad.optim.optimizer import Group
from jitgrad.optim.ruled import RuleOptimizer, at_least_zero, check_lr, statements
from jitgrad.optim.rules import MissingState, Numbers, Rule
from jitgrad.tensor import Tensor


@functools.cache
def _rule(
    decay: bool, momentum: bool, nesterov: bool, maximize: bool, first: bool, recorded: bool
) -> Rule:
    moved = "grad = grad + momentum * momentum_buffer" if nesterov else "grad = momentum_buffer"
    # The first buffer is the gradient itself, whatever the dampening.
    buffer = "grad" if first else "momentum_buffer * momentum + grad * rest"
    if first and recorded:
        buffer = "detached(grad)"  # nothing flows through the first one, as in PyTorch
    return Rule(
        "sgd",
        ("momentum_buffer",) if momentum else (),
        (),
        ("lr", "momentum", "dampening", "weight_decay"),
        "rest = 1 - dampening",
        statements(
            "grad = -grad" if maximize else "",
            "grad = grad + weight_decay * param" if decay else "",
            f"momentum_buffer = {buffer}; {moved}" if momentum else "",
            "param = param - lr * grad",
        ),
    )


class SGD(RuleOptimizer):
    """Stochastic gradient descent, optionally with momentum.

    Parameters
    ----------
    params : iterable
        Tensors, or dicts of groups.
    lr : float
        Learning rate.
    momentum, dampening : float
        The buffer is ``momentum * buffer + (1 - dampening) * gradient``; it begins as the first gradient.
    weight_decay : float
        Times the parameter, added to the gradient.
    nesterov : bool
        Look ahead; needs momentum and no dampening.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> import jitgrad
    >>> w = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = jitgrad.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        at_least_zero(momentum, "Invalid momentum value: {}")
        at_least_zero(weight_decay, "Invalid weight_decay value: {}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _pair(self, group: Group, first: bool) -> tuple[Rule, Numbers]:
        lr, momentum = float(group["lr"]), float(group["momentum"])
        decay = float(group["weight_decay"])
        rule = _rule(
            decay != 0,
            momentum != 0,
            bool(group["nesterov"]),
            bool(group["maximize"]),
            first,
            bool(group["differentiable"]),
        )
        return rule, (lr, momentum, float(group["dampening"]), decay)

    def _update(self, group: Group, params: list[Tensor]) -> None:
        rule, numbers = self._pair(group, False)
        try:
            self._apply(rule, group, params, numbers)
            return
        except MissingState:
            pass
        key = "momentum_buffer"
        fresh = [p for p in params if p.grad is not None and self.state[p].get(key) is None]
        others = [p for p in params if p.grad is not None and self.state[p].get(key) is not None]
        for p in fresh:
            self.state[p][key] = creation.empty_like(p)
        try:
            self._apply(self._pair(group, True)[0], group, fresh, numbers)
        except BaseException:
            for p in fresh:
                self.state[p].pop(key, None)
            raise
        self._apply(rule, group, others, numbers)
