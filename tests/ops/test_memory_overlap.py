"""Writing into memory that is shared: refused, warned of or done as in PyTorch; changes by index in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena.inspect import memory_stats, reset_peak_memory_stats

CALLS = """
e.index_put_((o,), T.ones(1))
e.index_put_((o,), T.ones(1), True)
e.index_put_((T.tensor([], dtype=T.int64),), T.ones(0))
x[:3].index_put_((i,), x[1:4])
x.index_put_((r,), x)
x.index_put_((r,), x, True)
n.index_put_((n,), T.tensor([1, 1, 1, 1]))
n[:3].index_put_((n[1:],), T.tensor([1, 1, 1]))
T.zeros(3).index_put_((o.expand(2),), T.ones(2))
x[:3].index_put_((x[:3] > -1,), x[1:4])
m.t().index_put_((T.tensor([1, 0]),), m)
x.index_put_((r,), x.data)
x[:3].__setitem__(i, x[1:4])
x.__setitem__(x > 1, x[3])
x.__setitem__((x > 1,), x[3:])
x.__setitem__(i, x[3])
k.__setitem__(k, False)
k.__setitem__(k, T.tensor([True, True]))
e.__setitem__(i, 1.0)
e.index_add_(0, o, T.ones(1))
x[:3].index_add_(0, i, x[1:4])
x.index_add_(0, r, x)
n.index_add_(0, n, T.tensor([1, 1, 1, 1]))
n[:3].index_add_(0, n[1:], T.tensor([1, 1, 1]))
m.t().index_add_(0, o, T.ones(1, 2))
T.zeros(3, 1).expand(3, 2).index_add_(0, o, T.ones(1, 2))
e.index_copy_(0, o, T.ones(1))
x[:3].index_copy_(0, i, x[1:4])
x.index_copy_(0, r, x)
n.index_copy_(0, n, T.tensor([1, 1, 1, 1]))
m.t().index_copy_(1, o, T.ones(2, 1))
e.index_fill_(0, o, 1.0)
n.index_fill_(0, n, 1)
n[:3].index_fill_(0, n[1:], 1)
x.index_fill_(0, T.tensor([0, 1]), x[2])
m.t().index_fill_(0, o, 7.0)
e.scatter_(0, o, T.ones(1))
e.scatter_(0, o, 1.0)
x[:3].scatter_(0, i, x[1:4])
x.scatter_(0, r, x)
x.scatter_(dim=0, index=r, src=x)
n.scatter_(0, n, T.tensor([1, 1, 1, 1]))
n.scatter_(0, n, 1)
n[:3].scatter_(0, n[1:], 1)
e.scatter_add_(0, o, T.ones(1))
x[:3].scatter_add_(0, i, x[1:4])
x.scatter_add_(0, r, x)
n.scatter_add_(0, n, T.tensor([1, 1, 1, 1]))
T.zeros(3).scatter_add_(0, i, T.ones(1).expand(3))
x[:3].scatter_reduce_(0, i, x[1:4], "amax")
x.scatter_reduce_(0, r, x, "amax")
x[:3].index_reduce_(0, i, x[1:4], "amax")
e.masked_scatter_(k, T.ones(3))
x[:3].masked_scatter_(T.tensor([True, True, True]), x[1:4])
k[:2].masked_scatter_(k[1:], T.tensor([False, True]))
e.masked_fill_(k, 1.0)
T.arange(2.0).view(2, 1).expand(2, 3).masked_fill_(k, 7.0)
T.arange(2.0).view(2, 1).expand(2, 3).masked_fill_(T.tensor([[False], [True]]), 7.0)
k.masked_fill_(k, False)
k[:2].masked_fill_(k[1:], False)
x.masked_fill_(x > 1, x[3])
e.put_(o, T.ones(1))
x[:3].put_(i, x[1:4])
x.put_(r, x)
n[:3].put_(n[1:], T.tensor([5, 6, 7]))
""".strip().splitlines()


def outcome(T: ModuleType, source: str) -> tuple[Any, ...]:  # noqa: N803 - T is the namespace under test
    space = {
        "T": T,
        "e": T.zeros(1).expand(3),
        "x": T.arange(4.0),
        "n": T.tensor([0, 1, 2, 0]),
        "m": T.arange(4.0).view(2, 2),
        "k": T.tensor([True, False, True]),
        "o": T.tensor([0]),
        "i": T.tensor([0, 1, 2]),
        "r": T.tensor([3, 2, 1, 0]),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = eval(source, space)
        except RuntimeError as error:
            return "error", str(error).partition("\n")[0]
    texts = {str(w.message).partition(" (Trig")[0] for w in caught}
    return "value", None if value is None else value.tolist(), space["x"].tolist(), texts


@pytest.mark.parametrize("source", CALLS)
def test_shared_memory(source: str, torch: ModuleType) -> None:
    assert outcome(jitgrad, source) == outcome(torch, source)


def test_what_overlaps_with_gaps_is_read_first() -> None:
    x = jitgrad.arange(4.0)
    x[::2].index_put_((jitgrad.tensor([1, 0]),), x[::2])
    assert x.tolist() == [2.0, 1.0, 0.0, 3.0]


def test_expanded_tensors_of_other_dtypes() -> None:
    x = jitgrad.zeros(1, dtype=jitgrad.int64).expand(3)
    with pytest.warns(UserWarning, match="Use of index_fill_ on expanded tensors is deprecated"):
        x.index_fill_(0, jitgrad.tensor([1]), 4)
    assert x.tolist() == [4, 4, 4]


CHANGES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "one element": lambda t, y, v: y.__setitem__((t.tensor([1]), t.tensor([2])), v[0, 0]),
    "a number": lambda t, y, v: y.__setitem__(t.tensor([1, 1]), 5.0),
    "rows": lambda t, y, v: y.__setitem__(t.tensor([2, 0]), v[:2]),
    "a mask": lambda t, y, v: y.__setitem__(y > 2, v[0, 1]),
    "accumulated": lambda t, y, v: y.index_put_((t.tensor([0, 0, -1]),), v[:3], True),
    "of a slice": lambda t, y, v: y[1:, ::2].__setitem__(t.tensor([1, 0]), v[:2, :2]),
    "of a transpose": lambda t, y, v: y.t().__setitem__(t.tensor([2, 1]), v[:2]),
    "added": lambda t, y, v: y.index_add_(0, t.tensor([0, 0]), v[:2], alpha=3),
    "added to a transpose": lambda t, y, v: y.t().index_add_(1, t.tensor([0, 0]), v.t()[:, :2]),
    "copied": lambda t, y, v: y.index_copy_(1, t.tensor([2]), v[:, :1]),
    "filled": lambda t, y, v: y.index_fill_(1, t.tensor([0, 2]), v[0, 2]),
    "filled, of a slice": lambda t, y, v: y[:2].index_fill_(0, t.tensor([1]), 2.0),
    "with part of itself": lambda t, y, v: y.__setitem__(t.tensor([0, 1, 2]), y.t() * 2),
}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("grads", ["both", "value", "target"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_recorded(
    change: Callable[[Any, Any, Any], Any], grads: str, dtype: str, torch: ModuleType
) -> None:
    def run(T: Any) -> list[Any]:  # noqa: N803
        kind = getattr(T, dtype)
        x = T.arange(9.0, dtype=kind).view(3, 3).requires_grad_(grads != "value")
        v = (T.arange(9.0, dtype=kind).view(3, 3) * -0.5).requires_grad_(grads != "target")
        y = x * 2
        change(T, y, v)
        z = y * y
        if z.requires_grad:
            (z * T.arange(9.0, dtype=kind).view(3, 3)).sum().backward()
        found = [y, x.grad, v.grad]
        name = type(y.grad_fn).__name__.rstrip("01")
        return [name, y._version] + [None if t is None else t.double().tolist() for t in found]

    mine, theirs = run(jitgrad), run(torch)
    assert mine[:2] == theirs[:2]
    for a, b in zip(mine[2:], theirs[2:], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0.02 if dtype == "bfloat16" else 1e-12)


def test_gradients_of_gradients(torch: ModuleType) -> None:
    def run(T: Any) -> Any:  # noqa: N803
        x = T.arange(4.0, dtype=T.float64).requires_grad_()
        v = T.tensor([2.0, 3.0], dtype=T.float64, requires_grad=True)
        y = x * x
        y[T.tensor([0, 2])] = v * v
        y.index_add_(0, T.tensor([1]), v[:1] * x[3:])
        first = T.autograd.grad((y * y).sum(), (x, v), create_graph=True)
        second = T.autograd.grad(sum((g * g).sum() for g in first), (x, v))
        return [g.tolist() for g in (*first, *second)]

    for a, b in zip(run(jitgrad), run(torch), strict=True):
        np.testing.assert_allclose(a, b)


def test_an_element_is_written_in_place() -> None:
    x = jitgrad.zeros(1 << 20, requires_grad=True)
    y = x * 2
    reset_peak_memory_stats()
    before = memory_stats()["peak_bytes"]
    y[jitgrad.tensor([5])] = 1.0
    y.index_add_(0, jitgrad.tensor([6]), jitgrad.ones(1))
    assert memory_stats()["peak_bytes"] - before < 1 << 20
    assert y[4:8].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_what_cannot_be_recorded_is_left_as_it_was(torch: ModuleType) -> None:
    def run(T: Any) -> list[Any]:  # noqa: N803
        found: list[Any] = []
        leaf = T.zeros(3, requires_grad=True)
        base = T.zeros(3)
        with T.no_grad():
            unrecorded = base.view(3)
        value = T.ones(1, requires_grad=True)
        for target, index in ((leaf, [0]), (leaf[:2], [0]), (unrecorded, [0]), (T.zeros(3), [4])):
            try:
                target[T.tensor(index)] = value
            except (RuntimeError, IndexError) as error:
                found += [type(error).__name__, str(error)[:40]]
            found.append(target.tolist())
        return found

    assert run(jitgrad) == run(torch)
