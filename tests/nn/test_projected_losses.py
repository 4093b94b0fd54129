"""Losses that hold linear layers, against PyTorch with the same state."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.both import copy_state, same_module

RNG = np.random.default_rng(9)
X = RNG.normal(size=(6, 8))
CLASSES = np.array([0, 19, 4, 5, 11, 12])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("targets", [CLASSES, np.zeros(6, np.int64), np.full(6, 7)], ids=str)
def test_adaptive_softmax(torch: ModuleType, targets: Any, dtype: str) -> None:
    def make(T: Any) -> Any:
        return T.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12], div_value=2.0, head_bias=True)

    same_module(torch, make, X, targets, dtype=dtype)
    same_module(torch, make, X[0], targets[1], dtype=dtype)


def test_its_probabilities_are_those_of_all_classes(torch: ModuleType) -> None:
    ours, theirs = (T.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12], 2.0) for T in (jitgrad, torch))
    copy_state(torch, ours, theirs)
    x, y = jitgrad.tensor(X).float(), torch.tensor(X).float()
    found = ours.log_prob(x)
    np.testing.assert_allclose(found.detach(), theirs.log_prob(y).detach(), rtol=2e-5)
    np.testing.assert_allclose(found.exp().sum(1).tolist(), np.ones(6), rtol=1e-5)
    assert ours.predict(x).tolist() == theirs.predict(y).tolist()


@pytest.mark.parametrize("cutoffs", [[], [5, 5], [0, 3], [5, 20], [5.5], [7, 3]], ids=str)
def test_cutoffs_that_cannot_be(cutoffs: list[Any]) -> None:
    with pytest.raises(ValueError, match="cutoffs should be a sequence of"):
        jitgrad.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs)


@pytest.mark.parametrize(
    ("x", "target", "words"),
    [
        ((4, 8), [1, 2], "same size in the batch dimension"),
        ((4, 7), [1, 2, 3, 4], "cannot be multiplied"),
        ((4, 8), [1, 2, 3, 20], r"should be in \[0, 19\], but values in range \[1, 20\]"),
        ((4, 8), [1, 2, 3, -1], r"values in range \[-1, 3\]"),
        ((2, 3, 8), [[0] * 3] * 2, "multi-target not supported"),
    ],
)
def test_targets_that_cannot_be(x: tuple[int, ...], target: list[Any], words: str) -> None:
    loss = jitgrad.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12], 2.0)
    with pytest.raises(RuntimeError, match=words):
        loss(jitgrad.zeros(x), jitgrad.tensor(target))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_linear_cross_entropy(torch: ModuleType, reduction: str) -> None:
    for options in ({}, {"bias": True, "label_smoothing": 0.2, "ignore_index": 3}):

        def make(T: Any, options: dict[str, Any] = options) -> Any:
            return T.nn.LinearCrossEntropyLoss(8, 5, reduction=reduction, **options)

        same_module(torch, make, X, CLASSES % 5)

    def further(T: Any) -> Any:
        return T.nn.LinearCrossEntropyLoss(
            8, 5, out_features=(2, 3), bias=True, reduction=reduction
        )

    same_module(torch, further, X, RNG.integers(0, 5, (6, 2, 3)))


def test_linear_cross_entropy_refuses() -> None:
    f, x = jitgrad.nn.functional.linear_cross_entropy, jitgrad.zeros(2, 3)
    with pytest.raises(RuntimeError, match="got 3 and 2, respectively"):
        f(x, jitgrad.zeros(4, 2), jitgrad.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="dimensionality 1 or 2, got 3"):
        f(x.reshape(1, 2, 3), jitgrad.zeros(4, 3), jitgrad.tensor([0]))
    with pytest.raises(ValueError, match="batch_size"):
        f(x, jitgrad.zeros(4, 3), jitgrad.tensor([0]))
    with pytest.raises(NotImplementedError, match="options"):
        f(x, jitgrad.zeros(4, 3), jitgrad.tensor([0, 1]), options="chunks")
