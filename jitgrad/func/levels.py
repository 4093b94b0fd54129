"""What the transforms of `jitgrad.func` share: inputs to differentiate with respect to, and nesting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.engine import call, entry
from jitgrad.autograd import anomaly
from jitgrad.autograd.differentiation import grad
from jitgrad.func.tree import flatten, map_leaves

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor

_local = threading.local()


@contextmanager
def level() -> Iterator[bool]:
    """Recording is on inside, whatever it was; gives whether another transform runs around this one."""
    depth = getattr(_local, "depth", 0)
    before = engine.grad_mode()
    _local.depth = depth + 1
    engine.set_grad_mode(True)
    try:
        yield depth > 0
    finally:
        _local.depth = depth
        engine.set_grad_mode(before)


def is_tensor(value: Any) -> bool:
    """Whether a value is a Tensor."""
    from jitgrad.tensor import Tensor

    return isinstance(value, Tensor)


def fresh(x: Any) -> Any:
    """A Tensor as an input of its own: what is differentiated with respect to it, nothing else is.

    It keeps its history, so that an outer transform, or the user, can differentiate further.
    """
    if not is_tensor(x) or not x.dtype.is_floating_point:
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def inputs_of(value: Any) -> list[Tensor]:
    """The Tensors in a container that can be differentiated with respect to."""
    return [x for x in flatten(value)[0] if is_tensor(x) and x.requires_grad]


def released(value: Any, further: bool) -> Any:
    """What a transform returns: without history, unless somebody differentiates further."""
    return value if further else map_leaves(lambda x: x.detach() if is_tensor(x) else x, value)


def foreign(outputs: Sequence[Tensor], own: Sequence[Tensor]) -> bool:
    """Whether the outputs depend on a leaf that requires grad and is none of ``own``."""
    nodes = [call(entry.node, y) for y in outputs if y.requires_grad]
    mine = {entry.node_word(call(entry.node, x), col.SEQ) for x in own}
    seen = set(mine)
    while nodes:
        node = nodes.pop()
        seq = entry.node_word(node, col.SEQ)
        if seq in seen:
            continue
        seen.add(seq)
        if entry.node_word(node, col.OP) == col.LEAF:
            return True
        for i in range(entry.node_word(node, col.NIN)):
            below = entry.node_input(node, i)
            if below is not None:
                nodes.append(below)
    return False


def rows(output: Tensor, inputs: Sequence[Tensor], further: bool) -> list[list[Tensor]]:
    """The gradients of each element of an output, one pass an element; the graph stays."""
    from jitgrad.creation import eye, zeros_like

    n = output.numel()
    if not n:
        return []
    basis = eye(n, dtype=output.dtype, device=output.device)
    basis = basis.reshape(n, *output.shape).unbind(0)
    if further or not output.requires_grad or anomaly.on:
        return [gradients([output], inputs, [e], further) for e in basis]
    # Hundreds of short passes: what `autograd.grad` checks each time is known here.
    mode = engine.COLLECT | engine.CHOSEN | engine.RETAIN
    found = [engine.run_backward(mode, 1, output, e, *inputs) for e in basis]
    return [
        [zeros_like(x.detach()) if g is None else g for g, x in zip(row, inputs, strict=True)]
        for row in found
    ]


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    further: bool,
) -> list[Tensor]:
    """Gradients of outputs, zeros where nothing depends; the graph stays for another call."""
    from jitgrad.creation import zeros_like

    # Without history: zeros.
    kept = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not kept:
        return [zeros_like(x.detach()) for x in inputs]
    found = grad(
        [y for y, _ in kept],
        list(inputs),
        [w for _, w in kept],
        retain_graph=True,
        create_graph=further,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(found)
