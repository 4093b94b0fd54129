"""The GPU: what PyTorch calls ``torch.cuda``.

Importing this imports nothing of CUDA; that happens when the first tensor goes to the GPU.  With
``NUMBA_ENABLE_CUDASIM=1`` kernels run in numba's simulator: slow, but anywhere.
"""

from __future__ import annotations

from typing import Any

from jitgrad.cuda.streams import (
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)

__all__ = [
    "Event",
    "OutOfMemoryError",
    "Stream",
    "StreamContext",
    "current_device",
    "current_stream",
    "default_stream",
    "device_count",
    "empty_cache",
    "get_device_name",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "memory_allocated",
    "reset_peak_memory_stats",
    "set_device",
    "set_stream",
    "stream",
    "synchronize",
]


class OutOfMemoryError(RuntimeError):
    """The GPU has not enough memory."""


def _device() -> Any:
    from jitgrad.cuda import memory

    return memory.device()


def is_available() -> bool:
    """Whether there is a GPU (or its simulator) and what compiles for it."""
    return device_count() > 0


def device_count() -> int:
    """How many devices tensors can be on: one, or none."""
    try:
        return min(int(_device().count()), 1)
    except (AssertionError, RuntimeError):
        return 0


def current_device() -> int:
    """The index of the device that ``"cuda"`` means."""
    _device()
    return 0


def set_device(device: Any) -> None:
    """Nothing, if it is the GPU that there is.

    Raises
    ------
    RuntimeError
        If it is another one.
    """
    from jitgrad.devices import usable

    if usable(device).type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {device}")


def manual_seed(seed: int) -> None:
    """Seed the random numbers, which are made on the CPU: the same as `jitgrad.manual_seed`."""
    from jitgrad import random

    random.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """As `manual_seed`."""
    manual_seed(seed)


def get_device_name(device: Any = None) -> str:
    """What the device is called."""
    return str(_device().name())


def synchronize(device: Any = None) -> None:
    """Wait until all that was launched, on any stream, is done.

    Raises
    ------
    RuntimeError
        If a kernel met an index that was out of range.
    """
    from jitgrad.cuda import memory

    _device().synchronize()
    memory.check()


def memory_allocated(device: Any = None) -> int:
    """Bytes in buffers that tensors use."""
    from jitgrad.arena import columns
    from jitgrad.arena.header import header

    return int(header[columns.H_GPU_BYTES])


def max_memory_allocated(device: Any = None) -> int:
    """The most that `memory_allocated` was."""
    from jitgrad.arena import columns
    from jitgrad.arena.header import header

    return int(header[columns.H_GPU_PEAK])


def reset_peak_memory_stats(device: Any = None) -> None:
    """Have `max_memory_allocated` begin anew."""
    from jitgrad.arena import columns
    from jitgrad.arena.header import header

    header[columns.H_GPU_PEAK] = header[columns.H_GPU_BYTES]


def empty_cache() -> None:
    """Give the buffers that no tensor uses back to the device."""
    from jitgrad.cuda import memory
    from jitgrad.cuda.streams import in_order

    with in_order:
        memory.empty_scratch()
        memory.empty_cache()
