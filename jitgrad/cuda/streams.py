"""Streams and events of the GPU, and which stream a thread launches on.

Every thread has a current stream, the default one until it chooses another.  Streams have numbers, by which
the arena keeps their free buffers apart (`columns.H_STREAM`): 0 is the default one, then come 32 of each
priority, which are given out in turn, as in PyTorch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from jitgrad.arena.columns import STREAMS
from jitgrad.autograd import stops
from jitgrad.devices import CUDA, usable
from jitgrad.devices import device as Device  # noqa: N812 - "device" is an argument's name here

#: Held from where a call asks for memory and launches until the launches are made: the arena hands a buffer
#: out again when the launches that used it are in their streams.
in_order = threading.RLock()

_EACH = (STREAMS - 1) // 2
#: The device's name of each stream that there is, by number.
_handles: dict[int, int] = {0: 0}
_turns = (count(), count())


def _device() -> Any:
    from jitgrad.cuda import memory

    return memory.device()


class Stream:
    """A queue of launches: those of one stream run in order, those of two side by side.

    What one stream computes and another one reads has to be waited for: `wait_stream`, `wait_event`.

    Parameters
    ----------
    device : device, str or int, optional
        The GPU.
    priority : int
        0, or -1 for one whose launches go first.

    Raises
    ------
    RuntimeError
        If there is no such GPU, or the priority is positive.
    """

    __slots__ = ("_number",)
    _number: int

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        if device is not None and usable(device).type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        if priority > 0:
            raise RuntimeError(
                f"Expected cuda stream priority to be less than or equal to 0, got {priority}"
            )
        high = int(priority < 0)
        with in_order:
            self._number = 1 + high * _EACH + next(_turns[high]) % _EACH
            if self._number not in _handles:
                _handles[self._number] = _device().new_stream(-high)

    @property
    def device(self) -> Device:
        """The GPU."""
        return CUDA

    @property
    def device_index(self) -> int:
        """The number of the GPU."""
        return 0

    @property
    def stream_id(self) -> int:
        """Its number; 0 is the default stream's."""
        return self._number

    @property
    def cuda_stream(self) -> int:
        """What the CUDA driver calls it."""
        return _handles[self._number]

    @property
    def priority(self) -> int:
        """0, or -1 for one whose launches go first."""
        return -1 if self._number > _EACH else 0

    def synchronize(self) -> None:
        """Wait until all that was launched on it is done.

        Raises
        ------
        RuntimeError
            If a kernel met an index that was out of range.
        """
        from jitgrad.cuda import memory

        _device().finish(self.cuda_stream)
        memory.check(self._number)

    def query(self) -> bool:
        """Whether all that was launched on it is done."""
        return bool(_device().idle(self.cuda_stream))

    def record_event(self, event: Event | None = None) -> Event:
        """Note in an event how far it has come; a new one if none is given."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Have what is launched on it from now on wait for an event."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Have what is launched on it from now on wait for what was launched on another stream so far."""
        after(stream._number, self._number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self._number == other._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __repr__(self) -> str:
        return f"<jitgrad.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class Event:
    """How far a stream has come.

    Parameters
    ----------
    enable_timing : bool
        Whether `elapsed_time` is wanted.
    blocking : bool
        Whether `synchronize` lets the processor rest meanwhile.
    interprocess : bool
        Not to be had.
    """

    __slots__ = ("_blocking", "_free", "_handle", "_timing")
    _handle: Any
    _free: Any

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        # Made when it is first recorded.
        self._handle = None
        if interprocess:
            raise NotImplementedError("events are of one process: interprocess=True is not there")
        self._timing, self._blocking = bool(enable_timing), bool(blocking)

    @property
    def cuda_event(self) -> int:
        """What the CUDA driver calls it; 0 before it is recorded."""
        return 0 if self._handle is None else int(self._handle)

    def record(self, stream: Stream | None = None) -> None:
        """Note how far a stream (None: this thread's) has come."""
        stream = current_stream() if stream is None else stream
        if self._handle is None:
            self._handle = _device().new_event(self._timing, self._blocking)
            # Kept, since nothing can be imported any more when an event goes with the interpreter.
            self._free = _device().free_event
        _device().record(self._handle, stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Have what is launched on a stream (None: this thread's) from now on wait for it."""
        stream = current_stream() if stream is None else stream
        if self._handle is not None:
            _device().wait(stream.cuda_stream, self._handle)

    def query(self) -> bool:
        """Whether what was launched before it is done; True before it is recorded."""
        return self._handle is None or bool(_device().reached(self._handle))

    def synchronize(self) -> None:
        """Wait until what was launched before it is done."""
        if self._handle is not None:
            _device().finish_event(self._handle)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to a later one.

        Raises
        ------
        ValueError
            If one does not take the time, was not recorded, or has not been reached yet.
        """
        if not (self._timing and end_event._timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._handle is None or end_event._handle is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end_event.query()):
            raise ValueError("Both events must be completed before calculating elapsed time.")
        return float(_device().elapsed(self._handle, end_event._handle))

    def __del__(self) -> None:
        if self._handle is not None:
            self._free(self._handle)

    def __repr__(self) -> str:
        return (
            f"<jitgrad.cuda.Event {self.cuda_event:#x}>"
            if self._handle
            else ("<jitgrad.cuda.Event uninitialized>")
        )


def _known(number: int) -> Stream:
    stream = Stream.__new__(Stream)
    stream._number = number
    return stream


_DEFAULT = _known(0)


class _Own(threading.local):
    """What a thread's launches follow."""

    stream = _DEFAULT
    #: Entries of a backward pass that are being called.
    steps = 0

    def __init__(self) -> None:
        #: The streams that its last pass has waited for.
        self.waited: set[int] = set()


_own = _Own()


def current_stream(device: Any = None) -> Stream:
    """The stream that this thread launches on."""
    _device()
    return _own.stream


def default_stream(device: Any = None) -> Stream:
    """The stream that a thread launches on until it chooses another."""
    _device()
    return _DEFAULT


def set_stream(stream: Stream | None) -> None:
    """Launch on a stream from now on in this thread; None changes nothing."""
    if stream is not None:
        _own.stream = stream


class StreamContext:
    """Launch on a stream for the length of a block, in this thread; None changes nothing.

    As in PyTorch nothing waits: what the block reads has to be there, or waited for in it, and so has what it
    computes before another stream reads it.
    """

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self._before: list[Stream] = []

    def __enter__(self) -> None:
        self._before.append(_own.stream)
        set_stream(self.stream)

    def __exit__(self, *error: object) -> None:
        _own.stream = self._before.pop()


#: ``with jitgrad.cuda.stream(s):``
stream = StreamContext


# ---------------------------------------------------------------- for those who launch
def number() -> int:
    """The number of this thread's stream."""
    return _own.stream._number


def handle() -> int:
    """What the device calls this thread's stream."""
    return _handles[_own.stream._number]


def several() -> bool:
    """Whether there are other streams than the default one."""
    return len(_handles) > 1


def after(first: int, later: int) -> None:
    """Have what is launched on a stream from now on wait for what was launched on another so far."""
    if first == later:
        return
    device = _device()
    event = device.new_event(False, False)
    device.record(event, _handles[first])
    device.wait(_handles[later], event)
    # It goes when it has been reached.
    device.free_event(event)


# A backward pass runs on the stream of the thread that calls it, and waits for what forward ran on.
def begin_pass() -> None:
    """A pass begins, which has waited for no stream yet."""
    _own.waited = set()


@contextmanager
def step() -> Iterator[None]:
    """A part of a pass runs."""
    _own.steps += 1
    try:
        yield
    finally:
        _own.steps -= 1


def in_pass() -> bool:
    """Whether what is launched belongs to a backward pass: it is a part of one, or Python's at a stop."""
    return _own.steps > 0 or stops.running()


def waited_for() -> set[int]:
    """The streams that this thread's pass has waited for."""
    return _own.waited
