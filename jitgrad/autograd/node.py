"""A row of the graph as PyTorch's ``grad_fn`` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.arena import columns as col
from jitgrad.arena.engine import entry
from jitgrad.ops.table import OPS

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


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
        node = OPS[entry.word(self._tensor, col.OP)].node
        if node[-1].isdigit() and node != "Log2":
            return f"{node[:-1]}Backward{node[-1]}"
        return f"{node}Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()} object, row {entry.row(self._tensor)}>"
