"""The same expression in jitgrad and in PyTorch, compared: values, dtypes, gradients, errors, warnings."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np

import jitgrad


def names(T: ModuleType) -> dict[str, Any]:  # noqa: N803 - T is the namespace under test
    """What expressions may use."""
    return {
        "T": T,
        "F": T.nn.functional,
        "L": T.tensor,
        "np": np,
        "x": T.arange(6.0).view(2, 3),
        "y": T.arange(24.0).view(2, 3, 4),
        "g": T.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, -0.25]], requires_grad=True),
        "h": T.tensor([[1.5, 1.0, -2.0], [0.5, 4.0, 0.25]], requires_grad=True),
        "i": T.tensor([0, 1]),
    }


def plain(T: ModuleType, value: Any) -> Any:  # noqa: N803
    """A result as plain data."""
    if isinstance(value, T.Tensor):
        dtype = str(value.dtype).rpartition(".")[2]
        return ["tensor", list(value.shape), dtype, value.detach().tolist()]
    if isinstance(value, (list, tuple)):
        return [plain(T, v) for v in value]
    return value


def weights(T: ModuleType, value: Any) -> Any:  # noqa: N803
    """Weights for a result, so that its elements' gradients differ."""
    n = value.numel()
    return (T.arange(float(n)) * 0.37 + 1).to(value.dtype).reshape(value.shape)


def outcome(T: ModuleType, source: str) -> dict[str, Any]:  # noqa: N803
    """What an expression gives: its value, its node, the gradients, the error, whether it warns."""
    space = names(T)
    found: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = eval(source, space)
            if isinstance(value, T.Tensor) and value.requires_grad:
                found["node"] = value.grad_fn.name()
                (value * weights(T, value)).sum().backward()
            found["value"] = plain(T, value)
        except Exception as error:
            found["error"] = type(error).__name__
            found["message"] = str(error).replace("jitgrad", "torch")
    found["warns"] = bool(caught)
    found["gradients"] = [plain(T, space[k].grad) for k in "gh"]
    return found


def close(a: Any, b: Any) -> bool:
    """Whether plain data agree, numbers up to float32's rounding."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(p, q) for p, q in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= 2e-5 * max(1.0, abs(a))
    return type(a) is type(b) and bool(a == b)


def check(torch: ModuleType, source: str, *, but: tuple[str, ...] = ()) -> None:
    """Compare the outcomes; ``but`` names parts that may differ."""
    ours, theirs = outcome(jitgrad, source), outcome(torch, source)
    for part in sorted(set(ours) | set(theirs)):
        if part not in but:
            a, b = ours.get(part), theirs.get(part)
            assert close(a, b), f"{part} of {source}: {a!r}, PyTorch {b!r}"
