"""The GPU's memory: from the arena's virtual addresses to buffers.

A storage of the GPU has no address but a number (`jitgrad.arena.devices`).  Its buffer is made when a
launch or a copy first names it, and is kept with the number, which the arena's pool hands out again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.columns import GPU_BIT, OFFSET_BITS
from jitgrad.arena.engine import entry, header
from jitgrad.arena.inspect import storages
from jitgrad.cuda import target

#: Numbers from here on are scratch, not storages.
SCRATCH = (1 << (GPU_BIT - OFFSET_BITS)) - 16

_buffers: dict[int, Any] = {}
_scratch: dict[int, tuple[Any, int]] = {}
_found: list[Any] = []


def device() -> Any:
    """The module that talks to the device: `jitgrad.cuda.simulator` or `jitgrad.cuda.driver`.

    Raises
    ------
    AssertionError
        If numba-cuda is not installed.
    RuntimeError
        If there is no GPU.
    """
    if not _found:
        if not target.INSTALLED:
            raise AssertionError(
                "Torch not compiled with CUDA enabled: jitgrad's kernels for the GPU need numba-cuda, pip"
                " install 'jitgrad[cuda]'"
            )
        module: Any
        if target.SIMULATED:
            from jitgrad.cuda import simulator as module
        else:
            from jitgrad.cuda import driver as module
        if module.count() == 0:
            raise RuntimeError(
                "No CUDA GPUs are available (NUMBA_ENABLE_CUDASIM=1 simulates one, slowly)"
            )
        _found.append(module)
    return _found[0]


def _place(address: int) -> tuple[Any, int]:
    """The buffer and the byte in it of an address."""
    number = (address >> OFFSET_BITS) & ((1 << (GPU_BIT - OFFSET_BITS)) - 1)
    if number >= SCRATCH:
        return _scratch[number - SCRATCH][0], address & ((1 << OFFSET_BITS) - 1)
    buffer = _buffers.get(number)
    if buffer is None:
        nbytes = int(storages()[number, col.S_BYTES])
        buffer = _buffers[number] = _allocated(nbytes)
    return buffer, address & ((1 << OFFSET_BITS) - 1)


def _allocated(nbytes: int) -> Any:
    try:
        return device().allocate(nbytes)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        empty_cache()
        try:
            return device().allocate(nbytes)
        except RuntimeError:
            raise type(error)(
                f"CUDA out of memory. Tried to allocate {nbytes} bytes; {allocated()} bytes are in use."
            ) from None


def pointer(address: int, dtype: int) -> Any:
    """What a kernel is given for elements of a dtype at an address."""
    return device().pointer(*_place(address), dtype)


def width() -> int:
    """Threads of a block that works on one lane together: a power of two, also where there is no device."""
    if _found:
        return int(_found[0].LANE_BLOCK)
    return 4 if target.SIMULATED else 256


def tile() -> int:
    """The side of a tile of a product, and of the block that computes it."""
    if _found:
        return int(_found[0].TILE)
    return 2 if target.SIMULATED else 16


def scratch(nbytes: int, place: int = 0) -> int:
    """The address of memory for what one launch leaves for the next; ``place`` tells several apart."""
    buffer = _scratch.get(place)
    if buffer is None or buffer[1] < nbytes:
        if buffer is not None:
            device().synchronize()
            device().free(buffer[0])
        _scratch[place] = (_allocated(nbytes), nbytes)
    return (1 << GPU_BIT) | ((SCRATCH + place) << OFFSET_BITS)


#: The place of scratch memory in which a kernel notes that an index was out of range.
_FAULT = 15
_watched = [False]


def fault() -> int:
    """Where a kernel writes 1 if it meets an index that is out of range: it can't raise."""
    if _FAULT not in _scratch:
        address = scratch(8, _FAULT)
        write(address, np.zeros(1, np.int64))
    _watched[0] = True
    return scratch(8, _FAULT)


def check() -> None:
    """Look whether a kernel met an index that was out of range since the last look.

    Raises
    ------
    RuntimeError
        If one did.  What it computed has zeros in those places.
    """
    if not _watched[0]:
        return
    found = np.zeros(1, np.int64)
    read(fault(), found)
    _watched[0] = False
    if found[0]:
        write(scratch(8, _FAULT), np.zeros(1, np.int64))
        raise RuntimeError(
            "CUDA error: device-side assert triggered: an index was out of range in an operation that"
            " was launched since the device was last waited for"
        )


def real_address(address: int) -> int:
    """Where it is on the device."""
    return device().address(*_place(address))


def write(address: int, data: np.ndarray[Any, Any]) -> None:
    """Copy a contiguous array to an address."""
    device().write(*_place(address), data)


def read(address: int, data: np.ndarray[Any, Any]) -> None:
    """Copy from an address into a contiguous array."""
    device().read(*_place(address), data)


def allocated() -> int:
    """Bytes in buffers that tensors use."""

    return int(header[col.H_GPU_BYTES])


def empty_scratch() -> None:
    """Give back what launches leave for each other; not while such are made (`commands.in_order`)."""
    places = [place for place in _scratch if place != _FAULT]
    if places:
        device().synchronize()
    for place in places:
        device().free(_scratch.pop(place)[0])


def empty_cache() -> None:
    """Give back the buffers that no storage uses."""
    live = storages()
    # By S_GEN, which is odd while a storage is used.
    waiting = [s for s in _buffers if live[s, col.S_GEN] % 2 == 0]
    if waiting:
        device().synchronize()
    for number in waiting:
        device().free(_buffers.pop(number))
    entry.empty_gpu()
