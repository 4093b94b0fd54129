"""`testing.assert_close` accepts and refuses what PyTorch's does, in its words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import jitgrad

CASES = [
    "T.ones(2), T.ones(2)",
    "T.ones(2), T.tensor([1.0, 2.0])",
    "T.ones(2), T.ones(3)",
    "T.ones(2), T.ones(2, dtype=T.float64)",
    "T.ones(2), T.ones(2, dtype=T.float64), check_dtype=False",
    "1.0, 2.0",
    "1, 2",
    "1, 1.0",
    "True, False",
    "[T.ones(1)], [T.zeros(1)]",
    "{'a': 1}, {'b': 1}",
    "{'a': T.ones(2)}, {'a': T.zeros(2)}",
    "[1], [1, 2]",
    "T.tensor(1.0), T.tensor(2.0)",
    "T.tensor([1, 2]), T.tensor([1, 3])",
    "T.ones(2), [1.0, 1.0]",
    "T.ones(2), 1.0",
    "T.tensor([np.nan]), T.tensor([np.nan])",
    "T.tensor([np.nan]), T.tensor([np.nan]), equal_nan=True",
    "T.ones(2), T.ones(2) + 1e-3, rtol=0, atol=1e-2",
    "T.ones(2), T.ones(2) + 1e-3, rtol=0, atol=0",
    "T.ones(2), T.ones(2), rtol=1e-3",
    "T.ones(2), T.zeros(2), msg='hi'",
    "T.ones(2), T.zeros(2), msg=lambda m: 'X' + m",
    "np.ones(2), np.zeros(2)",
    "None, None",
    "None, 1",
    "T.tensor(True), T.tensor(False)",
    "T.tensor([True, False]), T.tensor([True, True])",
    "(1.0, [2.0]), (1.0, [3.0])",
    "T.tensor([1.0, np.inf]), T.tensor([1.0, -np.inf])",
    "T.ones(2, requires_grad=True), T.ones(2)",
]


@pytest.mark.parametrize("arguments", CASES)
def test_assert_close(arguments: str, torch: Any) -> None:
    def found(module: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                eval(f"T.testing.assert_close({arguments})", {"T": module, "np": np})
            except Exception as error:
                return type(error), str(error).replace("jitgrad", "torch")
        return None

    assert found(jitgrad) == found(torch)
