"""What `jitgrad.cuda.driver` asks of the CUDA driver, told by a stand-in that notes it."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.gpu.test_simulator import interpreter


class Result(IntEnum):
    """Of CUresult."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_READY = 600
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


class Driver:
    """The functions of `cuda.bindings.driver` that are called; memory of the device is the host's.

    Streams are finished when somebody waits for them.
    """

    CUresult = Result
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUevent_flags = SimpleNamespace(CU_EVENT_BLOCKING_SYNC=1, CU_EVENT_DISABLE_TIMING=2)

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE=36,
        CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH=37,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, tuple[Any, ...]] = {}
        self.kept: dict[int, Any] = {}
        self._next = 100

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def function(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            if name in self.answers:
                return self.answers[name]
            made = getattr(self, f"_{name}", None)
            return (Result.CUDA_SUCCESS, *(() if made is None else made(*arguments)))

        return function

    def _new(self, *arguments: Any) -> tuple[int]:
        self._next += 1
        return (self._next,)

    _cuStreamCreateWithPriority = _cuEventCreate = _new  # noqa: N815 - the driver's names
    _cuDeviceGet = _cuDevicePrimaryCtxRetain = _new  # noqa: N815

    def _cuDeviceGetAttribute(self, which: int, device: int) -> tuple[int]:  # noqa: N802
        return ({36: 1_000_000, 37: 4096, 75: 9, 76: 0}[which],)

    def _cuMemAlloc(self, nbytes: int) -> tuple[int]:  # noqa: N802
        block = np.zeros(nbytes, np.uint8)
        self.kept[block.ctypes.data] = block
        return (block.ctypes.data,)

    def _cuMemcpyHtoDAsync(self, to: int, of: int, nbytes: int, stream: int) -> tuple[()]:  # noqa: N802
        ctypes.memmove(to, of, nbytes)
        return ()

    _cuMemcpyDtoHAsync = _cuMemcpyHtoDAsync  # noqa: N815

    def _cuEventElapsedTime(self, first: int, last: int) -> tuple[float]:  # noqa: N802
        return (2.5,)

    def _cuGetErrorString(self, status: Result) -> tuple[bytes]:  # noqa: N802
        return (b"an illegal memory access was encountered",)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The device of the driver, and the stand-in as its ``cuda``."""
    interpreter()
    from jitgrad.cuda import driver

    cuda = Driver()
    monkeypatch.setattr(driver, "_driver", lambda: cuda)
    driver._context.cache_clear()
    yield SimpleNamespace(driver=driver, cuda=cuda)
    driver._context.cache_clear()


def asked(device: Any) -> list[tuple[Any, ...]]:
    """The calls since the last look, without those that choose the context."""
    found = [call for call in device.cuda.calls if call[0] not in _SETTING]
    del device.cuda.calls[:]
    return found


_SETTING = {"cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"}


def test_copies_are_on_a_stream_and_waited_for(device: Any) -> None:
    driver = device.driver
    buffer = driver.allocate(64)
    data = np.arange(4.0)
    driver.write(buffer, 16, data, 7)
    found = np.zeros(4)
    driver.read(buffer, 16, found, 9)
    assert found.tolist() == data.tolist()
    driver.free(buffer)
    assert asked(device) == [
        ("cuMemAlloc", 64),
        ("cuMemcpyHtoDAsync", buffer + 16, data.ctypes.data, 32, 7),
        ("cuStreamSynchronize", 7),
        ("cuMemcpyDtoHAsync", found.ctypes.data, buffer + 16, 32, 9),
        ("cuStreamSynchronize", 9),
        ("cuMemFree", buffer),
    ]


def test_every_call_uses_the_context_of_the_device(device: Any) -> None:
    device.driver.enter()
    context = next(call[1] for call in device.cuda.calls if call[0] == "cuCtxSetCurrent")
    device.driver.synchronize()
    assert device.cuda.calls[-2:] == [("cuCtxSetCurrent", context), ("cuCtxSynchronize",)]


def test_what_the_device_is(device: Any) -> None:
    device.driver.capability.cache_clear()
    assert device.driver.capability() == (9, 0)
    device.driver.capability.cache_clear()
    assert device.driver.peak_bandwidth() == 1024e9


def test_launches_name_their_stream(device: Any) -> None:
    from jitgrad.cuda.kernel import Pointer
    from jitgrad.cuda.target import FLOAT64, INT64

    signature = (INT64, Pointer(FLOAT64), FLOAT64)
    device.driver.launch("kernel", signature, (5,), (16, 16), [3, 4096, 0.5], 7)
    types = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    expected = ("cuLaunchKernel", "kernel", 5, 1, 1, 16, 16, 1, 0, 7, ((3, 4096, 0.5), types), 0)
    assert asked(device) == [expected]


def test_streams_and_events(device: Any) -> None:
    driver = device.driver
    stream = driver.new_stream(-1)
    timed, plain = driver.new_event(True, False), driver.new_event(False, True)
    driver.record(timed, stream)
    driver.wait(0, timed)
    driver.finish(stream)
    driver.finish_event(plain)
    assert driver.elapsed(timed, plain) == 2.5
    driver.free_event(plain)
    assert asked(device) == [
        ("cuStreamCreateWithPriority", 1, -1),
        ("cuEventCreate", 0),
        ("cuEventCreate", 3),
        ("cuEventRecord", timed, stream),
        ("cuStreamWaitEvent", 0, timed, 0),
        ("cuStreamSynchronize", stream),
        ("cuEventSynchronize", plain),
        ("cuEventElapsedTime", timed, plain),
        ("cuEventDestroy", plain),
    ]
    assert driver.idle(stream)
    assert driver.reached(timed)
    device.cuda.answers["cuStreamQuery"] = (Result.CUDA_ERROR_NOT_READY,)
    device.cuda.answers["cuEventQuery"] = (Result.CUDA_ERROR_NOT_READY,)
    assert not driver.idle(stream)
    assert not driver.reached(timed)
    device.cuda.answers["cuStreamQuery"] = (Result.CUDA_ERROR_ILLEGAL_ADDRESS,)
    with pytest.raises(RuntimeError, match="CUDA error: an illegal memory access"):
        driver.idle(stream)


def test_errors(device: Any) -> None:
    device.cuda.answers["cuMemAlloc"] = (Result.CUDA_ERROR_OUT_OF_MEMORY, 0)
    with pytest.raises(device.driver.OutOfMemoryError, match="CUDA out of memory"):
        device.driver.allocate(8)
    device.cuda.answers["cuStreamSynchronize"] = (Result.CUDA_ERROR_ILLEGAL_ADDRESS,)
    with pytest.raises(device.driver.CudaError, match="an illegal memory access was encountered"):
        device.driver.finish(0)


def test_the_binding_has_these_functions(device: Any) -> None:
    """All that `driver` calls, by the names and with the numbers of arguments that are told apart here."""
    import inspect
    import re

    from cuda.bindings import driver as binding

    source = inspect.getsource(device.driver)
    names = set(re.findall(r"\.(cu[A-Z]\w+)\(", source))
    assert {"cuLaunchKernel", "cuStreamCreateWithPriority", "cuStreamWaitEvent"} <= names
    for name in names:
        assert callable(getattr(binding, name)), name
    for enum in ("CUstream_flags", "CUevent_flags", "CUdevice_attribute"):
        for name, value in vars(getattr(Driver, enum)).items():
            assert int(getattr(getattr(binding, enum), name)) == value
    for result in Result:
        assert int(getattr(binding.CUresult, result.name)) == result
