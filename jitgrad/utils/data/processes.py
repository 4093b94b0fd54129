"""The loader's side of its worker processes: sending tasks, collecting answers, ending."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
import weakref
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from jitgrad.utils.data import worker
from jitgrad.utils.data.sampler import draw_seed

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from jitgrad.utils.data.loader import DataLoader

#: Seconds that a worker has to end of its own accord.
_GRACE = 5.0

#: Our ends of the pipes of all workers.
_open: weakref.WeakSet[Connection] = weakref.WeakSet()


class _Worker:
    """One process, its pipes, and how many of its tasks are under way."""

    def __init__(self, context: Any, arguments: tuple[Any, ...]) -> None:
        read_tasks, self.tasks = context.Pipe(duplex=False)
        self.answers, send_answers = context.Pipe(duplex=False)
        # A forked child has copies of our ends of all pipes: it closes them, or nobody would notice when
        # we do.
        _open.update((self.tasks, self.answers))
        inherited = list(_open) if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=worker.work,
            args=(*arguments, read_tasks, send_answers, inherited),
            daemon=True,
        )
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads: a child of ours computes on one thread.
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            self.process.start()
        read_tasks.close()
        send_answers.close()
        self.busy = 0
        self.active = True

    def send(self, task: Any) -> None:
        """Send a task; a worker that is gone is noticed when its answer is waited for."""
        try:
            worker.send(self.tasks, task)
        except (BrokenPipeError, ConnectionError):
            pass


def _end(workers: list[_Worker], parent: int) -> None:
    """Ask the workers to end, and end those that do not."""
    if os.getpid() != parent:
        return  # a forked child, where this is garbage
    for one in workers:
        one.send(None)
        one.tasks.close()
        one.answers.close()
    until = time.monotonic() + _GRACE
    for one in workers:
        one.process.join(max(0.0, until - time.monotonic()))
        if one.process.is_alive():
            one.process.terminate()
            one.process.join()
        one.process.close()


class Workers:
    """An iterator over the batches of a loader that worker processes make."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        context = loader.multiprocessing_context or multiprocessing.get_context()
        self._timeout = float(loader.timeout)
        self._in_order = loader.in_order
        self._prefetch = max(int(loader.prefetch_factor or 2), 1)
        self._persistent = loader.persistent_workers
        self._epoch = 0
        fetcher = loader._fetcher()
        seed = draw_seed(loader.generator)
        self._workers: list[_Worker] = []
        # Also runs at interpreter exit, while processes can still be ended in an orderly way.
        self._finish = weakref.finalize(self, _end, self._workers, os.getpid())
        for number in range(loader.num_workers):
            arguments = (number, loader.num_workers, fetcher, loader.worker_init_fn, seed)
            self._workers.append(_Worker(context, arguments))
        self._begin(loader)

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._indices: Iterator[Any] = iter(loader._index_sampler)
        self._keys = count()
        self._turn = 0
        self._expected: list[int] = []
        self._arrived: dict[int, tuple[int, Any]] = {}
        self._exhausted = False
        self._owner: dict[int, _Worker] = {}
        for one in self._workers:
            one.active, one.busy = True, 0
        for _ in range(self._prefetch * len(self._workers)):
            self._give()

    def restart(self, loader: DataLoader[Any]) -> None:
        """Begin a new pass with the same processes; what is left of the old one is thrown away."""
        self._epoch += 1
        for one in self._workers:
            one.send((None, None))
        self._begin(loader)

    def end(self) -> None:
        """End the processes."""
        self._finish()

    def __iter__(self) -> Workers:
        return self

    def _give(self) -> None:
        """Give the next task to the next worker, in turn, that has not too many."""
        if self._exhausted:
            return
        for _ in self._workers:
            one = self._workers[self._turn]
            self._turn = (self._turn + 1) % len(self._workers)
            if one.active and one.busy < self._prefetch:
                break
        else:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            self._exhausted = True
            return
        key = next(self._keys)
        self._expected.append(key)
        self._owner[key] = one
        one.busy += 1
        one.send(((self._epoch, key), index))

    def __next__(self) -> Any:
        while True:
            if not self._expected:
                if not self._persistent:
                    self.end()
                raise StopIteration
            key = self._expected[0]
            if not self._in_order and self._arrived:
                key = next(iter(self._arrived))
            if key not in self._arrived:
                self._collect()
                continue
            self._expected.remove(key)
            kind, content = self._arrived.pop(key)
            if kind != worker.ENDED:
                self._give()
                if kind == worker.FAILED:
                    content.reraise()
                return content

    def _collect(self) -> None:
        """Wait for answers and take what has come."""
        if not self._finish.alive:
            raise RuntimeError("the DataLoader's worker processes have ended")
        ends = {one.answers: one for one in self._workers}
        ready = wait(list(ends), self._timeout or None)
        if not ready:
            self.end()
            raise RuntimeError(f"DataLoader timed out after {self._timeout:g} seconds")
        for connection in ready:
            one = ends[connection]
            try:
                (epoch, key), kind, content = worker.receive(one.answers)
            except (EOFError, OSError):
                self._died(one)
            if epoch != self._epoch:
                continue
            self._owner.pop(key)
            one.busy -= 1
            if kind == worker.ENDED:
                one.active = False
                self._give()
            self._arrived[key] = kind, content

    def _died(self, one: _Worker) -> None:
        one.process.join(_GRACE)
        code, pid = one.process.exitcode, one.process.pid
        self.end()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            raise RuntimeError(f"DataLoader worker (pid {pid}) is killed by signal: {name}.")
        raise RuntimeError(
            f"DataLoader worker (pid(s) {pid}) exited unexpectedly with exit code {code}."
        )
