"""Random tensors: seeds, states, ranges, and distributions by their moments."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: jitgrad.rand(5, **k),
        lambda **k: jitgrad.randn(5, **k),
        lambda **k: jitgrad.randint(0, 1000, (5,), **k),
        lambda **k: jitgrad.randperm(50, **k),
        lambda **k: jitgrad.normal(0.0, 1.0, (5,), **k),
        lambda **k: jitgrad.bernoulli(jitgrad.full((50,), 0.5), **k),
        lambda **k: jitgrad.zeros(5).uniform_(**k),
        lambda **k: jitgrad.zeros(5).normal_(**k),
    ],
)
def test_a_seed_repeats(make: Any) -> None:
    jitgrad.manual_seed(7)
    first, second = make(), make()
    jitgrad.manual_seed(7)
    assert jitgrad.equal(make(), first)
    assert not jitgrad.equal(first, second)
    a, b = (jitgrad.Generator().manual_seed(3) for _ in range(2))
    assert jitgrad.equal(make(generator=a), make(generator=b))


def test_generators_are_independent() -> None:
    g = jitgrad.Generator()
    assert g.manual_seed(5) is g
    assert g.initial_seed() == 5
    jitgrad.manual_seed(1)
    wanted = jitgrad.rand(3)
    jitgrad.manual_seed(1)
    jitgrad.rand(3, generator=g)
    assert jitgrad.equal(jitgrad.rand(3), wanted)
    assert jitgrad.initial_seed() == 1
    seeds = {jitgrad.Generator().seed() for _ in range(3)}
    assert len(seeds) == 3


def test_states() -> None:
    state = jitgrad.get_rng_state()
    assert state.dtype is jitgrad.uint8
    first = jitgrad.randn(4)
    jitgrad.set_rng_state(state)
    assert jitgrad.equal(jitgrad.randn(4), first)
    g = jitgrad.Generator()
    state = g.get_state()
    first = jitgrad.randn(4, generator=g)
    g.set_state(state)
    assert jitgrad.equal(jitgrad.randn(4, generator=g), first)


def test_every_process_draws_the_same() -> None:
    """The streams are NumPy's PCG64: pinned, so that no version changes what a seed means unnoticed."""
    jitgrad.manual_seed(0)
    wanted = np.random.Generator(np.random.PCG64(0))
    np.testing.assert_array_equal(jitgrad.rand(3).numpy(), wanted.random(3, np.float32))
    np.testing.assert_array_equal(jitgrad.randn(3).numpy(), wanted.standard_normal(3, np.float32))


def test_shapes_and_dtypes() -> None:
    for make in (jitgrad.rand, jitgrad.randn):
        assert make(2, 3).shape == make((2, 3)).shape == (2, 3)
        assert make(()).shape == ()
        assert make(0, 2).shape == (0, 2)
        assert make(2).dtype is jitgrad.float32
        assert make(2, dtype=jitgrad.float64).dtype is jitgrad.float64
        with pytest.raises(RuntimeError, match="not implemented for 'Long'"):
            make(2, dtype=jitgrad.int64)
        with pytest.raises(RuntimeError, match="negative dimension"):
            make(-2)
    x = jitgrad.zeros(2, 3, dtype=jitgrad.float64)
    assert jitgrad.rand_like(x).shape == (2, 3)
    assert jitgrad.randn_like(x).dtype is jitgrad.float64
    assert jitgrad.randint_like(jitgrad.zeros(4, dtype=jitgrad.int8), 3).dtype is jitgrad.int8
    assert jitgrad.randint(5, (2,)).dtype is jitgrad.int64
    assert jitgrad.randint(5, (2,), dtype=jitgrad.float32).dtype is jitgrad.float32
    assert jitgrad.randperm(0).shape == (0,)


def test_ranges() -> None:
    x = jitgrad.rand(10_000)
    assert 0 <= x.min().item()
    assert x.max().item() < 1
    n = jitgrad.randint(-3, 4, (10_000,))
    assert sorted(set(n.tolist())) == list(range(-3, 4))
    assert sorted(jitgrad.randperm(100).tolist()) == list(range(100))
    u = jitgrad.zeros(10_000).uniform_(-2, 3)
    assert -2 <= u.min().item() < -1.9
    assert 2.9 < u.max().item() <= 3
    with pytest.raises(RuntimeError, match="from=3 >= to=3"):
        jitgrad.randint(3, 3, (1,))


def test_moments() -> None:
    n = 100_000
    x = jitgrad.randn(n)
    assert abs(x.mean().item()) < 0.02
    assert abs(x.std().item() - 1) < 0.02
    x = jitgrad.normal(2.0, 3.0, (n,))
    assert abs(x.mean().item() - 2) < 0.05
    assert abs(x.std().item() - 3) < 0.05
    x = jitgrad.normal(jitgrad.tensor([0.0, 100.0]).expand(n, 2), 1.0)
    assert abs(x.mean(0)[1].item() - 100) < 0.02
    x = jitgrad.bernoulli(jitgrad.full((n,), 0.3))
    assert abs(x.mean().item() - 0.3) < 0.01
    assert set(x.tolist()) == {0.0, 1.0}
    assert abs(jitgrad.rand(n).mean().item() - 0.5) < 0.01


def test_filling_in_place() -> None:
    x = jitgrad.zeros(4, 4)
    part = x[::2, 1:3]
    assert part.normal_(5, 0.1) is part
    assert (part > 4).all()
    assert (x[1::2] == 0).all()
    w = jitgrad.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        w.uniform_()
    with jitgrad.no_grad():
        w.uniform_(1, 2)
    assert (w >= 1).all()
    assert w.requires_grad
    assert jitgrad.rand(2, requires_grad=True).requires_grad


def test_multinomial_draws_in_proportion(rng: np.random.Generator) -> None:
    weights = np.array([[1.0, 0.0, 3.0, 4.0], [0.0, 0.0, 5.0, 0.0]])
    for dtype in (jitgrad.float32, jitgrad.float64):
        x = jitgrad.tensor(weights, dtype=dtype, requires_grad=True)
        drawn = jitgrad.multinomial(x, 40_000, replacement=True)
        assert drawn.shape == (2, 40_000)
        assert drawn.dtype is jitgrad.int64
        assert not drawn.requires_grad
        counts = np.bincount(drawn[0].numpy(), minlength=4) / 40_000
        np.testing.assert_allclose(counts, weights[0] / 8, atol=0.015)
        assert counts[1] == 0
        assert (drawn[1] == 2).all()
    # Without replacement: each once; the first as above, and zeros come last.
    rows = jitgrad.tensor(weights[0]).expand(20_000, 4).multinomial(4)
    assert (rows.sort(-1).values == jitgrad.arange(4)).all()
    assert (rows[:, 3] == 1).all()
    first = np.bincount(rows[:, 0].numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(first, weights[0] / 8, atol=0.02)
    second = np.bincount(rows[rows[:, 0] == 3][:, 1].numpy(), minlength=4)
    np.testing.assert_allclose(second / second.sum(), [0.25, 0, 0.75, 0], atol=0.02)


def test_multinomial_is_repeatable_and_takes_extremes() -> None:
    w = jitgrad.rand(3, 5)
    for replacement in (True, False):
        a, b = (
            jitgrad.multinomial(w, 4, replacement, generator=jitgrad.Generator().manual_seed(1))
            for _ in range(2)
        )
        assert (a == b).all()
    huge = jitgrad.tensor([1e308, 1e308, 0.0], dtype=jitgrad.float64)
    assert set(huge.multinomial(100, True).tolist()) == {0, 1}
    assert sorted(huge.multinomial(2).tolist()) == [0, 1]
    assert jitgrad.multinomial(jitgrad.zeros(0, 3), 2).shape == (0, 2)
    assert jitgrad.multinomial(jitgrad.tensor([7.0]), 3, True).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.multinomial(t.tensor([1.0, 0.0]), 3),
        lambda t: t.multinomial(t.tensor([1.0, 0.0]), 0),
        lambda t: t.multinomial(t.tensor([1, 0]), 1),
        lambda t: t.multinomial(t.tensor([1.0, -1.0]), 1),
        lambda t: t.multinomial(t.tensor([1.0, float("nan")]), 1),
        lambda t: t.multinomial(t.tensor([1.0, float("inf")]), 1),
        lambda t: t.multinomial(t.tensor([[1.0], [0.0]]), 1),
        lambda t: t.multinomial(t.tensor([[1.0], [0.0]]), 2, True),
        lambda t: t.multinomial(t.ones(1, 2, 3), 1),
        lambda t: t.multinomial(t.tensor(1.0), 1),
        lambda t: t.multinomial(t.zeros(2, 0), 1),
        lambda t: t.multinomial([1.0, 2.0], 1),
        lambda t: t.multinomial(t.ones(3), 2.0),
    ],
)
def test_multinomial_refuses_what_pytorch_refuses(call: Any, torch: ModuleType) -> None:
    found = []
    for namespace in (jitgrad, torch):
        with pytest.raises((RuntimeError, TypeError)) as error:
            call(namespace)
        found.append((error.type, str(error.value).splitlines()[0]))
    assert found[0] == found[1]
