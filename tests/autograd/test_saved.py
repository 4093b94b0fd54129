"""What watches the graph being recorded: saved-tensor hooks, checkpoint, anomaly mode."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.arena.engine import entry
from jitgrad.autograd.graph import (
    disable_saved_tensors_hooks,
    register_multi_grad_hook,
    save_on_cpu,
    saved_tensors_hooks,
)
from jitgrad.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential
from tests.autograd.test_create_graph import Both
from tests.calls import CALLS, Call

CALLED = [c for c in CALLS if any(o.grad and o.kind == "float" for o in c.operands)]


def gradients(call: Call, hooks: Any) -> list[Any]:
    """The gradients of a call, recorded under hooks."""
    operands = []
    for data, operand in zip(call.data("float64"), call.operands, strict=True):
        x = jitgrad.from_numpy(data.copy())
        operands.append(x.requires_grad_() if operand.kind == "float" and operand.grad else x)
    leaves = [x for x in operands if x.requires_grad]
    with hooks, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call.function(jitgrad, *operands)
        outputs = found if isinstance(found, (tuple, list)) else [found]
        outputs = [y for y in outputs if isinstance(y, jitgrad.Tensor) and y.requires_grad]
        if not outputs:
            return []
        total = sum(
            (y * (jitgrad.arange(y.numel()) * 0.4 + 1).to(y.dtype).reshape(y.shape)).sum()
            for y in outputs
        )
    found = jitgrad.autograd.grad(total, leaves, allow_unused=True)
    return [None if g is None else g.numpy() for g in found]


@pytest.mark.parametrize("call", CALLED, ids=lambda c: c.name)
def test_recipes_from_unpacked_values_give_the_kernels_gradients(call: Call) -> None:
    plain = gradients(call, warnings.catch_warnings())
    packed = gradients(
        call, saved_tensors_hooks(lambda x: x.detach().numpy().copy(), jitgrad.from_numpy)
    )
    for a, b in zip(packed, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_hooks_pack_once_and_only_inside() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    packed: list[Any] = []
    with saved_tensors_hooks(lambda t: packed.append(t.tolist()) or t, lambda t: t):
        y = x * x
        z = y + 1
        (x.detach() * 3).sum()
    (z.exp() * 2).sum().backward()
    assert packed == [[1.0, 2.0], [1.0, 2.0]]


def test_the_innermost_hooks_win() -> None:
    x = jitgrad.tensor([3.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t * 10, lambda t: t):
        with saved_tensors_hooks(lambda t: t * 2, lambda t: t):
            y = x * x
        z = x.exp()
    y.sum().backward()
    assert x.grad.tolist() == [12.0]
    x.grad = None
    z.sum().backward()
    assert x.grad.item() == pytest.approx(10 * np.exp(3.0), rel=1e-6)


def test_a_second_backward_says_that_the_values_are_gone() -> None:
    x = jitgrad.tensor([3.0], requires_grad=True)
    with save_on_cpu():
        y = x * x
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_hooks_see_what_a_custom_function_saves() -> None:
    x = jitgrad.tensor([2.0], dtype=jitgrad.float64, requires_grad=True)
    with saved_tensors_hooks(
        lambda t: t.tolist(), lambda v: jitgrad.tensor(v, dtype=jitgrad.float64)
    ):
        p, _ = Both.apply(x, x.detach() + 1)
    p.sum().backward()
    assert x.grad.item() == 3.0


def test_create_graph_through_packed_values() -> None:
    x = jitgrad.tensor([2.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        y = x**3
    (g,) = jitgrad.autograd.grad(y, x, create_graph=True)
    (h,) = jitgrad.autograd.grad(g, x)
    assert (g.item(), h.item()) == (12.0, 12.0)


def test_hooks_are_the_threads_own_and_leave_no_trace() -> None:
    builtin = entry.pointwise
    x = jitgrad.ones(2, requires_grad=True)
    seen: list[Any] = []
    with saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        thread = threading.Thread(target=lambda: (x * x).sum().backward())
        thread.start()
        thread.join()
    assert seen == []
    assert entry.pointwise is builtin
    with pytest.raises(RuntimeError, match="in pack"), saved_tensors_hooks(_raise, lambda t: t):
        x * x
    assert entry.pointwise is builtin
    with pytest.raises(RuntimeError, match="not now"), disable_saved_tensors_hooks("not now"):
        with saved_tensors_hooks(lambda t: t, lambda t: t):
            pass


def _raise(t: Any) -> Any:
    raise RuntimeError("in pack")


def test_an_unpack_hook_must_return_a_tensor() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    with saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = x * x
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor"):
        y.sum().backward()


def test_packing_leaks_nothing() -> None:
    x = jitgrad.ones(3, requires_grad=True)

    def step() -> None:
        with saved_tensors_hooks(lambda t: t.tolist(), jitgrad.tensor):
            y = (x.exp() * x).sum()
        y.backward()
        with saved_tensors_hooks(lambda t: t, lambda t: t):
            x.tanh() * x
        x.grad = None

    step()
    before = jitgrad.memory_stats()
    for _ in range(30):
        step()
    after = jitgrad.memory_stats()
    assert after["live_rows"] == before["live_rows"]
    assert after["live_storages"] == before["live_storages"]


def test_a_hook_on_several_gradients() -> None:
    x, z = (jitgrad.ones(1, requires_grad=True) for _ in range(2))
    seen: list[Any] = []
    with register_multi_grad_hook([x, z], lambda g: seen.append([v.item() for v in g])):
        for _ in range(2):
            (x * z * 3).sum().backward()
    (x * z).sum().backward()
    assert seen == [[3.0, 3.0], [3.0, 3.0]]
    with register_multi_grad_hook([x, z], lambda g: seen.append(g.item()), mode="any"):
        (x * 5 + z * 5).sum().backward()
    assert seen[2:] == [5.0]


# ---------------------------------------------------------------- checkpoint
def test_checkpoint_keeps_nothing_and_gives_the_same_gradients() -> None:
    w = jitgrad.randn(8, 8, requires_grad=True)
    x = jitgrad.randn(4, 8, requires_grad=True)

    def block(v: Any) -> Any:
        return (v @ w).tanh().exp().sum(0)

    block(x).sum().backward()
    expected = [x.grad.clone(), w.grad.clone()]
    x.grad = w.grad = None
    calls = []
    y = checkpoint(lambda v: calls.append(1) or block(v), x, use_reentrant=False)
    y.sum().backward()
    assert len(calls) == 2
    for g, e in zip((x.grad, w.grad), expected, strict=True):
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-5)


def test_checkpoint_draws_the_same_random_numbers_again() -> None:
    x = jitgrad.ones(100, requires_grad=True)
    jitgrad.manual_seed(3)
    y = checkpoint(lambda v: v * jitgrad.rand(100) * v, x, use_reentrant=False)
    after = jitgrad.rand(1).item()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * y.detach().numpy(), rtol=1e-6)
    jitgrad.manual_seed(3)
    jitgrad.rand(100)
    assert jitgrad.rand(1).item() == after


def test_checkpoint_notices_another_computation() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    state = {"n": 0}

    def changing(v: Any) -> Any:
        state["n"] += 1
        return v.exp() if state["n"] % 2 else v.exp() * v

    with pytest.raises(CheckpointError, match="different number of tensors"):
        checkpoint(changing, x, use_reentrant=False, early_stop=False).sum().backward()
    # By default it ends when as much is there as was saved first; to have saved more is an error.
    checkpoint(changing, x, use_reentrant=False).sum().backward()
    state["n"] = 1
    with pytest.raises(CheckpointError, match="different number of tensors"):
        checkpoint(changing, x, use_reentrant=False).sum().backward()
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(changing, x, determinism_check="some", use_reentrant=False)


def test_reentrant_checkpoint_records_nothing_at_first() -> None:
    w = jitgrad.tensor([3.0, 4.0], requires_grad=True)
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    modes = []

    def block(v: Any, k: int) -> Any:
        modes.append(jitgrad.is_grad_enabled())
        return (v * w * k).sin()

    checkpoint(block, x, 2, use_reentrant=True).sum().backward()
    assert modes == [False, True]
    found = x.grad.clone(), w.grad.clone()
    x.grad = w.grad = None
    block(x, 2).sum().backward()
    assert jitgrad.equal(x.grad, found[0])
    assert jitgrad.equal(w.grad, found[1])


def test_reentrant_checkpoint_is_for_backward_alone() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = checkpoint(jitgrad.sin, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"incompatible with \.grad\(\)"):
        jitgrad.autograd.grad(y.sum(), x, retain_graph=True)
    with pytest.raises(RuntimeError, match=r"incompatible with \.grad\(\)"):
        y.sum().backward(inputs=[x])
    with pytest.raises(ValueError, match="Unexpected keyword arguments: k"):
        checkpoint(lambda v, k: v, x, k=1, use_reentrant=True)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(jitgrad.sin, x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(jitgrad.sin, x.detach(), use_reentrant=True)


def test_checkpoint_sequential_of_functions() -> None:
    x = jitgrad.ones(3, requires_grad=True)
    steps = [jitgrad.exp, jitgrad.sin, jitgrad.tanh, jitgrad.exp, jitgrad.cos]
    y = checkpoint_sequential(steps, 2, x, use_reentrant=False)
    y.sum().backward()
    g, x.grad = x.grad, None
    x.exp().sin().tanh().exp().cos().sum().backward()
    np.testing.assert_allclose(g.numpy(), x.grad.numpy(), rtol=1e-6)


# ---------------------------------------------------------------- anomaly mode
def test_anomaly_mode_names_the_line() -> None:
    x = jitgrad.tensor([0.0], requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with jitgrad.autograd.detect_anomaly():
            assert jitgrad.is_anomaly_enabled()
            y = x.sqrt() * 0  # the line
            with pytest.raises(
                RuntimeError, match="'SqrtBackward0' returned nan values in its 0th output"
            ):
                y.sum().backward()
    assert not jitgrad.is_anomaly_enabled()
    assert "y = x.sqrt() * 0  # the line" in str(caught[-1].message)


def test_anomaly_mode_gives_the_same_gradients() -> None:
    with jitgrad.autograd.set_detect_anomaly(True):
        x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
        (x.exp() * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]) * [2.0, 3.0], rtol=1e-6)
    with jitgrad.autograd.set_detect_anomaly(True, check_nan=False):
        z = jitgrad.tensor([0.0], requires_grad=True)
        (z.sqrt() * 0).sum().backward()
    assert np.isnan(z.grad.numpy()).all()


def test_errors_in_backward_are_traced() -> None:
    class Broken(jitgrad.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise ValueError("broken")

    x = jitgrad.ones(1, requires_grad=True)
    with jitgrad.autograd.set_detect_anomaly(True):
        y = Broken.apply(x) * 2
        with (
            pytest.warns(UserWarning, match="Error detected in BrokenBackward"),
            pytest.raises(ValueError, match="broken"),
        ):
            y.sum().backward()
