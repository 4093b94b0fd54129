"""A step that autograd records (``differentiable=True``): a rule's text evaluated on Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.autograd.grad_mode import enable_grad
from jitgrad.ops.recipe import evaluated
from jitgrad.optim.rules import MissingState, Numbers, Rule
from jitgrad.tensor import Tensor


def _stored(value: float, single: bool) -> float:
    """What is left of a number in a 0-dim state that is kept in float32 if ``single``."""
    return float(np.float32(value)) if single else value


def update(rule: Rule, params: list[Tensor], state: dict[Any, Any], numbers: Numbers) -> None:
    """Update all parameters of a list that have a gradient, one after the other.

    Raises
    ------
    MissingState
        If a parameter lacks some state; nothing has been changed then.
    RuntimeError
        If a parameter is a leaf that requires grad.
    """
    used = [(i, p) for i, p in enumerate(params) if p.grad is not None]
    for i, p in used:
        for key in rule.keys:
            if key not in state.get(p, ()):
                raise MissingState(i, key)
    written = [name for j, name in enumerate(rule.operands) if rule.writes >> j & 1]
    known = (*rule.numbers, *rule.scalars, *rule.values)
    with enable_grad():
        for _, p in used:
            own = state[p] if rule.keys else {}
            space: dict[str, Any] = dict(zip(rule.numbers, numbers, strict=True))
            space |= {key: float(own[key]) for key in rule.scalars}
            single = any(own[key].dtype.itemsize == 4 for key in rule.scalars)
            functions = {"stored": _stored, "single": single}
            found = evaluated(
                f"{rule.once or 'pass'}; ({', '.join(known)},)", {**space, **functions}
            )
            space |= dict(zip(known, found, strict=True))
            # Copies: the state is written over, and the graph may save its values.
            space |= {key: own[key].clone() for key in rule.tensors}
            space |= {"param": p, "grad": p.grad, "detached": Tensor.detach}
            after = evaluated(f"{rule.each}; ({', '.join(written)},)", space)
            for key in rule.scalars:
                own[key].fill_(space[key])
            for name, value in zip(written, after, strict=True):
                (p if name == "param" else own[name]).copy_(value)
