"""Optimisers that are an update rule: the step, new state, and the options that all of them have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad import creation, dtypes
from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.optim import recorded
from jitgrad.optim.optimizer import Group, Optimizer
from jitgrad.optim.rules import MissingState, Numbers, Rule
from jitgrad.tensor import Tensor


class RuleOptimizer(Optimizer):
    """An optimiser whose step is one rule for all parameters of a group.

    A subclass gives `_rule` and `_new_state`.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        if defaults.get("fused") and defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Old checkpoints hold plain numbers where there are tensors now.
        for group in self.param_groups:
            for p in group["params"]:
                found = self.state.get(p, {})
                for key in ("step", "mu_product", "eta", "mu"):
                    if isinstance(found.get(key), (int, float)):
                        found[key] = scalar(float(found[key]), group)

    def _rule(self, group: Group) -> tuple[Rule, Numbers]:
        """The rule for a group's options, and the numbers that it wants."""
        raise NotImplementedError

    def _new_state(self, group: Group, p: Tensor, /) -> dict[str, Any]:
        """The state that a parameter begins with."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew, gradients included; called first, with gradients enabled.

        Returns
        -------
        What ``closure`` returned, or None.

        Raises
        ------
        RuntimeError
            If a gradient or a state has not the shape and dtype of its parameter.  Parameters of that group
            are unchanged then.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("capturable"):
                raise AssertionError(
                    "If capturable=True, params and state_steps must be on supported devices: these are"
                    " on the CPU."
                )
            params = group["params"]
            self._update(group, params if type(params) is list else list(params))
        return loss

    def _update(self, group: Group, params: list[Tensor]) -> None:
        rule, numbers = self._rule(group)
        try:
            self._apply(rule, group, params, numbers)
            return
        except MissingState:
            pass
        for p in params:
            if p.grad is not None and not self.state[p]:
                self.state[p].update(self._new_state(group, p))
        try:
            self._apply(rule, group, params, numbers)
        except MissingState as missing:
            raise KeyError(missing.key) from None

    def _apply(self, rule: Rule, group: Group, params: list[Tensor], numbers: Numbers) -> None:
        """One jitted call; with ``differentiable`` operations on Tensors, which autograd records."""
        if group.get("differentiable"):
            recorded.update(rule, params, self.state, numbers)
        else:
            rule(params, self.state, numbers)


def scalar(value: float, group: Group) -> Tensor:
    """A 0-dim state tensor: in the default dtype, or float32 where the group is fused."""
    single = group.get("fused") or creation.get_default_dtype() is not dtypes.float64
    return creation.tensor(value, dtype=dtypes.float32 if single else dtypes.float64)


def zeros(p: Tensor) -> Tensor:
    """State of a parameter's shape that begins as zeros."""
    return creation.zeros_like(p)


def statements(*parts: str) -> str:
    """One list of statements from several, the empty ones left out."""
    return "; ".join(part for part in parts if part)


def check_lr(lr: Any, message: str = "Invalid learning rate: {}") -> None:
    """PyTorch's checks of a learning rate: one element, not negative."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    at_least_zero(lr, message)


def at_least_zero(value: Any, message: str) -> None:
    """Raise ValueError with ``message`` (and the value in it) for a negative number or NaN."""
    if not value >= 0.0:
        raise ValueError(message.format(value))


def check_betas(betas: Any) -> None:
    """PyTorch's check that both betas are in [0, 1)."""
    for i in (0, 1):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")
