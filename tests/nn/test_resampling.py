"""Padding, interpolation, shuffled pixels, windows as columns: PyTorch's values, gradients and errors."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.compare import agree, data

SPACE = (9, 8, 7)
MODES = ("nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear")
SIZES: list[dict[str, Any]] = [
    {"size": 5},
    {"size": 1},
    {"size": 13},
    {"scale_factor": 2},
    {"scale_factor": 1.7},
    {"scale_factor": 0.6},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_pad(torch: ModuleType, n: int, mode: str) -> None:
    """More and less at each side, with a batch and without."""
    x = data(2, 3, *SPACE[:n])
    for amounts in ((1, 2), (0, 3), (2, 0), (-1, 2), (2, -1), (0, 0)):
        agree(torch, lambda f, T, t, a=amounts: f.pad(t, a * n, mode), x, note=amounts)
        agree(
            torch, lambda f, T, t, a=amounts: f.pad(t, a * n, mode), x[0], both=False, note=amounts
        )


def test_pad_with_a_value(torch: ModuleType) -> None:
    """Any dims, dtypes and values."""
    x = data(2, 3, 4)
    for amounts in ((1, -2, 0, 1), (0, 0, 0, 0, 1, 2), (3, 0, 1, 1, 0, 2), (-2, -2), ()):
        agree(torch, lambda f, T, t, a=amounts: f.pad(t, a, value=2.5), x, note=amounts)
    integers = np.arange(12).reshape(3, 4)
    agree(torch, lambda f, T, t: f.pad(t, (1, 1), value=7), integers)
    agree(torch, lambda f, T, t: f.pad(t > 5, (1, 1), value=True), integers)
    agree(torch, lambda f, T, t: f.pad(t, (1, 1), value=float("nan")), x)
    agree(torch, lambda f, T, t: f.pad(t, (1, 1, 2, 0)), data(0, 3, 2))
    agree(torch, lambda f, T, t: f.pad(t.permute(2, 0, 1), (1, 2, 0, 1), "circular"), x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_interpolate(torch: ModuleType, n: int, mode: str) -> None:
    """Sizes and factors, up and down, with and without aligned corners; and the errors of other modes."""
    x = data(2, 3, *SPACE[:n])
    for options, align in itertools.product(SIZES, (None, True, False)):
        agree(
            torch,
            lambda f, T, t, o=options, a=align: f.interpolate(t, mode=mode, align_corners=a, **o),
            x,
            both=align is not False,
            note=(options, align),
        )


def test_antialias(torch: ModuleType) -> None:
    """Averages over what a place stands for."""
    x = data(2, 3, 9, 8)
    for mode, size, align in itertools.product(
        ("bilinear", "bicubic"), (5, (13, 3)), (None, True, False)
    ):
        agree(
            torch,
            lambda f, T, t, m=mode, s=size, a=align: f.interpolate(
                t, s, mode=m, align_corners=a, antialias=True
            ),
            x,
            note=(mode, size, align),
        )


def test_interpolate_other_inputs(torch: ModuleType) -> None:
    """Integers, an empty batch, strides, two threads."""
    image = np.random.default_rng(0).integers(0, 255, (1, 2, 6, 6)).astype(np.uint8)
    agree(torch, lambda f, T, t: f.interpolate(t, 9), image)
    agree(torch, lambda f, T, t: f.interpolate(t, 9, mode="bilinear"), data(0, 2, 4, 4))
    agree(torch, lambda f, T, t: f.interpolate(t.mT, 9, mode="bicubic"), data(1, 2, 4, 5))
    jitgrad.set_num_threads(2)
    agree(torch, lambda f, T, t: f.interpolate(t, 90, mode="bilinear"), data(2, 8, 40, 41))


def test_columns(torch: ModuleType) -> None:
    """unfold, and fold of what it made."""
    x = data(2, 3, 9, 8)
    for k, d, p, s in itertools.product((2, (3, 2)), (1, 2), (0, (1, 2)), (1, (2, 3))):
        agree(torch, lambda f, T, t, o=(k, d, p, s): f.unfold(t, *o), x, both=d == 1)
        agree(torch, lambda f, T, t, o=(k, d, p, s): f.unfold(t, *o), x[0], both=False)
        agree(
            torch,
            lambda f, T, t, o=(k, d, p, s): f.fold(f.unfold(t, *o) ** 2, (9, 8), *o),
            x,
            both=d == 1,
        )
    agree(torch, lambda f, T, t: f.unfold(t, 2), data(0, 3, 4, 4))


def test_shuffles(torch: ModuleType) -> None:
    """Pixels and channels change places."""
    for shape in ((2, 8, 4, 6), (8, 4, 6)):
        agree(torch, lambda f, T, t: T.pixel_shuffle(t, 2), data(*shape))
        agree(torch, lambda f, T, t: f.pixel_unshuffle(t, 2), data(*shape))
    agree(torch, lambda f, T, t: T.channel_shuffle(t, 4), data(2, 8, 3))


@pytest.mark.parametrize(
    "source",
    [
        "f.pad(t, (1,))",
        "f.pad(t, (1,) * 10)",
        "f.pad(t, (6, 0, 0, 0), 'reflect')",
        "f.pad(t, (7, 0, 0, 0), 'circular')",
        "f.pad(t, (6, 0), 'reflect')",
        "f.pad(t, (1, 1), 'foo')",
        "f.pad(t, (1, 1, 0, 0), 'reflect', 3)",
        "f.pad(t, (-7, 0))",
        "f.pad(t, (1.5, 1))",
        "f.interpolate(t)",
        "f.interpolate(t, 3, 2)",
        "f.interpolate(t, (3, 3, 3))",
        "f.interpolate(t, 3, mode='foo')",
        "f.interpolate(t, 3, align_corners=True)",
        "f.interpolate(t, 0)",
        "f.interpolate(t, 0, mode='bilinear')",
        "f.interpolate(t[0, 0], 3)",
        "f.interpolate(t, 3, antialias=True)",
        "f.interpolate(t, 3, recompute_scale_factor=True)",
        "f.pixel_shuffle(t, 2)",
        "f.pixel_shuffle(t, 0)",
        "f.pixel_shuffle(t[0, 0], 2)",
        "f.pixel_unshuffle(t, 4)",
        "f.channel_shuffle(t, 3)",
        "f.unfold(t, 7)",
        "f.fold(t[0], 5, 2)",
        "f.fold(t[0], 5, 3)",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """Errors of PyTorch's types."""
    found = agree(torch, lambda f, T, t: eval(source), data(1, 2, 6, 6), both=False)
    assert isinstance(found, type)
