"""The backward pass as users call it: `backward` and `grad`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jitgrad.arena import engine
from jitgrad.arena.engine import entry
from jitgrad.autograd import anomaly
from jitgrad.ops.operands import is_tensor

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of ``tensors``, weighted by ``grad_tensors``, to the leaves' ``.grad``.

    Parameters
    ----------
    tensors : Tensor or sequence of Tensors
        The roots.
    grad_tensors : Tensor or sequence, optional
        For each root its weight, of its shape and dtype; None for a root of one element means 1.
    retain_graph : bool, optional
        Keep what the graph saved for another pass; by default what ``create_graph`` is.
    create_graph : bool
        Record the pass, so that the gradients can be differentiated again.
    inputs : Tensor or sequence of Tensors, optional
        Add to the ``.grad`` of these only, leaves or not.

    Raises
    ------
    RuntimeError
        See `Tensor.backward`.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> jitgrad.autograd.backward([x.sum(), (x * x).sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    pairs = _roots(tensors, grad_tensors)
    mode = engine.RETAIN if (create_graph if retain_graph is None else retain_graph) else 0
    chosen = [] if inputs is None else _inputs("backward", inputs)
    mode |= engine.CHOSEN if chosen else 0
    if create_graph:
        warnings.warn(
            "Using backward() with create_graph=True will create a reference cycle between the parameter"
            " and its gradient which can cause a memory leak. We recommend using autograd.grad when"
            " creating the graph to avoid this. If you have to use this function, make sure to reset the"
            " .grad fields of your parameters to None after use to break the cycle and avoid the leak.",
            UserWarning,
            stacklevel=2,
        )
    _run(mode, pairs, chosen, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor] | Any,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``; no ``.grad`` is touched.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensors
        The roots, and what to differentiate with respect to: leaves or not.
    grad_outputs : Tensor or sequence, optional
        For each output its weight; None for one of a single element means 1.
    retain_graph : bool, optional
        Keep what the graph saved for another pass; by default what ``create_graph`` is.
    create_graph : bool
        Record the pass, so that the gradients can be differentiated again.
    allow_unused : bool, optional
        Return None, instead of raising, for an input that the outputs do not depend on.
    is_grads_batched : bool
        ``grad_outputs`` have a first dim more, and so have the results: one pass for each position.
    materialize_grads : bool
        Zeros in place of None for inputs that are not used.

    Returns
    -------
    tuple of Tensor
        One gradient for each input, of its shape and dtype.

    Raises
    ------
    RuntimeError
        See `Tensor.backward`; also if an input does not require grad or is not used.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.tensor([1.0, 2.0], requires_grad=True)
    >>> jitgrad.autograd.grad((x * x).sum(), x)
    (tensor([2., 4.]),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got:"
            " allow_unused=False."
        )
    retain = create_graph if retain_graph is None else bool(retain_graph)
    chosen = _inputs("grad", inputs)
    if is_grads_batched:
        return _batched(outputs, chosen, grad_outputs, retain, create_graph, allow_unused)
    pairs = _roots(outputs, grad_outputs)
    mode = engine.COLLECT | engine.CHOSEN | (engine.RETAIN if retain else 0)
    found = _run(mode, pairs, chosen, create_graph)
    unused = [i for i, g in enumerate(found) if g is None]
    if unused:
        if materialize_grads:
            from jitgrad.creation import zeros_like

            return tuple(
                zeros_like(x.detach()) if g is None else g
                for x, g in zip(chosen, found, strict=True)
            )
        if not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {unused[0]} appears to not have been used in"
                " the graph. Set allow_unused=True if this is the desired behavior."
            )
    return found


def _batched(
    outputs: Any,
    inputs: list[Tensor],
    weights: Any,
    retain: bool,
    create_graph: bool,
    allow_unused: bool | None,
) -> tuple[Any, ...]:
    """`grad` for each position of the weights' first dim, stacked."""
    from jitgrad.ops.joining import stack

    rows = _sequence(weights)
    sizes = {int(w.shape[0]) for w in rows}
    if len(sizes) != 1:
        raise ValueError(f"grad_outputs have different sizes of their first dim: {sorted(sizes)}")
    (n,) = sizes
    passes = [
        grad(outputs, inputs, [w[i] for w in rows], retain or i < n - 1, create_graph, allow_unused)
        for i in range(n)
    ]
    return tuple(None if g[0] is None else stack(g) for g in zip(*passes, strict=True))


def _run(mode: int, pairs: list[Tensor | None], chosen: list[Tensor], create_graph: bool) -> Any:
    """A pass: by kernels, or where its operations are to be recorded by recipes."""
    if create_graph or anomaly.is_anomaly_enabled():
        from jitgrad.autograd.recorded import Pass

        check = anomaly.check if anomaly.is_anomaly_enabled() else None
        return Pass(mode, pairs, chosen, create_graph, check).run()
    return engine.run_backward(mode, len(pairs) // 2, *pairs, *chosen)


def _sequence(tensors: Any) -> list[Any]:
    """Tensors, one or several; for the edge of one there is the Tensor itself."""
    if is_tensor(tensors):
        return [tensors]
    from jitgrad.autograd.graph import GradientEdge

    found = [tensors] if isinstance(tensors, GradientEdge) else list(tensors)
    return [_at_edge(x) if isinstance(x, GradientEdge) else x for x in found]


def _at_edge(edge: Any) -> Tensor:
    found: Tensor | None = entry.node_tensor(edge.ownership_token)
    if found is None:
        raise RuntimeError(
            "the tensor of this gradient edge was changed in place since; take the edge after the change"
        )
    return found


def _inputs(name: str, tensors: Any) -> list[Any]:
    chosen = _sequence(tensors)
    if not chosen:
        raise RuntimeError(f"`inputs` argument to `{name}()` cannot be empty.")
    for x in chosen:
        if not is_tensor(x):
            raise RuntimeError(
                f"all inputs have to be Tensors or GradientEdges, but got {type(x).__name__}"
            )
    return chosen


def _roots(tensors: Any, grad_tensors: Any) -> list[Tensor | None]:
    """``root, weight, root, weight, ...`` for `engine.run_backward`."""
    roots = _sequence(tensors)
    weights = [None] * len(roots) if grad_tensors is None else _sequence(grad_tensors)
    for weight in weights:
        if weight is not None and not is_tensor(weight):
            raise TypeError(
                f"gradients can be either Tensors or None, but got {type(weight).__name__}"
            )
    if len(weights) < len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(weights)} gradients")
    pairs: list[Tensor | None] = []
    for i, (root, weight) in enumerate(zip(roots, weights, strict=False)):
        pairs += [root, None if weight is None else _weight(i, root, weight)]
    return pairs


def _weight(i: int, root: Tensor, weight: Tensor) -> Tensor:
    if entry.shape(weight) != entry.shape(root):
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {weight.shape} and output[{i}] has a"
            f" shape of {root.shape}."
        )
    return weight if weight.dtype is root.dtype else weight.to(root.dtype)
