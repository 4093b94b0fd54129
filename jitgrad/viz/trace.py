"""One backward pass, step by step: which node is taken, with what gradient, and what it sends on.

The engine's own pass runs, and stops at every node as it does for hooks: the rows are marked for Python, and
at each stop what every node has received so far is read out of the pass's context. Leaves are passed over,
so no ``.grad`` is touched and no hook on an accumulated gradient runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.contexts import B_NODES, N_GRAD, N_UNIFORM, N_WORDS
from jitgrad.arena.inspect import rows, storages
from jitgrad.viz.snapshot import Snapshot
from jitgrad.viz.values import Value

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


@dataclass(frozen=True)
class Sent:
    """What an input holds after a node has sent it its gradient.

    Attributes
    ----------
    node : int
        The receiving row.
    so_far : Value or None
        The sum of what it has received; None if that is nothing.
    received, expected : int
        Through how many of its edges a gradient has come, and through how many one will.
    """

    node: int
    so_far: Value | None
    received: int
    expected: int


@dataclass(frozen=True)
class Step:
    """Node ``node`` (a row) was taken, with gradient ``gradient``, and sent its inputs theirs.

    The gradient is what arrived, before hooks; None if none did, and for a custom function with several
    outputs, whose gradients come to its ``output`` nodes.
    """

    node: int
    gradient: Value | None
    sent: tuple[Sent, ...]


@dataclass(frozen=True)
class Trace:
    """A backward pass: its steps, and why it ended early ("" if it did not)."""

    steps: tuple[Step, ...]
    stopped: str


def trace_backward(
    roots: Sequence[Tensor], gradient: Tensor | Iterable[Tensor | None] | None, snapshot: Snapshot
) -> Trace:
    """Run a backward pass from ``roots`` over the graph of ``snapshot`` and note its steps.

    A pass that cannot be run (nothing requires a gradient, the graph was freed, a saved value was changed)
    has the error's message in ``stopped``, and the steps that were taken before.
    """
    weights = _weights(roots, gradient)
    pairs: list[Tensor | None] = []
    for root, weight in zip(roots, weights, strict=True):
        if root.requires_grad:
            pairs += [root, weight]
    if not pairs:
        return Trace((), "no root requires a gradient")
    watch = _Watch(snapshot)
    with watch.marked():
        try:
            engine.run_backward(engine.RETAIN, len(pairs) // 2, *pairs, watch=watch.look)
        except RuntimeError as error:
            return Trace(tuple(watch.steps), str(error))
    return Trace(tuple(watch.steps), "")


def _weights(
    roots: Sequence[Tensor], gradient: Tensor | Iterable[Tensor | None] | None
) -> list[Tensor]:
    from jitgrad import creation
    from jitgrad.tensor import Tensor

    if gradient is None:
        given: list[Tensor | None] = [None] * len(roots)
    else:
        given = [gradient] if isinstance(gradient, Tensor) else list(gradient)
    if len(given) != len(roots):
        raise ValueError(f"graph() got {len(roots)} roots and {len(given)} gradients")
    weights = []
    for root, weight in zip(roots, given, strict=True):
        if weight is not None and weight.shape != root.shape:
            raise ValueError(
                f"gradient has shape {tuple(weight.shape)}, its root {tuple(root.shape)}"
            )
        if weight is None:
            weight = creation.ones(tuple(root.shape), dtype=root.dtype)
        weights.append(weight.detach().to(root.dtype))
    return weights


class _Watch:
    """Notes what a pass does, at its stops."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.steps: list[Step] = []
        self.rows = [node.row for node in snapshot.nodes if node.kind != "constant"]
        self.inputs: dict[int, dict[int, int]] = {row: {} for row in self.rows}
        self.expected = dict.fromkeys(self.rows, 0)
        self.received = dict.fromkeys(self.rows, 0)
        for edge in snapshot.edges:
            if edge.grad:
                count = self.inputs[edge.target]
                count[edge.source] = count.get(edge.source, 0) + 1
                self.expected[edge.source] += 1

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Inside, a pass stops at every row of the graph, and no non-leaf retains its gradient."""
        before = rows()[self.rows, col.FLAGS]
        rows()[self.rows, col.FLAGS] = (before & ~col.F_RETAIN) | col.F_PYTHON
        try:
            yield
        finally:
            rows()[self.rows, col.FLAGS] = before

    def look(self, row: int, context: int) -> bool:
        """Note the step; whether the row, a leaf, is to be passed over."""
        # From here to the end nothing may enter the arena: it could move what is read.
        if self.steps:
            self._note_sent(context)
        self.steps.append(Step(row, _received(context, row), ()))
        return bool(rows()[row, col.OP] == col.LEAF)

    def _note_sent(self, context: int) -> None:
        """Complete the last step: its node has sent its gradients since."""
        last = self.steps[-1]
        sent = []
        for row, edges in self.inputs[last.node].items():
            self.received[row] += edges
            so_far = _received(context, row)
            sent.append(Sent(row, so_far, self.received[row], self.expected[row]))
        self.steps[-1] = Step(last.node, last.gradient, tuple(sent))


def _received(context: int, row: int) -> Value | None:
    """What a row has received so far in the pass of that context; None if that is nothing."""
    line = rows()[row]
    nodes = ctypes.c_int64.from_address(context + B_NODES * 8).value
    node = (ctypes.c_int64 * N_WORDS).from_address(nodes + int(line[col.LOCAL]) * N_WORDS * 8)
    if node[N_GRAD] == col.NONE:
        return None
    shape = tuple(line[col.SHAPE : col.SHAPE + int(line[col.NDIM])].tolist())
    kind = dtypes.ALL[line[col.DTYPE]].numpy
    count = 1 if node[N_UNIFORM] else int(line[col.NUMEL])
    address = int(storages()[node[N_GRAD], col.S_DATA])
    raw = (ctypes.c_char * (count * kind.itemsize)).from_address(address)
    flat = np.frombuffer(raw, kind)
    return Value.of(np.broadcast_to(flat[0], shape) if node[N_UNIFORM] else flat.reshape(shape))
