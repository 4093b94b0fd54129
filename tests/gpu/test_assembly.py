"""Kernels compile to PTX and machine code for four generations of GPUs, on a machine without one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jitgrad.cuda import launching, widths
from tests.gpu.test_simulator import ROOT, interpreter


@pytest.mark.timeout(600)
def test_a_part_of_the_kernels_is_what_the_table_says() -> None:
    """Some kernels of all families; ``--write`` has gone through all of them.

    A kernel without a row, or a row without a kernel, is found among all of them.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [interpreter(), "-m", "jitgrad.cuda.inventory", "--sample", "--check"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 wrong"
    for capability in ("(7, 5)", "(8, 0)", "(9, 0)", "(10, 0)"):
        assert sum(capability in line for line in lines) >= 20


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


_PTX = """
.visible .entry kernel(
	.param .u64 kernel_param_0
)
{
	ld.param.u64 	%rd1, [kernel_param_0];
	mov.u32 	%r1, %tid.x;
	mov.u32 	%r2, %ctaid.x;
	mov.u32 	%r3, %ntid.x;
	PLACE
	shl.b64 	%rd4, %rd3, 2;
	add.s64 	%rd5, %rd1, %rd4;
	ld.global.f32 	%f1, [%rd5];
	ret;
}
"""
_RIGHT = {
    "64 bits": "mul.wide.s32 %rd2, %r2, %r3;\ncvt.s64.s32 %rd6, %r1;\nadd.s64 %rd3, %rd2, %rd6;",
    "a division in 32 bits": "cvt.u32.u64 %r4, %rd1;\ndiv.u32 %r5, %r4, %r3;\ncvt.u64.u32 %rd3, %r5;",
    "a number of 32 bits that leads elsewhere": "add.s32 %r9, %r1, 1;\nmov.u64 %rd3, 0;",
}
_WRONG = {
    "a product": "mad.lo.s32 %r4, %r2, %r3, %r1;\ncvt.s64.s32 %rd3, %r4;",
    "a sum in a loop": "mov.u32 %r4, 0;\nadd.s32 %r4, %r4, %r3;\ncvt.s64.s32 %rd3, %r4;",
    "a shift": "shl.b32 %r4, %r1, 8;\nmul.wide.s32 %rd3, %r4, 4;",
    "cut down": "cvt.u32.u64 %r4, %rd1;\ncvt.s64.s32 %rd3, %r4;",
}


@pytest.mark.parametrize("name", _RIGHT)
def test_places_that_are_wide(name: str) -> None:
    assert widths.narrow_places(_PTX.replace("PLACE", _RIGHT[name])) == []


@pytest.mark.parametrize("name", _WRONG)
def test_places_that_are_narrow(name: str) -> None:
    """What `inventory` looks for in every kernel: an index that 2^33 elements would overflow."""
    assert widths.narrow_places(_PTX.replace("PLACE", _WRONG[name]))


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import jitgrad; jitgrad.ones(1).cuda()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "CUDA" in done.stderr.splitlines()[-1]
