"""Kernels compile to PTX and machine code for four generations of GPUs, on a machine without one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jitgrad.cuda import launching
from tests.gpu.test_simulator import ROOT, interpreter


@pytest.mark.timeout(600)
def test_a_part_of_the_kernels_assembles_without_spills() -> None:
    """Every 97th kernel; ``python -m jitgrad.cuda.inventory`` goes through all of them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [interpreter(), "-m", "jitgrad.cuda.inventory", "--every", "97"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 spill or read twice"
    for capability in ("(7, 5)", "(8, 0)", "(9, 0)", "(10, 0)"):
        assert sum(capability in line for line in lines) >= 5


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 2**31 - 1, 2**31, 2**32 + 1, 2**33])
def test_launch_arithmetic(n: int) -> None:
    """A grid never has more blocks than it may, and its threads times their steps reach every element."""
    block, most = 256, 4096
    blocks = launching.blocks(n, block, most)
    assert 1 <= blocks <= most < 2**31
    threads = blocks * block
    steps = -(-n // threads)
    assert threads * steps >= n
    # The counter of the last step, and its byte offset, stay within int64; an index of int32 would not.
    assert (threads * (steps + 1)) * 8 < 2**63


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import jitgrad; jitgrad.ones(1).cuda()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "CUDA" in done.stderr.splitlines()[-1]
