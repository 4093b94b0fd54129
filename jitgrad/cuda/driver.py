"""The device of the machine, through the CUDA driver's C functions (`cuda.bindings.driver`).

Kernels are compiled to PTX by numba-cuda and assembled by nvJitLink, both without a GPU, so that what the
tests compile and assemble is what is loaded here.  This file is what has not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.cuda import OutOfMemoryError, assembling
from jitgrad.cuda.kernel import Kernel, Pointer
from jitgrad.cuda.target import DTYPES

#: As in `jitgrad.cuda.simulator`.
BLOCK, GRID = 256, 4096
LANE_BLOCK, TILE = 256, 16

_C_TYPES: dict[str, Any] = {
    "bool": ctypes.c_uint8,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}


@functools.cache
def _driver() -> Any:
    from cuda.bindings import driver

    return driver


class CudaError(RuntimeError):
    """A function of the CUDA driver failed."""


def _check(answer: Any) -> Any:
    """The results of a driver function; raises what its status says."""
    status, *results = answer
    driver = _driver()
    if status != driver.CUresult.CUDA_SUCCESS:
        if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise OutOfMemoryError("CUDA out of memory.")
        _, text = driver.cuGetErrorString(status)
        raise CudaError(f"CUDA error: {text.decode() if text else status}")
    return results[0] if len(results) == 1 else results


def count() -> int:
    """Devices there are; 0 also where there is no driver."""
    try:
        driver = _driver()
        _check(driver.cuInit(0))
        return int(_check(driver.cuDeviceGetCount()))
    except (ImportError, RuntimeError, OSError):
        return 0


@functools.cache
def _context() -> Any:
    driver = _driver()
    _check(driver.cuInit(0))
    return _check(driver.cuDevicePrimaryCtxRetain(_check(driver.cuDeviceGet(0))))


def _enter() -> Any:
    """The driver, with the device's context as this thread's."""
    _check(_driver().cuCtxSetCurrent(_context()))
    return _driver()


def enter() -> None:
    """Have this thread use the device, for libraries that are called besides."""
    _enter()


def name() -> str:
    """What the device is called."""
    driver = _enter()
    text = _check(driver.cuDeviceGetName(256, _check(driver.cuDeviceGet(0))))
    return bytes(text).split(b"\0")[0].decode()


@functools.cache
def capability() -> tuple[int, int]:
    """Its compute capability."""
    driver = _enter()
    which = driver.CUdevice_attribute
    device = _check(driver.cuDeviceGet(0))
    major = which.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    minor = which.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    found = [_check(driver.cuDeviceGetAttribute(w, device)) for w in (major, minor)]
    return int(found[0]), int(found[1])


def peak_bandwidth() -> float:
    """The most bytes a second that its memory moves: two for each clock and line of the bus."""
    driver = _enter()
    which = driver.CUdevice_attribute
    device = _check(driver.cuDeviceGet(0))
    clock = which.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE
    width = which.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH
    khz, lines = (int(_check(driver.cuDeviceGetAttribute(w, device))) for w in (clock, width))
    return 2 * khz * 1e3 * lines / 8


def allocate(nbytes: int) -> Any:
    """Memory."""
    return int(_check(_enter().cuMemAlloc(nbytes)))


def free(buffer: Any) -> None:
    """Give memory back; waits for what runs."""
    _check(_enter().cuMemFree(buffer))


def address(buffer: Any, offset: int) -> int:
    """Where a byte is."""
    return int(buffer) + offset


def pointer(buffer: Any, offset: int, dtype: int) -> Any:
    """What a kernel is given for elements of a dtype from a byte on."""
    return int(buffer) + offset


def write(buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
    """Copy bytes of the host to the device, after what was launched on the stream before."""
    driver = _enter()
    _check(driver.cuMemcpyHtoDAsync(buffer + offset, data.ctypes.data, data.nbytes, stream))
    # The host's memory may be gone when this returns.
    finish(stream)


def read(buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
    """Copy bytes of the device into an array of the host, after what was launched on the stream before."""
    driver = _enter()
    _check(driver.cuMemcpyDtoHAsync(data.ctypes.data, buffer + offset, data.nbytes, stream))
    finish(stream)


def load(kernel: Kernel) -> Any:
    """Make a kernel ready to be launched."""
    driver = _enter()
    assembled = assembling.assembled(kernel, capability())
    module = _check(driver.cuModuleLoadData(assembled.code))
    return _check(driver.cuModuleGetFunction(module, assembled.symbol.encode()))


def c_type(kind: Any) -> Any:
    """The C type of an argument."""
    if isinstance(kind, Pointer):
        return ctypes.c_void_p
    found = next(d.name for d in DTYPES if d.code == kind)
    return _C_TYPES.get(found) or getattr(ctypes, f"c_{found}")


def launch(
    loaded: Any,
    signature: Sequence[Any],
    grid: tuple[int, ...],
    block: tuple[int, ...],
    values: Sequence[Any],
    stream: int,
) -> None:
    """Launch a kernel on a stream."""
    grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
    arguments = (tuple(values), tuple(c_type(kind) for kind in signature))
    _check(_enter().cuLaunchKernel(loaded, *grid, *block, 0, stream, arguments, 0))


def synchronize() -> None:
    """Wait until all that was launched is done."""
    _check(_enter().cuCtxSynchronize())


# ---------------------------------------------------------------- streams and events
def new_stream(priority: int) -> int:
    """A stream, which does not wait for the default one."""
    driver = _enter()
    flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    return int(_check(driver.cuStreamCreateWithPriority(flags, priority)))


def finish(stream: int) -> None:
    """Wait until all that was launched on a stream is done."""
    _check(_enter().cuStreamSynchronize(stream))


def idle(stream: int) -> bool:
    """Whether all that was launched on a stream is done."""
    return _is_done(_enter().cuStreamQuery(stream))


def new_event(timed: bool, blocking: bool) -> int:
    """An event."""
    driver = _enter()
    which = driver.CUevent_flags
    flags = 0 if timed else int(which.CU_EVENT_DISABLE_TIMING)
    if blocking:
        flags |= int(which.CU_EVENT_BLOCKING_SYNC)
    return int(_check(driver.cuEventCreate(flags)))


def record(event: int, stream: int) -> None:
    """Note in an event how far a stream has come."""
    _check(_enter().cuEventRecord(event, stream))


def wait(stream: int, event: int) -> None:
    """Have what is launched on a stream from now on wait for an event."""
    _check(_enter().cuStreamWaitEvent(stream, event, 0))


def reached(event: int) -> bool:
    """Whether what was launched before an event is done."""
    return _is_done(_enter().cuEventQuery(event))


def finish_event(event: int) -> None:
    """Wait until what was launched before an event is done."""
    _check(_enter().cuEventSynchronize(event))


def elapsed(first: int, last: int) -> float:
    """Milliseconds between two events."""
    return float(_check(_enter().cuEventElapsedTime(first, last)))


def free_event(event: int) -> None:
    """Let an event go, once it is reached."""
    _check(_enter().cuEventDestroy(event))


def _is_done(answer: Any) -> bool:
    if answer[0] == _driver().CUresult.CUDA_ERROR_NOT_READY:
        return False
    _check(answer)
    return True
