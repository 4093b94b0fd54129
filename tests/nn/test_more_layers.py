"""Pooling, padding, resampling and embedding layers against PyTorch; the functions have their own tests."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.nn.both import check, copy_state, fails, same_module


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(shape)).normal(size=shape)


LINE, IMAGE, BLOCK = normal(2, 3, 7), normal(2, 4, 6, 6), normal(1, 2, 4, 4, 4)
CASES: dict[str, tuple[Any, Any]] = {
    "MaxPool1d": (lambda n: n.MaxPool1d(2), LINE),
    "MaxPool2d": (lambda n: n.MaxPool2d((2, 3), 1, 1, ceil_mode=True), IMAGE),
    "MaxPool3d": (lambda n: n.MaxPool3d(2), BLOCK),
    "AvgPool1d": (lambda n: n.AvgPool1d(2, 1, 1), LINE),
    "AvgPool2d": (lambda n: n.AvgPool2d(3, 2, 1, True, False), IMAGE),
    "AvgPool2d divisor": (lambda n: n.AvgPool2d(2, divisor_override=3), IMAGE),
    "AvgPool3d": (lambda n: n.AvgPool3d(2), BLOCK),
    "LPPool1d": (lambda n: n.LPPool1d(2, 3), np.abs(LINE)),
    "LPPool2d": (lambda n: n.LPPool2d(1.5, (2, 2), stride=1, ceil_mode=True), np.abs(IMAGE)),
    "LPPool3d": (lambda n: n.LPPool3d(2, 2), np.abs(BLOCK)),
    "AdaptiveAvgPool1d": (lambda n: n.AdaptiveAvgPool1d(3), LINE),
    "AdaptiveAvgPool2d": (lambda n: n.AdaptiveAvgPool2d((1, None)), IMAGE),
    "AdaptiveAvgPool3d": (lambda n: n.AdaptiveAvgPool3d(2), BLOCK),
    "AdaptiveMaxPool1d": (lambda n: n.AdaptiveMaxPool1d(3), LINE),
    "AdaptiveMaxPool2d": (lambda n: n.AdaptiveMaxPool2d((4, 2)), IMAGE),
    "AdaptiveMaxPool3d": (lambda n: n.AdaptiveMaxPool3d(2), BLOCK),
    "LocalResponseNorm": (lambda n: n.LocalResponseNorm(3, 0.1), IMAGE),
    "ZeroPad1d": (lambda n: n.ZeroPad1d((1, 2)), LINE),
    "ZeroPad2d": (lambda n: n.ZeroPad2d(1), IMAGE),
    "ZeroPad3d": (lambda n: n.ZeroPad3d(1), BLOCK),
    "ConstantPad1d": (lambda n: n.ConstantPad1d(2, 1), LINE),
    "ConstantPad2d": (lambda n: n.ConstantPad2d((1, 2, 3, 0), 3.5), IMAGE),
    "ConstantPad3d": (lambda n: n.ConstantPad3d(1, -1.0), BLOCK),
    "ReflectionPad1d": (lambda n: n.ReflectionPad1d(1), LINE),
    "ReflectionPad2d": (lambda n: n.ReflectionPad2d((1, 0, 2, 1)), IMAGE),
    "ReflectionPad3d": (lambda n: n.ReflectionPad3d(1), BLOCK),
    "ReplicationPad1d": (lambda n: n.ReplicationPad1d((3, 1)), LINE),
    "ReplicationPad2d": (lambda n: n.ReplicationPad2d(1), IMAGE),
    "ReplicationPad3d": (lambda n: n.ReplicationPad3d(1), BLOCK),
    "CircularPad1d": (lambda n: n.CircularPad1d(2), LINE),
    "CircularPad2d": (lambda n: n.CircularPad2d((1, 2, 0, 1)), IMAGE),
    "CircularPad3d": (lambda n: n.CircularPad3d(1), BLOCK),
    "Conv2d reflect": (lambda n: n.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), IMAGE),
    "Conv1d circular": (
        lambda n: n.Conv1d(3, 2, 4, padding="same", padding_mode="circular", dilation=1),
        LINE,
    ),
    "Upsample": (lambda n: n.Upsample(scale_factor=2), IMAGE),
    "Upsample size": (lambda n: n.Upsample((3, 4), mode="bilinear", align_corners=True), IMAGE),
    "UpsamplingNearest2d": (lambda n: n.UpsamplingNearest2d(scale_factor=2), IMAGE),
    "UpsamplingBilinear2d": (lambda n: n.UpsamplingBilinear2d((7, 5)), IMAGE),
    "PixelShuffle": (lambda n: n.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (lambda n: n.PixelUnshuffle(3), IMAGE),
    "ChannelShuffle": (lambda n: n.ChannelShuffle(2), IMAGE),
    "Unfold": (lambda n: n.Unfold(3, padding=1, stride=2), IMAGE),
    "Fold": (lambda n: n.Fold((4, 5), (2, 2)), normal(2, 12, 12)),
    "Embedding": (lambda n: n.Embedding(5, 3), np.array([[1, 2, 1], [4, 0, 3]])),
    "Embedding padded": (
        lambda n: n.Embedding(5, 3, -2, norm_type=1.5, scale_grad_by_freq=True),
        np.array([1, 3, 3, 4, 4]),
    ),
    "EmbeddingBag": (lambda n: n.EmbeddingBag(5, 3), np.array([[1, 2, 1], [4, 0, 3]])),
    "EmbeddingBag sum": (
        lambda n: n.EmbeddingBag(5, 3, mode="sum", padding_idx=1),
        np.array([[1, 2, 1], [4, 0, 3]]),
    ),
    "EmbeddingBag max": (
        lambda n: n.EmbeddingBag(5, 3, mode="max"),
        np.array([[1, 2, 1], [4, 0, 3]]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_same(torch: ModuleType, name: str) -> None:
    make, x = CASES[name]
    same_module(torch, lambda T: make(T.nn), x, dtype="float64", rtol=1e-8)


def test_pool_and_unpool(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        x = T.tensor(IMAGE).requires_grad_()
        y, places = T.nn.MaxPool2d(2, return_indices=True)(x)
        z = T.nn.MaxUnpool2d(2)(y, places)
        w = T.nn.MaxUnpool2d(2)(y, places, output_size=(7, 7))
        (z * z).sum().backward()
        text = [repr(T.nn.MaxUnpool1d(3, 2, 1)), repr(T.nn.MaxUnpool3d(2))]
        return [places, z, w, x.grad, text]

    check(torch, program)


def test_adaptive_places(torch: ModuleType) -> None:
    check(
        torch,
        lambda T: list(T.nn.AdaptiveMaxPool2d(2, return_indices=True)(T.tensor(IMAGE))),
    )


def test_bags_with_offsets_and_weights(torch: ModuleType) -> None:
    modules = {}
    for T in (__import__("jitgrad"), torch):
        modules[T.__name__] = T.nn.EmbeddingBag(5, 3, mode="sum", include_last_offset=True)
    copy_state(torch, modules["jitgrad"], modules["torch"])

    def program(T: Any) -> Any:
        m = modules[T.__name__]
        weights = T.tensor([0.5, 1.0, 2.0, -1.0]).requires_grad_()
        y = m(T.tensor([1, 2, 2, 4]), T.tensor([0, 1, 4]), weights)
        (y * y).sum().backward()
        return [y, weights.grad, m.weight.grad]

    check(torch, program)


def test_pretrained(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        table = T.arange(12.0).reshape(4, 3)
        frozen = T.nn.Embedding.from_pretrained(table)
        free = T.nn.EmbeddingBag.from_pretrained(table, freeze=False, mode="sum")
        return [
            frozen.weight,
            free.weight,
            frozen(T.tensor([2])),
            T.nn.Embedding(4, 2, padding_idx=1).weight[1],
        ]

    check(torch, program)


@pytest.mark.parametrize(
    "program",
    [
        lambda n, T: n.Embedding(3, 2, padding_idx=3),
        lambda n, T: n.Embedding(3, 2, _weight=T.ones(2, 2)),
        lambda n, T: n.Embedding.from_pretrained(T.ones(2)),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, lambda T: program(T.nn, T), "")
