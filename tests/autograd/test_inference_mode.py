"""inference_mode: what is made inside, and what can be done with it outside."""

from __future__ import annotations

import threading

import pytest

import jitgrad


def test_inside_nothing_is_recorded_and_outside_nothing_is_saved() -> None:
    x = jitgrad.ones(2, requires_grad=True)
    with jitgrad.inference_mode():
        assert jitgrad.is_inference_mode_enabled()
        y = jitgrad.ones(2)
        z = x * 2
        y.add_(1)
    assert not jitgrad.is_inference_mode_enabled()
    assert y.is_inference()
    assert z.is_inference()
    assert not z.requires_grad
    rows = jitgrad.memory_stats()["live_rows"]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            x * y
        with pytest.raises(RuntimeError, match="cannot be saved"):
            x.reshape(1, 2) @ y.reshape(2, 1)
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            y.add_(1)
        with pytest.raises(RuntimeError, match="Inplace update"):
            y[0].mul_(2)
    assert jitgrad.memory_stats()["live_rows"] == rows
    with pytest.raises(RuntimeError, match="inference tensor"):
        y.requires_grad_()
    with pytest.raises(RuntimeError, match="do not track version"):
        y._version  # noqa: B018
    # What saves nothing may use it, and so may a clone.
    (x + y).sum().backward()
    (x * y.clone()).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert (x * 2).detach().add_(1).tolist() == [3.0, 3.0]


def test_views_share_being_inference_tensors() -> None:
    normal = jitgrad.ones(4)
    with jitgrad.inference_mode():
        inside = normal.view(2, 2)
        made = jitgrad.ones(4)
    assert not inside.is_inference()
    assert made.view(2, 2).is_inference()
    assert not normal.is_inference()


def test_decorators_generators_and_turning_it_off() -> None:
    x = jitgrad.ones(2, requires_grad=True)

    @jitgrad.inference_mode()
    def f():
        return x * 2

    @jitgrad.inference_mode
    def g():
        yield jitgrad.is_inference_mode_enabled()
        yield (x * 2).requires_grad

    assert f().is_inference()
    values = []
    for value in g():
        values.append((value, jitgrad.is_inference_mode_enabled()))
    assert values == [(True, False), (False, False)]
    with jitgrad.inference_mode(False):
        assert (x * 2).requires_grad
    with jitgrad.inference_mode():
        with jitgrad.inference_mode(False):
            y = x * 2
        assert jitgrad.is_inference_mode_enabled()
    assert y.requires_grad
    assert not y.is_inference()
    with jitgrad.no_grad(), jitgrad.inference_mode(False):
        assert not (x * 2).requires_grad


def test_it_is_the_threads_own_and_ends_with_an_exception() -> None:
    seen = []
    with jitgrad.inference_mode():
        thread = threading.Thread(target=lambda: seen.append(jitgrad.ones(1).is_inference()))
        thread.start()
        thread.join()
        assert jitgrad.ones(1).is_inference()
    assert seen == [False]
    with pytest.raises(ValueError, match="x"), jitgrad.inference_mode():
        raise ValueError("x")
    assert not jitgrad.ones(1).is_inference()
    assert jitgrad.is_grad_enabled()
