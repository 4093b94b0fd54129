"""A row of the graph as PyTorch's ``grad_fn`` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.ops.table import OPS, Op

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def name_of(op: Op) -> str:
    """PyTorch's name of an op's node."""
    if op.node[-1].isdigit() and op.node != "Log2":
        return f"{op.node[:-1]}Backward{op.node[-1]}"
    return f"{op.node}Backward0"


class Node:
    """The op that made a tensor.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(2, requires_grad=True)
    >>> x.exp().grad_fn.name()
    'ExpBackward0'
    """

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def name(self) -> str:
        """PyTorch's name of the node."""
        return name_of(OPS[entry.word(self._tensor, col.OP)])

    def __repr__(self) -> str:
        return f"<{self.name()} object, row {entry.row(self._tensor)}>"
