"""The last steps of a fold as they are compiled, with shuffles, which numba's simulator has not.

Here a thread of Python is a thread of the block, and a shuffle hands a number on at a barrier of its warp.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from jitgrad import dtypes
from jitgrad.cuda import lanes
from jitgrad.cuda.lanes import Fold

WIDTH = 128


class Block:
    """A block's barriers, and the numbers that its threads show each other."""

    def __init__(self) -> None:
        self.all = threading.Barrier(WIDTH)
        self.warps = [threading.Barrier(32) for _ in range(WIDTH // 32)]
        self.shown: list[Any] = [None] * WIDTH


class Thread:
    """What a thread of the block calls."""

    def __init__(self, block: Block, me: int) -> None:
        self._block, self._me = block, me

    def syncthreads(self) -> None:
        """Wait for the block."""
        self._block.all.wait(20)

    def shfl_down_sync(self, mask: int, value: Any, by: int) -> Any:
        """The number of the thread ``by`` places further in the warp; beyond it, one's own."""
        assert mask == 0xFFFFFFFF
        block, me = self._block, self._me
        block.shown[me] = value
        block.warps[me // 32].wait(20)
        found = block.shown[me + by] if me % 32 + by < 32 else value
        block.warps[me // 32].wait(20)
        return found


def joined(values: np.ndarray[Any, Any], join: str, dtype: Any) -> list[Any]:
    """What each thread of a block has after the fold of the threads' values."""
    fold = Fold("y", dtype.code, "0", "x", join)
    body = "\n".join(f"    {line}" for line in lanes._joined(0, fold, "_T1"))
    space: dict[str, Any] = {"_width": WIDTH, "_T1": values.dtype.type, "_N": np.int32}
    exec(f"def work(cuda, _me, y, _sh0):\n{body}\n    return y", space)
    block, shared = Block(), np.zeros_like(values)
    found: list[Any] = [None] * WIDTH

    def run(me: int) -> None:
        found[me] = space["work"](Thread(block, me), me, values[me], shared)

    threads = [threading.Thread(target=run, args=(me,)) for me in range(WIDTH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


JOINS = {"sum": "a + b", "largest": "where(a > b, a, b)"}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.int64, dtypes.uint8], ids=str)
def test_shuffles_join_as_shared_memory_does(
    name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=WIDTH) if dtype.is_floating_point else rng.integers(0, 2, WIDTH)
    values = values.astype(dtype.name)
    found = {}
    for simulated in (False, True):
        monkeypatch.setattr(lanes, "SIMULATED", simulated)
        found[simulated] = joined(values, JOINS[name], dtype)
    # To the last bit, and every thread knows it.
    assert len(set(found[False])) == 1
    assert found[False] == found[True]
    exact = values.sum(dtype="float64") if name == "sum" else values.max()
    np.testing.assert_allclose(float(found[False][0]), float(exact), rtol=1e-5)
