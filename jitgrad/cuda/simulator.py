"""The device of numba's simulator: kernels run thread by thread in Python, on memory of the host.

It has the same functions as `jitgrad.cuda.driver`, which talks to a GPU.  Blocks and grids are small, so
that few elements cross their boundaries.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.cuda.simulator import kernelapi

from jitgrad.cuda.kernel import Kernel
from jitgrad.cuda.target import CASTS, cuda

#: Threads of a block, and blocks of a grid at most (kernels go on in strides).
BLOCK, GRID = 2, 2
#: Threads of a block that works on one lane together, and the side of a tile of a product.
LANE_BLOCK, TILE = 4, 2

_one_kernel = threading.RLock()


class _Shared(kernelapi.FakeCUDAShared):
    """A block's shared arrays, one for each line that makes one; filled with set bits (NaN in floats).

    numba's own looks whether there is one and then makes it, so that two threads which look at the same
    time have one each, and a sum now and then reads what nobody wrote.
    """

    def array(self, shape: Any, dtype: Any) -> Any:
        caller = sys._getframe(1)
        place = caller.f_code.co_filename, caller.f_lineno
        made = np.full(np.prod(shape) * np.dtype(dtype).itemsize, 255, np.uint8)
        return self._allocations.setdefault(place, made.view(dtype).reshape(shape))


vars(kernelapi)["FakeCUDAShared"] = _Shared


class Elements:
    """What a kernel sees as a pointer: elements from one on, none before it and none past the buffer."""

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array

    def __getitem__(self, i: Any) -> Any:
        if i < 0:
            raise IndexError(f"a kernel reads element {i}")
        return self._array[i]

    def __setitem__(self, i: Any, value: Any) -> None:
        if i < 0:
            raise IndexError(f"a kernel writes element {i}")
        self._array[i] = value


def count() -> int:
    """Devices there are."""
    return 1


def enter() -> None:
    """Nothing: every thread uses the device."""


def name() -> str:
    """What the device is called."""
    return "numba.cuda simulator"


def peak_bandwidth() -> float:
    """0: unknown."""
    return 0.0


def allocate(nbytes: int) -> Any:
    """Memory, filled with set bits (NaN in floats): a kernel that reads what nobody wrote is seen."""
    return np.full(nbytes, 255, np.uint8)


def free(buffer: Any) -> None:
    """Nothing: Python frees it."""


def address(buffer: Any, offset: int) -> int:
    """Where a byte is."""
    return int(buffer.ctypes.data) + offset


def pointer(buffer: Any, offset: int, dtype: int) -> Any:
    """What a kernel is given for elements of a dtype from a byte on."""
    kind = np.dtype(CASTS[dtype])
    end = len(buffer) - (len(buffer) - offset) % kind.itemsize
    return Elements(buffer[offset:end].view(kind))


def write(buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
    """Copy bytes of the host to the device."""
    buffer[offset : offset + data.nbytes] = data.reshape(-1).view(np.uint8)


def read(buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
    """Copy bytes of the device into an array of the host."""
    data.reshape(-1).view(np.uint8)[...] = buffer[offset : offset + data.nbytes]


def load(kernel: Kernel) -> Any:
    """Make a kernel ready to be launched."""
    # NumPy's warnings are each thread's own.  In the kernel's globals, where the simulator puts its cuda.
    space = kernel.function.__globals__
    space |= {"_kernel": kernel.function, "_errstate": np.errstate}
    exec("def _quiet(*a):\n with _errstate(all='ignore'):\n  _kernel(*a)", space)
    return cuda.jit(space["_quiet"])


def launch(
    loaded: Any,
    signature: Sequence[Any],
    grid: tuple[int, ...],
    block: tuple[int, ...],
    values: Sequence[Any],
    stream: int,
) -> None:
    """Run a kernel to its end."""
    numbers = [
        value if isinstance(value, Elements) else CASTS[kind](value)
        for kind, value in zip(signature, values, strict=True)
    ]
    with _one_kernel:
        loaded[grid, block](*numbers)


def synchronize() -> None:
    """Nothing: a launch returns when it is done."""


# ---------------------------------------------------------------- streams and events
# All that is launched is done when the launch returns.
_names = itertools.count(1)
_times: dict[int, float] = {}


def new_stream(priority: int) -> int:
    """A stream, which is a name here."""
    return next(_names)


def finish(stream: int) -> None:
    """Nothing: what was launched is done."""


def idle(stream: int) -> bool:
    """True: what was launched is done."""
    return True


def new_event(timed: bool, blocking: bool) -> int:
    """An event: a name, and when it was recorded."""
    return next(_names)


def record(event: int, stream: int) -> None:
    """Note the time."""
    _times[event] = time.perf_counter()


def wait(stream: int, event: int) -> None:
    """Nothing: what was launched is done."""


def reached(event: int) -> bool:
    """True: what was launched is done."""
    return True


def finish_event(event: int) -> None:
    """Nothing: what was launched is done."""


def elapsed(first: int, last: int) -> float:
    """Milliseconds between two events."""
    return 1e3 * (_times[last] - _times[first])


def free_event(event: int) -> None:
    """Forget it."""
    _times.pop(event, None)
