"""Nodes of the user's own, beside built-in ones: custom functions in Python, ops of `jitgrad.custom`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from jitgrad.bench.case import CannotDo, Case, Goal, Namespace, Prepared, random

NODES = 200

Op = Callable[[Any], Any]


def chain(T: Namespace, op: Callable[[Namespace], Op]) -> Prepared:
    """Forward and backward of a chain of one op on 4 elements."""
    x = T.tensor(random(4), requires_grad=True)
    function = op(T)

    def run() -> None:
        x.grad = None
        y = x
        for _ in range(NODES):
            y = function(y)
        y.sum().backward()

    return Prepared(run, lambda: [x.grad.numpy()])


def in_python(T: Namespace) -> Op:
    """tanh as an `autograd.Function`."""

    class Tanh(T.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.tanh()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return g * (1 - y * y)

    return Tanh.apply


def built_in(T: Namespace) -> Op:
    """tanh of the library."""
    return T.tanh


def formula(T: Namespace) -> Op:
    """tanh as a scalar formula."""
    if not hasattr(T, "custom"):
        raise CannotDo("it has no ops made from formulas")
    return T.custom.pointwise(lambda x: math.tanh(x), gradient=lambda g, y: (g * (1 - y * y),))


def pair(T: Namespace) -> Op:
    """tanh as a pair of Numba functions."""
    if not hasattr(T, "custom"):
        raise CannotDo("it has no ops made from Numba functions")
    import numba

    @numba.njit
    def tanh(x: Any, y: Any) -> None:
        for i in range(x.size):
            y[i] = math.tanh(x[i])

    @numba.njit
    def tanh_dx(y: Any, g: Any, dx: Any) -> None:
        for i in range(g.size):
            dx[i] = g[i] * (1 - y[i] * y[i])

    return T.custom.arrays(tanh, tanh_dx, reads=("y",))


def all_own() -> Iterator[Case]:
    """Yield every chain; the jitted ones are compared with the built-in op, a node each."""
    for name, what, op, goals in (
        ("own_builtin", "tanh", built_in, ()),
        ("own_function", "tanh, an autograd.Function", in_python, (Goal(0.5),)),
        ("own_formula", "tanh, custom.pointwise", formula, (Goal(1.5, "own_builtin"),)),
        ("own_pair", "tanh, custom.arrays", pair, (Goal(1.5, "own_builtin"),)),
    ):
        yield Case(
            name, f"chain of {NODES} {what}", partial(chain, op=op), goals=goals, nodes=NODES
        )
