"""Rows and storages: nothing leaks, buffers are recycled, borrowed and lent memory stays alive."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header


def live():
    gc.collect()
    stats = jitgrad.memory_stats()
    return stats["live_rows"], stats["live_storages"], stats["live_bytes"]


def step():
    x = jitgrad.ones(3, 4, requires_grad=True)
    w = jitgrad.ones(5, 4, requires_grad=True)
    h = jitgrad.nn.functional.linear(x, w).relu().t()[1:].softmax(0)
    (h * h).mean(1).sum().backward()
    with jitgrad.no_grad():
        w -= 0.1 * w.grad


@pytest.mark.parametrize(
    "work",
    [
        step,
        lambda: jitgrad.ones(10) + 1,
        lambda: (jitgrad.ones(2, requires_grad=True) * 2).sum().backward(),
        lambda: jitgrad.ones(4, 4).t().contiguous().view(2, 8)[0].to(jitgrad.float64),
        lambda: jitgrad.from_numpy(np.ones(3)).exp(),
        lambda: jitgrad.ones(3).numpy(),
        lambda: jitgrad.cat([jitgrad.ones(1, requires_grad=True)] * 7).sum().backward(),
        lambda: [jitgrad.ones(2, requires_grad=True) * i for i in range(3)],
    ],
)
def test_a_loop_keeps_nothing(work):
    work()
    before = live()
    for _ in range(50):
        work()
    assert live() == before


def test_no_word_belongs_to_two_columns_or_rows():
    words = [first + i for first, width in col.ROW_COLUMNS.values() for i in range(width)]
    assert len(words) == len(set(words)) == 2 * col.ROW_WORDS
    tensors = [jitgrad.ones(1) for _ in range(3 * col.GROUP)]
    rows = [entry.row(x) for x in tensors]
    places = {row * col.ROW_WORDS + word for row in rows for word in words}
    assert len(places) == len(rows) * len(words)
    assert max(places) < header[col.H_ROW_CAP] * col.ROW_WORDS


def test_rows_keep_their_words_when_there_is_more_room():
    found = subprocess.run(
        [sys.executable, "-c", GROWING], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr


GROWING = """
import jitgrad
tensors = [jitgrad.full((2,), float(i), dtype=jitgrad.float64) for i in range(9000)]
assert jitgrad.memory_stats()["row_capacity"] >= 9000
for i, x in enumerate(tensors):
    assert x.shape == (2,) and x.stride() == (1,) and x.tolist() == [i, i], i
from jitgrad.arena import debug
debug.check()
"""


def test_a_million_iterations_stay_flat():
    x = jitgrad.ones(4, requires_grad=True)
    y = x
    before = live()
    capacity = jitgrad.memory_stats()["row_capacity"]
    for _ in range(1_000_000):
        y = x * 2.0
    assert jitgrad.memory_stats()["row_capacity"] == capacity
    del y
    assert live() == before


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: jitgrad.ones(2) + jitgrad.ones(3),
        lambda: jitgrad.ones(2, 3) @ jitgrad.ones(2, 3),
        lambda: jitgrad.ones(2).view(3),
        lambda: jitgrad.ones(2).sum(4),
        lambda: jitgrad.ones(2)[5],
        lambda: jitgrad.ones(3).backward(),
        lambda: jitgrad.ones(2, dtype=jitgrad.int64) // 0,
        lambda: jitgrad.ones(2, requires_grad=True).add_(1),
        lambda: jitgrad.empty(1 << 44),
        lambda: jitgrad.ones(2) + "a",
        lambda: jitgrad.ones(2) + (1 << 80),
    ],
)
def test_an_error_keeps_nothing_and_harms_nothing(wrong):
    with pytest.raises((RuntimeError, IndexError, TypeError, MemoryError, OverflowError)):
        wrong()
    kept = jitgrad.tensor([1.0, 2.0])
    before = live()
    for _ in range(20):
        with pytest.raises((RuntimeError, IndexError, TypeError, MemoryError, OverflowError)):
            wrong()
    assert live() == before
    assert (kept + 1).tolist() == [2.0, 3.0]


def test_rows_and_storages_are_reused():
    x = jitgrad.ones(100)
    address = x.data_ptr()
    del x
    assert jitgrad.ones(100).data_ptr() == address


def test_a_larger_buffer_that_waits_is_taken():
    jitgrad.empty_cache()
    before = jitgrad.memory_stats()
    large = jitgrad.empty(1 << 18)  # 1 MiB
    del large
    waiting = jitgrad.memory_stats()["pool_bytes"]
    assert waiting == 1 << 20
    small = jitgrad.empty(3 << 16)  # 3/4 of it
    now = jitgrad.memory_stats()
    assert now["pool_bytes"] == 0
    assert now["live_bytes"] - before["live_bytes"] == 3 << 18
    tiny = jitgrad.empty(1 << 16)  # a quarter of it would not do, if it waited
    del small
    assert jitgrad.memory_stats()["pool_bytes"] == waiting
    other = jitgrad.empty(1 << 16)
    assert jitgrad.memory_stats()["pool_bytes"] == waiting
    del tiny, other


def test_the_pool_is_emptied_and_bounded():
    x = jitgrad.ones(1 << 20)
    del x
    assert jitgrad.memory_stats()["pool_bytes"] >= 1 << 22
    jitgrad.empty_cache()
    stats = jitgrad.memory_stats()
    assert stats["pool_bytes"] == 0 <= stats["pool_limit"]


def test_peak_counts_what_was_alive_at_once():
    jitgrad.reset_peak_memory_stats()
    before = jitgrad.memory_stats()["peak_bytes"]
    x = jitgrad.ones(1 << 18)
    del x
    assert jitgrad.memory_stats()["peak_bytes"] - before >= 1 << 20


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 127, 128, 129, 1000, 4097, 100_001])
def test_buffers_are_aligned_and_big_enough(n):
    x = jitgrad.ones(n)
    assert x.data_ptr() % 64 == 0
    assert x.sum().item() == n


def test_a_value_nobody_reads_is_freed_while_the_graph_lives():
    x = jitgrad.ones(1 << 18, requires_grad=True)
    before = jitgrad.memory_stats()["live_bytes"]
    y = ((x + 1) + 1) + 1
    # Of the three results two are only nodes by now.
    assert jitgrad.memory_stats()["live_bytes"] - before < 2 << 20
    y.sum().backward()
    assert x.grad[0].item() == 1.0


def test_memory_borrowed_from_numpy_is_kept_alive_and_let_go():
    class Array(np.ndarray):
        pass

    array = np.arange(6.0).view(Array)
    watch = weakref.ref(array)
    x = jitgrad.from_numpy(array)
    del array
    gc.collect()
    y = x[1:]
    del x
    assert y.tolist() == [1, 2, 3, 4, 5]
    del y
    gc.collect()
    assert watch() is None


def test_memory_lent_to_numpy_is_kept_alive():
    x = jitgrad.arange(5)
    array = x.numpy()[1:]
    address = x.data_ptr()
    del x
    gc.collect()
    other = [jitgrad.zeros(5, dtype=jitgrad.int64) for _ in range(10)]
    assert all(o.data_ptr() != address for o in other)
    assert array.tolist() == [1, 2, 3, 4]


def test_out_of_memory_leaves_everything_working():
    x = jitgrad.ones(3, requires_grad=True)
    with pytest.raises(MemoryError):
        jitgrad.empty(1 << 43)
    with pytest.raises(MemoryError):
        x.expand(1 << 40, 3) * 2
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_the_interpreter_exits_cleanly_with_tensors_alive():
    code = (
        "import jitgrad, sys, builtins\n"
        "builtins.kept = [jitgrad.ones(3, requires_grad=True) * i for i in range(100)]\n"
        "sys.kept = jitgrad.from_numpy(__import__('numpy').ones(3))\n"
        "class Late:\n"
        "    def __del__(self): self.x = None\n"
        "late = Late(); late.x = jitgrad.ones(2); late.me = late\n"
        "a = builtins.kept[3].detach().numpy()\n"
        "print('done')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
