"""In-place forms: the same value as out of place, in the same memory, with the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.methods import public
from jitgrad.ops.assigning import INPLACE
from tests.ops.data import DATA, samples

FUNCTIONS = public()

#: In-place forms of rows that take the row's operands.
NAMES = [
    name
    for name in INPLACE
    if name[:-1] in FUNCTIONS and name[:-1] in DATA and not DATA[name[:-1]].integers
]
BOOL = {
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
}
EXTRA = {"addcmul_": 3, "addcdiv_": 3}  # the factor is a keyword


def operands(name: str) -> list[Any]:
    found = [jitgrad.from_numpy(x) for x in samples(name[:-1], (4, 5), "float64")]
    if name == "masked_fill_":
        found[2] = found[2][0, 0]
    return found[: EXTRA.get(name, len(found))]


@pytest.mark.parametrize("name", NAMES)
def test_value_memory_and_gradient(name: str) -> None:
    base, *others = operands(name)
    leaf = base.clone().requires_grad_()
    wanted = FUNCTIONS[name[:-1]](leaf * 1, *others)
    x = leaf * 1
    before, address = x._version, x.data_ptr()
    found = getattr(x, name)(*others)
    assert found is x
    assert x.data_ptr() == address
    assert x._version == before + 1
    assert x.dtype is jitgrad.float64
    np.testing.assert_array_equal(x.detach().numpy(), wanted.detach().numpy())
    if name[:-1] in BOOL:
        return
    slopes = []
    for y in (wanted, x):
        leaf.grad = None
        y.sum().backward()
        slopes.append(leaf.grad.numpy().copy())
    np.testing.assert_array_equal(*slopes)


@pytest.mark.parametrize("name", NAMES)
def test_on_a_view(name: str) -> None:
    """Strided memory is written in place, and what lies between stays."""
    base, *others = operands(name)
    room = jitgrad.full((8, 10), 7.0, dtype=jitgrad.float64)
    part = room[::2, 1::2]
    part.copy_(base)
    getattr(part, name)(*others)
    wanted = FUNCTIONS[name[:-1]](base, *others)
    np.testing.assert_array_equal(room.numpy()[::2, 1::2], wanted.numpy())
    assert (room.numpy()[1::2] == 7).all()
    assert (room.numpy()[:, ::2] == 7).all()


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("x += 2", [3.0, 4.0]),
        ("x -= 2", [-1.0, 0.0]),
        ("x *= 3", [3.0, 6.0]),
        ("x /= 2", [0.5, 1.0]),
        ("x //= 2", [0.0, 1.0]),
        ("x %= 2", [1.0, 0.0]),
        ("x **= 2", [1.0, 4.0]),
        ("x += x", [2.0, 4.0]),
        ("x -= x", [0.0, 0.0]),
        ("x *= x", [1.0, 4.0]),
        ("x += np.array([1.0, 2.0])", [2.0, 4.0]),
    ],
)
def test_augmented_assignment(statement: str, wanted: list[float]) -> None:
    x = jitgrad.tensor([1.0, 2.0])
    names = {"x": x, "np": np}
    exec(statement, names)
    assert names["x"] is x
    assert x.tolist() == wanted
    assert x.dtype is jitgrad.float32


def test_augmented_assignment_of_integers() -> None:
    x = jitgrad.tensor([6, 5])
    x &= 3
    x |= 8
    x ^= 1
    assert x.tolist() == [11, 8]
    x //= 2
    assert x.tolist() == [5, 4]


def test_scaled() -> None:
    x = jitgrad.tensor([1.0, 2.0])
    x.add_(x, alpha=2).sub_(1, alpha=3)
    assert x.tolist() == [0.0, 3.0]
    x.addcmul_(x, x, value=0.5).addcdiv_(x, jitgrad.tensor([1.0, 3.0]), value=2)
    assert x.tolist() == [0.0, 12.5]


def test_fill_copy_zero() -> None:
    x = jitgrad.ones(2, 3)
    assert x.fill_(2.5).tolist() == [[2.5] * 3] * 2
    assert x.fill_(jitgrad.tensor(1)).tolist() == [[1.0] * 3] * 2
    assert x.copy_(jitgrad.tensor([1, 2, 3])).tolist() == [[1.0, 2.0, 3.0]] * 2
    assert x.zero_().tolist() == [[0.0] * 3] * 2
    y = jitgrad.zeros(3, dtype=jitgrad.int64)
    assert y.copy_(jitgrad.tensor([1.7, -1.7, 2.0])).tolist() == [1, -1, 2]
    assert y.fill_(2.9).tolist() == [2, 2, 2]


def test_copy_between_overlapping_views() -> None:
    """What is read was there before anything was written; without gaps PyTorch refuses, and so it is here."""
    for source, target in ((slice(0, 6, 2), slice(2, 8, 2)), (slice(2, 8, 2), slice(0, 6, 2))):
        x = jitgrad.arange(9)
        a = np.arange(9)
        x[target].copy_(x[source])
        a[target] = a[source].copy()
        assert x.tolist() == a.tolist()
    x = jitgrad.arange(12.0).view(3, 4)
    a = np.arange(12.0).reshape(3, 4)
    x[:, :3] += x[:, :3].T
    a[:, :3] += a[:, :3].T.copy()
    assert x.tolist() == a.tolist()
    for target, source in ((x[1:], x[:2]), (x[:, :], x.view(-1)[:4]), (x[0], x.view(-1)[1:5])):
        with pytest.raises(RuntimeError, match="some elements of the input tensor and the written"):
            target.add_(source)
    assert x.tolist() == a.tolist()


def same_as_pytorch(torch: ModuleType, program: Callable[[Any], list[Any]]) -> None:
    for ours, theirs in zip(program(jitgrad), program(torch), strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert tuple(ours.shape) == tuple(theirs.shape)
            np.testing.assert_allclose(ours.tolist(), theirs.tolist(), rtol=1e-8)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.cumsum_(1),
        lambda x: x.tril_(),
        lambda x: x.triu_(-1),
        lambda x: x.addmm_(x.detach().clone(), x.detach().clone(), beta=2, alpha=0.5),
        lambda x: x.fill_diagonal_(2.0),
        lambda x: x.float_power_(2),
        lambda x: x.divide_(4).negative_().absolute_().arctan_(),
        lambda x: x.div_(4).erfinv_(),
        lambda x: x[0].lgamma_(),
        lambda x: x.digamma_(),
    ],
)
def test_without_a_kernel_of_its_own(torch: ModuleType, change: Callable[[Any], Any]) -> None:
    def program(module: Any) -> list[Any]:
        leaf = module.tensor(
            [[1.0, 2.0, 3.0], [0.5, 1.5, 2.5], [3.0, 2.0, 0.25]], dtype=module.float64
        )
        leaf.requires_grad_()
        x = leaf * 1
        view, before = x[1], x.data_ptr()
        change(x)
        assert x.data_ptr() == before
        (x.sin().sum() + view.sum()).backward()
        return [x.detach(), view.detach(), leaf.grad]

    same_as_pytorch(torch, program)


def test_fill_diagonal(torch: ModuleType) -> None:
    def program(module: Any) -> list[Any]:
        shapes = [(3, 3), (2, 4), (4, 2), (7, 3), (3, 3, 3), (2, 2, 2, 2), (0, 3), (3, 0)]
        return [
            module.zeros(*shape).fill_diagonal_(1.5, wrap)
            for shape in shapes
            for wrap in (False, True)
            if 0 not in shape or not wrap
        ]

    same_as_pytorch(torch, program)
    for module in (jitgrad, torch):
        with pytest.raises(RuntimeError, match="dimensions must larger than 1"):
            module.zeros(3).fill_diagonal_(1)
        with pytest.raises(RuntimeError, match="equal length"):
            module.zeros(2, 2, 3).fill_diagonal_(1)


def test_compared_in_place() -> None:
    x = jitgrad.tensor([-1.0, 0.0, 2.0])
    assert x.clone().greater_equal_(0.0).tolist() == [0.0, 1.0, 1.0]
    assert x.heaviside_(jitgrad.tensor(0.5)).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(RuntimeError, match="requires dtype Double"):
        x.float_power_(2)


def test_random_fills() -> None:
    x = jitgrad.empty(20_000, dtype=jitgrad.float64)
    assert abs(x.bernoulli_(0.25).mean().item() - 0.25) < 0.02
    assert set(x.tolist()) == {0.0, 1.0}
    assert jitgrad.empty(2).bernoulli_(jitgrad.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert abs(x.exponential_(4.0).mean().item() - 0.25) < 0.02
    assert x.min().item() >= 0
    y = jitgrad.empty(1000, dtype=jitgrad.int64)
    assert set(y.random_(3).tolist()) == {0, 1, 2}
    assert set(y.random_(-1, 1).tolist()) == {-1, 0}
    assert y.random_().min().item() >= 0
    assert set(jitgrad.empty(100, dtype=jitgrad.bool).random_().tolist()) == {False, True}
    with pytest.raises(RuntimeError, match="less than 'to'"):
        y.random_(2, 2)
    with pytest.raises(RuntimeError, match=r"in \[0, 1\]"):
        x.bernoulli_(1.5)
    with pytest.raises(RuntimeError, match="lambda > 0"):
        x.exponential_(0)


def test_gradients_of_copy() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    z = jitgrad.tensor([3.0, 4.0], requires_grad=True)
    y = x * 1
    y.copy_(z)
    (y * jitgrad.tensor([10.0, 20.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    assert z.grad.tolist() == [10.0, 20.0]
    y = x * 1
    y.zero_()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_buffer_begins_to_require_grad() -> None:
    w = jitgrad.tensor([2.0, 3.0], requires_grad=True)
    y = jitgrad.ones(2)
    y.mul_(w)
    assert y.requires_grad
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_the_old_value_may_be_needed() -> None:
    """``y *= w`` needs the old y for the gradient of w, as PyTorch keeps it."""
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    w = jitgrad.tensor([3.0, 4.0], requires_grad=True)
    y = x * 5
    y *= w
    y.sum().backward()
    assert w.grad.tolist() == [5.0, 10.0]
    assert x.grad.tolist() == [15.0, 20.0]


def test_chain() -> None:
    x = jitgrad.tensor([0.5, 1.0], dtype=jitgrad.float64, requires_grad=True)
    y = x * 2
    y.exp_().add_(1).log_()
    wanted = (x * 2).exp().add(1).log()
    np.testing.assert_allclose(y.detach().numpy(), wanted.detach().numpy())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# ---------------------------------------------------------------- what must not be
def test_errors() -> None:
    leaf = jitgrad.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        leaf += 1
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        leaf.zero_()
    with pytest.raises(
        RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast shape \[2, 3\]"
    ):
        jitgrad.ones(3).add_(jitgrad.ones(2, 3))
    with pytest.raises(
        RuntimeError, match="result type Float can't be cast to the desired output type Long"
    ):
        jitgrad.ones(3, dtype=jitgrad.int64).add_(1.5)
    with pytest.raises(RuntimeError, match="can't be cast"):
        jitgrad.ones(3, dtype=jitgrad.int64).div_(2)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        jitgrad.ones(1).expand(3).add_(1)
    with pytest.raises(RuntimeError, match="0-dimension value tensor"):
        jitgrad.ones(3).fill_(jitgrad.ones(3))
    with pytest.raises(RuntimeError, match="size of tensor a"):
        jitgrad.ones(3).add_(jitgrad.ones(2))
    assert leaf.tolist() == [1.0, 1.0, 1.0]


def test_leaf_without_recording() -> None:
    leaf = jitgrad.ones(3, requires_grad=True)
    with jitgrad.no_grad():
        leaf += 1
    assert leaf.tolist() == [2.0, 2.0, 2.0]
    assert leaf.requires_grad
    assert leaf.is_leaf


@pytest.mark.parametrize("function", ["exp", "sigmoid", "tanh", "sqrt"])
def test_a_changed_result_is_noticed(function: str) -> None:
    x = jitgrad.ones(2, requires_grad=True)
    y = getattr(x, function)()
    y.add_(1)
    with pytest.raises(
        RuntimeError, match=r"\[torch.FloatTensor \[2\]\].*is at version 1; expected version 0"
    ):
        y.sum().backward()


def test_a_changed_operand_is_noticed() -> None:
    w = jitgrad.ones(2)
    x = jitgrad.ones(2, requires_grad=True)
    y = (x * w).sum()
    w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_a_change_through_a_view_is_noticed() -> None:
    w = jitgrad.ones(2, 2)
    x = jitgrad.ones(2, 2, requires_grad=True)
    y = (x * w).sum()
    w[0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_what_saves_nothing_may_be_changed() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    y = x * 2
    z = (y + 1).sum()
    y.zero_()
    z.backward()
    assert x.grad.tolist() == [2.0, 2.0]
