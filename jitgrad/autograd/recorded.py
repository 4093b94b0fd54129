"""A backward pass in Python, on Tensors: one that is recorded itself (``create_graph=True``), or looked at.

The jitted pass of `jitgrad.arena.passes` runs kernels; this one runs the ops' recipes
(`jitgrad.ops.recipe`) in the same order, so its gradients have a history when recording is on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad import errors
from jitgrad.arena import columns as col
from jitgrad.arena import engine
from jitgrad.arena.engine import call, entry
from jitgrad.autograd import anomaly, stops
from jitgrad.autograd.function import FunctionContext, Output
from jitgrad.ops import recipe

if TYPE_CHECKING:
    from jitgrad.tensor import Tensor


class _Reached:
    """A node that the pass has reached."""

    __slots__ = ("asked", "below", "gradient", "inputs", "node", "outputs", "seq")

    def __init__(self, node: Any, seq: int) -> None:
        self.node, self.seq = node, seq
        self.gradient: Tensor | None = None
        #: Of a function with several outputs: their gradients.
        self.outputs: list[Tensor | None] | None = None
        #: What is reached through each input; None where no gradient flows.
        self.inputs: list[_Reached | None] = []
        self.asked = False
        #: Whether something that was asked for lies below.
        self.below = True

    def add(self, gradient: Tensor) -> None:
        """Add to the gradient."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


def run_node(node: Any, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """The gradients of a node's inputs from those of its outputs; nothing is freed."""
    held = entry.held(node)
    if isinstance(held, FunctionContext):
        return stops.fitted(node, tuple(held.run(list(gradients), True, node)))
    (gradient,) = gradients
    assert gradient is not None
    if entry.node_word(node, col.OP) == col.LEAF:
        Pass.accumulate(node, gradient, False)
        return ()
    return stops.vjp(node, gradient, held)


#: Called with a node and the gradients that it computed.
Check = Callable[[Any, Sequence[Any]], None]


class Pass:
    """A backward pass: ``root, weight, root, weight, ...``, the inputs asked for, and a mode of `engine`.

    ``recorded`` says whether its operations are.  ``check`` is called after each node.

    Raises
    ------
    RuntimeError
        See `Tensor.backward`; also if an op has no recipe.
    """

    def __init__(
        self,
        mode: int,
        pairs: Sequence[Tensor | None],
        chosen: Sequence[Tensor],
        recorded: bool,
        check: Check | None = None,
    ) -> None:
        self._collect = bool(mode & engine.COLLECT)
        self._retain = bool(mode & engine.RETAIN)
        self._all = not mode & engine.CHOSEN
        self._recorded = recorded
        self._check = check
        self._reached: dict[int, _Reached] = {}
        self._kept: dict[int, Tensor] = {}
        roots = [self._root(pairs, i) for i in range(len(pairs) // 2)]
        self._discover()
        self._asked = [self._ask(i, x) for i, x in enumerate(chosen)]
        if not self._all:
            self._mark_below()
        for root, tensor, weight in zip(roots, pairs[::2], pairs[1::2], strict=True):
            assert tensor is not None
            root.add(self._ones(root, tensor.device) if weight is None else weight)

    def run(self) -> tuple[Any, ...] | None:
        """Run it; returns the gradients that were asked for, in mode COLLECT."""
        before = engine.grad_mode()
        engine.set_grad_mode(self._recorded)
        outer = stops.begin(self._all)
        try:
            for seq in sorted(self._reached, reverse=True):
                at = self._reached.pop(seq)
                if self._all or at.asked or at.below:
                    self._visit(at)
            stops.finish()
        finally:
            stops.end(outer)
            engine.set_grad_mode(before)
        if not self._collect:
            return None
        return tuple(self._kept.get(seq) for seq in self._asked)

    # ------------------------------------------------------------ before the first node
    def _reach(self, node: Any) -> _Reached:
        seq = entry.node_word(node, col.SEQ)
        at = self._reached.get(seq)
        if at is None:
            at = self._reached[seq] = _Reached(node, seq)
        return at

    def _root(self, pairs: Sequence[Any], i: int) -> _Reached:
        node = call(entry.node, pairs[2 * i])
        if not entry.node_word(node, col.FLAGS) & col.F_REQUIRES_GRAD:
            raise errors.from_fault(col.X_ROOT, i, 0, 0, tuple(pairs))
        if pairs[2 * i + 1] is None and entry.node_word(node, col.NUMEL) != 1:
            raise errors.from_fault(col.X_SCALAR, i, 0, 0, tuple(pairs))
        return self._reach(node)

    def _ones(self, root: _Reached, device: Any) -> Tensor:
        from jitgrad.creation import ones
        from jitgrad.dtypes import ALL

        dtype = ALL[entry.node_word(root.node, col.DTYPE)]
        return ones(recipe.shape_of(root.node), dtype=dtype, device=device)

    def _discover(self) -> None:
        waiting = list(self._reached.values())
        while waiting:
            at = waiting.pop()
            for i in range(entry.node_word(at.node, col.NIN)):
                node = entry.node_input(at.node, i)
                if node is None:
                    at.inputs.append(None)
                    continue
                known = len(self._reached)
                below = self._reach(node)
                at.inputs.append(below)
                if len(self._reached) > known:
                    waiting.append(below)

    def _ask(self, i: int, x: Tensor) -> int:
        node = call(entry.node, x)
        if not entry.node_word(node, col.FLAGS) & col.F_REQUIRES_GRAD:
            raise errors.from_fault(col.X_NO_GRAD, i, 0, 0, ())
        seq = entry.node_word(node, col.SEQ)
        if seq in self._reached:
            self._reached[seq].asked = True
        return seq

    def _mark_below(self) -> None:
        for seq in sorted(self._reached):
            at = self._reached[seq]
            at.below = any(b is not None and (b.asked or b.below) for b in at.inputs)

    # ------------------------------------------------------------ node by node
    def _visit(self, at: _Reached) -> None:
        held = entry.held(at.node)
        is_function = isinstance(held, FunctionContext)
        # As in PyTorch, hooks do not change the result for a row whose gradient is also sent on.
        if at.asked and at.below and not self._all:
            self._keep(at)
        if held is not None and at.gradient is not None and (held.gradient or held.before):
            at.gradient = stops.hooked(held, at.gradient, at.node)
        if at.gradient is None and not is_function:
            return
        leaf = entry.node_word(at.node, col.OP) == col.LEAF
        add = at.asked and not self._collect
        if at.gradient is not None:
            if add or (leaf and self._all) or entry.node_word(at.node, col.FLAGS) & col.F_RETAIN:
                self.accumulate(at.node, at.gradient, self._recorded)
                if leaf and held is not None:
                    stops.after_leaf(held, at.gradient, at.node)
            self._keep(at)
        if leaf or not at.below:
            return
        if isinstance(held, Output):
            self._set_aside(at, held)
            return
        try:
            found = self._gradients(at, held)
        except Exception:
            # Whatever the user's backward raises: anomaly mode says where forward was, the error goes on.
            if anomaly.is_anomaly_enabled():
                anomaly.report(at.node)
            raise
        if self._check is not None:
            self._check(at.node, found)
        for below, gradient in zip(at.inputs, found, strict=False):
            if below is not None and gradient is not None:
                below.add(gradient)
        if not self._retain:
            entry.node_free(at.node)
            if held is not None and held.packed is not None:
                held.packed.free()

    def _gradients(self, at: _Reached, held: Any) -> Sequence[Any]:
        if isinstance(held, FunctionContext):
            outputs = at.outputs or [at.gradient]
            return stops.fitted(at.node, tuple(held.run(outputs, self._retain, at.node)))
        assert at.gradient is not None
        return stops.vjp(at.node, at.gradient, held)

    def _set_aside(self, at: _Reached, held: Output) -> None:
        (function,) = at.inputs
        if function is not None:
            if function.outputs is None:
                function.outputs = [None] * held.count
            before = function.outputs[held.number]
            gradient = at.gradient
            assert gradient is not None
            function.outputs[held.number] = gradient if before is None else before + gradient

    def _keep(self, at: _Reached) -> None:
        if at.asked and self._collect and at.gradient is not None:
            self._kept.setdefault(at.seq, at.gradient)

    @staticmethod
    def accumulate(node: Any, gradient: Tensor, recorded: bool) -> None:
        """Add to the ``.grad`` of a node's Tensor."""
        x = entry.node_tensor(node)
        before = entry.grad(x)
        if before is None:
            # The gradient may be what the user gave, or be sent to others too.
            entry.set_grad(x, gradient.clone())
        elif recorded:
            entry.set_grad(x, before + gradient)
        else:
            before += gradient
