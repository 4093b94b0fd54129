"""What runs in a loader's worker process, and what both sides send each other.

Task: ``(key, index)``, or ``(None, seed)`` to begin anew, or None to end.  Answer: ``(key, kind, content)``.
Each worker has two pipes of its own, so no lock is shared that a killed process could take with it.
Arrays are sent as raw bytes behind the pickle, without a copy on the sender's side.
"""

from __future__ import annotations

import os
import pickle
import queue
import random as python_random
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import random

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Kinds of answers: a batch; an exception; the worker's part of the data is at an end.
DATA, FAILED, ENDED = 0, 1, 2

#: Seconds after which a worker looks whether its parent is still there.
_ORPHAN_CHECK = 2.0


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this process is: its number, how many there are, its seed, its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a loader's worker process what it is, elsewhere None."""
    return _info


@dataclass(frozen=True)
class Fetcher:
    """Gets the items of a task and makes them a batch."""

    dataset: Any
    iterable: bool
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool

    def start(self) -> Callable[[Any], Any]:
        """A function from a task's index to its batch; raises StopIteration at the end of an iterable."""
        if not self.iterable:
            return self._from_map
        items = iter(self.dataset)

        def fetch(index: Any) -> Any:
            if not self.batched:
                return self.collate_fn(next(items))
            batch = []
            for _ in index:
                try:
                    batch.append(next(items))
                except StopIteration:
                    break
            if not batch or (self.drop_last and len(batch) < len(index)):
                raise StopIteration
            return self.collate_fn(batch)

        return fetch

    def _from_map(self, index: Any) -> Any:
        if not self.batched:
            return self.collate_fn(self.dataset[index])
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.collate_fn(self.dataset.__getitems__(index))
        return self.collate_fn([self.dataset[i] for i in index])


# ---------------------------------------------------------------- sending
def send(connection: Connection, message: Any) -> None:
    """Send a message; arrays in it go as raw bytes."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    connection.send_bytes(pickle.dumps((body, [view.nbytes for view in views]), protocol=5))
    for view in views:
        if view.nbytes:
            connection.send_bytes(view)


def receive(connection: Connection) -> Any:
    """The message that `send` sent."""
    body, sizes = pickle.loads(connection.recv_bytes())
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        if buffer:
            connection.recv_bytes_into(buffer)
    return pickle.loads(body, buffers=buffers)


# ---------------------------------------------------------------- exceptions
class _Message(str):
    """A text that is its own repr, as the argument of a KeyError."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Failure:
    """An exception of a worker, on its way to the loader's process."""

    kind: type[BaseException] | None
    name: str
    text: str
    where: str

    @classmethod
    def now(cls, where: str) -> Failure:
        """The exception that is being handled."""
        kind = sys.exc_info()[0]
        assert kind is not None
        try:
            pickle.loads(pickle.dumps(kind))
        except Exception:
            return cls(None, kind.__name__, traceback.format_exc(), where)
        return cls(kind, kind.__name__, traceback.format_exc(), where)

    def reraise(self) -> None:
        """Raise an exception of the same type whose message has the worker's traceback."""
        message = f"Caught {self.name} {self.where}.\nOriginal {self.text}"
        try:
            made = self.kind(_Message(message)) if self.kind else RuntimeError(message)
        except Exception:
            made = RuntimeError(message)
        raise made


# ---------------------------------------------------------------- the process
def _read_tasks(tasks: Connection, waiting: queue.SimpleQueue[Any], parent: int) -> None:
    """Take tasks from the pipe at once, so that the loader never waits for a busy worker to do so."""
    try:
        while True:
            while not tasks.poll(_ORPHAN_CHECK):
                if os.getppid() != parent:
                    # Nobody is left to send results to; the main thread may be waiting to.
                    os._exit(1)
            task = receive(tasks)
            waiting.put(task)
            if task is None:
                return
    except (EOFError, OSError):
        waiting.put(None)


def _seed(base: int, number: int) -> int:
    seed = base + number
    python_random.seed(seed)
    random.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([base, number]).generate_state(4))
    return seed


def work(
    number: int,
    count: int,
    fetcher: Fetcher,
    init: Callable[[int], Any] | None,
    base_seed: int,
    tasks: Connection,
    answers: Connection,
    inherited: Iterable[Connection],
) -> None:
    """The main function of a worker process."""
    global _info
    for connection in inherited:
        connection.close()
    parent = os.getppid()
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks, waiting, parent), daemon=True).start()
    where = f"in DataLoader worker process {number}"
    failure: Failure | None = None
    fetch: Callable[[Any], Any] | None = None
    try:
        seed = _seed(base_seed, number)
        _info = WorkerInfo(number, count, seed, fetcher.dataset)
        try:
            if init is not None:
                init(number)
        except Exception:
            failure = Failure.now(where)
        ended = False
        while (task := waiting.get()) is not None:
            key, index = task
            if key is None:
                fetch, ended = None, False
                continue
            answer: tuple[Any, int, Any]
            if ended:
                answer = (key, ENDED, None)
            elif failure is not None:
                answer, failure = (key, FAILED, failure), None
            else:
                try:
                    if fetch is None:
                        fetch = fetcher.start()
                    answer = (key, DATA, fetch(index))
                except StopIteration:
                    ended = fetcher.iterable
                    failed = Failure.now(where)
                    answer = (key, ENDED, None) if ended else (key, FAILED, failed)
                except Exception:
                    answer = (key, FAILED, Failure.now(where))
            try:
                send(answers, answer)
            except (BrokenPipeError, ConnectionError):
                return
            except Exception:
                # The batch cannot be pickled.
                send(answers, (key, FAILED, Failure.now(where)))
            del answer
    except KeyboardInterrupt:
        pass  # the loader's process gets it too, and says so
