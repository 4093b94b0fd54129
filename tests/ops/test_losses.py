"""Losses: against NumPy and finite differences in float64, and PyTorch's values, gradients and errors."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import special

import jitgrad
from tests.ops.both import check

F = jitgrad.nn.functional
Array = np.ndarray[Any, Any]
REDUCTIONS = ["none", "mean", "sum"]


def data(*shape: int, seed: int = 0) -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def unit(*shape: int, seed: int = 0) -> Array:
    """Numbers well inside (0, 1)."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape)


def reduced(a: Array, reduction: str) -> Array:
    """What a reduction leaves."""
    return a if reduction == "none" else np.asarray(getattr(a, reduction)())


def check_gradients(f: Callable[..., Any], *arrays: Array, rtol: float = 1e-6) -> None:
    """Compare the gradients of a function of Tensors with central differences."""
    tensors = [jitgrad.tensor(a, requires_grad=True) for a in arrays]
    y = f(*tensors)
    w = data(*y.shape, seed=9)
    y.backward(jitgrad.tensor(w))
    for k, (x, a) in enumerate(zip(tensors, arrays, strict=True)):
        for place in np.ndindex(*a.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [np.array(b) for b in arrays]
                moved[k][place] += step
                with jitgrad.no_grad():
                    values.append((f(*(jitgrad.tensor(b) for b in moved)).numpy() * w).sum())
            expected = (values[0] - values[1]) / 2e-6
            assert x.grad.numpy()[place] == pytest.approx(expected, rel=rtol, abs=1e-7)


def _huber(d: Array, delta: float) -> Array:
    d = np.abs(d)
    return np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def _bce(p: Array, t: Array) -> Array:
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


#: name -> (ours, NumPy's, data of the input, data of the target).
ELEMENTWISE: dict[str, tuple[Any, Any, Any, Any]] = {
    "mse": (F.mse_loss, lambda x, t: (x - t) ** 2, data, data),
    "l1": (F.l1_loss, lambda x, t: np.abs(x - t), data, data),
    "smooth_l1": (F.smooth_l1_loss, lambda x, t: _huber(x - t, 1.0), data, data),
    "smooth_l1 beta": (
        lambda x, t, reduction: F.smooth_l1_loss(x, t, reduction=reduction, beta=0.3),
        lambda x, t: _huber(x - t, 0.3) / 0.3,
        data,
        data,
    ),
    "smooth_l1 beta 0": (
        lambda x, t, reduction: F.smooth_l1_loss(x, t, reduction=reduction, beta=0),
        lambda x, t: np.abs(x - t),
        data,
        data,
    ),
    "huber": (F.huber_loss, lambda x, t: _huber(x - t, 1.0), data, data),
    "huber delta": (
        lambda x, t, reduction: F.huber_loss(x, t, reduction=reduction, delta=0.3),
        lambda x, t: _huber(x - t, 0.3),
        data,
        data,
    ),
    "bce": (F.binary_cross_entropy, _bce, unit, unit),
    "bce logits": (
        F.binary_cross_entropy_with_logits,
        lambda x, t: _bce(special.expit(x), t),
        data,
        unit,
    ),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_and_gradients(name: str, reduction: str) -> None:
    ours, theirs, left, right = ELEMENTWISE[name]
    x, t = left(3, 4, seed=1), right(3, 4, seed=2)
    y = ours(jitgrad.tensor(x), jitgrad.tensor(t), reduction=reduction)
    np.testing.assert_allclose(y.numpy(), reduced(theirs(x, t), reduction), rtol=1e-12)
    check_gradients(lambda a, b: ours(a, b, reduction=reduction), x, t)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_strided_and_float32(name: str, reduction: str) -> None:
    ours, theirs, left, right = ELEMENTWISE[name]
    x, t = left(5, 6, seed=1), right(6, 5, seed=2)
    a = jitgrad.tensor(x[::2], dtype=jitgrad.float32)[:, 1:].requires_grad_()
    b = jitgrad.tensor(t, dtype=jitgrad.float32).t()[::2, 1:]
    y = ours(a, b, reduction=reduction)
    assert y.dtype is jitgrad.float32
    expected = reduced(theirs(x[::2, 1:], t.T[::2, 1:]), reduction)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=2e-6)
    y.sum().backward()
    exact = jitgrad.tensor(x[::2, 1:], requires_grad=True)
    ours(exact, jitgrad.tensor(t.T[::2, 1:]), reduction=reduction).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), exact.grad.numpy(), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_of_nothing(name: str) -> None:
    ours = ELEMENTWISE[name][0]
    x = jitgrad.zeros(0, 3, requires_grad=True)
    assert ours(x, jitgrad.zeros(0, 3), reduction="none").shape == (0, 3)
    assert ours(x, jitgrad.zeros(0, 3), reduction="sum").item() == 0
    y = ours(x, jitgrad.zeros(0, 3), reduction="mean")
    assert np.isnan(y.item())
    y.backward()
    assert x.grad.shape == (0, 3)


def test_sums_are_made_in_float64() -> None:
    x = jitgrad.full((2_000_000,), 0.1)
    exact = float(np.float32(0.1)) ** 2
    assert F.mse_loss(x, jitgrad.zeros_like(x)).item() == pytest.approx(exact, rel=1e-7)


def test_conventions_at_kinks() -> None:
    x = jitgrad.tensor([1.0, 2.0, 0.0], requires_grad=True)
    t = jitgrad.ones(3)
    F.l1_loss(x, t, reduction="sum").backward()
    assert x.grad.tolist() == [0, 1, -1]
    x.grad = None
    F.smooth_l1_loss(x, t, reduction="sum").backward()
    assert x.grad.tolist() == [0, 1, -1]
    x.grad = None
    F.huber_loss(x, t, reduction="sum", delta=1.0).backward()
    assert x.grad.tolist() == [0, 1, -1]


def test_bce_at_0_and_1() -> None:
    x = jitgrad.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    y = F.binary_cross_entropy(x, jitgrad.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    assert y.tolist() == [0, 0, 100, 100]
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([0, 0, -1e12, 1e12])


def test_bce_with_logits_of_any_size() -> None:
    x = jitgrad.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    y = F.binary_cross_entropy_with_logits(
        x, jitgrad.tensor([0.0, 0.0, 1.0, 1.0]), reduction="none"
    )
    assert y.tolist() == [1e4, 0, 0, 1e4]
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 0, -1]


def test_bce_weights_broadcast_and_get_no_gradient() -> None:
    x, t, w = unit(3, 4, seed=1), unit(3, 4, seed=2), unit(4, seed=3)
    weight = jitgrad.tensor(w, requires_grad=True)
    y = F.binary_cross_entropy(jitgrad.tensor(x), jitgrad.tensor(t), weight=weight)
    assert y.item() == pytest.approx((_bce(x, t) * w).mean(), rel=1e-12)
    check_gradients(
        lambda a, b: F.binary_cross_entropy(a, b, weight=jitgrad.tensor(w), reduction="sum"), x, t
    )
    z = data(3, 4, seed=4)
    p = special.expit(z)
    expected = -(t * 2 * np.log(p) + (1 - t) * np.log1p(-p)) * w
    y = F.binary_cross_entropy_with_logits(
        jitgrad.tensor(z, requires_grad=True),
        jitgrad.tensor(t),
        weight=weight,
        pos_weight=jitgrad.tensor([2.0], dtype=jitgrad.float64, requires_grad=True),
    )
    assert y.item() == pytest.approx(expected.mean(), rel=1e-12)
    y.backward()
    assert weight.grad is None
    check_gradients(
        lambda a, b: F.binary_cross_entropy_with_logits(
            a,
            b,
            weight=jitgrad.tensor(w),
            pos_weight=jitgrad.tensor([0.5, 2, 3, 1.0], dtype=a.dtype),
        ),
        z,
        t,
    )
    pos = jitgrad.tensor(3.0, dtype=jitgrad.float64)
    check_gradients(
        lambda a: F.binary_cross_entropy_with_logits(a, jitgrad.tensor(t), pos_weight=pos), z
    )


# ---------------------------------------------------------------- classification
def nll(logs: Array, t: Array, w: Array, ignore: int, reduction: str) -> Array:
    """NumPy's nll_loss of (N, C, places) and (N, places)."""
    used = t != ignore
    c = np.where(used, t, 0)
    weights = w[c] * used
    losses = -np.take_along_axis(logs, c[:, None], 1)[:, 0] * weights
    if reduction == "mean":
        return np.asarray(losses.sum() / weights.sum())
    return reduced(losses, reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("places", [(), (3,), (2, 2), (2, 1, 2)])
def test_cross_entropy(places: tuple[int, ...], weighted: bool, reduction: str) -> None:
    x = data(4, 5, *places, seed=1)
    t = np.random.default_rng(2).integers(0, 5, (4, *places))
    t.flat[1] = -100
    t.flat[3] = 2
    w = unit(5, seed=3) if weighted else np.ones(5)
    weight = jitgrad.tensor(w) if weighted else None

    def ours(a: Any) -> Any:
        return F.cross_entropy(a, jitgrad.tensor(t), weight=weight, reduction=reduction)

    logs = special.log_softmax(x, 1)
    expected = nll(logs.reshape(4, 5, -1), t.reshape(4, -1), w, -100, reduction)
    y = ours(jitgrad.tensor(x))
    np.testing.assert_allclose(y.numpy().ravel(), expected.ravel(), rtol=1e-12)
    assert y.shape == (t.shape if reduction == "none" else ())
    check_gradients(ours, x)
    direct = F.nll_loss(jitgrad.tensor(logs), jitgrad.tensor(t), weight=weight, reduction=reduction)
    np.testing.assert_allclose(direct.numpy(), y.numpy(), rtol=1e-12)


def test_strided_logits_and_targets() -> None:
    x = data(5, 8, seed=1)
    t = np.random.default_rng(2).integers(0, 5, 16)
    a = jitgrad.tensor(x).t().requires_grad_()
    b = jitgrad.tensor(t)[::2]
    y = F.nll_loss(a, b)
    assert y.item() == pytest.approx(-x.T[np.arange(8), t[::2]].mean(), rel=1e-12)
    y.backward()
    expected = np.zeros((8, 5))
    expected[np.arange(8), t[::2]] = -1 / 8
    np.testing.assert_allclose(a.grad.numpy(), expected)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_label_smoothing(reduction: str, smoothing: float) -> None:
    # The smoothed loss of classes is that of the smoothed probabilities.
    x = data(4, 3, seed=1)
    t = np.array([0, 2, 1, 1])
    p = np.eye(3)[t] * (1 - smoothing) + smoothing / 3

    def smoothed(a: Any) -> Any:
        return F.cross_entropy(a, jitgrad.tensor(t), reduction=reduction, label_smoothing=smoothing)

    y = smoothed(jitgrad.tensor(x))
    z = F.cross_entropy(jitgrad.tensor(x), jitgrad.tensor(p), reduction=reduction)
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-12)
    check_gradients(smoothed, x)


def test_everything_ignored() -> None:
    x = jitgrad.zeros(2, 3, requires_grad=True)
    t = jitgrad.tensor([-100, -100])
    y = F.cross_entropy(x, t)
    assert np.isnan(y.item())
    y.backward()
    assert np.isnan(x.grad.numpy()).any() or x.grad.tolist() == [[0] * 3] * 2
    assert F.cross_entropy(x, t, reduction="sum").item() == 0
    assert F.cross_entropy(
        x, jitgrad.tensor([1, 1]), ignore_index=1, reduction="none"
    ).tolist() == [0, 0]


def test_the_usual_case_is_two_ops() -> None:
    x = jitgrad.zeros(2, 3, requires_grad=True)
    t = jitgrad.tensor([0, 1])
    y = F.cross_entropy(x, t)
    assert y.grad_fn.name() == "NllLossBackward0"
    before = jitgrad.memory_stats()["recorded_rows"]
    F.cross_entropy(x, t)
    assert jitgrad.memory_stats()["recorded_rows"] - before == 2


def test_targets_spoilt_behind_our_back_do_not_crash() -> None:
    t = np.array([0, 1])
    x = jitgrad.zeros(2, 3, requires_grad=True)
    y = F.cross_entropy(x, jitgrad.from_numpy(t))
    t[:] = 10**12
    y.backward()


def test_the_target_is_guarded() -> None:
    x = jitgrad.zeros(2, 3, requires_grad=True)
    t = jitgrad.tensor([0, 1])
    y = F.cross_entropy(x, t)
    t[0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# ---------------------------------------------------------------- like PyTorch
SAME = """
F.nll_loss(g, L([0, 2]))
F.nll_loss(g, L([0, 1], dtype=T.uint8))
F.nll_loss(T.zeros(3), L(0)), F.nll_loss(T.zeros(3), L([0]))
F.nll_loss(T.zeros(3), L([0]), reduction="none"), F.nll_loss(T.zeros(3), L(0), reduction="none")
F.nll_loss(y, T.zeros(2, 4, dtype=T.int64), reduction="none")
F.nll_loss(g.view(1, 2, 3), T.zeros(1, 3, dtype=T.int64))
F.nll_loss(g.view(1, 2, 1, 3), L([[[1, 0, 1]]]), weight=L([1., 2.]))
F.nll_loss(T.zeros(0, 3), T.zeros(0, dtype=T.int64))
F.nll_loss(T.zeros(0, 3), T.zeros(0, dtype=T.int64), reduction="sum")
F.nll_loss(T.zeros(0, 3), T.zeros(0, dtype=T.int64), reduction="none")
F.cross_entropy(g, L([0, 2]))
F.cross_entropy(g, L([-100, 2]))
F.cross_entropy(g, L([0, 2]), weight=L([1., 2., .5]))
F.cross_entropy(g, L([0, 2]), size_average=False)
F.cross_entropy(g, L([0, 2]), reduce=False)
F.cross_entropy(g, L([0, 2]), size_average=True, reduce=True)
F.cross_entropy(g.view(1, 2, 3), L([[1, 0, 1]]), reduction="sum")
F.cross_entropy(g[0], L(1))
F.cross_entropy(x[0], L([1]))
F.cross_entropy(g, L([0, 2]), label_smoothing=0.1)
F.cross_entropy(g, L([0, -100]), label_smoothing=0.1)
F.cross_entropy(g, L([0, 2]), label_smoothing=-0.1)
F.cross_entropy(g, L([0, 2]), label_smoothing=0.1, reduction="none")
F.cross_entropy(g, L([0, -100]), label_smoothing=0.1, weight=L([1., 2., 3.]))
F.cross_entropy(g, h, reduction="none")
F.mse_loss(g, h)
F.mse_loss(g, h[0])
F.mse_loss(g, T.ones(2, 3, dtype=T.float64))
F.mse_loss(g, T.ones(2, 3, dtype=T.int64))
F.mse_loss(g, h, size_average=False)
F.mse_loss(L(1.), L(2.))
F.mse_loss(g, h, weight=T.ones(2, 3), reduction="none")
F.smooth_l1_loss(g, h[:1])
F.smooth_l1_loss(g, T.ones(2, 3, dtype=T.float64))
F.huber_loss(g, h, reduction="sum")
F.binary_cross_entropy(T.sigmoid(g), T.sigmoid(h))
F.binary_cross_entropy(T.sigmoid(g), T.ones(2, 3), weight=T.ones(3) * 2)
F.binary_cross_entropy(T.sigmoid(g), T.ones(2, 3), reduction="none")
F.binary_cross_entropy_with_logits(g, h)
F.binary_cross_entropy_with_logits(g, h, pos_weight=L([1., 2., .5]))
F.binary_cross_entropy_with_logits(g, h, weight=L([1., 2., .5]), reduction="none")
F.binary_cross_entropy_with_logits(T.ones(2), T.ones(2).double())
"""
#: The same but for the names of nodes: here one op, in PyTorch several.
SAME_BUT_NODES = """
F.l1_loss(g, h)
F.l1_loss(g, h, reduction="none")
F.l1_loss(g, g.detach())
F.l1_loss(g, T.ones(3))
F.smooth_l1_loss(g, h, beta=0)
F.l1_loss(g, h, weight=L([[1., 2, 3], [4, 5, 6]]))
F.mse_loss(g, h, weight=L([[1., 2, 3], [4, 5, 6]]))
F.huber_loss(g, h, weight=L([[1., 2, 3], [4, 5, 6]]))
F.huber_loss(g, h, weight=L([[1., 2, 3], [4, 5, 6]]), reduction="sum")
F.cross_entropy(g, h)
F.cross_entropy(g[0], h[0])
F.cross_entropy(g, h, weight=L([1., 2., .5]))
F.cross_entropy(g, h, label_smoothing=0.2)
F.cross_entropy(g, T.zeros(2, 3, dtype=T.float64))
"""
ERRORS = """
F.nll_loss(x, L([0, 3]))
F.nll_loss(x, L([0, -1]))
F.nll_loss(x, L([0]))
F.nll_loss(x, L([0, 1], dtype=T.int32))
F.nll_loss(x, L([0., 1]))
F.nll_loss(x, L([[0, 1]]))
F.nll_loss(x, L([[0], [1]]))
F.nll_loss(x, L(0))
F.nll_loss(T.zeros(3), L([0, 1]))
F.nll_loss(L(0.), L(0))
F.nll_loss(T.zeros(2, 3, 4), T.zeros(2, 5, dtype=T.int64))
F.nll_loss(T.zeros(2, 3, 4, 5), T.zeros(2, 4, 6, dtype=T.int64))
F.nll_loss(T.zeros(2, 3, 4, 5), T.zeros(2, 4, dtype=T.int64))
F.nll_loss(x, L([0, 1]), weight=T.ones(2))
F.nll_loss(x, L([0, 1]), weight=T.ones(3, dtype=T.float64))
F.nll_loss(x, L([0, 1]), reduction="foo")
F.nll_loss(x.long(), L([0, 1]))
F.cross_entropy(x, L([0, 3]))
F.cross_entropy(x, L([0]))
F.cross_entropy(x, L([0., 1.]))
F.cross_entropy(x, L([0, 1], dtype=T.int32))
F.cross_entropy(x, L([0, 1]), reduction="foo")
F.cross_entropy(x, T.zeros(2, 3, dtype=T.int64))
F.cross_entropy(g, T.zeros(2, 3), weight=T.ones(2))
F.cross_entropy(g, L([0, 1]), label_smoothing=1.1)
F.cross_entropy(x.long(), L([0, 1]))
F.cross_entropy(L(1.), L(0))
F.mse_loss(g, T.ones(2))
F.mse_loss(g, 1.)
F.mse_loss(x.long(), x.long())
F.mse_loss(g, h, weight=T.ones(3))
F.mse_loss(g, h, reduction="foo")
F.smooth_l1_loss(g, h, beta=-1)
F.huber_loss(g, h, delta=0)
F.huber_loss(g, h, reduction="foo")
F.binary_cross_entropy(T.ones(2), T.ones(3))
F.binary_cross_entropy(T.ones(2) * 2, T.ones(2))
F.binary_cross_entropy(T.ones(2) * .5, T.ones(2) * 2)
F.binary_cross_entropy(T.ones(2) * float("nan"), T.ones(2))
F.binary_cross_entropy(T.ones(2), T.ones(2).long())
F.binary_cross_entropy(T.ones(2), T.ones(2).double())
F.binary_cross_entropy(T.ones(2), T.ones(2), reduction="foo")
F.binary_cross_entropy_with_logits(T.ones(2), T.ones(3))
F.binary_cross_entropy_with_logits(T.ones(2).long(), T.ones(2))
F.binary_cross_entropy_with_logits(g, T.ones(2, 3), pos_weight=T.ones(2))
F.binary_cross_entropy_with_logits(g, T.ones(2, 3), weight=T.ones(2))
F.binary_cross_entropy_with_logits(g, T.ones(2, 3), weight=T.ones(5, 2, 3))
"""


@pytest.mark.parametrize("source", SAME.strip().splitlines())
def test_values_nodes_and_gradients_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)


@pytest.mark.parametrize("source", SAME_BUT_NODES.strip().splitlines())
def test_values_and_gradients_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source, but=("node",))


@pytest.mark.parametrize("source", ERRORS.strip().splitlines())
def test_errors_like_pytorch(torch: ModuleType, source: str) -> None:
    check(torch, source)
