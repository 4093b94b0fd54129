"""Normalization layers against PyTorch; the functions have tests of their own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails, same_module


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


CASES: dict[str, tuple[Any, Any]] = {
    "BatchNorm1d": (lambda n: n.BatchNorm1d(3), normal(5, 3)),
    "BatchNorm1d of lines": (lambda n: n.BatchNorm1d(3, momentum=None), normal(2, 3, 4)),
    "BatchNorm2d": (lambda n: n.BatchNorm2d(3, eps=0.1, momentum=0.3), normal(2, 3, 4, 2)),
    "BatchNorm2d plain": (lambda n: n.BatchNorm2d(3, affine=False), normal(2, 3, 4, 2)),
    "BatchNorm2d untracked": (
        lambda n: n.BatchNorm2d(3, track_running_stats=False),
        normal(2, 3, 4, 2),
    ),
    "BatchNorm1d without bias": (lambda n: n.BatchNorm1d(3, bias=False), normal(5, 3)),
    "BatchNorm3d": (lambda n: n.BatchNorm3d(3), normal(2, 3, 2, 2, 2)),
    "InstanceNorm1d": (lambda n: n.InstanceNorm1d(3), normal(2, 3, 4)),
    "InstanceNorm1d of one": (lambda n: n.InstanceNorm1d(3, affine=True), normal(3, 4)),
    "InstanceNorm2d": (
        lambda n: n.InstanceNorm2d(3, affine=True, track_running_stats=True),
        normal(2, 3, 4, 2),
    ),
    "InstanceNorm3d": (lambda n: n.InstanceNorm3d(3), normal(2, 3, 2, 2, 2)),
    "GroupNorm": (lambda n: n.GroupNorm(2, 4), normal(2, 4, 3)),
    "GroupNorm plain": (lambda n: n.GroupNorm(2, 4, affine=False), normal(2, 4, 3, 2)),
    "LayerNorm": (lambda n: n.LayerNorm(4), normal(2, 3, 4)),
    "LayerNorm of two": (lambda n: n.LayerNorm([3, 4], eps=0.1, bias=False), normal(2, 3, 4)),
    "LayerNorm plain": (lambda n: n.LayerNorm(4, elementwise_affine=False), normal(2, 4)),
    "RMSNorm": (lambda n: n.RMSNorm(4), normal(2, 3, 4)),
    "RMSNorm eps": (lambda n: n.RMSNorm((3, 4), 0.1, False), normal(2, 3, 4)),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_same(torch: ModuleType, name: str, train: bool) -> None:
    make, x = CASES[name]
    same_module(torch, lambda T: make(T.nn), x, dtype="float64", rtol=1e-9, train=train)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_of_several_batches(torch: ModuleType, momentum: Any) -> None:
    def program(T: Any) -> Any:
        m = T.nn.BatchNorm1d(3, momentum=momentum)
        for k in range(3):
            m(T.tensor(normal(4 + k, 3).astype(np.float32)))
        m.eval()
        y = m(T.tensor(normal(2, 3).astype(np.float32)))
        state = m.state_dict()
        m.reset_running_stats()
        return [y, state, m.num_batches_tracked, m.running_var]

    check(torch, program)


def test_state_of_the_first_version(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        m = T.nn.BatchNorm1d(2)
        state = dict(m.state_dict())
        del state["num_batches_tracked"]
        return [str(m.load_state_dict(state)), m.num_batches_tracked]

    check(torch, program)


@pytest.mark.parametrize(
    "program",
    [
        lambda n, T: n.BatchNorm1d(3)(T.ones(2, 3, 4, 5)),
        lambda n, T: n.BatchNorm2d(3)(T.ones(2, 3)),
        lambda n, T: n.BatchNorm3d(3)(T.ones(2, 3)),
        lambda n, T: n.BatchNorm1d(3)(T.ones(1, 3)),
        lambda n, T: n.InstanceNorm1d(3)(T.ones(3)),
        lambda n, T: n.InstanceNorm2d(3, affine=True)(T.ones(2, 4, 2, 2)),
        lambda n, T: n.GroupNorm(3, 4),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn, T))


def test_first_values() -> None:
    m = jitgrad.nn.LayerNorm(3)
    assert m.weight.tolist() == [1.0] * 3
    assert m.bias.tolist() == [0.0] * 3


def test_normalize(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(normal(3, 4)).requires_grad_()
        y = T.nn.functional.normalize(x) + T.nn.functional.normalize(x, p=1, dim=0)
        (y * y).sum().backward()
        return [y, x.grad, T.nn.functional.normalize(T.zeros(2, 2))]

    check(torch, program, rtol=1e-9)
