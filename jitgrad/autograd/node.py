"""A node of the graph as PyTorch's ``grad_fn`` shows it: a row that is held without its value."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad.arena import columns as col
from jitgrad.arena.engine import call, entry
from jitgrad.errors import UNGENERATED
from jitgrad.ops import names
from jitgrad.ops.record import NAMED
from jitgrad.ops.table import BY_NAME, LANES, OPS, OUTPUT, Op
from jitgrad.ops.views import COPY_SLICES

if TYPE_CHECKING:
    from jitgrad.autograd.hooks import RemovableHandle
    from jitgrad.tensor import Tensor


#: A digit at the end of any other name says which of several variants of an op it is.
_ENDING_IN_DIGITS = ("Log2", "Log10", "Expm1", "Exp2", "Atan2", "Logaddexp2")


#: Ops of which PyTorch has two: which operand tells, the node where it is a number, and where a Tensor.
_BY_OPERAND = {
    "lerp": (2, "Lerp", "Lerp1"),
    "remainder": (1, "Remainder", "Remainder1"),
    "fmod": (1, "Fmod", "Fmod1"),
    "sub": (0, "Rsub1", "Sub"),
    "sub_scaled": (0, "Rsub1", "Sub"),
    "div_floor": (1, "Div3", "Div2"),
    "div_trunc": (1, "Div3", "Div2"),
    "pow_tensor": (0, "Pow2", "Pow1"),
    "xlogy": (0, "Xlogy1", "Xlogy"),
    "copysign": (1, "Copysign1", "Copysign"),
    "masked_fill": (2, "MaskedFill", "MaskedFill1"),
    "clamp_min": (1, "ClampMin", "ClampMin1"),
    "clamp_max": (1, "ClampMax", "ClampMax1"),
}


#: A number in front of these makes another op in PyTorch, of one operand.
_REFLECTED = ("sub", "sub_scaled")


def name_of(op: Op) -> str:
    """PyTorch's name of an op's node."""
    return op.node if op is COPY_SLICES or op is COPY else _backward(op.node)


def _backward(node: str) -> str:
    if node[-1].isdigit() and node not in _ENDING_IN_DIGITS:
        return f"{node[:-1]}Backward{node[-1]}"
    return f"{node}Backward0"


COPY = BY_NAME["copy"]


class Node:
    """The op that made a tensor, or the place where a leaf's gradient is accumulated.

    The class of a node carries PyTorch's name of the op; there is one object a row while any is alive.

    Examples
    --------
    >>> import jitgrad
    >>> x = jitgrad.ones(2, requires_grad=True)
    >>> y = x.exp().sum()
    >>> y.grad_fn.name()
    'SumBackward0'
    >>> [node.name() for node, _ in y.grad_fn.next_functions]
    ['ExpBackward0']
    """

    __slots__ = ("__weakref__", "_capsule")

    _capsule: Any

    def name(self) -> str:
        """PyTorch's name of the node."""
        kind = type(self).__name__
        return f"torch::autograd::{kind}" if kind in UNGENERATED else kind

    def __call__(self, *gradients: Tensor | None) -> Any:
        """The gradients of its inputs, from those of its outputs; it runs apart from any backward pass.

        One gradient, or a tuple of them; None where there is none.

        Raises
        ------
        RuntimeError
            If what it saved was freed or changed.
        """
        from jitgrad.autograd.recorded import run_node

        found = run_node(self._capsule, gradients)
        return found[0] if len(found) == 1 else tuple(found)

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """Where its gradients go: for each input its node (None: nowhere) and which output of it that is."""
        found = _edges(self._capsule)
        if entry.node_word(self._capsule, col.OP) == COPY_SLICES.number:
            # PyTorch keeps the op that changed the part inside this node: its other inputs are this one's.
            changed, _ = found.pop()
            assert changed is not None
            found += changed.next_functions[1:]
        return tuple(found)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict that the user may fill; it lives as long as the graph."""
        from jitgrad.autograd.hooks import held_by

        return held_by(self._capsule, 0).metadata

    @property
    def variable(self) -> Tensor:
        """The leaf, of an AccumulateGrad node.

        Raises
        ------
        AttributeError
            If it is any other node.
        """
        if entry.node_word(self._capsule, col.OP) != col.LEAF:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'variable'")
        return entry.node_tensor(self._capsule)

    def _sequence_nr(self) -> int:
        """The creation number: in backward, higher ones go first."""
        return entry.node_word(self._capsule, col.SEQ)

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(grad_inputs, grad_outputs)`` called after the node ran; it may replace the former."""
        from jitgrad.autograd.hooks import register_on_node

        return register_on_node(self._capsule, "after", hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(grad_outputs)`` called before the node runs; it may replace them."""
        from jitgrad.autograd.hooks import register_on_node

        return register_on_node(self._capsule, "before", hook)

    def _readers(self) -> dict[str, Callable[[Any], Any]]:
        """The readers of what it saved, by PyTorch's names."""
        if entry.held(self._capsule) is not None and hasattr(entry.held(self._capsule), "run"):
            return {}
        if names.of_row(entry.node_word(self._capsule, col.FLAGS)):
            return {}
        from jitgrad.autograd import saved

        op = OPS[entry.node_word(self._capsule, col.OP)]
        if op.name == "linear" and entry.node_word(self._capsule, col.NDIM) != 2:
            return {}  # called a view
        named = bool(entry.node_word(self._capsule, col.ATTR + col.A_KEEP) & NAMED)
        return saved.readers(op, op.family == LANES and named)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(f"_saved_{name}" for name in self._readers())]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_saved_"):
            reader = self._readers().get(name.removeprefix("_saved_"))
            if reader is not None:
                return reader(self._capsule)
        # A custom function's node shows its context, as in PyTorch, where the two are one.
        if not name.startswith("__"):
            held = entry.held(object.__getattribute__(self, "_capsule"))
            if held is not None and hasattr(type(held), "run"):
                return getattr(held, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object, row {entry.node_row(self._capsule)}>"


_classes: dict[str, type[Node]] = {}
_alive: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()


def _name(capsule: Any) -> str:
    held = entry.held(capsule)
    if held is not None and hasattr(type(held), "run"):
        return type(held).__name__
    given = names.of_row(entry.node_word(capsule, col.FLAGS))
    if given:
        return given
    op = OPS[entry.node_word(capsule, col.OP)]
    if op is COPY and entry.node_word(capsule, col.INPUT + 1) == col.NONE:
        # One op here, three there: filling with a number is copying it.
        return "FillBackward2" if entry.node_word(capsule, col.ATTR + 1) else "ZeroBackward0"
    if op.number == col.LEAF:
        return op.node
    if op.name == "linear":
        return _linear(entry.node_word(capsule, col.NDIM), entry.node_word(capsule, col.NIN) == 3)
    by_operand = _BY_OPERAND.get(op.name)
    if by_operand is not None:
        i, of_number, of_tensor = by_operand
        number = entry.node_word(capsule, col.INPUT + i) == col.NONE
        return _backward(of_number if number else of_tensor)
    if op.dims_node and entry.node_word(capsule, col.ATTR + col.A_KEEP) & NAMED:
        return _backward(op.dims_node)
    return name_of(op)


def _linear(ndim: int, bias: bool) -> str:
    """One op here; PyTorch has one for matrices and views them for more dims or fewer."""
    if ndim == 2:
        return "AddmmBackward0" if bias else "MmBackward0"
    return "ViewBackward0" if bias else "UnsafeViewBackward0" if ndim > 2 else "SqueezeBackward4"


def of_capsule(capsule: Any) -> Node:
    """The one Node of a row."""
    # The creation number is never given out twice, the row number is.
    key = entry.node_word(capsule, col.SEQ)
    node = _alive.get(key)
    if node is None:
        name = _name(capsule)
        kind = _classes.get(name)
        if kind is None:
            kind = _classes[name] = type(name, (Node,), {"__slots__": ()})
        node = kind()
        node._capsule = capsule
        _alive[key] = node
    return node


def producer(capsule: Any) -> tuple[Node, int]:
    """The node that computed a row, and which of its outputs the row is."""
    # A cast that promotion inserted, say, is no op of the user's: PyTorch has no node there.
    while _implicit(entry.node_word(capsule, col.FLAGS)):
        capsule = entry.node_input(capsule, 0)
    number = entry.node_word(capsule, col.OUTNR)
    if entry.node_word(capsule, col.OP) == OUTPUT.number:
        capsule = entry.node_input(capsule, 0)
    return of_capsule(capsule), number


def _implicit(flags: int) -> bool:
    return bool(flags & col.F_IMPLICIT) and not names.of_row(flags)


def _edges(capsule: Any) -> list[tuple[Node | None, int]]:
    """The nodes of a row's inputs."""
    found: list[tuple[Node | None, int]] = []
    op = OPS[entry.node_word(capsule, col.OP)]
    vjps = op.vjps
    if op.name in _REFLECTED and entry.node_word(capsule, col.INPUT) == col.NONE:
        return [producer(entry.node_input(capsule, 1))]
    for i in range(entry.node_word(capsule, col.NIN)):
        if vjps[i : i + 1] == (None,):
            # An index or a mask, which has no gradient and no edge.
            continue
        above = entry.node_input(capsule, i)
        found.append((None, 0) if above is None else producer(above))
    return found


def grad_fn(tensor: Tensor) -> Node | None:
    """The node that made a tensor; None for a leaf."""
    if entry.word(tensor, col.OP) == col.LEAF:
        return None
    return producer(call(entry.node, tensor))[0]
