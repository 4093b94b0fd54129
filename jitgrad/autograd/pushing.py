"""Custom functions in forward mode: their ``jvp`` in place of what their backward implies.

Forward mode differentiates a recorded backward pass with respect to its cotangent, in which it is linear.  In
such a pass a function that has a ``jvp`` does not run its backward: it records a node that takes the
cotangents of its outputs, and whose own backward is the ``jvp``.  So the tangents come out of it, and
of nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jitgrad.autograd.function import Function, FunctionContext
from jitgrad.ops.operands import is_tensor
from jitgrad.ops.recipe import zeros

_passes = threading.local()


@contextmanager
def forward_mode() -> Iterator[None]:
    """Have the backward passes in here be for tangents."""
    before = getattr(_passes, "forward", False)
    _passes.forward = True
    try:
        yield
    finally:
        _passes.forward = before


def pulled(context: FunctionContext, cotangents: Sequence[Any]) -> tuple[Any, ...] | None:
    """What a function with a ``jvp`` sends on in a pass for tangents; None if it runs its backward.

    Raises
    ------
    NotImplementedError
        If it has neither.
    """
    if not getattr(_passes, "forward", False):
        return None
    function = context._function
    if function.jvp is Function.jvp:
        if function.backward is Function.backward:
            function.jvp(context)
        return None
    # What the jvp does is no part of this pass.
    _passes.forward = False
    try:
        return _Transposed.apply(context, *cotangents)
    finally:
        _passes.forward = True


class _Transposed(Function):
    """From the cotangents of a function's outputs to those of its inputs; only its derivative counts."""

    @staticmethod
    def forward(ctx: Any, context: FunctionContext, *cotangents: Any) -> tuple[Any, ...]:
        ctx.context = context
        ctx.shapes = [None if g is None else tuple(g.shape) for g in cotangents]
        ctx.set_materialize_grads(False)
        # Not zeros: a formula may treat a cotangent of 0 apart.
        return tuple(
            zeros(*model) + 1 if needed else None
            for model, needed in zip(context._given, context.needs_input_grad, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *tangents: Any) -> tuple[Any, ...]:
        context = ctx.context
        given = [
            t.clone()
            if t is not None
            else zeros(*model)
            if model and context._materialize
            else None
            for t, model in zip(tangents, context._given, strict=True)
        ]
        found = context.push(given)
        if len(found) != len(ctx.shapes):
            raise RuntimeError(
                "Function's jvp returned an invalid number of forward gradients (expected"
                f" {len(ctx.shapes)} but got {len(found)})"
            )
        for t, shape in zip(found, ctx.shapes, strict=True):
            if is_tensor(t) and shape is not None and tuple(t.shape) != shape:
                raise RuntimeError(
                    "Trying to set a forward gradient that has a different size than that of the original"
                    f" Tensor, this is not supported. Tensor is of size {list(shape)} while the given"
                    f" forward gradient is of size {list(t.shape)}."
                )
        flows = zip(found, ctx.shapes, strict=True)
        return (None, *(None if shape is None else t for t, shape in flows))
