"""DataLoader: batches made here and in worker processes, forked and spawned."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    get_worker_info,
    processes,
)

METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]
fork_only = pytest.mark.skipif("fork" not in METHODS, reason="no fork here")


class Computed(Dataset[Any]):
    """Items that take the library's own work."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> Any:
        x = jitgrad.full((3,), float(index), requires_grad=True)
        (x * x).sum().backward()
        return {"twice": x.grad, "index": index, "name": f"item {index}"}


class Counting(IterableDataset[int]):
    """The numbers below n, shared out among the workers unless told otherwise."""

    def __init__(self, n: int, share: bool = True) -> None:
        self.n, self.share = n, share

    def __iter__(self) -> Any:
        info = get_worker_info()
        if info is None or not self.share:
            return iter(range(self.n))
        return iter(range(info.id, self.n, info.num_workers))

    def __len__(self) -> int:
        return self.n


class Odd(ValueError):
    """An exception of its own."""


class Faulty(Dataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            raise Odd("three is odd")
        if index == 4:
            raise KeyError("four")
        return index


class Deadly(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 3:
            os._exit(7)
        return index


class Slow(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        time.sleep(1.0)
        return index


class Waiting(Dataset[Any]):
    """Item 0 is not ready before item 1 has been made, in another process."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            self.marker.touch()
        while index == 0 and not self.marker.exists():
            time.sleep(0.01)
        time.sleep(0.5 if index == 0 else 0)
        return index


class Random(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        import random

        return jitgrad.rand(1).item(), float(np.random.rand()), random.random(), os.getpid()


def same(items: list[Any]) -> list[Any]:
    return items


def put_offset(number: int) -> None:
    info = get_worker_info()
    assert info is not None
    assert info.id == number
    info.dataset.n = 100 + number


def loader(*args: Any, method: str = "fork", **kwargs: Any) -> DataLoader[Any]:
    kwargs.setdefault("num_workers", 2)
    return DataLoader(*args, multiprocessing_context=method, **kwargs)


def no_children() -> bool:
    gc.collect()
    return not multiprocessing.active_children()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3},
        {"batch_size": 4, "drop_last": True},
        {"batch_size": None},
        {"sampler": [4, 2, 7]},
        {"batch_sampler": [[1, 2], [5]]},
        {"batch_size": 2, "collate_fn": same},
    ],
    ids=lambda options: "-".join(options),
)
def test_batches_are_pytorchs(torch: ModuleType, options: dict[str, Any]) -> None:
    both = []
    for t in (jitgrad, torch):
        d = t.utils.data
        made = d.DataLoader(d.TensorDataset(t.arange(10), t.arange(20.0).reshape(10, 2)), **options)
        found = [
            [x.tolist() if hasattr(x, "tolist") else [y.tolist() for y in x] for x in batch]
            for batch in made
        ]
        both.append((len(made), found))
    assert both[0] == both[1]


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}])
def test_streams(options: dict[str, Any]) -> None:
    batches = [batch.tolist() for batch in DataLoader(Counting(10), **options)]
    size = options.get("batch_size", 1)
    wanted = [list(range(i, min(i + size, 10))) for i in range(0, 10, size)]
    assert batches == [b for b in wanted if len(b) == size or not options.get("drop_last")]
    assert list(DataLoader(Counting(3), batch_size=None)) == [0, 1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_workers_make_the_same_batches(method: str) -> None:
    jitgrad.set_num_threads(2)
    # Threads are running when the workers are forked.
    big = jitgrad.ones(1 << 17)
    assert (big + big).sum().item() == 2 << 17
    here = list(DataLoader(Computed(), batch_size=3))
    for options in ({}, {"prefetch_factor": 1}, {"persistent_workers": True}):
        made = loader(Computed(), batch_size=3, method=method, **options)
        for _ in range(2 if options else 1):
            there = list(made)
            assert len(there) == len(here) == len(made)
            for a, b in zip(there, here, strict=True):
                assert a["twice"].tolist() == b["twice"].tolist()
                assert a["index"].tolist() == b["index"].tolist()
                assert a["name"] == b["name"]
    del made
    assert no_children()


@fork_only
def test_large_batches_and_dtypes_come_back_whole() -> None:
    x = jitgrad.randn(40, 50_000, dtype=jitgrad.float64)
    y = jitgrad.arange(40) % 2 == 0
    for workers in (1, 2):
        start = 0
        for a, b in loader(TensorDataset(x, y), batch_size=10, num_workers=workers):
            np.testing.assert_array_equal(a.numpy(), x[start : start + 10].numpy())
            assert b.dtype is jitgrad.bool
            assert b.tolist() == y[start : start + 10].tolist()
            a.add_(1.0)  # the memory is ours to write
            start += 10


@fork_only
def test_long_lists_of_numbers_do_not_block() -> None:
    made = loader(range(200_000), batch_size=100_000, collate_fn=same, prefetch_factor=4)
    assert [len(batch) for batch in made] == [100_000] * 2


@fork_only
def test_streams_are_shared_out() -> None:
    found = [batch.tolist() for batch in loader(Counting(7), batch_size=2)]
    assert found == [[0, 2], [1, 3], [4, 6], [5]]
    assert [batch.tolist() for batch in loader(Counting(2, False))] == [[0], [0], [1], [1]]
    made = loader(Counting(2, False))
    assert len(made) == 2
    with pytest.warns(UserWarning, match="was reported to be 2"):
        assert len(list(made)) == 4
    found = sorted(batch.item() for batch in loader(Counting(5), in_order=False))
    assert found == list(range(5))
    made = loader(Counting(3), worker_init_fn=put_offset, batch_size=200)
    assert [len(batch) for batch in made] == [50, 50]


@fork_only
def test_shuffling_with_workers_follows_the_generator() -> None:
    def order(workers: int) -> list[int]:
        generator = jitgrad.Generator().manual_seed(3)
        made = DataLoader(range(20), shuffle=True, generator=generator, num_workers=workers)
        return [int(batch) for batch in made]

    assert sorted(order(0)) == list(range(20))
    assert order(2) == order(2)


@fork_only
def test_random_numbers_differ_between_workers_and_repeat_with_a_seed() -> None:
    def draw() -> Any:
        generator = jitgrad.Generator().manual_seed(1)
        return [tuple(b.item() for b in batch) for batch in loader(Random(), generator=generator)]

    first, second = draw(), draw()
    assert [item[:3] for item in first] == [item[:3] for item in second]
    assert len({item[0] for item in first}) == 4
    assert len({item[1] for item in first}) == 4
    assert len({item[3] for item in first}) == 2
    assert get_worker_info() is None


@pytest.mark.parametrize("method", METHODS)
def test_exceptions_come_back_with_their_traceback(method: str) -> None:
    made = iter(loader(Faulty(), method=method))
    assert [next(made).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Odd) as found:
        next(made)
    text = str(found.value)
    assert text.startswith("Caught Odd in DataLoader worker process 1.\nOriginal Traceback")
    assert "in __getitem__" in text
    assert text.rstrip().endswith("three is odd")
    with pytest.raises(KeyError) as missing:
        next(made)
    assert "worker process 0.\nOriginal" in str(missing.value)
    assert next(made).item() == 5
    with pytest.raises(StopIteration):
        next(made)
    assert no_children()


@fork_only
def test_exceptions_and_batches_that_cannot_be_sent() -> None:
    class Local(Exception):
        pass

    def fail(items: Any) -> Any:
        raise Local("not to be found by name")

    with pytest.raises(RuntimeError, match=r"Caught Local in DataLoader(.|\n)*not to be found"):
        next(iter(loader([1, 2], collate_fn=fail)))
    with pytest.raises(Exception, match=r"in DataLoader worker process 0(.|\n)*pickle"):
        next(iter(loader([1, 2], collate_fn=lambda items: lambda: items)))

    def start(number: int) -> None:
        raise Odd("no start")

    with pytest.raises(Odd, match="no start"):
        next(iter(loader([1, 2], worker_init_fn=start)))
    gc.collect()
    assert no_children()


@fork_only
def test_workers_that_die_are_noticed() -> None:
    with pytest.raises(RuntimeError, match=r"worker \(pid \d+\) is killed by signal: SIGKILL"):
        list(loader(Deadly(), sampler=[0, 1, 2], num_workers=1))
    with pytest.raises(RuntimeError, match=r"exited unexpectedly with exit code 7"):
        list(loader(Deadly(), sampler=[0, 1, 3], num_workers=1))
    assert no_children()


@fork_only
def test_a_timeout() -> None:
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.2 seconds"):
        list(loader(Slow(), timeout=0.2, num_workers=1))
    assert no_children()


@fork_only
def test_in_any_order_the_fast_come_first(tmp_path: Path) -> None:
    made = loader(Waiting(tmp_path / "made"), in_order=False, prefetch_factor=1)
    found = [int(batch) for batch in made]
    assert sorted(found) == [0, 1, 2, 3]
    assert found[0] == 1


@fork_only
def test_leaving_early_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(processes, "_GRACE", 60.0)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "terminate", killed.append)
    x = TensorDataset(jitgrad.zeros(64, 100_000))
    for one, _ in zip(loader(x, batch_size=4), loader(x, batch_size=4), strict=False):
        assert one[0].shape == (4, 100_000)
        break
    del one, _
    assert no_children()
    made = loader(x, batch_size=4, persistent_workers=True)
    for _ in range(2):
        next(iter(made))
    pids = [one.process.pid for one in made._kept._workers]
    assert len(list(made)) == 16
    assert pids == [one.process.pid for one in made._kept._workers]
    del made
    assert no_children()
    # They ended of their own accord, though they had batches that nobody took.
    assert not killed


@fork_only
def test_too_many_workers_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="This DataLoader will create 10000 worker processes"):
        DataLoader([1], num_workers=10_000)


ORPHAN = """
import os, sys, time, jitgrad
class Slow:
    def __len__(self): return 100
    def __getitem__(self, i):
        time.sleep(0.05)
        return jitgrad.zeros(100_000)
batches = iter(jitgrad.utils.data.DataLoader(Slow(), num_workers=2, multiprocessing_context="fork"))
next(batches)
print(*(w.process.pid for w in batches._workers), flush=True)
os.kill(os.getpid(), 9) if sys.argv[1] == "kill" else sys.exit(0)
"""


@fork_only
@pytest.mark.parametrize("end", ["kill", "exit"])
def test_no_worker_outlives_the_process(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN, end], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == (-9 if end == "kill" else 0)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 20
    while time.monotonic() < until and any(alive(pid) for pid in pids):
        time.sleep(0.1)
    assert not [pid for pid in pids if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


FORKED = """
import os, jitgrad
jitgrad.set_num_threads(2)
big = jitgrad.ones(1 << 17)
big + big
pid = os.fork()
if pid == 0:
    jitgrad.set_num_threads(2)
    total = (big + big).sum().item()
    os._exit(3 if total == 2 << 17 and jitgrad.get_num_threads() == 1 else 4)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@fork_only
def test_a_forked_child_cannot_ask_for_threads_that_are_gone() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["3"]
