"""grid_sample and affine_grid: PyTorch's values, gradients and errors."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest

from tests.nn.compare import agree, data

PADDINGS = ("zeros", "border", "reflection")


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_images(torch: ModuleType, mode: str) -> None:
    """Points inside and far outside, for each padding."""
    x, grid = data(2, 3, 5, 4), 1.3 * data(2, 3, 4, 2, seed=1)
    for padding, align in itertools.product(PADDINGS, (False, True)):
        options = {"mode": mode, "padding_mode": padding, "align_corners": align}
        agree(torch, lambda f, T, t, g, o=options: f.grid_sample(t, g, **o), x, grid, note=options)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_volumes(torch: ModuleType, mode: str) -> None:
    """Three dims."""
    x, grid = data(2, 2, 3, 5, 4), 0.8 * data(2, 3, 2, 2, 3, seed=1)
    for padding, align in itertools.product(PADDINGS, (False, True)):
        options = {"mode": mode, "padding_mode": padding, "align_corners": align}
        agree(torch, lambda f, T, t, g, o=options: f.grid_sample(t, g, **o), x, grid, note=options)


def test_affine_grid(torch: ModuleType) -> None:
    """Two and three dims, one pixel as well."""
    for align, size in itertools.product(
        (False, True), ((2, 3, 4, 5), (2, 1, 1, 3), (2, 3, 2, 4, 5))
    ):
        n = len(size) - 2
        agree(
            torch,
            lambda f, T, t, s=size, a=align: f.affine_grid(t, s, align_corners=a),
            data(2, n, n + 1),
        )


def test_nan_points(torch: ModuleType) -> None:
    """A point that is no number reads nothing beyond the image."""
    grid = np.zeros((1, 1, 2, 2))
    grid[0, 0, 0, 0] = np.nan
    agree(
        torch,
        lambda f, T, t: f.grid_sample(
            T.ones(1, 1, 3, 3, dtype=t.dtype), t.detach(), "nearest", align_corners=True
        ),
        grid,
    )


@pytest.mark.parametrize(
    "source",
    [
        "f.grid_sample(t, T.zeros(1, 2, 2, 3).double(), align_corners=True)",
        "f.grid_sample(t, T.zeros(2, 2, 2, 2).double(), align_corners=True)",
        "f.grid_sample(t, T.zeros(1, 2, 2), align_corners=True)",
        "f.grid_sample(t, T.zeros(1, 2, 2, 2), align_corners=True)",
        "f.grid_sample(t, T.zeros(1, 2, 2, 2).double(), 'foo', align_corners=True)",
        "f.grid_sample(t, T.zeros(1, 2, 2, 2).double(), padding_mode='foo', align_corners=True)",
        "f.affine_grid(T.zeros(1, 2, 2), (1, 1, 2, 2), align_corners=True)",
        "f.affine_grid(T.zeros(1, 2, 3), (1, 1, 2), align_corners=True)",
        "f.affine_grid(T.zeros(1, 2, 3), (1, 1, 0, 2), align_corners=True)",
        "f.affine_grid(T.zeros(1, 2, 3).long(), (1, 1, 2, 2), align_corners=True)",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """Errors of PyTorch's types."""
    found = agree(torch, lambda f, T, t: eval(source), data(1, 2, 4, 4), both=False)
    assert isinstance(found, type)
