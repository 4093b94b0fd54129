"""Memory formats against PyTorch: strides, copies or none, gradients, modules."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any

import pytest

import jitgrad
from tests.nn.both import check, fails

SHAPES = {"channels_last": (2, 3, 4, 5), "channels_last_3d": (2, 3, 4, 5, 2)}


@pytest.mark.parametrize("name", SHAPES)
def test_strides_and_values(torch: ModuleType, name: str) -> None:
    def program(T: Any) -> Any:
        form, shape = getattr(T, name), SHAPES[name]
        n = 1
        for size in shape:
            n *= size
        x = T.arange(float(n)).reshape(shape).requires_grad_()
        y = x.contiguous(memory_format=form)
        (y * y).sum().backward()
        found = [y.stride(), y.is_contiguous(), y.is_contiguous(memory_format=form)]
        found += [x.is_contiguous(memory_format=form), y.contiguous(memory_format=form) is y]
        found += [y.contiguous().stride(), x.to(memory_format=form).stride()]
        found += [x.clone(memory_format=form).stride(), x.contiguous() is x, x.grad, y]
        return [*found, x.to(T.float64, memory_format=form).stride()]

    check(torch, program)


def test_errors(torch: ModuleType) -> None:
    for name in SHAPES:
        fails(
            torch,
            lambda T, name=name: T.ones(2, 3).contiguous(memory_format=getattr(T, name)),
            f"tensor to use {name} format",
        )
        check(torch, lambda T, name=name: T.ones(2).is_contiguous(memory_format=getattr(T, name)))


def test_modules_and_images(torch: ModuleType) -> None:
    def program(T: Any) -> Any:
        form = T.channels_last
        net = T.nn.Conv2d(2, 3, 3).to(memory_format=form)
        with T.no_grad():
            for i, p in enumerate(net.parameters()):
                p.fill_(0.1 * (i + 1))
        x = T.ones(1, 2, 4, 4).to(memory_format=form).requires_grad_()
        net(x).sum().backward()
        return [net(x), x.grad, net.weight.grad]

    check(torch, program)


def test_text_and_pickle() -> None:
    assert repr(jitgrad.channels_last) == "jitgrad.channels_last"
    assert pickle.loads(pickle.dumps(jitgrad.channels_last)) is jitgrad.channels_last
    assert isinstance(jitgrad.preserve_format, jitgrad.memory_format)
