"""autograd.functional, forward_ad and gradcheck, against PyTorch and against themselves."""

# ruff: noqa: N803, N806 - T is the namespace under test
from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.autograd import forward_ad, gradcheck, gradgradcheck
from jitgrad.autograd.gradcheck import GradcheckError
from tests.calls import CALLS, Call
from tests.func.test_derivatives import assert_same, plain, vec

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")


J = {
    "jacobian": lambda T, A: A.jacobian(lambda x: T.sin(x) * x.sum(), vec(T, 3)),
    "jacobian of several": lambda T, A: A.jacobian(
        lambda x, z: (x * z, x.sum()), (vec(T, 2), vec(T, 2, seed=1))
    ),
    "jacobian independent": lambda T, A: A.jacobian(lambda x, z: x * 2, (vec(T, 2), vec(T, 2))),
    "hessian": lambda T, A: A.hessian(lambda x: (x**3).sum() * x[0], vec(T, 3)),
    "hessian of several": lambda T, A: A.hessian(
        lambda x, z: (x * z).sum() * x.sum(), (vec(T, 2), vec(T, 2, seed=1))
    ),
    "vjp": lambda T, A: A.vjp(lambda x: T.sin(x), vec(T, 3), vec(T, 3, seed=1)),
    "vjp of a scalar": lambda T, A: A.vjp(lambda x: x.sum(), vec(T, 3)),
    "jvp": lambda T, A: A.jvp(lambda x: T.sin(x) * x.sum(), vec(T, 3), vec(T, 3, seed=1)),
    "jvp of several": lambda T, A: A.jvp(
        lambda x, z: (x * z, x + z),
        (vec(T, 2), vec(T, 2, seed=1)),
        (vec(T, 2, seed=2), vec(T, 2, seed=3)),
    ),
    "vhp": lambda T, A: A.vhp(lambda x: (x**3).sum(), vec(T, 3), vec(T, 3, seed=1)),
    "hvp": lambda T, A: A.hvp(
        lambda x, z: (x * z * z).sum(),
        (vec(T, 2), vec(T, 2, seed=1)),
        (vec(T, 2, seed=2), vec(T, 2, seed=3)),
    ),
}


@pytest.mark.parametrize("name", J)
def test_functional_agrees_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours = plain(J[name](jitgrad, jitgrad.autograd.functional))
    assert_same(ours, plain(J[name](torch, torch.autograd.functional)))


BAD = {
    "jacobian strict": lambda T, A: A.jacobian(lambda x: T.ones(2), vec(T, 2), strict=True),
    "jacobian strict input": lambda T, A: A.jacobian(
        lambda x, z: x * 2, (vec(T, 2), vec(T, 2)), strict=True
    ),
    "jacobian of a number": lambda T, A: A.jacobian(lambda x: 1.0, vec(T, 2)),
    "jacobian at a number": lambda T, A: A.jacobian(lambda x: x, 1.0),
    "hessian of a vector": lambda T, A: A.hessian(lambda x: x, vec(T, 2)),
    "vjp without v": lambda T, A: A.vjp(lambda x: x, vec(T, 2)),
    "vjp of another shape": lambda T, A: A.vjp(lambda x: x, vec(T, 2), vec(T, 3)),
    "jvp of another length": lambda T, A: A.jvp(lambda x: x, vec(T, 2), (vec(T, 2), vec(T, 2))),
}


@pytest.mark.parametrize("name", BAD)
def test_functional_errors(name: str) -> None:
    torch = pytest.importorskip("torch")
    kinds = []
    for T in (jitgrad, torch):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the types are what is compared
            BAD[name](T, T.autograd.functional)
        kinds.append(caught.type.__name__)
    assert kinds[0] == kinds[1]


# ---------------------------------------------------------------- forward mode
def tangent_of(T: ModuleType, call: Call) -> list[Any]:
    """The tangents of a call's outputs, by forward mode in every operand at once."""
    A = T.autograd.forward_ad
    rng = np.random.default_rng(5)
    with A.dual_level():
        operands = []
        for data, operand in zip(call.data("float64"), call.operands, strict=True):
            x = T.tensor(data.tolist(), dtype=getattr(T, str(data.dtype))).reshape(data.shape)
            if operand.kind == "float" and operand.grad:
                t = T.tensor(rng.standard_normal(data.shape).tolist(), dtype=T.float64)
                x = A.make_dual(x, t.reshape(data.shape))
            operands.append(x)
        found = call.function(T, *operands)
        outputs = found if isinstance(found, (tuple, list)) else [found]
        tangents = []
        for y in outputs:
            if isinstance(y, T.Tensor):
                t = A.unpack_dual(y).tangent
                tangents.append(None if t is None else (t + 0).detach().numpy())
        return tangents


#: PyTorch has no forward mode for index_reduce; its tangents of a product by scatter_reduce fail its own
#: gradcheck; that of a logsumexp over nothing, -inf whatever the input, is NaN.
NOT_THERE = ("index_reduce", "scatter_reduce prod", "logsumexp of nothing")
FORWARD = [
    c
    for c in CALLS
    if not c.name.startswith(NOT_THERE) and any(o.grad and o.kind == "float" for o in c.operands)
]


@pytest.mark.parametrize("call", FORWARD, ids=lambda c: c.name)
def test_forward_mode_agrees_with_pytorch(call: Call) -> None:
    torch = pytest.importorskip("torch")
    theirs = tangent_of(torch, call)
    for a, b in zip(tangent_of(jitgrad, call), theirs, strict=True):
        shape = (a if a is not None else b if b is not None else np.zeros(1)).shape
        a, b = (np.zeros(shape) if v is None else v for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_dual_tensors_in_detail() -> None:
    with forward_ad.dual_level():
        x = forward_ad.make_dual(jitgrad.tensor([1.0, 2.0]), jitgrad.tensor([1.0, 0.0]))
        assert forward_ad.unpack_dual(x).tangent.tolist() == [1.0, 0.0]
        y = jitgrad.ones(2)
        assert forward_ad.unpack_dual(y).tangent is None
        assert not forward_ad.unpack_dual(x * y).primal.requires_grad
        with pytest.raises(RuntimeError, match="size"):
            forward_ad.make_dual(jitgrad.ones(2), jitgrad.ones(3))
        with pytest.raises(ValueError, match="floating point"):
            forward_ad.make_dual(jitgrad.tensor([1]), jitgrad.tensor([1]))
        with pytest.raises(RuntimeError, match="Nested"), forward_ad.dual_level():
            pass
    with pytest.raises(RuntimeError, match="no level exists"):
        forward_ad.make_dual(jitgrad.ones(2), jitgrad.ones(2))


def test_forward_over_reverse() -> None:
    with forward_ad.dual_level():
        x = jitgrad.tensor([1.0, 2.0], dtype=jitgrad.float64, requires_grad=True)
        d = forward_ad.make_dual(x, jitgrad.tensor([1.0, 1.0], dtype=jitgrad.float64))
        primal, tangent = forward_ad.unpack_dual((d**3).sum())
        assert primal.requires_grad
        (g,) = jitgrad.autograd.grad(tangent, x)
        assert g.tolist() == [6.0, 12.0]


# ---------------------------------------------------------------- gradcheck
class Scaled(jitgrad.autograd.Function):
    """A square whose gradient is off by a factor."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * g * Scaled.factor


def test_a_gradient_off_by_one_percent_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    x = vec(jitgrad, 3).requires_grad_()
    assert gradcheck(Scaled.apply, (x,))
    assert gradcheck(Scaled.apply, x, check_forward_ad=True)
    monkeypatch.setattr(Scaled, "factor", 1.01)
    with pytest.raises(
        GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"
    ):
        gradcheck(Scaled.apply, (x,))
    assert gradcheck(Scaled.apply, (x,), raise_exception=False) is False
    with pytest.raises(GradcheckError, match="forward mode"):
        gradcheck(Scaled.apply, x, check_forward_ad=True, check_backward_ad=False)


class WrongTwice(jitgrad.autograd.Function):
    """Right to first order, off by 1 % to second."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * 3 * (1.01 * x * x - 0.01 * x.detach() ** 2)


def test_gradgradcheck_catches_a_wrong_second_order() -> None:
    x = vec(jitgrad, 3).requires_grad_()
    assert gradgradcheck(lambda x: x**3, (x,))
    assert gradcheck(WrongTwice.apply, (x,))
    with pytest.raises(GradcheckError):
        gradgradcheck(WrongTwice.apply, (x,))


def test_gradcheck_of_several_inputs_and_outputs() -> None:
    x, z = vec(jitgrad, 2, 3).requires_grad_(), vec(jitgrad, 3, 2, seed=1).requires_grad_()
    constant = vec(jitgrad, 2, 2)
    function = lambda x, z, c: (x @ z * c, x.sum(), jitgrad.ones(2))  # noqa: E731
    assert gradcheck(function, (x, z, constant))
    assert gradgradcheck(lambda x, z: (x @ z).tanh(), (x, z))
    assert gradcheck(lambda x: x.t() * 2, (x,))


def test_gradcheck_wants_inputs_that_can_be_checked() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, (jitgrad.ones(2),))
    with pytest.warns(UserWarning, match="double precision"):
        gradcheck(lambda x: x * 2, (jitgrad.ones(2, requires_grad=True),), eps=1e-2, atol=1e-2)
    x = jitgrad.ones(1, dtype=jitgrad.float64, requires_grad=True).expand(3)
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda x: x * 2, (x,))
