"""The GPU: what PyTorch calls ``torch.cuda``.

Importing this imports nothing of CUDA; that happens when the first tensor goes to the GPU.  With
``NUMBA_ENABLE_CUDASIM=1`` kernels run in numba's simulator: slow, but anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


def get_device_name(device: Any = None) -> str:
    """What the device is called."""
    return str(_device().name())


def synchronize(device: Any = None) -> None:
    """Wait until all that was launched is done.

    Raises
    ------
    RuntimeError
        If a kernel met an index that was out of range.
    """
    from jitgrad.cuda import commands, memory

    commands.launch()
    _device().synchronize()
    memory.check()


def memory_allocated(device: Any = None) -> int:
    """Bytes in buffers that tensors use."""
    from jitgrad.arena import columns
    from jitgrad.arena.engine import header

    return int(header[columns.H_GPU_BYTES])


def max_memory_allocated(device: Any = None) -> int:
    """The most that `memory_allocated` was."""
    from jitgrad.arena import columns
    from jitgrad.arena.engine import header

    return int(header[columns.H_GPU_PEAK])


def empty_cache() -> None:
    """Give the buffers that no tensor uses back to the device."""
    from jitgrad.cuda import commands, memory

    with commands.in_order:
        commands.launch()
        memory.empty_scratch()
        memory.empty_cache()


class Stream:
    """A queue of launches of its own; see `stream`."""

    def __init__(self) -> None:
        self.handle = _device().new_stream()

    def synchronize(self) -> None:
        """Wait until all that was launched is done."""
        synchronize()


@contextmanager
def stream(stream: Stream | None) -> Iterator[None]:
    """Launch on a stream for the length of a block.

    What was launched before the block is done before what is launched in it, and that before what comes
    after it: the streams share one pool of memory.
    """
    if stream is None:
        yield
        return
    from jitgrad.cuda import commands

    commands.launch()
    before = _device().use_stream(stream.handle)
    try:
        yield
    finally:
        commands.launch()
        _device().use_stream(before)
