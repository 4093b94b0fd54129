"""The backward pass: order, depth, accumulation, sharing, errors, threads."""

import threading
import time

import numpy as np
import pytest

import jitgrad
from jitgrad.arena import inspect


def test_a_chain_of_a_million_nodes_does_not_recurse():
    x = jitgrad.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(500_000):
        y = y * 1.0
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    del y


def test_a_chain_dropped_without_backward_does_not_recurse():
    x = jitgrad.tensor(1.0, requires_grad=True)
    before = jitgrad.memory_stats()["live_rows"]
    y = x
    for _ in range(200_000):
        y = y + 1
    assert jitgrad.memory_stats()["live_rows"] - before >= 200_000
    del y
    assert jitgrad.memory_stats()["live_rows"] == before


def test_nodes_run_in_reverse_order_of_creation():
    # y's two consumers: were z's gradient sent on before w's arrived, y would be counted twice or never.
    x = jitgrad.tensor(2.0, requires_grad=True, dtype=jitgrad.float64)
    y = x
    for _ in range(30):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**30


def test_wide_fan_out():
    x = jitgrad.tensor(1.0, requires_grad=True)
    sum(x * float(i) for i in range(1000)).backward()
    assert x.grad.item() == sum(range(1000))


def test_gradients_accumulate_into_the_same_tensor():
    x = jitgrad.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    g = x.grad
    (x * 3).sum().backward()
    assert x.grad is g
    assert g.tolist() == [5, 5, 5]


def test_gradients_of_two_inputs_do_not_share_memory():
    a, b = jitgrad.ones(2, requires_grad=True), jitgrad.ones(2, requires_grad=True)
    w = jitgrad.tensor([5.0, 6.0])
    (a + b).backward(w)
    a.grad.add_(100)
    assert (b.grad.tolist(), w.tolist()) == ([5, 6], [5, 6])


def test_a_strided_grad_set_by_the_user_is_added_to():
    x = jitgrad.ones(2, 3, requires_grad=True)
    x.grad = jitgrad.zeros(3, 2).t()
    (x * jitgrad.arange(6.0).view(2, 3)).sum().backward()
    assert x.grad.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_retain_graph_and_the_second_pass():
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    assert x.grad.tolist() == [4, 8]


def test_a_graph_that_saved_nothing_runs_twice():
    x = jitgrad.ones(2, requires_grad=True)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2, 2]


def test_a_shared_part_freed_by_the_first_root():
    x = jitgrad.ones(2, requires_grad=True)
    h = x.exp()
    a, b = (h * 2).sum(), (h * 3).sum()
    a.backward()
    first = x.grad.clone()
    with pytest.raises(RuntimeError, match="second time"):
        b.backward()
    assert jitgrad.equal(x.grad, first)


def test_a_saved_value_changed_in_place_is_noticed():
    x = jitgrad.ones(2, requires_grad=True)
    y = x.exp()
    z = y.sum() + (y * y).sum()
    y.detach().add_(1)
    with pytest.raises(
        RuntimeError,
        match=r"modified by an inplace operation: \[torch.FloatTensor \[2\]\].*version 1",
    ):
        z.backward()


def test_an_in_place_change_before_it_is_saved_is_fine():
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    y.mul_(3)
    y.add_(x)
    (y * y).sum().backward()
    assert x.grad.tolist() == [32, 64]


def test_retain_grad_of_a_non_leaf():
    x = jitgrad.ones(2, requires_grad=True)
    m = x * 3
    m.retain_grad()
    (m * m).sum().backward()
    assert (m.grad.tolist(), x.grad.tolist()) == ([6, 6], [18, 18])


def test_roots_with_weights_and_shared_graphs():
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    jitgrad.autograd.backward([y, y * x], [jitgrad.ones(2), jitgrad.tensor([1.0, 10.0])])
    assert x.grad.tolist() == [6, 82]


def test_zero_times_infinity_is_not_skipped():
    x = jitgrad.tensor([0.0], requires_grad=True)
    (x.sqrt() * 0).sum().backward()
    assert np.isnan(x.grad.item())


def test_views_write_into_one_gradient():
    x = jitgrad.zeros(4, 3, requires_grad=True)
    parts = x.unbind(0)
    sum(p.sum() * (i + 1) for i, p in enumerate(parts)).backward()
    assert x.grad[:, 0].tolist() == [1, 2, 3, 4]


def test_the_cost_of_a_node_stays_flat():
    """Not a speed test: the work per node is counted, by the row's own numbers."""
    x = jitgrad.ones(4, requires_grad=True)
    recorded = []
    for n in (100, 1000, 10_000):
        before = jitgrad.memory_stats()["recorded_rows"]
        y = x
        for _ in range(n):
            y = y * 1.0
        y.sum().backward()
        recorded.append((jitgrad.memory_stats()["recorded_rows"] - before) / n)
    assert max(recorded) < 1.1


def test_eight_threads_build_and_differentiate_at_the_same_time():
    errors = []

    def work(k):
        try:
            for i in range(200):
                x = jitgrad.full((5,), float(k), requires_grad=True)
                with jitgrad.no_grad():
                    assert not (x * 2).requires_grad
                    time.sleep(0)
                y = (x * x * i).sum()
                y.backward()
                assert x.grad.tolist() == [2.0 * k * i] * 5
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []


def test_grad_mode_belongs_to_its_thread():
    seen = []
    with jitgrad.no_grad():
        thread = threading.Thread(target=lambda: seen.append(jitgrad.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not jitgrad.is_grad_enabled()
    assert seen == [True]
    assert jitgrad.is_grad_enabled()


def test_the_columns_of_a_row_can_be_read():
    x = jitgrad.ones(2, 3, requires_grad=True)
    y = x.t()
    columns = inspect.row(jitgrad.arena.engine.entry.row(y))
    assert (columns["shape"], columns["stride"], columns["ndim"]) == ([3, 2], [1, 3], 2)
    assert columns["input"][0] == jitgrad.arena.engine.entry.row(x)
