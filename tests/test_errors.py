"""What bad input gets: PyTorch's type, and the offending shapes, dtypes or index in the message.

Views, products, in-place ops, creation and the Tensor's own methods have theirs beside their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import jitgrad

ERRORS: list[tuple[Callable[[Any], Any], Any, str]] = [
    # shapes that do not broadcast
    (
        lambda t: t.ones(2) + t.ones(3),
        RuntimeError,
        r"size of tensor a \(2\).*tensor b \(3\).*dimension 0",
    ),
    (
        lambda t: t.ones(2, 3) * t.ones(2, 4),
        RuntimeError,
        r"\(3\).*\(4\).*non-singleton dimension 1",
    ),
    (lambda t: t.where(t.ones(2) > 0, t.ones(3), 0.0), RuntimeError, "must match"),
    (lambda t: t.addcmul(t.ones(2), t.ones(3), t.ones(1)), RuntimeError, "must match"),
    # operands of a wrong kind
    (lambda t: t.exp(2.0), TypeError, "must be Tensor, not float"),
    (lambda t: t.exp("a"), TypeError, "Tensor"),
    (lambda t: t.exp(None), TypeError, "Tensor"),
    (lambda t: t.exp(), TypeError, "."),
    (lambda t: t.div("a", t.ones(1)), TypeError, "str"),
    (lambda t: t.mul(t.ones(1), "a"), TypeError, "str"),
    (lambda t: t.mul(t.ones(1), [1.0]), TypeError, "list"),
    (lambda t: t.pow(2, 3), TypeError, "Tensor"),
    (lambda t: t.maximum(t.ones(1), 2), TypeError, "must be Tensor, not int"),
    (lambda t: t.ones(1).minimum(2), TypeError, "must be Tensor, not int"),
    (lambda t: t.logical_and(t.ones(1), 2), TypeError, "must be Tensor, not int"),
    (lambda t: t.clamp(2, 1), TypeError, "Tensor"),
    (lambda t: t.clamp(t.ones(1), "a"), TypeError, "str"),
    (lambda t: t.where(True, 1.0, 2.0), TypeError, "Tensor"),
    (lambda t: t.addcmul(t.ones(1), 2, t.ones(1)), TypeError, "tensor1"),
    (lambda t: t.lerp(t.ones(1), 2.0, 0.5), TypeError, "end"),
    (lambda t: t.ones(1) + None, TypeError, "."),
    (lambda t: t.ones(1) * "a", TypeError, "."),
    (lambda t: "a" - t.ones(1), TypeError, "."),
    # dtypes for which an op is not defined
    (lambda t: -t.ones(1, dtype=t.bool), RuntimeError, "Negation"),
    (lambda t: t.ones(1, dtype=t.bool) - t.ones(1, dtype=t.bool), RuntimeError, "Subtraction"),
    (lambda t: t.ones(1) & 1, NotImplementedError, "not implemented for 'Float'"),
    (lambda t: t.ones(1) << 1, NotImplementedError, "not implemented for 'Float'"),
    (lambda t: ~t.ones(1), TypeError, "only implemented on integer and Boolean"),
    (lambda t: t.floor(t.ones(1, dtype=t.bool)), NotImplementedError, "not implemented for 'Bool'"),
    (lambda t: abs(t.ones(1, dtype=t.bool)), NotImplementedError, "not implemented for 'Bool'"),
    (lambda t: t.relu(t.ones(1, dtype=t.bool)), RuntimeError, "Boolean inputs"),
    (lambda t: t.lerp(t.ones(1).long(), t.ones(1).long(), 0.5), NotImplementedError, "'Long'"),
    (lambda t: t.lerp(t.ones(1), t.ones(1).double(), 0.5), RuntimeError, "end"),
    (lambda t: t.mean(t.ones(2, dtype=t.int64)), RuntimeError, "Got: Long"),
    (
        lambda t: t.var(t.ones(2, dtype=t.int64)),
        RuntimeError,
        "std and var only support floating point",
    ),
    (lambda t: t.softmax(t.ones(2, dtype=t.int64), 0), NotImplementedError, "'Long'"),
    (lambda t: t.norm(t.ones(2, dtype=t.int64)), RuntimeError, "Long"),
    (lambda t: t.ones(2, dtype=t.int64) ** -1, RuntimeError, "Integers to negative integer powers"),
    (
        lambda t: t.add(t.ones(1).long(), 1, alpha=1.5),
        RuntimeError,
        "alpha must not be a floating point",
    ),
    (lambda t: t.where(t.ones(1), 1.0, 2.0), RuntimeError, "boolean tensor.*Float"),
    (lambda t: t.masked_fill(t.ones(1), t.ones(1).long(), 0), RuntimeError, "boolean masks.*"),
    (
        lambda t: t.masked_fill(t.ones(2), t.ones(2) > 0, t.ones(2)),
        RuntimeError,
        "0-dimensional value",
    ),
    # values
    (lambda t: t.ones(1).long() // 0, RuntimeError, "ZeroDivisionError"),
    (lambda t: t.ones(1).long() % 0, RuntimeError, "ZeroDivisionError"),
    (lambda t: t.fmod(t.ones(1).long(), 0), RuntimeError, "ZeroDivisionError"),
    (
        lambda t: t.div(t.ones(1).long(), 0, rounding_mode="trunc"),
        RuntimeError,
        "ZeroDivisionError",
    ),
    (lambda t: t.div(t.ones(1), 1, rounding_mode="up"), RuntimeError, "rounding_mode.*'up'"),
    (lambda t: t.clamp(t.ones(1)), RuntimeError, "At least one of 'min' or 'max'"),
    # dims
    (lambda t: t.sum(t.ones(2, 2), 2), IndexError, r"range of \[-2, 1\], but got 2"),
    (lambda t: t.sum(t.ones(2, 2), (0, -3)), IndexError, r"range of \[-2, 1\], but got -3"),
    (lambda t: t.sum(t.ones(2, 2), (0, 0)), RuntimeError, "dim 0 appears multiple times"),
    (lambda t: t.sum(t.ones(2, 2), (0, -2)), RuntimeError, "dim 0 appears multiple times"),
    (lambda t: t.sum(t.ones(2), "a"), TypeError, "."),
    (lambda t: t.sum(t.ones(2), 0.5), TypeError, "."),
    (lambda t: t.softmax(t.ones(2), 1), IndexError, r"\[-1, 0\], but got 1"),
    (lambda t: t.cumsum(t.ones(2), 1), IndexError, "out of range"),
    (lambda t: t.argmax(t.ones(2), 1), IndexError, "out of range"),
    (lambda t: t.max(t.ones(2), 1), IndexError, "out of range"),
    (lambda t: t.max(t.ones(2), (0, 1)), TypeError, "."),
    (lambda t: t.logsumexp(t.ones(2), None), TypeError, "dim"),
    (lambda t: t.tensor(1.0).sum(1), IndexError, r"range of \[-1, 0\], but got 1"),
    (lambda t: t.norm(t.ones(2), "nuc"), RuntimeError, "."),
    # nothing to reduce
    (lambda t: t.amax(t.ones(0, 2)), RuntimeError, "Expected reduction dim to be specified"),
    (
        lambda t: t.amin(t.ones(0, 2), 0),
        IndexError,
        r"amin\(\): Expected reduction dim 0 to have non-zero",
    ),
    (lambda t: t.max(t.ones(0)), RuntimeError, "Expected reduction dim to be specified"),
    (lambda t: t.max(t.ones(0, 2), 0), IndexError, r"max\(\): Expected reduction dim 0"),
    (lambda t: t.argmin(t.ones(0)), IndexError, "Expected reduction dim to be specified"),
    (lambda t: t.argmax(t.ones(0, 2), 0), IndexError, "Expected reduction dim 0"),
    (lambda t: t.norm(t.ones(0), float("inf")), RuntimeError, "empty dimension|identity"),
    # backward
    (
        lambda t: t.ones(2).backward(),
        RuntimeError,
        "does not require grad and does not have a grad_fn",
    ),
    (
        lambda t: (t.ones(2, requires_grad=True) * 2).backward(),
        RuntimeError,
        "only for scalar outputs",
    ),
    (
        lambda t: t.ones(2, requires_grad=True).exp().backward(t.ones(3)),
        RuntimeError,
        r"Mismatch in shape: grad_output\[0\].*\[3\].*output\[0\].*\[2\]",
    ),
    (
        lambda t: t.ones((), requires_grad=True).exp().backward(t.ones(1)),
        RuntimeError,
        "Mismatch in shape",
    ),
    (lambda t: t.ones(2, requires_grad=True).exp().backward(1.0), TypeError, "."),
    (lambda t: twice((t.ones(2, requires_grad=True) ** 2).sum()), RuntimeError, "a second time"),
    (
        lambda t: t.ones(2, dtype=t.int64, requires_grad=True),
        RuntimeError,
        "Only Tensors of floating point",
    ),
    # settings
    (lambda t: t.set_num_threads(0), RuntimeError, "positive integer"),
    (lambda t: t.set_default_dtype(t.int32), TypeError, "floating-point"),
]


def twice(x: Any) -> None:
    x.backward()
    x.backward()


@pytest.mark.parametrize(
    ("call", "error", "words"), ERRORS, ids=[str(i) for i in range(len(ERRORS))]
)
def test_error(call: Callable[[Any], Any], error: Any, words: str, torch: Any) -> None:
    """The type is PyTorch's (or one that PyTorch's is a kind of), the words name what is wrong."""
    with pytest.raises(error):
        call(torch)
    with pytest.raises(error, match=words):
        call(jitgrad)


def test_nothing_is_broken_after_an_error() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    y = x * 3
    before = jitgrad.memory_stats()["live_rows"]
    for call, *_ in ERRORS:
        with pytest.raises(Exception, match="."):
            call(jitgrad)
    assert jitgrad.memory_stats()["live_rows"] == before
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_an_error_in_backward_leaves_the_graph_whole() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    y = x.exp()
    z = (y * 2).sum()
    saved = y.detach().clone()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    assert x.grad is None
    x.exp().sum().backward()
    assert x.grad.tolist() == saved.tolist()


def test_sums_that_save_nothing_run_twice() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    twice((x + 1).sum())
    assert x.grad.tolist() == [2, 2]


@pytest.mark.parametrize(
    "subtract",
    [
        lambda m: m.ones(2) - True,
        lambda m: True - m.ones(2),
        lambda m: m.tensor([True]) - 1.5,
        lambda m: m.tensor([1, 2]) - m.tensor([True, False]),
        lambda m: m.tensor([True]) - m.tensor([False]),
        lambda m: m.sub(m.ones(2), m.tensor([True, False]), alpha=2),
    ],
)
def test_a_bool_cannot_be_subtracted(torch, subtract):
    for module in (jitgrad, torch):
        with pytest.raises(RuntimeError, match="Subtraction, the `-` operator, with "):
            subtract(module)


def _overwritten(change: Callable[[Any, Any], Any], read: Callable[[Any], Any], T: Any) -> str:  # noqa: N803
    x = T.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    z = read(y)
    change(T, y)
    with pytest.raises(RuntimeError) as caught:
        z.sum().backward()
    return str(caught.value).replace("jitgrad", "torch")


@pytest.mark.parametrize(
    "change",
    [
        lambda t, y: y.add_(1),
        lambda t, y: y.relu_(),
        lambda t, y: y.clamp_(0, 1),
        lambda t, y: y.__setitem__(0, 1.0),
        lambda t, y: y.__setitem__(t.tensor([0]), 1.0),
        lambda t, y: y.copy_(t.ones(3)),
        lambda t, y: y[1:].mul_(2),
    ],
)
@pytest.mark.parametrize("read", [lambda y: y * y, lambda y: y.view(3, 1)[1:].sin()])
def test_what_changed_a_saved_value_is_named(
    change: Callable[[Any, Any], Any], read: Callable[[Any], Any], torch: Any
) -> None:
    assert _overwritten(change, read, jitgrad) == _overwritten(change, read, torch)


@pytest.mark.parametrize("name", ["exp", "tanh", "sqrt"])
def test_a_changed_result_is_named_after_its_own_op(name: str, torch: Any) -> None:
    def run(T: Any) -> str:  # noqa: N803
        z = getattr(T.tensor([1.0, 2.0], requires_grad=True), name)()
        z.mul_(2)
        with pytest.raises(RuntimeError) as caught:
            z.sum().backward()
        return str(caught.value).replace("jitgrad", "torch")

    assert run(jitgrad) == run(torch)


@pytest.mark.parametrize(
    "product",
    [
        lambda t, m, v, b: m @ m,
        lambda t, m, v, b: m @ v,
        lambda t, m, v, b: v @ m,
        lambda t, m, v, b: v @ v,
        lambda t, m, v, b: b.bmm(b),
        lambda t, m, v, b: t.addmm(m, m, m),
        lambda t, m, v, b: t.nn.functional.linear(m, m),
    ],
)
def test_products_of_bool(product: Callable[..., Any], torch: Any) -> None:
    def run(t: Any) -> str:
        m, v, b = (t.ones(*shape, dtype=t.bool) for shape in ((2, 2), (2,), (2, 2, 2)))
        with pytest.raises(NotImplementedError) as caught:
            product(t, m, v, b)
        assert (m[:0] @ m).shape == (0, 2)
        return str(caught.value)

    assert run(jitgrad) == run(torch)
