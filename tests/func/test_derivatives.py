"""The transforms of `jitgrad.func` against PyTorch's, on the same functions and data."""

# ruff: noqa: N803, N806 - T is the namespace under test
from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad import func

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Attempted to insert:UserWarning"
)


def plain(value: Any) -> Any:
    """A result as nested plain data."""
    if hasattr(value, "detach"):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def assert_same(a: Any, b: Any) -> None:
    """Compare plain data."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            assert_same(a[k], b[k])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for p, q in zip(a, b, strict=True):
            assert_same(p, q)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    else:
        assert a == b


def vec(T: ModuleType, *shape: int, seed: int = 0) -> Any:
    """Random float64 data."""
    data = np.random.default_rng(seed).standard_normal(shape)
    return T.tensor(data.tolist(), dtype=T.float64)


def f(T: ModuleType) -> Any:
    """A function of a vector to a vector, with every element depending on all."""
    return lambda x: T.sin(x) * (x * x).sum()


def pair(T: ModuleType) -> Any:
    """Two arguments, containers in and out."""

    def function(p: Any, z: Any) -> Any:
        h = T.tanh(p["w"] @ z + p["b"])
        return {"h": h, "s": (h * h).sum()}

    return function


def params(T: ModuleType) -> Any:
    return {"w": vec(T, 2, 3), "b": vec(T, 2, seed=1)}


CASES = {
    "grad": lambda T, F: F.grad(lambda x: f(T)(x).sum())(vec(T, 3)),
    "grad of grad": lambda T, F: F.grad(F.grad(lambda x: x.exp().sin()))(vec(T)),
    "grad of grad of grad": lambda T, F: F.grad(F.grad(F.grad(lambda x: x**5)))(vec(T)),
    "grad argnums": lambda T, F: F.grad(lambda x, z: (x * z * z).sum(), (1, 0))(
        vec(T, 3), vec(T, 3, seed=1)
    ),
    "grad negative argnum": lambda T, F: F.grad(lambda x, z: (x * z).sum(), -1)(
        vec(T, 3), vec(T, 3, seed=1)
    ),
    "grad of containers": lambda T, F: F.grad(lambda p, z: pair(T)(p, z)["s"])(
        params(T), vec(T, 3)
    ),
    "grad aux": lambda T, F: F.grad(lambda x: (x.sum(), {"a": x * 2}), has_aux=True)(vec(T, 3)),
    "grad and value": lambda T, F: F.grad_and_value(lambda x: (x * x).sum())(vec(T, 3)),
    "grad and value aux": lambda T, F: F.grad_and_value(
        lambda x: ((x * x).sum(), x + 1), has_aux=True
    )(vec(T, 3)),
    "grad in no_grad": lambda T, F: _in_no_grad(
        T, lambda: F.grad(lambda x: (x**3).sum())(vec(T, 3))
    ),
    "vjp": lambda T, F: (lambda y, pull: [y, pull(y)])(*F.vjp(f(T), vec(T, 3))),
    "vjp of containers": lambda T, F: (lambda y, pull: [y, pull({"h": y["h"], "s": y["s"]})])(
        *F.vjp(pair(T), params(T), vec(T, 3))
    ),
    "jvp": lambda T, F: F.jvp(f(T), (vec(T, 3),), (vec(T, 3, seed=1),)),
    "jvp of a linear function": lambda T, F: F.jvp(
        lambda x: x.sum() * 2, (vec(T, 3),), (vec(T, 3, seed=1),)
    ),
    "jvp of a constant": lambda T, F: F.jvp(
        lambda x: T.ones(2, dtype=T.float64), (vec(T, 3),), (vec(T, 3, seed=1),)
    ),
    "jvp of jvp": lambda T, F: F.jvp(
        lambda x: F.jvp(f(T), (x,), (x * 2,))[1], (vec(T, 3),), (vec(T, 3, seed=1),)
    ),
    "linearize": lambda T, F: (lambda y, push: [y, push(vec(T, 3, seed=2))])(
        *F.linearize(f(T), vec(T, 3))
    ),
    "jacrev": lambda T, F: F.jacrev(f(T))(vec(T, 3)),
    "jacfwd": lambda T, F: F.jacfwd(f(T))(vec(T, 3)),
    "jacrev of matrices": lambda T, F: F.jacrev(lambda x: x @ x.t())(vec(T, 2, 3)),
    "jacfwd of matrices": lambda T, F: F.jacfwd(lambda x: x @ x.t())(vec(T, 2, 3)),
    "jacrev of containers": lambda T, F: F.jacrev(pair(T), (0, 1))(params(T), vec(T, 3)),
    "jacfwd of containers": lambda T, F: F.jacfwd(pair(T), (0, 1))(params(T), vec(T, 3)),
    "jacrev aux": lambda T, F: F.jacrev(lambda x: (x * x, x + 1), has_aux=True)(vec(T, 2)),
    "jacobian of a constant": lambda T, F: F.jacrev(lambda x: T.ones(2, dtype=T.float64))(
        vec(T, 3)
    ),
    "hessian": lambda T, F: F.hessian(lambda x: f(T)(x).sum())(vec(T, 3)),
    "hessian of two": lambda T, F: F.hessian(lambda x, z: (x * z.exp()).sum(), (0, 1))(
        vec(T, 2), vec(T, 2, seed=1)
    ),
    "jacfwd of jacrev": lambda T, F: F.jacfwd(F.jacrev(lambda x: (x**3).sum()))(vec(T, 3)),
    "jacrev of jacfwd": lambda T, F: F.jacrev(F.jacfwd(lambda x: (x**3).sum()))(vec(T, 3)),
    "vmap": lambda T, F: F.vmap(lambda x, z: x @ z)(vec(T, 4, 3), vec(T, 4, 3, seed=1)),
    "vmap in_dims": lambda T, F: F.vmap(lambda x, z: x * z, in_dims=(1, None))(
        vec(T, 3, 4), vec(T, 3, seed=1)
    ),
    "vmap out_dims": lambda T, F: F.vmap(lambda x: (x, x.sum()), out_dims=(1, 0))(vec(T, 4, 3)),
    "vmap of vmap": lambda T, F: F.vmap(F.vmap(lambda x, z: x * z, (0, None)), (0, 0))(
        vec(T, 2, 3, 4), vec(T, 2, 4, seed=1)
    ),
    "vmap of grad": lambda T, F: F.vmap(F.grad(lambda w, x: (w @ x).sin()), (None, 0))(
        vec(T, 3), vec(T, 5, 3, seed=1)
    ),
    "vmap of containers": lambda T, F: F.vmap(lambda d: {"s": d["a"].sum() * d["b"]})(
        {"a": vec(T, 4, 3), "b": vec(T, 4, seed=1)}
    ),
    "vmap negative dims": lambda T, F: F.vmap(lambda x: x * 2, in_dims=-1, out_dims=-1)(
        vec(T, 3, 4)
    ),
    "jacobian by vmap of vjp": lambda T, F: (
        lambda y, pull: F.vmap(pull)(T.eye(3, dtype=T.float64))
    )(*F.vjp(f(T), vec(T, 3))),
}


def _in_no_grad(T: ModuleType, call: Any) -> Any:
    with T.no_grad():
        return call()


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours = plain(CASES[name](jitgrad, func))
    theirs = plain(CASES[name](torch, torch.func))
    assert_same(ours, theirs)


ERRORS = {
    "grad of a vector": lambda T, F: F.grad(lambda x: x * 2)(vec(T, 2)),
    "grad of no tensor": lambda T, F: F.grad(lambda x: 3.0)(vec(T, 2)),
    "grad argnum too large": lambda T, F: F.grad(lambda x: x.sum(), 1)(vec(T, 2)),
    "grad argnums twice": lambda T, F: F.grad(lambda x: x.sum(), (0, 0))(vec(T, 2)),
    "grad of an int tensor": lambda T, F: F.grad(lambda x: x.sum())(T.tensor([1, 2])),
    "grad aux without a pair": lambda T, F: F.grad(lambda x: x.sum(), has_aux=True)(vec(T, 2)),
    "jvp of another shape": lambda T, F: F.jvp(lambda x: x, (vec(T, 2),), (vec(T, 3),)),
    "jvp without tuples": lambda T, F: F.jvp(lambda x: x, vec(T, 2), vec(T, 2)),
    "vjp of no tensor": lambda T, F: F.vjp(lambda x: 3.0, vec(T, 2)),
    "vjp_fn of another shape": lambda T, F: F.vjp(lambda x: x, vec(T, 2))[1](vec(T, 3)),
    "vmap of different sizes": lambda T, F: F.vmap(lambda x, z: x + z)(vec(T, 2), vec(T, 3)),
    "vmap over nothing": lambda T, F: F.vmap(lambda x: x, in_dims=(None,))(vec(T, 2)),
    "vmap without inputs": lambda T, F: F.vmap(lambda: vec(T, 2))(),
    "vmap out of range": lambda T, F: F.vmap(lambda x: x, in_dims=1)(vec(T, 2)),
    "vmap of a number": lambda T, F: F.vmap(lambda x: 1.0)(vec(T, 2)),
    "vmap item": lambda T, F: F.vmap(lambda x: x * x.item())(vec(T, 2)),
    "vmap in_dims of another structure": lambda T, F: F.vmap(lambda x: x, in_dims=(0, 0))(
        vec(T, 2)
    ),
    "vmap randomness": lambda T, F: F.vmap(lambda x: x, randomness="some")(vec(T, 2)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_pytorchs_types(name: str) -> None:
    torch = pytest.importorskip("torch")
    kinds = []
    for T, F in ((jitgrad, func), (torch, torch.func)):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the types are what is compared
            ERRORS[name](T, F)
        kinds.append(caught.type.__name__)
    assert kinds[0] == kinds[1]


def test_results_have_history_only_if_the_user_asks() -> None:
    x = vec(jitgrad, 3)
    gradient = func.grad(lambda x: (x**3).sum())
    assert not gradient(x).requires_grad
    assert not x.requires_grad
    x.requires_grad_()
    gradient(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy())


def test_a_parameter_in_the_closure_can_be_differentiated() -> None:
    w = jitgrad.tensor(3.0, requires_grad=True)
    g = func.grad(lambda x: w * x * x)(jitgrad.tensor(2.0))
    g.backward()
    assert (g.item(), w.grad.item()) == (12.0, 4.0)


def test_numbers_can_be_read_after_vmap_and_of_what_was_there_before() -> None:
    k = jitgrad.tensor(2.0)
    y = func.vmap(lambda x: x * k.item())(jitgrad.ones(3))
    assert y[0].item() == 2.0
    with pytest.raises(ZeroDivisionError):
        func.vmap(lambda x: 1 / 0)(jitgrad.ones(3))
    assert y.sum().item() == 6.0


def test_nothing_leaks() -> None:
    x = vec(jitgrad, 4)
    run = func.hessian(lambda x: (x**3).sum() * x.exp().prod())

    def step() -> None:
        run(x)
        func.vmap(func.grad(lambda a: a * a * a))(x)
        func.jvp(jitgrad.sin, (x,), (x,))

    step()
    before = jitgrad.memory_stats()
    for _ in range(20):
        step()
    after = jitgrad.memory_stats()
    assert after["live_rows"] == before["live_rows"]
    assert after["live_storages"] == before["live_storages"]
