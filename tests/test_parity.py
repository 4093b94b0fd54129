"""The same calls in jitgrad and in PyTorch: values, dtypes, gradients, and the errors of wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.calls import CALLS, Call

TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (1e-12, 1e-13)}


def outcome(module: Any, call: Call, dtype: str) -> tuple[list[Any], list[Any]]:
    """What a call gives in a module, and the gradients of a weighted sum of its results."""
    tensors = []
    for operand, data in zip(call.operands, call.data(dtype), strict=True):
        x = module.from_numpy(data.copy())
        tensors.append(x.requires_grad_() if operand.grad and operand.kind == "float" else x)
    found = call.function(module, *tensors)
    found = list(found) if isinstance(found, tuple) else [found]
    wanted = [x for x in found if x.requires_grad]
    if wanted:
        total = None
        for x in wanted:
            weight = module.from_numpy(
                np.cos(np.arange(x.numel(), dtype="float64")).reshape(tuple(x.shape))
            )
            term = (x * weight.to(x.dtype)).sum()
            total = term if total is None else total + term
        total.backward()
    return found, [x.grad if x.is_leaf else None for x in tensors]


def compare(mine: Any, theirs: Any, dtype: str) -> None:
    """Fail unless two tensors have the same dtype, shape and, to rounding, elements."""
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(mine.shape) == tuple(theirs.shape)
    rtol, atol = max(TOLERANCE[dtype], TOLERANCE.get(mine.dtype.name, (0, 0)))
    np.testing.assert_allclose(
        mine.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=atol, equal_nan=True
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_value_and_gradient(call: Call, dtype: str, torch: Any) -> None:
    mine, my_gradients = outcome(jitgrad, call, dtype)
    theirs, their_gradients = outcome(torch, call, dtype)
    assert len(mine) == len(theirs)
    for x, y in zip(mine, theirs, strict=True):
        compare(x, y, dtype)
        assert x.requires_grad == y.requires_grad
    for g, h in zip(my_gradients, their_gradients, strict=True):
        assert (g is None) == (h is None)
        if g is not None:
            compare(g, h, dtype)
