"""Indexing and its relatives beside PyTorch: values, nodes, gradients, errors, warnings."""

from __future__ import annotations

from types import ModuleType

import pytest

import jitgrad
from jitgrad.ops import indexing
from tests.ops.both import check

READS = """
g[0]
g[:]
g[...]
g[0:2]
g[::2]
g[:, 0]
g[:, :]
g[None]
g[..., None]
g[0, 1]
g[:, 1:, None]
g[()]
g[True]
g[False]
g[True, False]
g[None, True]
g[L(True)]
g[L(1)]
g[L(1, dtype=T.int16)]
g[L([1, 0], dtype=T.uint8)]
g[np.array([1], dtype=np.int16)]
g[np.array([True, False])]
g[np.int64(1)]
g[np.array(1)]
g[[0, 1]]
g[[[0, 1], [1, 0]]]
g[[[0, 1], [1, 0]],]
g[[True, False]]
g[[0, slice(None)]]
g[[i, i]]
g[[L(0), L(1)]]
g[[]]
g[range(2)]
g[range(1),]
g[0, [1, 2]]
g[[0, 1], [1, 2]]
g[i, L([[0], [1]])]
g[L([], dtype=T.int64)]
g[L(0):L(1)]
g[g > 0]
g[:, L([True, False, True])]
g[g > 100]
L(1.)[...], L(1.)[None], L(1.)[True], L(1.)[L(True)], L(1.)[()]
y[i, :, i]
y[:, i, i]
y[0, :, i]
y[i, None, i]
y[i, ..., 0]
y[..., i, 0]
y[0, ..., i]
y[:, 0, i]
y[T.ones(2, 3, dtype=T.bool), i[:1]]
y[True, i], y[i, True], y[:, True, i]
y[:, i, None, i]
g.gather(1, L([[0, 2, 2], [1, 1, 0]]))
g.gather(1, L([[0, 1, 2, 2, 2]]))
g.gather(1, L([[0]], dtype=T.int32))
g.gather(1, T.empty(0, 7, dtype=T.int64))
L(1.).gather(0, L([0, 0])), T.ones(3).gather(0, L(1))
g.scatter(1, L([[0, 1]]), 1.)
g.scatter(1, L([[0, 1, 1], [2, 0, 0]]), h)
g.scatter(0, L([[0, 1, 0], [1, 0, 1]]), h)
g.scatter_add(1, L([[0, 0, 1], [1, 0, 1]]), h)
g.index_select(0, L([1, 1, 0]))
g.index_select(1, L(0)), L(1.).index_select(0, L([0]))
g.index_add(0, i, h, alpha=2)
g.index_add(1, L([2, 2]), h[:, :2])
x.index_add(0, L(0), T.ones(1, 3))
g.index_put((i, i), h[0, :2])
g.index_put((i,), h[0], accumulate=True)
g.index_put((g > 1,), h[0, 0])
T.take_along_dim(g, L([[0]]), 1)
T.take_along_dim(g, L([5, 0]))
g.masked_select(g > 0)
g.masked_select(L([True, False, True]))
L(1.).masked_select(L([True, False]))
x.nonzero(), x.nonzero(as_tuple=True), L(0.).nonzero(), L(1.).nonzero(as_tuple=True)
T.take(g, L([[0, -1], [3, 3]]))
"""
WRITES = """
T.zeros(2, 3), 0, T.ones(1, 1, 3)
T.zeros(2, 3), 0, T.ones(2)
T.zeros(2, 3), slice(None), T.ones(1, 1, 1, 3)
T.zeros(2, 3), (0, 0), T.ones(1)
T.zeros(2, 3), T.zeros(2, 3) > 5, T.ones(2)
T.zeros(2, 3), T.zeros(2, 3) > 5, T.ones(1)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.ones(2)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.arange(6.)
T.zeros(2, 3), T.zeros(2, 3) < 5, T.ones(2, 3)
T.zeros(2, 3), i, T.ones(2)
T.zeros(2, 3), i, T.arange(3.)
T.zeros(2, 3), i, T.ones(1, 1, 2, 3)
T.zeros(2, 3, dtype=T.int64), i, 3.7
T.zeros(2, 3, dtype=T.int64), 0, T.ones(3) * 1.5
T.zeros(2, 3, dtype=T.int64), i, T.ones(3)
T.zeros(2, 3), i, L(3, dtype=T.float64)
T.zeros(2, 3), i, [1., 2., 3.]
T.zeros(2, 3), 0, (1, 2, 3)
T.zeros(2, 3), 0, np.ones(3)
T.zeros(2, 3), 0, None
T.zeros(2, 3), 5, 1
T.zeros(2, 3), L([5]), 1
T.zeros(2, 3), True, 1
T.zeros(2, 3), False, 1
T.zeros(2, 3), ..., 1
T.zeros(2, 3), None, 1
L(0.), True, 1
L(0.), ..., 1
L(0.), 0, 1
L(0.), L(True), 1
T.ones(2, 3, requires_grad=True), i, 1.
T.ones(2, 3, requires_grad=True), (0, i), 1.
T.ones(2, 3, requires_grad=True), 0, 1.
T.ones(2, 3, requires_grad=True), ..., 1.
g * 1, i, 2.
g * 1, g > 0, h[0, 0]
T.zeros(2, 3), i, h
T.zeros(2, 3), (i, L([2, 0])), h[:, 1]
T.zeros(2, 3), (slice(None), i), h[:, :2]
T.zeros(2, 3), T.zeros(0, dtype=T.int64), T.zeros(5)
T.zeros(2, 3, dtype=T.bool), i, 2
T.zeros(2, 3, dtype=T.uint8), i, -1
T.zeros(2, 3, 4, 5), (slice(None), i, slice(1, 3), i), T.arange(4.).view(2, 2, 1)
T.zeros(5, 4).t(), (i,), T.arange(5.)
T.zeros(5, 4).t(), (slice(1, None, 2), i), T.arange(2.)
"""
ERRORS = """
x[{1}]
x[frozenset([1])]
x[{1: 2}]
x[2]
x[-3]
x[0, -4]
x[0, 0, 0]
x[i, i, i]
x[:, :, :]
x[:, :, None, 0]
x[::-1]
x[::0]
x[0:1:-1]
x[1.5]
x[1.,]
x[L([0.5])]
x[T.empty(0)]
x[L([1], dtype=T.int16)]
x[[0, 1], [1, 2, 0]]
x[L([True, False, True])]
x[:, L([True, False])]
x[T.ones(3, 2, dtype=T.bool)]
x[T.ones(2, 3, 1, dtype=T.bool)]
x[L([0, 5])]
x[:, L([0, 5])]
x[i, L([0, 5])]
x[None, :, L([0, -5])]
x[{}]
x[object()]
x[slice("a")]
x[slice(1.5)]
x[i:]
L(1.)[0]
L(1.)[0, 0]
L(1.)[:]
L(1.)[L([0])]
L(1.)[L(0)]
y[:, True, i, False]
y[:, i, :, None, 0]
x.gather(1, L([[5]]))
x.gather(1, L([[-1]]))
x.gather(0, L([0]))
x.gather(2, L([[0]]))
x.gather(1, L([[0.]]))
x.gather(1, L([[0], [1], [2]]))
x.scatter(1, L([[5]]), 1.)
x.scatter(1, L([[0, 1]]), T.ones(1, 1))
x.scatter(1, L([[0, 1], [0, 1], [0, 1]]), T.ones(3, 3))
x.scatter(1, L([0, 1]), T.ones(2, 3))
x.scatter(1, L([[0, 1]]), T.ones(2, 3, dtype=T.float64))
x.scatter(1, L([[0, 1]]), T.ones(2, 3, 1))
x.scatter(1, L([[0., 1]]), 1)
x.scatter_add(1, L([[0, 1]]), 1.)
x.scatter_add(1, L([[0, 5]]), T.ones(2, 3))
x.index_select(0, L([0, 5]))
x.index_select(1, L([0.]))
x.index_select(1, L([[0]]))
x.index_select(2, L([0]))
L(1.).index_select(0, L([0, 0]))
x.index_add(0, i, T.ones(3, 3))
x.index_add(0, i, T.ones(2, 2))
x.index_add(0, L([0, 5]), T.ones(2, 3))
x.index_add(0, L([[0, 1]]), T.ones(2, 3))
x.index_add(0, L([0., 1]), T.ones(2, 3))
x.index_add(0, i, T.ones(2, 3, dtype=T.float64))
x.index_put((i, i), T.ones(3))
x.index_put((i,), 1.)
x.index_put(i, L(1.))
x.index_put((0,), L(1.))
x.index_put((i,), L(1))
T.take_along_dim(x, L([0]), 1)
T.take_along_dim(x, L([0., 1]))
x.masked_select(L([True, False]))
x.masked_select(L([1, 0, 1]))
T.take(x, L([6]))
T.take(x, L([-7]))
T.take(x, L([0.]))
"""


@pytest.mark.parametrize("source", READS.strip().splitlines())
def test_reads_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("source", WRITES.strip().splitlines())
def test_writes_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, f"(lambda a, k, v: (a.__setitem__(k, v), a)[1])({source})")


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


EMBEDDING_ERRORS = """
embedding(x, L([2]))
embedding(x, L([-1]))
embedding(x, L([0.]))
embedding(x, L([0], dtype=T.int16))
embedding(T.ones(3), L([0]))
"""


@pytest.mark.parametrize("source", EMBEDDING_ERRORS.strip().splitlines())
def test_embedding_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    raised = []
    for T, embedding in ((jitgrad, indexing.embedding), (torch, torch.embedding)):  # noqa: N806
        space = {"T": T, "L": T.tensor, "x": T.ones(2, 3), "embedding": embedding}
        with pytest.raises((IndexError, RuntimeError)) as error:
            eval(source, space)
        raised.append((error.type, str(error.value)))
    assert raised[0] == raised[1]
