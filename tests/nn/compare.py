"""A function of nn.functional in jitgrad and in PyTorch: results, gradients, or the error's type."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import jitgrad

Array = np.ndarray[Any, Any]


def data(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def outcome(T: ModuleType, function: Callable[..., Any], arrays: tuple[Array, ...]) -> Any:
    """What ``function(functional, module, *tensors)`` gives, and the gradients; or the error's type."""
    tensors = [T.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            result = function(T.nn.functional, T, *tensors)
    except Exception as error:
        return type(error)
    results = result if isinstance(result, tuple) else (result,)
    found = [r.detach().numpy() for r in results]
    if results[0].requires_grad:
        weight = data(*results[0].shape, seed=1, dtype=str(found[0].dtype))
        results[0].backward(T.tensor(weight))
        found += [t.grad.numpy() for t in tensors if t.requires_grad and t.grad is not None]
    return found


def agree(
    torch: ModuleType,
    function: Callable[..., Any],
    *arrays: Array,
    both: bool = True,
    note: Any = "",
) -> Any:
    """Compare in float64 to 1e-10, with ``both`` in float32 as well; returns jitgrad's outcome."""
    kinds = ["float64"] + ["float32"] * both
    for kind in kinds:
        given = tuple(a.astype(kind) if a.dtype.kind == "f" else a for a in arrays)
        ours, theirs = (outcome(T, function, given) for T in (jitgrad, torch))
        if isinstance(ours, type) or isinstance(theirs, type):
            assert ours is theirs, f"{note}: {ours}, PyTorch {theirs}"
            continue
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            tolerance = 1e-10 if kind == "float64" else 3e-5
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=str(note))
    return ours
