"""Debug mode finds what is wrong with the arena, and a part of the tests runs in it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import columns as col
from jitgrad.arena import debug, inspect
from jitgrad.arena.engine import entry, header

HERE = Path(__file__).parent


def test_a_sound_arena_passes():
    x = jitgrad.ones(3, 2, requires_grad=True)
    y = (x.t() * 2).sum(0)
    debug.check()
    y.sum().backward()
    debug.check()


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        (col.REFS, 1, "reference counts"),
        (col.USES, 1, "use counts"),
        (col.NUMEL, 1, "element count"),
        (col.OFFSET, 1 << 20, "past its storage"),
        (col.DTYPE, 100, "unknown dtype"),
        (col.NDIM, 20, "too many dims"),
    ],
)
def test_a_corrupted_column_is_found(column, change, message):
    x = jitgrad.ones(3)
    line = inspect.rows()[entry.row(x)]
    line[column] += change
    try:
        with pytest.raises(debug.ArenaError, match=message):
            debug.check()
    finally:
        inspect.rows()[entry.row(x)][column] -= change
    debug.check()


def test_a_miscounted_storage_is_found():
    x = jitgrad.ones(3)
    number = inspect.rows()[entry.row(x)][col.STORAGE]
    inspect.storages()[number][col.S_REFS] += 1
    try:
        with pytest.raises(debug.ArenaError, match="storage reference counts"):
            debug.check()
    finally:
        inspect.storages()[number][col.S_REFS] -= 1


def test_freed_memory_is_filled_with_nan():
    before = int(header[col.H_DEBUG])
    header[col.H_DEBUG] = 1
    try:
        x = jitgrad.ones(1000)
        address = x.data_ptr()
        del x
        y = jitgrad.empty(1000)
        assert y.data_ptr() == address
        # The pool's link to the next buffer stands in the first eight bytes.
        assert np.isnan(y.numpy()[2:]).all()
    finally:
        header[col.H_DEBUG] = before


@pytest.mark.timeout(1200)
def test_a_part_of_the_suite_in_debug_mode():
    files = [
        HERE / "test_backward.py",
        HERE / "test_views_inplace.py",
        HERE.parent / "autograd" / "test_stops.py",
        HERE.parent / "test_fuzz.py",
    ]
    # Threads: the check reads the arena in Python, while other threads change it.
    heavy = " and not ".join(("not million", "dropped", "eight", "cost", "long_chain", "threads"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", heavy]
    environment = {**os.environ, "JITGRAD_DEBUG": "1", "JITGRAD_FUZZ": "25", "JITGRAD_WALKS": "8"}
    run = subprocess.run(
        [*command, *map(str, files)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=HERE.parent,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
