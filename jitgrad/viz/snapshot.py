"""The graph as plain data: what the rows below some roots hold at one moment, without holding any of them."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.arena.inspect import Rows, Words, inputs, rows, storages
from jitgrad.autograd.function import FunctionContext
from jitgrad.autograd.hooks import KINDS
from jitgrad.autograd.node import name_of
from jitgrad.ops.table import OPS, POINTWISE, Op
from jitgrad.viz.values import Value, row_value

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


@dataclass(frozen=True)
class Saved:
    """A value that an op keeps for its backward.

    Attributes
    ----------
    what : str
        ``"result"`` or ``"input 0"``, ``"input 1"``, ...; of a custom function ``"tensor 0"``, ...
    row : int or None
        The row whose value it is; None for a Python number.
    version, now : int or None
        The version of its storage when it was saved, and at present; backward is refused if they differ.
    value : Value or None
        The value at present; None for a number.
    number : float or None
        The number.
    """

    what: str
    row: int | None
    version: int | None
    now: int | None
    value: Value | None
    number: float | None = None

    @property
    def stale(self) -> bool:
        """Whether it was changed in place since it was saved."""
        return self.version != self.now


@dataclass(frozen=True)
class Node:
    """A row of the arena: a tensor and the op that made it.

    Attributes
    ----------
    row : int
        Its number in the arena.
    op, grad_fn : str
        The op's name here, and PyTorch's name of the node; of a custom function those of its class.
    name : str
        The name that ``params`` gives it, or "".
    kind : str
        ``"leaf"`` (requires grad), ``"constant"`` (a leaf that does not) or ``"op"``.
    root : bool
        Whether it is one of the roots.
    shape, dtype
        Of its value.
    sequence : int
        Its creation number: backward takes the highest one among the nodes that are ready.
    version : int or None
        How often its storage was changed in place; None when the value is gone.
    value : Value or None
        None once the graph has let go of it.
    grad : Value or None
        Its ``.grad``.
    saved : tuple of Saved
    marks : tuple of str
        ``"view"``, ``"retains grad"``, ``"freed"``, ``"implicit"`` (a cast that promotion inserted),
        ``"hooks"``.
    """

    row: int
    op: str
    grad_fn: str
    name: str
    kind: str
    root: bool
    shape: tuple[int, ...]
    dtype: str
    sequence: int
    version: int | None
    value: Value | None
    grad: Value | None
    saved: tuple[Saved, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """Row ``source`` is input ``index`` of row ``target``; ``grad``: a gradient flows back."""

    source: int
    target: int
    index: int
    grad: bool


@dataclass(frozen=True)
class Snapshot:
    """Nodes in the order in which they were made, and the edges among them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


_MARKS = {
    col.F_VIEW: "view",
    col.F_RETAIN: "retains grad",
    col.F_FREED: "freed",
    col.F_IMPLICIT: "implicit",
}


def take(roots: Sequence[Tensor], params: Mapping[str, Tensor], limit: int) -> Snapshot:
    """Read everything below ``roots``; see `jitgrad.graph`."""
    from jitgrad.tensor import Tensor

    if not roots:
        raise ValueError("graph() needs at least one tensor")
    for root in (*roots, *params.values()):
        if not isinstance(root, Tensor):
            raise TypeError(f"graph() expects Tensors, got {type(root).__name__}")
        call(entry.refresh, root, 0)
    # rows() shows the arena's memory itself, which only a new row may move: none is made from here on.
    table = rows()
    tops = {entry.row(root) for root in roots}
    names = {entry.row(tensor): name for name, tensor in params.items()}
    found = _reach(table, sorted(tops), limit)
    nodes = tuple(_node(table, r, names.get(r, ""), r in tops) for r in found)
    edges = tuple(
        Edge(j, r, i, bool(table[j, col.FLAGS] & col.F_REQUIRES_GRAD))
        for r in found
        for i, j in enumerate(inputs(table[r]))
        if j != col.NONE
    )
    return Snapshot(nodes, edges)


def _reach(table: Rows, roots: list[int], limit: int) -> list[int]:
    """All rows below the roots, by creation number."""
    seen = set(roots)
    waiting = list(roots)
    while waiting:
        for j in inputs(table[waiting.pop()]):
            if j != col.NONE and j not in seen:
                seen.add(j)
                waiting.append(j)
        if len(seen) > limit:
            raise ValueError(
                f"the graph has more than {limit} nodes, too many to be laid out quickly and to be"
                " read; graph(..., limit=n) draws up to n nodes, a root further down draws a part"
            )
    return sorted(seen, key=lambda r: int(table[r, col.SEQ]))


def _node(table: Rows, r: int, name: str, root: bool) -> Node:
    line = table[r]
    op = OPS[line[col.OP]]
    held = _held(line)
    flags = int(line[col.FLAGS])
    leaf = line[col.OP] == col.LEAF
    grad = int(line[col.GRAD])
    marks = [mark for bit, mark in _MARKS.items() if flags & bit]
    if isinstance(held, FunctionContext):
        title, grad_fn, saved = held._function.__name__, type(held).__name__, _saved_by(held)
        marks += ["freed"] if held._freed else []
    else:
        title, grad_fn = op.name, op.node if leaf else name_of(op)
        saved = [] if leaf else _saved(table, r, op)
    if held is not None and any(getattr(held, kind) for kind in KINDS):
        marks.append("hooks")
    return Node(
        row=r,
        op=title,
        grad_fn=grad_fn,
        name=name,
        kind="op" if not leaf else "leaf" if flags & col.F_REQUIRES_GRAD else "constant",
        root=root,
        shape=tuple(line[col.SHAPE : col.SHAPE + int(line[col.NDIM])].tolist()),
        dtype=dtypes.ALL[line[col.DTYPE]].name,
        sequence=int(line[col.SEQ]),
        version=_version(line),
        value=row_value(line),
        grad=None if grad == col.NONE else row_value(table[grad]),
        saved=tuple(saved),
        marks=tuple(marks),
    )


def _held(line: Words) -> Any:
    """What a row holds for Python: its hooks, or a custom function's context; else None."""
    address = int(line[col.HELD])
    return ctypes.cast(address, ctypes.py_object).value if address else None


def _version(line: Words) -> int | None:
    storage = int(line[col.STORAGE])
    return None if storage == col.NONE else int(storages()[storage, col.S_VERSION])


def _saved(table: Rows, r: int, op: Op) -> list[Saved]:
    line = table[r]
    mask = int(line[col.SAVED])
    above = inputs(line)
    found = []
    for i, j in enumerate(above[: col.MAX_INPUTS]):
        if mask & (1 << i):
            saved, now = int(line[col.VERSION + i]), _version(table[j])
            found.append(Saved(f"input {i}", j, saved, now, row_value(table[j])))
        elif j == col.NONE and _reads(table, above, op, i) and not line[col.FLAGS] & col.F_FREED:
            (number,) = struct.unpack("d", struct.pack("q", int(line[col.ATTR + i])))
            found.append(Saved(f"input {i}", None, None, None, None, number))
    if mask & col.SAVED_OUT:
        found.append(Saved("result", r, int(line[col.OUTVER]), _version(line), row_value(line)))
    return found


def _saved_by(function: FunctionContext) -> list[Saved]:
    """What a custom function's forward gave to ``save_for_backward``."""
    return [
        Saved(f"tensor {i}", entry.row(x), version, x._version, Value.of(x.numpy(force=True)))
        for i, (x, version) in enumerate(zip(function._saved, function._versions, strict=False))
        if x is not None
    ]


def _reads(table: Rows, above: list[int], op: Op, i: int) -> bool:
    """Whether a gradient of this pointwise op reads operand ``i``, which is then a number if it is no row."""
    return op.family == POINTWISE and any(
        needs & (1 << i) and j != col.NONE and table[j, col.FLAGS] & col.F_REQUIRES_GRAD
        for j, needs in zip(above, op.needs, strict=False)
    )
