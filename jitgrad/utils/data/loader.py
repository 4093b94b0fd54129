"""DataLoader: batches of a dataset, made here or in worker processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any, Generic, TypeVar

from jitgrad.random import Generator
from jitgrad.utils.data.collate import default_collate, default_convert
from jitgrad.utils.data.dataset import IterableDataset
from jitgrad.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from jitgrad.utils.data.worker import Fetcher

Batch = TypeVar("Batch", covariant=True)

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _Forever:
    """The sampler of an iterable dataset, which has no numbers."""

    def __iter__(self) -> Iterator[None]:
        return repeat(None)


class DataLoader(Generic[Batch]):
    """Batches of a dataset, in order or shuffled.

    Parameters
    ----------
    dataset : Dataset
        Anything with items by number and a length, or an IterableDataset.
    batch_size : int or None
        Items a batch; None: single items.
    shuffle : bool
        In random order.
    sampler, batch_sampler : iterable, optional
        Numbers of items, or lists of them, instead.
    num_workers : int
        Processes that make the batches; 0: this one.
    collate_fn : callable, optional
        Makes a batch of a list of items; `default_collate`.
    pin_memory : bool
        Accepted; there is nothing to pin.
    drop_last : bool
        Leave a last, smaller batch out.
    timeout : float
        Seconds to wait for a worker; 0: for ever.
    worker_init_fn : callable, optional
        Called with the worker's number in each.
    multiprocessing_context : str or context, optional
        How processes are started; Python's default.
    generator : Generator, optional
        Where the order and the workers' seeds come from.
    prefetch_factor : int, optional
        Batches that each worker makes in advance; 2.
    persistent_workers : bool
        Keep the processes for the next pass.
    in_order : bool
        Give the batches in the order of the sampler, however long each takes.

    Raises
    ------
    ValueError
        If options contradict each other.
    RuntimeError
        When iterated: if a worker dies or takes too long.  An exception in a worker has its own type, and
        its traceback in the message.

    Examples
    --------
    >>> from jitgrad.utils.data import DataLoader
    >>> [batch.tolist() for batch in DataLoader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = _context(multiprocessing_context, num_workers)
        self.in_order = in_order
        self.generator = generator
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, value in (
                ("shuffle", shuffle or None),
                ("sampler", sampler),
                ("batch_sampler", batch_sampler),
            ):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got"
                        f" {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and"
                    " drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            if self._iterable:
                sampler = _Forever()
            else:
                sampler = (
                    RandomSampler(dataset, generator=generator)
                    if shuffle
                    else SequentialSampler(dataset)
                )
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        batched = batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self.persistent_workers = persistent_workers
        self._kept: Any = None
        self._length_told: int | None = None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_ready"):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        object.__setattr__(self, name, value)

    @property
    def _index_sampler(self) -> Iterable[Any]:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _fetcher(self) -> Fetcher:
        batched = self.batch_sampler is not None
        return Fetcher(self.dataset, self._iterable, batched, self.collate_fn, self.drop_last)

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._index_sampler)  # type: ignore[arg-type]
        self._length_told = n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if self.num_workers == 0:
            if self.timeout != 0:
                raise AssertionError("a DataLoader without workers requires timeout == 0")
            batches: Iterator[Any] = self._here()
        else:
            batches = self._in_workers()
        return self._watched(batches) if self._length_told is not None else batches

    def _here(self) -> Iterator[Any]:
        fetch = self._fetcher().start()
        for index in self._index_sampler:
            try:
                batch = fetch(index)
            except StopIteration:
                if not self._iterable:
                    raise RuntimeError(
                        f"item {index} of the dataset raised StopIteration"
                    ) from None
                return
            yield batch

    def _in_workers(self) -> Iterator[Any]:
        from jitgrad.utils.data.processes import Workers

        if not self.persistent_workers:
            return Workers(self)
        if self._kept is None or not self._kept._finish.alive:
            self._kept = Workers(self)
        else:
            self._kept.restart(self)
        kept: Iterator[Any] = self._kept
        return kept

    def _watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of an iterable dataset; warns when there are more than its length says."""
        told = len(self)
        for n, batch in enumerate(batches, 1):
            if n == told + 1:
                warnings.warn(
                    f"Length of IterableDataset {self.dataset} was reported to be {told} (when accessing"
                    f" len(dataloader)), but {n} samples have been fetched. With several workers, each"
                    " has a copy of the dataset: get_worker_info() tells which part is whose.",
                    stacklevel=2,
                )
            yield batch


def _check_workers(n: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if n < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if n == 0 and prefetch is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to"
            " enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch is not None and prefetch < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and n == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if n > (most or n):
        warnings.warn(
            f"This DataLoader will create {n} worker processes in total. Our suggested max number of"
            f" worker in current system is {most}, which is smaller than what this DataLoader is going"
            " to create. Please be aware that excessive worker creation might get DataLoader running"
            " slow or even freeze, lower the worker number to avoid potential slowness/freeze if"
            " necessary.",
            stacklevel=3,
        )


def _context(given: Any, num_workers: int) -> Any:
    """The context for a name, or the context that was given."""
    if given is None:
        return None
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but"
            f" got num_workers={num_workers}"
        )
    import multiprocessing
    from multiprocessing.context import BaseContext

    if isinstance(given, str):
        valid = multiprocessing.get_all_start_methods()
        if given not in valid:
            raise ValueError(
                "multiprocessing_context option should specify a valid start method in"
                f" {valid!r}, but got multiprocessing_context={given!r}"
            )
        return multiprocessing.get_context(given)
    if not isinstance(given, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the"
            f" start method, but got multiprocessing_context={given}"
        )
    return given
