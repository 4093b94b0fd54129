"""Convolution layers against PyTorch; the functions have tests of their own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import check, fails, same_module


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda n: n.Conv1d(4, 6, 3), normal(2, 4, 7)),
        (lambda n: n.Conv1d(4, 6, 3, 2, "valid", 2, 2, False), normal(4, 9)),
        (lambda n: n.Conv2d(4, 6, (3, 5), padding="same"), normal(2, 4, 5, 6)),
        (lambda n: n.Conv2d(4, 6, 3, (2, 1), (1, 0), groups=2), normal(2, 4, 6, 5)),
        (lambda n: n.Conv3d(2, 3, 2, padding=1), normal(1, 2, 3, 3, 4)),
        (lambda n: n.ConvTranspose1d(4, 6, 3, 2, 1, 1), normal(2, 4, 5)),
        (lambda n: n.ConvTranspose2d(4, 6, 3, 2, groups=2, bias=False), normal(2, 4, 3, 3)),
        (lambda n: n.ConvTranspose2d(4, 2, (2, 3), dilation=2), normal(4, 3, 4)),
        (lambda n: n.ConvTranspose3d(2, 3, 2), normal(1, 2, 2, 3, 2)),
    ],
)
def test_same(torch: ModuleType, make: Any, x: Any) -> None:
    same_module(torch, lambda T: make(T.nn), x, dtype="float64", rtol=1e-10)


@pytest.mark.parametrize("size", [(7, 8), [2, 5, 8, 7]])
def test_output_size(torch: ModuleType, size: Any) -> None:
    same_module(
        torch,
        lambda T: T.nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1),
        normal(2, 3, 4, 4),
        dtype="float64",
        output_size=size,
    )


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda n, T: n.Conv2d(3, 4, 3, groups=2), None),
        (lambda n, T: n.Conv2d(4, 3, 3, groups=2), None),
        (lambda n, T: n.Conv2d(4, 3, 3, groups=0), None),
        (lambda n, T: n.Conv2d(4, 3, 3, padding="foo"), "Invalid padding string 'foo'"),
        (lambda n, T: n.Conv2d(4, 3, 3, 2, padding="same"), None),
        (lambda n, T: n.Conv2d(4, 3, 3, padding_mode="foo"), "padding_mode must be one of"),
        (lambda n, T: n.ConvTranspose1d(4, 3, 3, padding_mode="reflect"), None),
        (
            lambda n, T: n.ConvTranspose1d(3, 5, 3, 2)(T.ones(1, 3, 4), output_size=[1]),
            "requested an output size",
        ),
        (
            lambda n, T: n.ConvTranspose1d(3, 5, 3, 2)(T.ones(1, 3, 4), output_size=[1, 2]),
            None,
        ),
        (lambda n, T: n.Conv2d(3, 4, 3)(T.ones(1, 2, 5, 5)), "channels"),
    ],
)
def test_errors(torch: ModuleType, program: Any, says: str | None) -> None:
    fails(torch, lambda T: program(T.nn, T), says)


def test_initial_bounds() -> None:
    layer = jitgrad.nn.Conv2d(8, 200, 3)
    bound = 1 / 72**0.5
    for p in layer.parameters():
        p = p.detach()
        assert 0.95 * bound < p.abs().max().item() <= bound
        assert abs(p.std().item() - bound / 3**0.5) < 0.1 * bound


def test_text(torch: ModuleType) -> None:
    check(torch, lambda T: repr(T.nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular", groups=2)))
