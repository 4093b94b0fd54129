"""A device that does nothing before it has to: numba's simulator behind queues, one for each stream.

What a stream has to do is done when somebody waits for it, and what it waits for itself is done then.  So
work that nobody has waited for comes too late for whoever reads it, and then reads what has replaced its
operands since.  In the other orders streams that nobody waits for run before, or all take turns.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.cuda import OutOfMemoryError, simulator
from jitgrad.cuda.kernel import Kernel

#: What waits in a queue: work, or an event's mark to be reached or waited for.
Work = Callable[[], None]


class Mark:
    """A place in a queue, as an event notes it."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.reached = False


class Device:
    """The functions of `jitgrad.cuda.simulator`; ``log`` names what was asked for, in order."""

    BLOCK, GRID = simulator.BLOCK, simulator.GRID
    LANE_BLOCK, TILE = simulator.LANE_BLOCK, simulator.TILE

    def __init__(self, order: str = "late") -> None:
        self.order = order
        self.log: list[tuple[Any, ...]] = []
        self.left: float = float("inf")
        self._queues: dict[int, list[tuple[str, Any]]] = {0: []}
        self._marks: dict[int, Mark | None] = {}
        self._random = random.Random(0)
        self._lock = threading.RLock()

    # ------------------------------------------------------------ what does not wait
    def count(self) -> int:
        return 1

    def name(self) -> str:
        return "late"

    def enter(self) -> None:
        simulator.enter()

    def load(self, kernel: Kernel) -> Any:
        return kernel.name, simulator.load(kernel)

    def allocate(self, nbytes: int) -> Any:
        if nbytes > self.left:
            raise OutOfMemoryError("CUDA out of memory.")
        self.left -= nbytes
        return simulator.allocate(nbytes)

    def free(self, buffer: Any) -> None:
        """Whoever still reads it gets NaN."""
        assert not any(self._queues.values()), "memory is freed that may be in use"
        self.left += buffer.nbytes
        buffer[:] = 255

    def address(self, buffer: Any, offset: int) -> int:
        return simulator.address(buffer, offset)

    def pointer(self, buffer: Any, offset: int, dtype: int) -> Any:
        return simulator.pointer(buffer, offset, dtype)

    # ------------------------------------------------------------ what does
    def _later(self, stream: int, work: Work, *noted: Any) -> None:
        with self._lock:
            self.log.append((*noted, stream))
            self._queues[stream].append(("work", work))

    def launch(
        self,
        loaded: Any,
        signature: Sequence[Any],
        grid: tuple[int, ...],
        block: tuple[int, ...],
        values: Sequence[Any],
        stream: int,
    ) -> None:
        name, kernel = loaded

        def work() -> None:
            simulator.launch(kernel, signature, grid, block, values, stream)

        self._later(stream, work, "launch", name)

    def write(self, buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
        self._later(stream, lambda: simulator.write(buffer, offset, data, stream), "write")
        self.finish(stream)

    def read(self, buffer: Any, offset: int, data: np.ndarray[Any, Any], stream: int) -> None:
        self._later(stream, lambda: simulator.read(buffer, offset, data, stream), "read")
        self.finish(stream)

    def new_stream(self, priority: int) -> int:
        found = simulator.new_stream(priority)
        self._queues[found] = []
        return found

    def new_event(self, timed: bool, blocking: bool) -> int:
        found = simulator.new_event(timed, blocking)
        self._marks[found] = None
        return found

    def record(self, event: int, stream: int) -> None:
        with self._lock:
            self.log.append(("record", stream))
            mark = self._marks[event] = Mark(stream)
            self._queues[stream].append(("reach", mark))

    def wait(self, stream: int, event: int) -> None:
        with self._lock:
            mark = self._marks[event]
            assert mark is not None
            self.log.append(("wait for", mark.stream, stream))
            self._queues[stream].append(("wait", mark))

    def free_event(self, event: int) -> None:
        del self._marks[event]

    # ------------------------------------------------------------ waiting
    def finish(self, stream: int) -> None:
        with self._lock:
            if self.order == "others first":
                for other in self._queues:
                    while other != stream and self._next(other):
                        pass
            while self._queues[stream]:
                self._turn(stream)

    def finish_event(self, event: int) -> None:
        with self._lock:
            mark = self._marks[event]
            while mark is not None and not mark.reached:
                self._turn(mark.stream)

    def synchronize(self) -> None:
        for stream in list(self._queues):
            self.finish(stream)

    def idle(self, stream: int) -> bool:
        return not self._queues[stream]

    def reached(self, event: int) -> bool:
        mark = self._marks[event]
        return mark is None or mark.reached

    def _turn(self, stream: int) -> None:
        """One thing of a stream, after what it has to wait for."""
        if self.order == "turns":
            self._next(self._random.choice(list(self._queues)))
        if self._queues[stream] and not self._next(stream):
            _, mark = self._queues[stream][0]
            self._turn(mark.stream)

    def _next(self, stream: int) -> bool:
        """Do what is first in a queue; False if it waits, or nothing is there."""
        queue = self._queues[stream]
        if not queue or (queue[0][0] == "wait" and not queue[0][1].reached):
            return False
        kind, what = queue.pop(0)
        if kind == "work":
            what()
        elif kind == "reach":
            what.reached = True
        return True
