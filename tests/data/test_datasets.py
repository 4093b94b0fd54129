"""Datasets, samplers and collating, beside PyTorch's."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.utils import data
from tests.nn.both import check, fails

Pair = namedtuple("Pair", "a b")


def plain(value: Any) -> Any:
    """Tensors as (dtype, list), containers with their type's name."""
    if hasattr(value, "detach"):
        return str(value.dtype).partition(".")[2], value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


BATCHES: dict[str, Callable[[Any], list[Any]]] = {
    "tensors": lambda t: [t.tensor([1.0, 2.0]), t.tensor([3.0, 4.0])],
    "scalars": lambda t: [t.tensor(1), t.tensor(2)],
    "floats": lambda t: [1.5, 2.5],
    "ints": lambda t: [1, 2],
    "bools": lambda t: [True, False],
    "strings": lambda t: ["a", "b"],
    "bytes": lambda t: [b"a", b"b"],
    "arrays": lambda t: [np.arange(3), np.arange(3)],
    "numpy numbers": lambda t: [np.float64(1), np.float64(2)],
    "float32 numbers": lambda t: [np.float32(1), np.float32(2)],
    "tuples": lambda t: [(1, "a"), (2, "b")],
    "lists": lambda t: [[1, 2.0], [3, 4.0]],
    "dicts": lambda t: [{"x": 1, "y": [1.0]}, {"x": 2, "y": [2.0]}],
    "ordered": lambda t: [OrderedDict(x=1), OrderedDict(x=2)],
    "default": lambda t: [defaultdict(list, x=1), defaultdict(list, x=2)],
    "named": lambda t: [Pair(1, (2, 3.0)), Pair(4, (5, 6.0))],
    "nested": lambda t: [{"a": (t.ones(1), [b"q"])}, {"a": (t.zeros(1), [b"r"])}],
}


@pytest.mark.parametrize("name", BATCHES)
def test_collate(torch: ModuleType, name: str) -> None:
    mine, theirs = BATCHES[name](jitgrad), BATCHES[name](torch)
    assert plain(data.default_collate(mine)) == plain(torch.utils.data.default_collate(theirs))
    assert plain(data.default_convert(mine)) == plain(torch.utils.data.default_convert(theirs))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: [object(), object()],
        lambda t: [np.array(["a"]), np.array(["b"])],
        lambda t: [[1], [1, 2]],
        lambda t: [None, None],
    ],
)
def test_collate_refuses_what_pytorch_refuses(torch: ModuleType, make: Any) -> None:
    with pytest.raises((TypeError, RuntimeError)) as wanted:
        torch.utils.data.default_collate(make(torch))
    with pytest.raises(wanted.type) as found:
        data.default_collate(make(jitgrad))
    assert str(found.value) == str(wanted.value)
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        data.default_collate([jitgrad.ones(1), jitgrad.ones(2)])


def stream(t: Any, n: int) -> Any:
    class Stream(t.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(n))

        def __len__(self) -> int:
            return n

    return Stream()


DATASETS: dict[str, Callable[[Any, Any], Any]] = {
    "tensors": lambda t, d: d.TensorDataset(t.arange(4), t.arange(8.0).reshape(4, 2)),
    "stack": lambda t, d: d.StackDataset(range(4), [5, 6, 7, 8]),
    "stack named": lambda t, d: d.StackDataset(x=range(4), y=d.Subset([5, 6, 7, 8], [3, 2, 1, 0])),
    "concat": lambda t, d: d.ConcatDataset([range(2), [9], d.Subset(range(9), [8])]),
    "sum": lambda t, d: d.TensorDataset(t.arange(2)) + d.TensorDataset(t.arange(2)),
    "subset": lambda t, d: d.Subset(d.TensorDataset(t.arange(9)), [8, 0, 3, 3]),
}


@pytest.mark.parametrize("name", DATASETS)
def test_items(torch: ModuleType, name: str) -> None:
    both = []
    for t in (jitgrad, torch):
        made = DATASETS[name](t, t.utils.data)
        many = made.__getitems__([2, 0]) if hasattr(made, "__getitems__") else None
        both.append([len(made), [plain(made[i]) for i in (*range(4), -1)], plain(many)])
    assert both[0] == both[1]


MISTAKES: list[Callable[[Any, Any], Any]] = [
    lambda t, d: d.TensorDataset(t.ones(2), t.ones(3)),
    lambda t, d: d.StackDataset(),
    lambda t, d: d.StackDataset([1], [1, 2]),
    lambda t, d: d.StackDataset([1], x=[1]),
    lambda t, d: d.ConcatDataset([]),
    lambda t, d: d.ConcatDataset([stream(t, 1)]),
    lambda t, d: d.ConcatDataset([[1]])[-2],
    lambda t, d: list(d.ChainDataset([[1]])),
    lambda t, d: d.random_split(range(3), [1, 1]),
    lambda t, d: d.random_split(range(3), [1.5, -0.5]),
    lambda t, d: d.Dataset()[0],
    lambda t, d: d.RandomSampler([]),
    lambda t, d: d.RandomSampler([1], replacement=3),
    lambda t, d: d.RandomSampler([1], num_samples=0),
    lambda t, d: d.WeightedRandomSampler([1.0], 0),
    lambda t, d: d.WeightedRandomSampler([1.0], 1, replacement=3),
    lambda t, d: d.WeightedRandomSampler([[1.0]], 1),
    lambda t, d: list(d.WeightedRandomSampler([1.0], 2, replacement=False)),
    lambda t, d: list(d.WeightedRandomSampler([0.0, 0.0], 2)),
    lambda t, d: d.BatchSampler([1], 0, False),
    lambda t, d: d.BatchSampler([1], True, False),
    lambda t, d: d.BatchSampler([1], 1, 3),
    lambda t, d: d.DataLoader([1], num_workers=-1),
    lambda t, d: d.DataLoader([1], timeout=-1),
    lambda t, d: d.DataLoader([1], prefetch_factor=1),
    lambda t, d: d.DataLoader([1], num_workers=1, prefetch_factor=-1),
    lambda t, d: d.DataLoader([1], persistent_workers=True),
    lambda t, d: d.DataLoader([1], sampler=[0], shuffle=True),
    lambda t, d: d.DataLoader([1], batch_sampler=[[0]], batch_size=2),
    lambda t, d: d.DataLoader([1], batch_size=None, drop_last=True),
    lambda t, d: d.DataLoader([1], multiprocessing_context="spawn"),
    lambda t, d: d.DataLoader([1], num_workers=1, multiprocessing_context="no"),
    lambda t, d: d.DataLoader([1], num_workers=1, multiprocessing_context=3),
    lambda t, d: d.DataLoader(stream(t, 3), shuffle=True),
    lambda t, d: d.DataLoader(stream(t, 3), sampler=[0]),
    lambda t, d: d.DataLoader(stream(t, 3), batch_sampler=[[0]]),
    lambda t, d: setattr(d.DataLoader([1]), "batch_size", 3),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes(torch: ModuleType, number: int) -> None:
    errors = (ValueError, TypeError, AssertionError, RuntimeError)
    with pytest.raises(errors) as wanted:
        MISTAKES[number](torch, torch.utils.data)
    with pytest.raises(errors) as found:
        MISTAKES[number](jitgrad, data)
    assert found.type is wanted.type
    assert str(found.value) == str(wanted.value)


def test_a_subset_that_overrides_one_method_only() -> None:
    class Half(data.Subset[Any]):
        def __getitem__(self, idx: Any) -> Any:
            return 1

    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        Half([1], [0])


def test_chained_streams() -> None:
    both = stream(jitgrad, 2) + stream(jitgrad, 3)
    assert list(both) == [0, 1, 0, 1, 2]
    assert len(both) == 5


def test_random_split_is_a_partition_that_a_seed_repeats() -> None:
    def split() -> list[list[int]]:
        generator = jitgrad.Generator().manual_seed(5)
        return [list(part) for part in data.random_split(range(10), [0.55, 0.45], generator)]

    first = split()
    assert [len(part) for part in first] == [6, 4]
    assert sorted(first[0] + first[1]) == list(range(10))
    assert first == split()
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(2), [1.0, 0.0])


def test_samplers() -> None:
    source = range(7)
    assert list(data.SequentialSampler(source)) == list(source)
    assert sorted(data.RandomSampler(source)) == list(source)
    assert len(data.RandomSampler(source, num_samples=20)) == 20
    drawn = list(data.RandomSampler(source, num_samples=20))
    assert sorted(drawn[:7]) == sorted(drawn[7:14]) == list(source)
    assert set(data.RandomSampler(source, True, 2000)) == set(source)
    assert sorted(data.SubsetRandomSampler([4, 2, 9])) == [2, 4, 9]
    weights = [0.0, 1.0, 3.0]
    drawn = list(data.WeightedRandomSampler(weights, 4000))
    counts = np.bincount(drawn, minlength=3)
    assert counts[0] == 0
    assert 0.7 < counts[2] / 4000 < 0.8
    assert sorted(data.WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]
    batches = data.BatchSampler(data.SequentialSampler(source), 3, True)
    assert list(batches) == [[0, 1, 2], [3, 4, 5]]
    assert len(batches) == 2
    for kind in (data.RandomSampler, data.SubsetRandomSampler):
        runs = [list(kind(source, generator=jitgrad.Generator().manual_seed(3))) for _ in (0, 1)]
        assert runs[0] == runs[1]
    jitgrad.manual_seed(1)
    first = list(data.RandomSampler(source))
    jitgrad.manual_seed(1)
    assert list(data.RandomSampler(source)) == first


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "replicas"), [(7, 2), (7, 3), (2, 5), (6, 3)])
def test_shares_of_processes(
    torch: ModuleType, n: int, replicas: int, drop_last: bool, shuffle: bool
) -> None:
    def program(T: Any) -> Any:
        found: list[Any] = []
        for rank in range(replicas):
            sampler = T.utils.data.distributed.DistributedSampler(
                range(n), replicas, rank, shuffle, drop_last=drop_last
            )
            sampler.set_epoch(3)
            order = list(sampler)
            found += [len(sampler), sampler.total_size, len(order)]
            found.append(
                order if not shuffle else [order == list(sampler), max(order, default=0) < n]
            )
        return found

    check(torch, program)


def test_shares_are_of_one_order() -> None:
    shares = [data.DistributedSampler(range(9), 3, rank) for rank in range(3)]
    orders = []
    for epoch in (0, 1):
        for share in shares:
            share.set_epoch(epoch)
        assert sorted(i for share in shares for i in share) == list(range(9))
        orders.append([list(share) for share in shares])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("rank", [None, 2, -1])
def test_mistakes_with_shares(torch: ModuleType, rank: int | None) -> None:
    fails(torch, lambda T: T.utils.data.DistributedSampler(range(3), 2 if rank else None, rank))


def test_names_of_old(torch: ModuleType) -> None:
    check(torch, lambda T: T.utils.data.ConcatDataset([[1, 2], [3]]).cummulative_sizes)


def test_a_timeout_needs_workers(torch: ModuleType) -> None:
    fails(torch, lambda T: list(T.utils.data.DataLoader([1], timeout=1)), "timeout == 0")
