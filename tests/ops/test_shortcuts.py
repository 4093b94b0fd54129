"""Ordinary calls go to the recorder at once; all others do what they did, with PyTorch's errors."""

from __future__ import annotations

from typing import Any

import pytest

from jitgrad.arena.header import Fault
from jitgrad.calling import widened
from jitgrad.ops.shortcuts import shortcut
from tests.ops.both import check

SAME = [
    "x.reshape(3, 2)",
    "x.reshape((3, -1))",
    "x.reshape([3, 2])",
    "x.reshape(-1)",
    "x.t().reshape(-1)",
    "x.t().reshape(2, 3)",
    "x.reshape(x.shape)",
    "x.reshape(-1, -1)",
    "x.reshape(4, 2)",
    "x.reshape(4, -1)",
    "x.reshape(0, 2)",
    "x.reshape(-1, 0)",
    "x.reshape(3, 2, 1, 1)",
    "x.reshape(2**32, 2**32)",
    "x.reshape(2**62, 2**62, 2**62)",
    "x.reshape(-2, -3)",
    "x.reshape((3,), 2)",
    "x.reshape(3.0, 2)",
    "x[:0].reshape(0, 5)",
    "x[:0].reshape(-1, 3)",
    "x[:0].reshape(-1)",
    "x[:0].reshape(-1, 0)",
    "x[:0].reshape(2)",
    "x[0, 0].reshape(1, 1)",
    "x[0, 0].reshape(())",
    "T.reshape(x, (3, 2))",
    "x.view(3, 2)",
    "x.view(-1, 2)",
    "x.view(5, 2)",
    "x.view(-1, -1)",
    "x.t().view(6)",
    "x.view(3, 2.0)",
    "x.permute(1, 0)",
    "x.permute((1, 0))",
    "x.permute([-1, 0])",
    "x.permute(1, 1)",
    "x.permute(1)",
    "x.permute(0, 2)",
    "x.permute((1, 0), 1)",
    "T.permute(x, (1, 0))",
    "x.sum()",
    "x.sum(1)",
    "x.sum(-1, True)",
    "x.sum(2)",
    "x.sum((0, 1))",
    "x.sum(1, dtype=T.float64)",
    "x.mean()",
    "x.mean(0)",
    "x.mean(3)",
    "x.to(T.int64).mean()",
    "(x > 1).sum(0)",
    "T.sum(x, 0)",
    "T.mean(x, 0, True)",
    "T.sum(2.0)",
]


@pytest.mark.parametrize("text", SAME)
def test_same_as_pytorch(text: str) -> None:
    check(pytest.importorskip("torch"), text, but=("message",))


def made() -> Any:
    def entry(n: int) -> int:
        if n < 0:
            raise Fault(0, 0, 0, 0, 0, 0)
        return n + 1

    @shortcut(("type(dim) is int", "entry(dim)"), entry=entry)
    def function(input: Any, dim: Any = None) -> Any:
        """A function."""
        return "the long way", dim

    return widened(function)


def test_a_shortcut_does_not_enter_the_function() -> None:
    assert made()(None, 1) == 2


def test_what_a_shortcut_does_not_take_goes_the_long_way() -> None:
    assert made()(None, 1.5) == ("the long way", 1.5)
    assert made()(None, axis=3) == ("the long way", 3)


def test_a_fault_in_a_shortcut_goes_the_long_way() -> None:
    assert made()(None, -1) == ("the long way", -1)
