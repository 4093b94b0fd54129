"""Profiles of what misses its goal: where time goes by kernel, call, op and stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jitgrad
from benchmarks import call_times, kernel_times, op_times, profiles, stage_timers
from jitgrad.bench import operations
from jitgrad.bench.case import Case, Prepared
from jitgrad.bench.cases import CASES


def test_a_kernel_is_split_into_its_bounds(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    monkeypatch.setattr(kernel_times, "SECONDS", 0.05)
    case = operations.case("sigmoid", "both", 2**18, "float32", "contiguous")
    assert kernel_times.possible(case)
    found = kernel_times.profile(case, "title", {"jitgrad": jitgrad, "torch": torch}, 1)
    assert [row[:2] for row in found.rows] == [
        [library, part] for part in ("forward", "backward") for library in ("jitgrad", "torch")
    ]
    for row in found.rows:
        assert len(row) == len(found.header)
        assert row[-1] in ("around it", "arithmetic", "memory")
        assert "-" not in row


@pytest.mark.parametrize(
    ("op", "forward", "backward"),
    # What is read and written, in arrays: softmax's gradient reads the result and the cotangent,
    # the mean's neither, the variance's its operand.
    [("softmax", 2, 3), ("sigmoid", 2, 3), ("mean", 1, 1), ("var", 1, 2)],
)
def test_what_a_kernel_moves(op: str, forward: int, backward: int) -> None:
    case = operations.case(op, "both", 64, "float32", "contiguous")
    assert kernel_times.moved(case, "forward") == forward * 64 * 4
    assert kernel_times.moved(case, "backward") == backward * 64 * 4


def test_only_ops_of_one_array_are_split() -> None:
    assert not kernel_times.possible(CASES["A1"])
    assert not kernel_times.possible(operations.case("mm", "both", 64, "float32", "contiguous"))
    assert not kernel_times.possible(operations.case("gt", "forward", 64, "float32", "contiguous"))


def test_an_expression_call_by_call(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    monkeypatch.setattr(call_times, "SECONDS", 0.05)
    found = call_times.profile(CASES["A2"], "title", {"jitgrad": jitgrad, "torch": torch})
    assert [row[0] for row in found.rows] == [
        "`x * y`",
        "`.exp()`",
        "`.sum()`",
        "`.backward()`, gradients set to None",
        "in all",
    ]
    assert [row[2] for row in found.rows][-1] == "100%"


def test_a_step_op_by_op(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    monkeypatch.setattr(op_times, "SECONDS", 0.01)
    found = op_times.profile(CASES["B1"], "title", {"jitgrad": jitgrad, "torch": torch})
    ours = {(row[0], row[1]) for row in found.rows}
    theirs = {(row[4], row[5]) for row in found.rows}
    assert {("linear", "forward"), ("linear", "backward")} <= ours
    assert ("addmm", "forward") in theirs
    assert ("outside of ops", "") in ours & theirs


def test_a_profile_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(T: Any) -> Prepared:  # noqa: N803
        raise ValueError("broken on purpose")

    monkeypatch.setitem(profiles.PROGRAMS, "A1", Case("A1", "work", broken))
    found = profiles.profiled("A1", 1, "how")
    assert found.title == "work: how"
    assert found.rows == [["ValueError: broken on purpose"]]


PROGRAM = """
import sys, threading
sys.path.insert(0, sys.argv[2])
import stage_timers
stage_timers.install(sys.argv[1])
import numba
@numba.njit("int64(int64)")
def function(x):
    return x + 1
change = threading.Condition()
with change:
    change.wait(0.05)
# The file of a process that is killed is from a moment before.
"""


def test_a_process_times_its_stages(tmp_path: Path) -> None:
    folder = str(Path(stage_timers.__file__).parent)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), folder]
    subprocess.run(command, check=True, timeout=200)
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    times = found["stages"]
    for stage in (
        "importing Numba, llvmlite",
        "importing NumPy",
        stage_timers.TYPING,
        stage_timers.LOWERING,
        stage_timers.OPTIMISING,
        stage_timers.LOADING,
    ):
        assert times[stage] > 0, stage
    assert times[stage_timers.WAITING] >= 0.05
    # Each moment is in one stage.
    assert sum(times.values()) == pytest.approx(found["ended"] - found["began"], abs=0.05)
