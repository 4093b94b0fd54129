"""``backward(gradient)``: what fits goes to the engine as it is, anything else to `autograd.backward`."""

from __future__ import annotations

from typing import Any

import pytest

import jitgrad


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `autograd.backward` is given."""
    taken: list[Any] = []
    whole = jitgrad.autograd.backward

    def noted(*args: Any, **kwargs: Any) -> None:
        taken.append(args)
        whole(*args, **kwargs)

    monkeypatch.setattr(jitgrad.autograd, "backward", noted)
    return taken


def weighted(weight: Any, **options: Any) -> list[float]:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward(weight, **options)
    assert x.grad is not None
    return list(x.grad.tolist())


def test_a_weight_that_fits_takes_no_detour(ways: list[Any]) -> None:
    assert weighted(jitgrad.tensor([1.0, 10.0])) == [2.0, 40.0]
    assert ways == []


def test_a_weight_of_another_dtype_is_converted(ways: list[Any]) -> None:
    assert weighted(jitgrad.tensor([1, 10])) == [2.0, 40.0]
    assert len(ways) == 1


@pytest.mark.parametrize("weight", [jitgrad.tensor([1.0]), [1.0, 1.0], 2.0])
def test_what_does_not_fit_is_refused(weight: Any, ways: list[Any]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        weighted(weight)
    assert len(ways) == 1


def test_the_graph_is_kept_when_asked() -> None:
    x = jitgrad.tensor([3.0], requires_grad=True)
    y = x.exp().log()
    y.backward(jitgrad.tensor([2.0]), retain_graph=True)
    y.backward(jitgrad.tensor([2.0]))
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([4.0])
    with pytest.raises(RuntimeError, match="second time"):
        y.backward(jitgrad.tensor([2.0]))


def test_hooks_are_called() -> None:
    x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    (y * 1).backward(jitgrad.tensor([1.0, 3.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [20.0, 60.0]
