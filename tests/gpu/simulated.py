"""Run in a process of its own, with ``NUMBA_ENABLE_CUDASIM=1``: every call of `tests.calls` on both devices.

`test_simulator` starts it.  The name does not begin with ``test_``: numba reads that variable once.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.calls import CALLS, Call

TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (1e-12, 1e-12)}


def outcome(call: Call, dtype: str, device: str) -> list[Any]:
    """What a call gives on a device, then the gradients of a weighted sum of its results."""
    tensors = []
    for operand, data in zip(call.operands, call.data(dtype), strict=True):
        x = jitgrad.from_numpy(data.copy()).to(device)
        tensors.append(x.requires_grad_() if operand.grad and operand.kind == "float" else x)
    found = call.function(jitgrad, *tensors)
    found = list(found) if isinstance(found, tuple) else [found]
    total = None
    for x in found:
        assert x.device.type == device
        if x.requires_grad:
            weight = np.cos(np.arange(x.numel(), dtype="float64")).reshape(tuple(x.shape))
            term = (x * jitgrad.from_numpy(weight).to(device, x.dtype)).sum()
            total = term if total is None else total + term
    if total is not None:
        total.backward()
    return found + [x.grad if x.is_leaf else None for x in tensors]


def compare(mine: Any, cpu: Any, dtype: str) -> None:
    """Fail unless a tensor of the GPU is what the CPU computed."""
    assert (mine is None) == (cpu is None)
    if mine is None:
        return
    assert mine.is_cuda
    assert mine.dtype is cpu.dtype
    assert mine.shape == cpu.shape
    rtol, atol = max(TOLERANCE[dtype], TOLERANCE.get(mine.dtype.name, (0, 0)))
    np.testing.assert_allclose(
        mine.detach().cpu().numpy(),
        cpu.detach().numpy(),
        rtol=rtol,
        atol=atol,
        equal_nan=True,
    )


#: Calls that make a tensor of their own, on the CPU.
OWN = {"prod with a zero", "prod with zeros", "mixed dtypes"}
#: Those with operands to be on the GPU.
WITH_OPERANDS = [call for call in CALLS if call.operands and call.name not in OWN]
#: What the GPU has no kernel for, as the docs say too.
WITHOUT_KERNEL = set(
    """
    cholesky det eigh eigvalsh inv matrix_rank pinv qr slogdet solve svd svdvals
    bincount bucketize gcd histc isin lcm searchsorted unique unique_consecutive
    digamma erfinv lgamma polygamma
    """.split()
)
# The simulator waits for its threads in a loop that holds the interpreter.
sys.setswitchinterval(0.0002)


def test_two_devices() -> None:
    for call in CALLS:
        if call.name in OWN:
            with pytest.raises(RuntimeError, match="on the same device.*cuda:0 and cpu!"):
                outcome(call, "float32", "cuda")


@pytest.mark.parametrize("call", WITH_OPERANDS, ids=[call.name for call in WITH_OPERANDS])
def test_call(call: Call) -> None:
    dtype = "float32" if len(call.name) % 2 else "float64"
    try:
        found = outcome(call, dtype, "cuda")
    except NotImplementedError as error:
        named = re.match(r"'(\w+)' has no CUDA kernel: move", str(error))
        assert named is not None
        assert named.group(1) in WITHOUT_KERNEL
        return
    for mine, cpu in zip(found, outcome(call, dtype, "cpu"), strict=True):
        compare(mine, cpu, dtype)


def test_what_has_no_kernel_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cuda.md").read_text()
    assert set(re.findall(r"`(\w+)`", text)) >= WITHOUT_KERNEL
