"""einsum, distances, parts, scans, matrices: large sizes against NumPy, gradients, PyTorch's errors."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import jitgrad
from tests.ops.both import check

ERRORS = """
T.einsum('ij,jk', x, x)
T.einsum('ij->k', x)
T.einsum('ii', x)
T.einsum('i', x)
T.einsum('ij,jk->ik', x)
T.einsum('ij', x, x)
T.einsum('i1', x)
T.einsum('ij->ii', x)
T.einsum('i...j...', x)
T.einsum('ij,ij', x, T.ones(3, 3))
T.einsum()
T.trace(y)
T.diag(y)
T.diag_embed(x, 0, 0, 0)
T.cross(x, x, dim=0)
T.inner(x, T.ones(2, 2))
T.addr(T.ones(2), T.ones(2), T.ones(3))
T.linalg.multi_dot([x])
T.linalg.multi_dot([x, x])
T.matrix_power(x, 2)
T.cdist(x, x.t())
T.cdist(x, x, p=-1)
T.cdist(x.long(), x)
T.meshgrid(L([1]), L([1.0]), indexing='ij')
T.cartesian_prod(x)
T.combinations(L([1, 2, 3]), -1)
T.rot90(x, 1, [0, 0])
T.rot90(x, 1, [0])
T.fliplr(L([1]))
T.hsplit(x, 2)
T.vsplit(L([1]), 1)
T.hstack([])
T.block_diag(y)
x.unfold(1, 4, 1)
x.unfold(1, 2, 0)
T.select_scatter(x, T.zeros(2), 0, 1)
T.select_scatter(x, T.zeros(3), 0, 2)
T.slice_scatter(x, T.zeros(2, 2), 1, 1, 2)
T.diagonal_scatter(x, T.zeros(3))
x.masked_scatter(x > 2, T.ones(2))
x.masked_scatter(x, T.ones(2))
T.zeros(3).scatter_reduce(0, L([0, 0, 1]), L([1.0, 2, 3]), 'x')
T.zeros(3).scatter_reduce(0, L([0, 0, 5]), L([1.0, 2, 3]), 'sum')
T.zeros(3).scatter_reduce(0, L([0, 0, 1]), L([1, 2, 3]), 'sum')
T.zeros(3).index_reduce(0, L([0, 0, 1]), L([1.0, 2, 3]), 'sum')
T.zeros(3).index_reduce(0, L([0, 0, 4]), L([1.0, 2, 3]), 'prod')
T.nanmean(L([1, 2]))
T.var_mean(x.long())
T.tril_indices(-1, 2)
x.sum_to_size(2)
T.renorm(L([1.0]), 2, 0, 1)
T.tensordot(x, x, ([0], [1]))
T.tensordot(x, x, 5)
T.tensordot(x, x, ([0], [0, 1]))
T.cumprod(x, 5)
T.logcumsumexp(i, 0)
T.diff(L(1.0))
T.diff(x, n=-1)
T.linalg.inv(x)
T.linalg.det(x)
T.linalg.inv(T.ones(2, 2).long())
T.linalg.solve(T.eye(2), T.ones(3))
T.linalg.cholesky(x)
T.linalg.svd(L(1.0))
T.linalg.norm(y, 2)
T.linalg.matrix_norm(x, 'x')
T.linalg.vector_norm(i)
"""


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source, but=("message", "warns"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: jitgrad.linalg.inv(jitgrad.zeros(2, 2)),
        lambda: jitgrad.linalg.solve(jitgrad.zeros(2, 2), jitgrad.ones(2)),
        lambda: jitgrad.linalg.cholesky(-jitgrad.eye(2)),
    ],
)
def test_singular_matrices(call: object) -> None:
    with pytest.raises(jitgrad.linalg.LinAlgError, match="singular|positive-definite"):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", ((3, 20, 30), (3, 30, 10))),
        ("ij,kj,lj->ikl", ((5, 40), (6, 40), (7, 40))),
        ("abcd,cdef->abef", ((2, 3, 4, 5), (4, 5, 3, 2))),
        ("aij,bji->ab", ((4, 3, 6), (5, 6, 3))),
        ("i,i,i->", ((50,), (50,), (50,))),
        ("ij,jk->ik", ((0, 3), (3, 2))),
        ("ij,jk->ik", ((2, 0), (0, 2))),
    ],
)
def test_einsum_against_numpy(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in shapes]
    found = jitgrad.einsum(equation, *(jitgrad.from_numpy(a) for a in arrays))
    np.testing.assert_allclose(found.numpy(), np.einsum(equation, *arrays), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
def test_cdist(p: float, torch: ModuleType) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))
    b[0, 0] = a[0, 0]  # a distance of 0, whose gradient is 0
    gradients = []
    for T in (jitgrad, torch):  # noqa: N806
        x, z = (T.from_numpy(v.copy()).requires_grad_() for v in (a, b))
        found = T.cdist(x, z, p)
        (found * T.arange(5.0).to(found.dtype)).sum().backward()
        gradients.append((found.detach().numpy(), x.grad.numpy(), z.grad.numpy()))
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-12)


def test_cdist_has_a_second_gradient() -> None:
    rng = np.random.default_rng(2)
    x, z = (jitgrad.from_numpy(rng.normal(size=(3, 2))).requires_grad_() for _ in range(2))
    assert jitgrad.autograd.gradgradcheck(lambda a, b: jitgrad.cdist(a, b), (x, z))


def test_cumprod_of_a_long_tensor() -> None:
    a = np.random.default_rng(3).uniform(0.9, 1.1, (3, 1000))
    found = jitgrad.cumprod(jitgrad.from_numpy(a), 1).numpy()
    np.testing.assert_allclose(found, np.cumprod(a, 1), rtol=1e-12)


def test_methods_in_place() -> None:
    x = jitgrad.tensor([1.0, 2.0, 3.0])
    assert x.cumprod_(0) is x
    assert x.tolist() == [1.0, 2.0, 6.0]
    x.masked_scatter_(x > 1, jitgrad.tensor([8.0, 9.0]))
    assert x.tolist() == [1.0, 8.0, 9.0]
    x.scatter_reduce_(0, jitgrad.tensor([0, 0]), jitgrad.tensor([5.0, 4.0]), "amax")
    assert x.tolist() == [5.0, 8.0, 9.0]
