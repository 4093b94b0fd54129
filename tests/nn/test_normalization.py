"""Normalizations: PyTorch's values, gradients, running statistics and errors, and NumPy in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check as same
from tests.ops.both import check

F = jitgrad.nn.functional
Array = np.ndarray[Any, Any]


def data(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    """Normal numbers, off zero."""
    return (np.random.default_rng(seed).normal(size=shape) + 0.3).astype(dtype)


def results(T: ModuleType, function: Callable[..., Any], arrays: list[Array | None]) -> list[Array]:
    """What a function of (module, *tensors) gives, and the gradients of the tensors."""
    tensors = [None if a is None else T.tensor(a, requires_grad=True) for a in arrays]
    y = function(T.nn.functional, *tensors)
    y.backward(T.tensor(data(*y.shape, seed=9, dtype=str(y.dtype).rpartition(".")[2])))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors if t is not None)]


def compare(torch: ModuleType, function: Callable[..., Any], *arrays: Array | None) -> None:
    """Compare a function with PyTorch's, in both dtypes."""
    for dtype, rtol in (("float64", 1e-10), ("float32", 2e-4)):
        given = [None if a is None else a.astype(dtype) for a in arrays]
        for a, b in zip(*(results(T, function, given) for T in (jitgrad, torch)), strict=True):
            assert a.dtype == b.dtype
            scale = np.abs(b).max(initial=1)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10 * scale)


AFFINE = list(itertools.product((False, True), repeat=2))


@pytest.mark.parametrize("shape", [(3,), (2, 5), (4, 2, 3), (40, 33), (2, 3000), (1, 1), (0, 3)])
def test_layer_norm(torch: ModuleType, shape: tuple[int, ...]) -> None:
    """One dim or two, with and without weight and bias; rms_norm as well."""
    for dims, (has_w, has_b) in itertools.product((1, 2), AFFINE):
        last = shape[-dims:]
        w = data(*last, seed=1) if has_w else None
        b = data(*last, seed=2) if has_b else None
        compare(
            torch, lambda f, x, w, b, s=last: f.layer_norm(x, s, w, b, 1e-3), data(*shape), w, b
        )
        if not has_b and 0 not in shape:
            compare(torch, lambda f, x, w, s=last: f.rms_norm(x, s, w), data(*shape), w)


@pytest.mark.parametrize("shape", [(4, 6), (3, 6, 5), (2, 6, 3, 4), (2, 6, 700), (0, 6, 2)])
def test_channels(torch: ModuleType, shape: tuple[int, ...]) -> None:
    """batch_norm, group_norm and instance_norm, with and without weight and bias."""
    x = data(*shape)
    for has_w, has_b in AFFINE:
        w = data(6, seed=1) if has_w else None
        b = data(6, seed=2) if has_b else None
        # PyTorch's gradient of a weight without elements to sum is None for an empty batch.
        if 0 not in shape:
            compare(
                torch, lambda f, x, w, b: f.batch_norm(x, None, None, w, b, training=True), x, w, b
            )
            # PyTorch's group_norm has no gradient for a bias without a weight.
            for groups in (1, 2, 3) if has_w or not has_b else ():
                compare(torch, lambda f, x, w, b, n=groups: f.group_norm(x, n, w, b), x, w, b)
            if len(shape) > 2:
                compare(torch, lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b), x, w, b)
        elif has_w and has_b:
            for T in (jitgrad, torch):
                y = T.nn.functional.group_norm(T.tensor(x), 2, T.tensor(w), T.tensor(b))
                assert tuple(y.shape) == shape


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_running_statistics(torch: ModuleType, name: str, momentum: float) -> None:
    """They follow the batch in training, in place, and are used in evaluation."""
    found = []
    flag = "training" if name == "batch_norm" else "use_input_stats"
    for T in (jitgrad, torch):
        mean, var = T.tensor(data(4, seed=3)), T.tensor(data(4, seed=4) ** 2)
        same = mean
        f = getattr(T.nn.functional, name)
        for k in range(2):
            f(T.tensor(data(3, 4, 5, seed=k)), mean, var, momentum=momentum, **{flag: True})
        assert same is mean
        x = T.tensor(data(2, 4, 5, seed=7), requires_grad=True)
        w, b = (T.tensor(data(4, seed=k), requires_grad=True) for k in (5, 6))
        y = f(x, mean, var, w, b, **{flag: False})
        y.backward(T.tensor(data(2, 4, 5, seed=8)))
        found.append([t.numpy() for t in (mean, var, y.detach(), x.grad, w.grad, b.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_strided(torch: ModuleType) -> None:
    """Operands that are not contiguous."""
    x, w = data(5, 4, 3), data(4, 2, seed=1)
    compare(torch, lambda f, x, w: f.layer_norm(x.permute(2, 0, 1), (4,), w[:, 0], w[:, 1]), x, w)
    compare(torch, lambda f, x, w: f.group_norm(x.mT[:, :2], 2, w[1:3, 0], w[::2, 1]), x, w)
    compare(
        torch,
        lambda f, x, w: f.batch_norm(x.transpose(0, 2)[:, 1:], None, None, w[1:, 1], training=True),
        x,
        w,
    )


def test_threads(torch: ModuleType) -> None:
    """Two threads."""
    jitgrad.set_num_threads(2)
    x = data(300, 257)
    compare(
        torch, lambda f, x, w, b: f.layer_norm(x, (257,), w, b), x, data(257), data(257, seed=1)
    )
    x = data(8, 6, 60, 50)
    compare(
        torch,
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, training=True),
        x,
        data(6),
        x[0, :, 0, 0],
    )
    compare(torch, lambda f, x, w, b: f.group_norm(x, 3, w, b), x, data(6), x[0, :, 0, 0])


def test_precision() -> None:
    """A float32 line far from zero keeps the digits it has."""
    x = (np.random.default_rng(0).normal(size=(4, 5000)) + 1000).astype("float32")
    wide = x.astype("float64")
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    y = F.layer_norm(jitgrad.tensor(x), (5000,), eps=0)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-4)
    y = F.batch_norm(
        jitgrad.tensor(x[None].transpose(2, 1, 0)), None, None, training=True, eps=1e-12
    )
    np.testing.assert_allclose(y.numpy()[:, :, 0].T, expected, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(torch: ModuleType, value: float) -> None:
    """A NaN or an infinity stays in its line or channel."""
    x = data(3, 4, 5)
    x[1, 2, 3] = value
    found = []
    for T in (jitgrad, torch):
        f = T.nn.functional
        t = T.tensor(x)
        found.append(
            [
                np.isnan(y.numpy())
                for y in (
                    f.layer_norm(t, (5,)),
                    f.group_norm(t, 2),
                    f.batch_norm(t, None, None, training=True),
                )
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_size_of_a_bias() -> None:
    """PyTorch's text names the weight's shape here."""
    x = jitgrad.ones(2, 3, 4)
    with pytest.raises(RuntimeError, match=r"bias of shape \[2\] and input of shape \[2, 3, 4\]"):
        F.group_norm(x, 3, jitgrad.ones(3), jitgrad.ones(2))


def test_gradients_of_some() -> None:
    """Any choice of operands that require a gradient gets the same one."""
    arrays = [data(6, 4), data(4, seed=1), data(4, seed=2)]
    functions: list[Callable[..., Any]] = [
        lambda x, w, b: F.layer_norm(x, (4,), w, b),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    ]
    for function in functions:
        expected: list[Any] = []
        for wanted in itertools.product((True, False), repeat=3):
            tensors = [
                jitgrad.tensor(a, requires_grad=r) for a, r in zip(arrays, wanted, strict=True)
            ]
            y = function(*tensors)
            if not any(wanted):
                assert not y.requires_grad
                continue
            weight = jitgrad.tensor(data(6, 4, seed=3))
            y.backward(weight, retain_graph=True)
            y.backward(weight)
            got = [None if t.grad is None else t.grad.tolist() for t in tensors]
            expected = expected or got
            assert got == [e if r else None for e, r in zip(expected, wanted, strict=True)]


@pytest.mark.parametrize(
    "source",
    [
        "F.layer_norm(g, (3,))",
        "F.layer_norm(x, 3)",
        "F.layer_norm(x, [4])",
        "F.layer_norm(x, ())",
        "F.layer_norm(x, (3,), T.ones(2))",
        "F.layer_norm(x, (3,), T.ones(3), T.ones(2))",
        "F.layer_norm(x, (3,), T.ones(3).double())",
        "F.layer_norm(x.long(), (3,))",
        "F.rms_norm(x, (4,))",
        "F.group_norm(g, 3)",
        "F.group_norm(x, 2)",
        "F.group_norm(T.ones(4), 2)",
        "F.group_norm(y, 3, T.ones(2))",
        "F.group_norm(y, 0)",
        "F.group_norm(T.ones(1, 2), 2)",
        "F.instance_norm(T.ones(2, 4, 1))",
        "F.instance_norm(y, use_input_stats=False)",
        "F.instance_norm(y, weight=T.ones(2))",
        "F.batch_norm(g, T.zeros(3), T.ones(3))",
        "F.batch_norm(x, None, None)",
        "F.batch_norm(T.ones(1, 4), None, None, training=True)",
        "F.batch_norm(T.ones(4), None, None, training=True)",
        "F.batch_norm(x, T.zeros(2), T.ones(3))",
        "F.batch_norm(x, T.zeros(3), T.ones(2))",
        "F.batch_norm(x, T.zeros(3), T.ones(3), T.ones(2))",
        "F.batch_norm(x, T.zeros(3), T.ones(3), None, T.ones(2))",
        "F.batch_norm(x, T.zeros(3), T.ones(3), None, None, True, None)",
        "F.batch_norm(x.double(), T.zeros(3), T.ones(3))",
        "F.batch_norm(x.long(), T.zeros(3), T.ones(3))",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """PyTorch's nodes and errors, word for word."""
    check(torch, source)


MIXED: dict[str, Callable[..., Any]] = {
    "layer_norm": lambda F, T, x, a, b: F.layer_norm(x, (3, 4), a.expand(3, 4), b.expand(3, 4)),
    "batch_norm": lambda F, T, x, a, b: F.batch_norm(
        x, T.zeros(3), T.ones(3), a[:, 0], b[:, 0], True
    ),
    "batch_norm in evaluation": lambda F, T, x, a, b: F.batch_norm(
        x, T.zeros(3), T.full((3,), 2.0), a[:, 0], b[:, 0]
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_parameters_in_float32_with_inputs_in_16_bits(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(data(2, 3, 4)).to(T.bfloat16).requires_grad_()
        a, b = (T.tensor(data(3, 1, seed=s, dtype="float32")).requires_grad_() for s in (1, 2))
        y = MIXED[name](T.nn.functional, T, x, a, b)
        y.float().cos().sum().backward()
        return [str(y.dtype), y.float(), x.grad.float(), a.grad]

    same(torch, program, rtol=0.04)


def test_other_norms_in_16_bits_with_float32() -> None:
    """PyTorch warns at the one, and has bfloat16 only for the others; so against ours in float32."""
    x = jitgrad.tensor(data(2, 3, 4)).half()
    a, b = (jitgrad.tensor(data(3, seed=s, dtype="float32")) for s in (1, 2))
    w = jitgrad.tensor(data(4, dtype="float32"))
    for y, wanted in (
        (F.rms_norm(x, (4,), w), F.rms_norm(x.float(), (4,), w)),
        (F.group_norm(x, 3, a, b), F.group_norm(x.float(), 3, a, b)),
        (F.instance_norm(x, None, None, a, b), F.instance_norm(x.float(), None, None, a, b)),
    ):
        assert y.dtype is jitgrad.float16
        assert jitgrad.equal(y, wanted.half())
