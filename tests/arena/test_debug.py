"""Debug mode finds what is wrong with the arena, and a part of the tests runs in it."""

import contextlib
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import columns as col
from jitgrad.arena import debug, inspect
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header

HERE = Path(__file__).parent


@contextlib.contextmanager
def changed(words, place, value):
    """Another value in a word of the arena, for a while."""
    before = words[place]
    words[place] = value
    try:
        yield
    finally:
        words[place] = before


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


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (col.INPUT, "free", "input was freed"),
        (col.INPUT, 1 << 40, "input was freed"),
        (col.GRAD, "free", "gradient was freed"),
        (col.INPUT, "itself", "older than its input"),
        (col.STORAGE, col.NONE, "freed while it is still used"),
        (col.SAVED, 0, "use counts"),
        (col.SAVED, col.SAVED_OUT | 3, "use counts"),
        (col.HANDLES, 1, "reference counts"),
        (col.OFFSET, -1, "starts before its storage"),
        (col.OP, -1, "unknown op"),
    ],
)
def test_a_corrupted_graph_is_found(column, value, message):
    a, z, gone = jitgrad.ones(3, requires_grad=True), jitgrad.ones(3), jitgrad.ones(3)
    x = a * z
    number = entry.row(x)
    value = {"free": entry.row(gone), "itself": number}.get(value, value)
    del gone
    with changed(inspect.rows(), (number, column), value):
        with pytest.raises(debug.ArenaError, match=message) as raised:
            debug.check()
    named = set(map(int, re.findall(r"-?\d+", str(raised.value))))
    assert named & {entry.row(a), entry.row(z), number}
    debug.check()


def test_an_input_of_many_is_found():
    x = jitgrad.cat([jitgrad.ones(1, requires_grad=True) for _ in range(col.MAX_INPUTS + 2)])
    line = inspect.rows()[entry.row(x)]
    listed = (ctypes.c_int64 * int(line[col.NIN])).from_address(int(line[col.MORE]))
    with changed(listed, -1, listed[0]), pytest.raises(debug.ArenaError, match="reference counts"):
        debug.check()
    with changed(listed, -1, -5), pytest.raises(debug.ArenaError, match="input was freed"):
        debug.check()


@pytest.mark.parametrize("what", ["rows", "storages"])
def test_a_broken_free_list_is_found(what):
    some = [jitgrad.ones(1) for _ in range(5)]
    live = entry.row(some[0])
    if what == "storages":
        live = int(inspect.rows()[live, col.STORAGE])
    del some[1:]
    rows = what == "rows"
    head = col.H_ROW_FREE if rows else col.H_STORE_FREE
    table, word = (inspect.rows(), col.NEXT) if rows else (inspect.storages(), col.S_NEXT)
    first = int(header[head])
    second = int(table[first, word])
    for place, value, message in (
        ((header, head), live, rf"live number is on the free list of {what} \({live}\)"),
        ((header, head), 1 << 40, f"live number is on the free list of {what}"),
        ((header, head), second, f"not on the free list of {what}"),
        ((header, head), col.NONE, f"not on the free list of {what}"),
        ((table, (second, word)), first, f"free list of {what} is a circle"),
        ((table, (second, word)), live, rf"live number is on the free list of {what} \({live}\)"),
        ((table, (second, word)), col.NONE, f"not on the free list of {what}"),
    ):
        with changed(*place, value), pytest.raises(debug.ArenaError, match=message):
            debug.check()
    debug.check()


def test_a_broken_family_is_found():
    base = jitgrad.ones(4)
    view = base[1:]
    number = entry.row(base)
    address = int(inspect.rows()[number, col.FAMILY])
    family = (ctypes.c_int64 * col.FAMILY_WORDS).from_address(address)
    views = inspect.rows(), (entry.row(view), col.FAMILY)
    for place, value, message in (
        ((family, col.M_VIEWS), 2, "views of a base are miscounted"),
        ((family, col.M_BASE), entry.row(view), "a family and its base disagree"),
        ((header, col.H_FAMILIES), 1 << 40, "families are miscounted"),
        (views, 0, "families are miscounted"),
        ((inspect.rows(), (number, col.FAMILY)), 0, "a family and its base disagree"),
        ((inspect.rows(), (entry.row(view), col.FLAGS)), 0, "two rows are the base of one family"),
    ):
        with changed(*place, value), pytest.raises(debug.ArenaError, match=message):
            debug.check()
    debug.check()


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
    # Those with the largest graphs come last: a check looks at every row there ever was.
    files = [
        HERE / "test_views_inplace.py",
        HERE.parent / "test_fuzz.py",
        HERE / "test_backward.py",
        HERE.parent / "autograd" / "test_stops.py",
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
