"""The GPU's memory: from the arena's virtual addresses to buffers.

A storage of the GPU has no address but a number (`jitgrad.arena.devices`).  Its buffer is made when a
launch or a copy first names it, and is kept with the number, which the arena's pool hands out again.

A number belongs to the stream on which it was first taken, its *home*; the arena hands it out again only to
calls of that stream, so launches keep their order.  What another stream does with the buffer is noted here,
and when the number has a new life its streams wait for that.  PyTorch has users say so
(`Tensor.record_stream`); here it is seen, since every launch names its buffers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.arena import columns as col
from jitgrad.arena.columns import GPU_BIT, OFFSET_BITS
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header
from jitgrad.arena.inspect import storages
from jitgrad.cuda import OutOfMemoryError, streams, target

#: Numbers from here on are scratch, not storages.
SCRATCH = (1 << (GPU_BIT - OFFSET_BITS)) - 16

_buffers: dict[int, Any] = {}
#: By stream and place: streams run side by side.
_scratch: dict[tuple[int, int], tuple[Any, int]] = {}
#: The streams that have used a buffer that is not of theirs, and in which life of its number.
_visits: dict[int, tuple[int, set[int]]] = {}
#: The words of the commands that are being launched.
naming: list[int] = []
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
        with streams.in_order:
            if not _found:
                _found.append(_find())
    return _found[0]


def _find() -> Any:
    if not target.INSTALLED:
        raise AssertionError(
            "Torch not compiled with CUDA enabled: jitgrad's kernels for the GPU need numba-cuda, pip install"
            " 'jitgrad[cuda]'"
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
    from jitgrad.cuda import calls

    calls.follow_passes()
    return module


def _place(address: int) -> tuple[Any, int]:
    """The buffer and the byte in it of an address."""
    number = number_of(address)
    with streams.in_order:
        if number >= SCRATCH:
            return _scratch[_scratch_key(number - SCRATCH)][0], address & ((1 << OFFSET_BITS) - 1)
        buffer = _buffers.get(number)
        if buffer is None:
            nbytes = int(storages()[number, col.S_BYTES])
            buffer = _buffers[number] = _allocated(nbytes)
        if streams.several():
            _visit(number, streams.number())
            if streams.in_pass():
                _wait_for_forward(number, streams.number())
        return buffer, address & ((1 << OFFSET_BITS) - 1)


def number_of(address: int) -> int:
    """The number of the storage that an address is in."""
    return (address >> OFFSET_BITS) & ((1 << (GPU_BIT - OFFSET_BITS)) - 1)


def used_by(address: int, stream: int) -> None:
    """Note that a stream uses the buffer that an address is in."""
    with streams.in_order:
        _visit(number_of(address), stream)


def _visit(number: int, stream: int) -> None:
    """Note that a stream uses a buffer, after what other streams did with it in an earlier life."""
    visitors = _visits.get(number)
    found = storages()[number]
    home = _home(found)
    if visitors is None and stream == home:
        return
    life = int(found[col.S_GEN])
    if visitors is not None and visitors[0] != life:
        # A number whose storage is freed by the call that launches shows its next life already.  Then a
        # stream waits earlier than it has to.
        for visitor in visitors[1]:
            for waiting in {home, stream}:
                streams.after(visitor, waiting)
        del _visits[number]
    if stream != home:
        _visits.setdefault(number, (life, set()))[1].add(stream)


def _home(storage: Any) -> int:
    """The stream of a storage's number."""
    return int(storage[col.S_CLASS]) // col.POOL_CLASSES - 1


def _wait_for_forward(number: int, stream: int) -> None:
    """Have a stream wait, once in a pass, for those that have computed or read what a buffer holds."""
    _, visitors = _visits.get(number, (0, ()))
    for other in {_home(storages()[number]), *visitors} - {stream} - streams.waited_for():
        streams.after(other, stream)
        streams.waited_for().add(other)


def _allocated(nbytes: int) -> Any:
    try:
        return device().allocate(nbytes)
    except OutOfMemoryError:
        # What is being launched may name storages that the call has freed since.
        _free_buffers({number_of(word) for word in naming})
        try:
            return device().allocate(nbytes)
        except OutOfMemoryError:
            raise OutOfMemoryError(
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
    key = _scratch_key(place)
    with streams.in_order:
        buffer = _scratch.get(key)
        if buffer is None or buffer[1] < nbytes:
            if buffer is not None:
                device().finish(streams.handle())
                device().free(buffer[0])
                del _scratch[key]
            _scratch[key] = (_allocated(nbytes), nbytes)
    return (1 << GPU_BIT) | ((SCRATCH + place) << OFFSET_BITS)


def _scratch_key(place: int) -> tuple[int, int]:
    """Of the streams' own scratch memory, or of what they have together."""
    return (0 if place == _FAULT else streams.number()), place


#: The place of scratch memory in which a kernel notes that an index was out of range.
_FAULT = 15
#: The streams whose kernels may have done so since the last look.
_watched: set[int] = set()


def fault() -> int:
    """Where a kernel writes 1 if it meets an index that is out of range: it can't raise."""
    if (0, _FAULT) not in _scratch:
        address = scratch(8, _FAULT)
        write(address, np.zeros(1, np.int64))
    _watched.add(streams.number())
    return scratch(8, _FAULT)


def check(stream: int | None = None) -> None:
    """Look whether a kernel of a stream (None: of any) met an index out of range since the last time.

    All that was launched there has to be done.

    Raises
    ------
    RuntimeError
        If one did.  What it computed has zeros in those places.
    """
    if not (_watched if stream is None else stream in _watched):
        return
    found = np.zeros(1, np.int64)
    read(scratch(8, _FAULT), found)
    if stream is None:
        _watched.clear()
    else:
        _watched.discard(stream)
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
    device().write(*_place(address), data, streams.handle())


def read(address: int, data: np.ndarray[Any, Any]) -> None:
    """Copy from an address into a contiguous array."""
    device().read(*_place(address), data, streams.handle())


def allocated() -> int:
    """Bytes in buffers that tensors use."""
    return int(header[col.H_GPU_BYTES])


def empty_scratch() -> None:
    """Give back what launches leave for each other; not while such are made (`streams.in_order`)."""
    keys = [key for key in _scratch if key[1] != _FAULT]
    if keys:
        device().synchronize()
    for key in keys:
        device().free(_scratch.pop(key)[0])


def empty_cache() -> None:
    """Give back the buffers that no storage uses, and their numbers; not while launches wait."""
    _free_buffers(set())
    entry.empty_gpu()


def _free_buffers(kept: set[int]) -> None:
    """Give back the buffers of numbers that are not in use and not to be kept."""
    live = storages()
    # By S_GEN, which is odd while a storage is used.
    waiting = [s for s in _buffers if live[s, col.S_GEN] % 2 == 0 and s not in kept]
    if waiting:
        device().synchronize()
        # So nobody has to wait for what any stream did so far.
        _visits.clear()
    for number in waiting:
        device().free(_buffers.pop(number))
