"""Copies between the host and the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.autograd.function import Function
from jitgrad.cuda import commands, memory, streams
from jitgrad.cuda.target import DTYPES
from jitgrad.devices import CPU
from jitgrad.errors import no_cuda_kernel

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def on_gpu(x: Tensor) -> bool:
    """Whether a tensor's memory is on the GPU."""
    return bool(entry.memory(x) >> col.GPU_BIT)


def empty(shape: tuple[int, ...], code: int) -> Tensor:
    """An uninitialised tensor on the GPU, of a dtype code."""
    from jitgrad.tensor import Tensor

    memory.device()
    if dtypes.ALL[code] not in DTYPES:
        raise no_cuda_kernel(dtypes.ALL[code].name)
    return commands.called("new", code, Tensor, *shape)


def to_gpu(x: Tensor) -> Tensor:
    """A copy on the GPU without history."""
    made = empty(tuple(x.shape), x.dtype.code)
    if x.numel():
        memory.write(entry.address(made), np.ascontiguousarray(x.detach()._array()))
    return made


def to_cpu(x: Tensor) -> Tensor:
    """A copy on the CPU without history; waits for what computes it.

    Raises
    ------
    RuntimeError
        If a kernel met an index that was out of range.
    """
    from jitgrad import creation

    made = creation.empty(tuple(x.shape), dtype=x.dtype, device=CPU)
    if x.numel():
        x = x.detach().contiguous()
        memory.read(entry.address(x), made._array())
        memory.check(streams.number())
    return made


class ToCopy(Function):
    """A copy on the other device, whose gradient is copied back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Copy."""
        return to_cpu(x) if on_gpu(x) else to_gpu(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """Copy back."""
        return ToCopy.apply(g)
