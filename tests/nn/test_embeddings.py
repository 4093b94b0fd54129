"""Embeddings, bags of them, one-hot rows: PyTorch's values, gradients and errors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from tests.nn.compare import agree, data

F = jitgrad.nn.functional
INDICES = np.array([[0, 3, 3], [6, 1, 0]])


@pytest.mark.parametrize("padding", [None, 3, -7])
def test_embedding(torch: ModuleType, padding: int | None) -> None:
    """A padding row, gradients scaled by frequency, norms that are too large."""
    w = data(7, 4)
    for scale in (False, True):
        agree(
            torch,
            lambda f, T, w, s=scale: f.embedding(
                T.tensor(INDICES), w, padding, scale_grad_by_freq=s
            ),
            w,
        )
    for norm in (1.0, 2.0):
        agree(
            torch,
            lambda f, T, w, p=norm: (f.embedding(T.tensor(INDICES), w, padding, 1.0, p), w),
            w,
        )


@pytest.mark.parametrize("padding", [None, 3, -7])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(torch: ModuleType, mode: str, padding: int | None) -> None:
    """Bags of one size, and of others by their offsets: empty ones too."""
    w = data(7, 4)
    options: dict[str, Any] = {"mode": mode, "padding_idx": padding}
    flat = INDICES.reshape(-1)
    agree(torch, lambda f, T, w: f.embedding_bag(T.tensor(INDICES), w, **options), w)
    for offsets, last in (([0, 2, 2, 5], False), ([0, 0, 6], False), ([0, 2, 6], True)):
        agree(
            torch,
            lambda f, T, w, o=offsets, e=last: f.embedding_bag(
                T.tensor(flat), w, T.tensor(o), include_last_offset=e, **options
            ),
            w,
        )
    if mode == "sum":
        agree(
            torch,
            lambda f, T, w, s: f.embedding_bag(
                T.tensor(INDICES), w, per_sample_weights=s, **options
            ),
            w,
            data(2, 3, seed=1),
        )


def test_bags_scaled_by_frequency() -> None:
    """Each row's gradient is divided by how often it was picked (PyTorch 2.13 divides other rows')."""
    w = jitgrad.ones(7, 1, requires_grad=True)
    bags = jitgrad.tensor(INDICES)
    F.embedding_bag(bags, w, mode="sum", scale_grad_by_freq=True).sum().backward()
    assert w.grad.reshape(-1).tolist() == [1, 1, 0, 1, 0, 0, 1]


def test_one_hot(torch: ModuleType) -> None:
    """Classes as rows."""
    for classes, width in ((INDICES, -1), (INDICES, 9), (np.zeros((0,), np.int64), 3)):
        agree(torch, lambda f, T, t, n=width: f.one_hot(t, n), classes)


@pytest.mark.parametrize(
    "source",
    [
        "f.embedding(T.tensor([9]), w)",
        "f.embedding(T.tensor([9]), w, max_norm=1.0)",
        "f.embedding(T.tensor([1]), w, padding_idx=9)",
        "f.embedding(T.tensor([1.0]), w)",
        "f.embedding(T.tensor([1]), w[0])",
        "f.embedding_bag(T.tensor([1]), w)",
        "f.embedding_bag(T.tensor([[1]]), w, mode='foo')",
        "f.embedding_bag(T.tensor([[1]]), w, T.tensor([0]))",
        "f.embedding_bag(T.tensor([[1]]), w, per_sample_weights=w[:1, :1])",
        "f.embedding_bag(T.tensor([[1]]), w, per_sample_weights=w)",
        "f.embedding_bag(T.tensor([1, 2]), w, T.tensor([1]))",
        "f.one_hot(T.tensor([1, 2]), 2)",
        "f.one_hot(T.tensor([-1, 2]))",
        "f.one_hot(T.tensor([], dtype=T.int64))",
        "f.one_hot(T.tensor([1.0]))",
    ],
)
def test_errors(torch: ModuleType, source: str) -> None:
    """Errors of PyTorch's types."""
    found = agree(torch, lambda f, T, w: eval(source), data(7, 4), both=False)
    assert isinstance(found, type)
