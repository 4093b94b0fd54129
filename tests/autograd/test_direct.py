"""Custom functions that a backward pass calls itself, without a stop; threads at the same time."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import debug

seen: list[Any] = []


class Scale(jitgrad.autograd.Function):
    """x * k; its backward does what ``answer`` says."""

    @staticmethod
    def forward(ctx: Any, x: Any, k: float, answer: Any = None) -> Any:
        ctx.save_for_backward(x)
        ctx.k, ctx.answer = k, answer
        return x * k

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        seen.append(jitgrad.is_grad_enabled())
        (x,) = ctx.saved_tensors
        if ctx.answer is not None:
            return ctx.answer(x, g)
        return g * ctx.k, None, None


def chain(x: Any, n: int, answer: Any = None) -> Any:
    for i in range(n):
        x = Scale.apply(x, 2.0, answer if i == 1 else None)
    return x


def test_a_chain() -> None:
    seen.clear()
    x = jitgrad.ones(3, requires_grad=True)
    chain(x, 5).sum().backward()
    assert x.grad.tolist() == [32.0] * 3
    assert seen == [False] * 5
    assert jitgrad.is_grad_enabled()


def test_what_a_backward_may_return() -> None:
    x = jitgrad.ones(2, 3, requires_grad=True)
    for answer, expected in (
        (lambda x, g: (jitgrad.ones(4, 2, 3), None, None), 4 * 2.0),  # summed to the input's shape
        (lambda x, g: (g.double() * 3, None, None), 3 * 4.0),  # cast to its dtype
        (lambda x, g: (None, None, None), 0.0),  # the function before it gets zeros, as in PyTorch
        (lambda x, g: (g, None, None, None, None), 4.0),
    ):
        x.grad = None
        chain(x, 3, answer).sum().backward()
        assert x.grad.dtype is jitgrad.float32
        assert x.grad.tolist() == [[expected] * 3] * 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda x, g: (g, None), RuntimeError, "incorrect number of gradients .expected 3, got 2"),
        (lambda x, g: (jitgrad.ones(5), None, None), RuntimeError, "invalid gradient at index 0"),
        (lambda x, g: (1.0, None, None), RuntimeError, "expected Variable or None"),
        (lambda x, g: 1 / 0, ZeroDivisionError, "division"),
        (lambda x, g: (x.add_(1), None, None)[3], IndexError, "range"),
    ],
)
def test_errors_give_everything_back(answer: Any, error: type[Exception], words: str) -> None:
    def once() -> None:
        x = jitgrad.ones(3, requires_grad=True)
        y = chain(x, 4, answer).sum()
        with pytest.raises(error, match=words):
            y.backward()
        assert x.grad is None
        assert jitgrad.is_grad_enabled()

    once()
    gc.collect()
    before = jitgrad.memory_stats()
    for _ in range(50):
        once()
    gc.collect()
    after = jitgrad.memory_stats()
    assert after["live_rows"] == before["live_rows"]
    assert after["live_bytes"] == before["live_bytes"]
    debug.check()


def test_a_second_backward() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    y = chain(x, 3).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [16.0] * 3
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_hooks_on_its_node_and_output() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    y = Scale.apply(x, 2.0)
    found: list[Any] = []
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 10, *inputs[1:]))
    y.grad_fn.register_prehook(lambda outputs: (outputs[0] + 1,))
    y.register_hook(lambda g: found.append(g.tolist()))
    z = Scale.apply(y, 3.0)
    z.retain_grad()
    y.retain_grad()
    z.sum().backward()
    assert found == [[3.0] * 3]
    assert z.grad.tolist() == [1.0] * 3
    assert y.grad.tolist() == [3.0] * 3
    assert x.grad.tolist() == [80.0] * 3


def test_only_what_is_asked_for() -> None:
    seen.clear()
    x = jitgrad.ones(3, requires_grad=True)
    a = Scale.apply(x, 2.0)
    b = Scale.apply(a, 2.0)
    (g,) = jitgrad.autograd.grad(b.sum(), a)
    assert g.tolist() == [2.0] * 3
    assert len(seen) == 1


def test_a_pass_inside_a_backward() -> None:
    def inner(x: Any, g: Any) -> Any:
        with jitgrad.enable_grad():
            again = x.detach().requires_grad_()
            (slope,) = jitgrad.autograd.grad(chain(again, 3).sum(), again)
        return g * slope, None, None

    x = jitgrad.ones(3, requires_grad=True)
    chain(x, 3, inner).sum().backward()
    assert x.grad.tolist() == [2.0 * 8 * 2] * 3


def test_threads_stop_for_hooks_and_kernels_at_the_same_time() -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work(k: int) -> None:
        try:
            barrier.wait()
            for i in range(60):
                x = jitgrad.full((k + 2,), 0.5, requires_grad=True)
                x.register_hook(lambda g: g * 1)
                y = chain(x, 3)
                if k % 2:
                    with jitgrad.no_grad():
                        assert not jitgrad.is_grad_enabled()
                        assert not (y * 2).requires_grad
                y.register_hook(lambda g: None)
                # Kernels that this process has not loaded: a stop in the middle of the pass.
                z = (y.sinh() * y.cosh()).cumsum(0) if i % 2 else y.erf().prod()
                z.sum().backward()
                assert jitgrad.is_grad_enabled()
                if i % 2 == 0:
                    continue
                v = np.full(k + 2, 4.0)
                expected = 8 * np.cosh(2 * v) * np.arange(k + 2, 0, -1)
                assert np.allclose(x.grad.numpy(), expected, rtol=1e-4), (x.grad, expected)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    debug.check()


def test_modes_of_many_threads() -> None:
    """A mode that one thread sets is never another's, however often they take turns."""
    errors: list[str] = []

    def work(k: int) -> None:
        mine = bool(k % 2)
        with jitgrad.set_grad_enabled(mine):
            for _ in range(2000):
                jitgrad.autograd.grad_mode.set_grad_enabled(mine)
                if jitgrad.is_grad_enabled() is not mine:
                    errors.append(f"thread {k}")
                    return

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert jitgrad.is_grad_enabled()
