"""Arguments at the edges of layers and functions, against PyTorch."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_classes_of_small_integers(torch: ModuleType, reduction: str) -> None:
    def program(T: Any, dtype: str) -> Any:
        x = T.arange(6.0).reshape(2, 3).cos().requires_grad_()
        loss = T.nn.CrossEntropyLoss(
            T.tensor([1.0, 2.0, 0.5]), reduction=reduction, label_smoothing=0.2, ignore_index=1
        )
        y = loss(x, T.tensor([1, 2], dtype=getattr(T, dtype)))
        y.sum().backward()
        return [y, x.grad]

    # PyTorch fails here with uint8, and not in the neighbouring cases.
    assert str(program(jitgrad, "uint8")) == str(program(jitgrad, "int64"))
    check(torch, lambda T: program(T, "int64"))


@pytest.mark.parametrize(
    "program",
    [
        lambda F, T: F.cross_entropy(T.ones(2, 3), T.ones(2, 3), ignore_index=1),
        lambda F, T: F.cross_entropy(T.ones(2, 3), T.tensor([0]), label_smoothing=1.5),
        lambda F, T: F.batch_norm(T.ones(2, 3), None, None, training=True, eps=0.0),
        lambda F, T: T.nn.CircularPad1d(1)(T.ones(3)),
        lambda F, T: T.nn.CircularPad3d((1, 2, 3))(T.ones(3, 3)),
        lambda F, T: T.nn.ParameterList()(1),
        lambda F, T: T.nn.ParameterDict()(1),
        lambda F, T: F.embedding_bag(T.tensor([1]), T.ones(3, 2), T.tensor([0]), mode="x"),
        lambda F, T: F.embedding_bag(
            T.tensor([1]), T.ones(3, 2), T.tensor([0, 5]), include_last_offset=True
        ),
        lambda F, T: F.embedding_bag(T.tensor([1]), T.ones(3, 2)),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn.functional, T))


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (
            lambda T: T.nn.functional.conv1d(T.ones(1, 1, 2, dtype=T.float64), T.ones(1, 1, 1)),
            "expected scalar type Double but found Float",
        ),
        (lambda T: T.nn.Sequential(T.nn.ReLU()).pop(), "missing 1 required positional argument"),
        (
            lambda T: T.nn.functional.embedding_bag(T.tensor([[1]]), T.ones(3, 2), T.tensor([0])),
            "then offsets has to be None",
        ),
        (lambda T: T.nn.functional.softshrink(T.ones(2, dtype=T.int64), -1.0), "not implemented"),
    ],
)
def test_other_errors(torch: ModuleType, program: Any, says: str) -> None:
    fails(torch, program, says)


@pytest.mark.parametrize("targets", [[[1.0, 2.0], [2.7, 1.0]], [1.0, 2.0, 2.0], [[True, True]] * 2])
def test_classes_of_other_dtypes_in_ctc(torch: ModuleType, targets: Any) -> None:
    def program(T: Any) -> Any:
        x = T.arange(40.0).reshape(5, 2, 4).sin().log_softmax(-1)
        return T.nn.functional.ctc_loss(x, T.tensor(targets), [5, 5], [2, 1])

    check(torch, program)


@pytest.mark.parametrize("shape", [(5, 0, 4), (0, 1, 4)])
def test_ctc_of_nothing(torch: ModuleType, shape: tuple[int, ...]) -> None:
    n = shape[1]
    fails(
        torch,
        lambda T: T.nn.functional.ctc_loss(
            T.zeros(shape), T.zeros(n, 1, dtype=T.int64), [0] * n, [0] * n
        ),
    )


def test_tables_that_are_given(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        table = T.arange(12.0).reshape(4, 3)
        one = T.nn.Embedding.from_pretrained(table, False, 1, 20.0, 1.0, True, False)
        bag = T.nn.EmbeddingBag.from_pretrained(
            table, False, 9.0, 1.0, True, "sum", False, False, 1
        )
        return [repr(one), repr(bag), one(T.tensor([1])), bag(T.tensor([[1, 3]]))]

    check(torch, program)


def test_hardtanh_under_its_names_of_old(torch: ModuleType) -> None:
    check(torch, lambda T: repr(T.nn.Hardtanh(min_value=-0.5, max_value=2)))


@pytest.mark.parametrize(
    "program",
    [
        lambda F, T, x: F.linear(x(2, 3), T.ones(4, 3), T.ones(4)),
        lambda F, T, x: F.linear(x(2, 3), T.ones(4, 3)),
        lambda F, T, x: F.linear(x(2, 5, 3), T.ones(4, 3), T.ones(4)),
        lambda F, T, x: F.linear(T.ones(2, 3), T.ones(4, 3), x(4)),
        lambda F, T, x: F.linear(T.tensor(1.0), T.ones(4, 3)),
        lambda F, T, x: x(2, 3) @ T.ones(3, 4),
        lambda F, T, x: x(1, 2, 3) @ T.ones(1, 3, 4),
        lambda F, T, x: x(2, 3) @ T.ones(3),
        lambda F, T, x: x(3) @ T.ones(3),
        lambda F, T, x: T.addmm(T.ones(2, 4), x(2, 3), T.ones(3, 4)),
        lambda F, T, x: T.addmm(x(2, 4), T.ones(2, 3), T.ones(3, 4)),
        lambda F, T, x: F.conv2d(x(1, 1, 2, 2), T.ones(1, 1, 1, 1), T.ones(1)),
        lambda F, T, x: F.conv1d(T.ones(1, 1, 2), T.ones(1, 1, 1), x(1)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int64"])
def test_dtypes_that_differ(torch: ModuleType, program: Any, dtype: str) -> None:
    def run(T: Any) -> Any:
        return program(T.nn.functional, T, lambda *s: T.ones(s, dtype=getattr(T, dtype)))

    fails(torch, run)


@pytest.mark.parametrize(
    "name",
    """celu elu gelu hardshrink hardsigmoid hardswish leaky_relu logsigmoid mish rrelu selu silu
    softplus softshrink""".split(),
)
def test_activations_of_integers(torch: ModuleType, name: str) -> None:
    fails(torch, lambda T: getattr(T.nn.functional, name)(T.arange(3)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_integers(torch: ModuleType, name: str) -> None:
    fails(torch, lambda T: getattr(T.nn.functional, name)(T.arange(3), 0))
