"""Padding, other sizes, shuffled pixels and windows as columns, as functions."""

from __future__ import annotations

from jitgrad.ops.padding import pad
from jitgrad.ops.resampling import (
    channel_shuffle,
    fold,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from jitgrad.ops.sampling import affine_grid, grid_sample

__all__ = [
    "affine_grid",
    "channel_shuffle",
    "fold",
    "grid_sample",
    "interpolate",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]
