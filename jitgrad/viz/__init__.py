"""Pictures of the recorded graph: `graph` takes a snapshot, which writes itself as SVG, PNG, DOT or a page.

Nothing here is imported before `graph` is called, and the layout library not before something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor
    from jitgrad.viz.picture import Graph

__all__ = ["graph"]


def graph(
    *roots: Tensor,
    params: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None,
    gradient: Tensor | Iterable[Tensor | None] | None = None,
    steps: bool = True,
    limit: int = 500,
) -> Graph:
    """Take a snapshot of the graph that made ``roots``: leaves, ops, saved values, and a backward pass.

    The snapshot is plain Python data. It holds no tensor, and taking it changes nothing: not ``.grad``,
    not what the graph has saved, no version.

    Parameters
    ----------
    *roots : Tensor
        One or several results; what they have in common is drawn once.
    params : mapping or iterable of (str, Tensor), optional
        Names to show, as ``dict(x=x)`` or ``model.named_parameters()``.
    gradient : Tensor or iterable, optional
        Where the backward pass begins: a weight of each root's shape. Default (and None): 1 everywhere.
    steps : bool
        Run a backward pass and note each step: which node was taken, with what gradient, and what it
        sent on. It computes what ``backward(retain_graph=True)`` computes.
    limit : int
        The largest number of nodes that is drawn.

    Returns
    -------
    Graph
        Shows itself in notebooks; ``save("y.svg")``, also ``.png``, ``.dot`` and ``.html``; ``nodes``,
        ``edges``, ``steps``.

    Raises
    ------
    TypeError
        If a root is no Tensor.
    ValueError
        If there is no root, the graph has more nodes than ``limit``, or a weight has another shape.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> drawn = jitgrad.graph(y, params={"x": x})
    >>> [node.op for node in drawn.nodes]
    ['leaf', 'mul', 'sum']
    >>> drawn.steps[-1].gradient.text
    '[2, 4]'
    """
    from jitgrad.viz.picture import Graph
    from jitgrad.viz.snapshot import take
    from jitgrad.viz.trace import trace_backward

    snapshot = take(roots, dict(params or {}), limit)
    return Graph(snapshot, trace_backward(roots, gradient, snapshot) if steps else None)
