"""Dropout: what is fixed against PyTorch, what is random by its statistics."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails

nn, F = jitgrad.nn, jitgrad.nn.functional
LAYERS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]
SHAPES = {"Dropout1d": (50, 40, 3), "Dropout2d": (50, 40, 3, 2), "Dropout3d": (50, 40, 3, 1, 2)}


@pytest.mark.parametrize("name", LAYERS)
def test_same_where_nothing_is_random(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        x = T.ones(SHAPES.get(name, (2, 3))) * 3
        layer = getattr(T.nn, name)
        found = [repr(layer(0.3)), layer(0.3).eval()(x) is x]
        return [*found, layer(1.0)(x).sum(), layer(0.0)(x).sum(), layer(0.3, True).inplace]

    check(torch, program)


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"])
@pytest.mark.parametrize("inplace", [False, True])
def test_statistics_and_gradient(name: str, inplace: bool) -> None:
    shape = SHAPES.get(name, (50, 120))
    x = jitgrad.ones(*shape, requires_grad=True)
    h = x * 1
    y = getattr(nn, name)(0.3, inplace)(h)
    assert (y is h) == inplace
    y.sum().backward()
    assert (x.grad == y.detach()).all()
    channels = y.detach().flatten(2) if len(shape) > 2 else y.detach().unsqueeze(2)
    first = channels[:, :, 0]
    assert (channels == first.unsqueeze(2)).all()
    assert abs((first == 0).to(jitgrad.float32).mean().item() - 0.3) < 0.04
    kept = first[first != 0]
    assert (kept - 1 / 0.7).abs().max().item() < 1e-6


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_keeps_mean_and_variance(name: str) -> None:
    x = jitgrad.randn(300, 200, 2).requires_grad_()
    y = getattr(nn, name)(0.4)(x)
    assert abs(y.detach().mean().item()) < 0.03
    assert abs(y.detach().std().item() - 1) < 0.03
    y.sum().backward()
    if name == "FeatureAlphaDropout":
        assert (x.grad[:, :, 0] == x.grad[:, :, 1]).all()
    assert 0.3 < (x.grad == 0).to(jitgrad.float32).mean().item() < 0.5
    z = x.detach().clone()
    assert F.alpha_dropout(z, 0.4, True, True) is z


def test_unbatched(torch: ModuleType) -> None:
    y = F.dropout1d(jitgrad.ones(100, 4), 0.5)
    assert (y == y[:, :1]).all()
    y = F.dropout3d(jitgrad.ones(100, 4, 2, 2), 0.5)
    assert (y == y[:, :1, :1, :1]).all()
    assert 20 < (y[:, 0, 0, 0] == 0).sum().item() < 80
    x = jitgrad.ones(100, 4)
    assert F.dropout1d(x, 0.5, inplace=True) is x
    assert 20 < (x[:, 0] == 0).sum().item() < 80


def test_zero_size_nan_and_seeds() -> None:
    assert F.dropout(jitgrad.ones(0, 3)).shape == (0, 3)
    assert F.dropout(jitgrad.tensor(1.0), 0.5).item() in (0.0, 2.0)
    nan = F.dropout(jitgrad.full((50,), float("nan")), 0.5)
    assert nan.isnan().all()
    jitgrad.manual_seed(4)
    a = F.dropout(jitgrad.ones(50))
    jitgrad.manual_seed(4)
    assert (F.dropout(jitgrad.ones(50)) == a).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["dropout2d", "dropout3d"])
def test_warnings_about_dims(torch: ModuleType, name: str, shape: tuple[int, ...]) -> None:
    if name == "dropout2d" or len(shape) > 1:
        check(torch, lambda T: getattr(T.nn.functional, name)(T.ones(shape), 0.5, False).sum())


@pytest.mark.parametrize(
    "program",
    [
        lambda T: T.nn.Dropout(1.5),
        lambda T: T.nn.Dropout2d(-0.1),
        lambda T: T.nn.functional.dropout(T.ones(1), 2.0),
        lambda T: T.nn.functional.dropout1d(T.ones(1), 0.5),
        lambda T: T.nn.functional.alpha_dropout(T.ones(1), 2.0, True),
    ],
)
def test_errors(torch: ModuleType, program: Any) -> None:
    fails(torch, program)


def test_integers_are_refused() -> None:
    with pytest.raises(RuntimeError, match="not implemented"):
        F.dropout(jitgrad.ones(3, dtype=jitgrad.int64))


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("inplace", [False, True])
def test_values_of_alpha_dropout(torch: ModuleType, name: str, inplace: bool) -> None:
    def program(T: Any) -> Any:
        y = getattr(T.nn.functional, name)(T.ones(30, 20, 2), 0.3, True, inplace)
        return sorted({round(v, 4) for v in y.flatten().tolist()})

    found = check(torch, program)
    assert len(found) == 2
