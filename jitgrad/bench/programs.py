"""Work as one function of arrays, and how each kind of library runs it and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jitgrad.bench.case import CannotDo, Namespace, Prepared
from jitgrad.bench.measuring import copied

Array = NDArray[Any]
Function = Callable[..., Any]

PARTS = ("forward", "backward", "both")
LAYOUTS = ("contiguous", "transposed", "broadcast")


@dataclass(frozen=True)
class Program:
    """A function, its operands, and which part of its differentiation is the work.

    Attributes
    ----------
    tensors : callable
        ``f(T, *tensors)`` for a namespace like torch's.
    arrays : callable or None
        ``f(xp, *arrays)`` for one like NumPy's; None if it cannot be said there.
    data : callable
        Makes the operands, always alike; in layout "broadcast" those of `strided` have one row.
    wanted : tuple of int
        The operands whose gradients are taken.
    strided : tuple of int
        The operands that `layout` is about.
    compared : bool
        False where the results are random.
    """

    tensors: Function
    arrays: Function | None
    data: Callable[[], list[Array]]
    wanted: tuple[int, ...]
    part: str = "both"
    layout: str = "contiguous"
    strided: tuple[int, ...] = ()
    compared: bool = True

    def cotangent(self, shape: tuple[int, ...], kind: Any) -> Array:
        """What is sent into backward: the same for every library."""
        values = np.random.default_rng(99).normal(size=shape)
        return np.asarray(values, np.dtype(kind))

    def _results(self, values: Callable[[], list[Any]]) -> Callable[[], list[Array]]:
        return lambda: [copied(v) for v in values()] if self.compared else []

    # ------------------------------------------------------------ like torch
    def eager(self, T: Namespace) -> Prepared:
        """The work on tensors; forward records the graph, as in training."""
        leaves = [self._leaf(T, i, a) for i, a in enumerate(self.data())]
        wanted = [leaves[i] for i in self.wanted]
        function = self.tensors
        first = function(T, *leaves)
        state = [first]
        if self.part == "forward":

            def forward() -> None:
                state[0] = function(T, *leaves)

            return Prepared(forward, self._results(lambda: state))
        if not wanted or not first.requires_grad:
            raise CannotDo("its result has no gradient")
        kind = copied(first).dtype
        weight = T.tensor(self.cotangent(tuple(first.shape), kind))
        alone = self.part == "backward"

        def run() -> None:
            for leaf in wanted:
                leaf.grad = None
            if alone:
                first.backward(weight, retain_graph=True)
            else:
                function(T, *leaves).backward(weight)

        return Prepared(run, self._results(lambda: [leaf.grad for leaf in wanted]))

    def _leaf(self, T: Namespace, i: int, array: Array) -> Any:
        if i in self.strided and self.layout == "transposed":
            x = T.tensor(np.ascontiguousarray(array.T)).t()
        elif i in self.strided and self.layout == "broadcast":
            x = T.tensor(array[:1].copy()).expand(*array.shape)
        else:
            x = T.tensor(array)
        return x.detach().requires_grad_() if i in self.wanted else x

    # ------------------------------------------------------------ like NumPy
    def laid_out(self) -> list[Array]:
        """The operands as NumPy arrays, in the layout."""
        found = self.data()
        for i in self.strided:
            if self.layout == "transposed":
                found[i] = np.ascontiguousarray(found[i].T).T
            elif self.layout == "broadcast":
                found[i] = np.broadcast_to(found[i][:1], found[i].shape)
        return found

    def _arrays(self) -> Function:
        if self.arrays is None:
            raise CannotDo("not written for NumPy's functions")
        return self.arrays

    def numpy(self, xp: Any) -> Prepared:
        """The forward part in NumPy."""
        function = self._arrays()
        if self.part != "forward":
            raise CannotDo("NumPy has no gradients")
        operands = self.laid_out()
        state: list[Any] = [None]

        def run() -> None:
            state[0] = function(xp, *operands)

        return Prepared(run, self._results(lambda: state))

    def autograd(self, module: Any) -> Prepared:
        """The work in HIPS autograd."""
        xp = module.numpy
        function, operands = self._arrays(), self.laid_out()
        state: list[Any] = [None]
        if self.part == "forward":
            # As elsewhere, forward records: the vjp is made and not called.
            def work() -> Any:
                return module.make_vjp(taken)(*chosen)[1]
        elif not self.wanted:
            raise CannotDo("its result has no gradient")

        # One argument, a tuple: make_vjp differentiates with respect to one.
        def taken(values: Any) -> Any:
            full = list(operands)
            for i, value in zip(self.wanted, values, strict=True):
                full[i] = value
            return function(xp, *full)

        values = tuple(operands[i] for i in self.wanted)
        chosen = (values,)
        if self.part == "forward":
            if not self.wanted:

                def work() -> Any:
                    return function(xp, *operands)
        else:
            vjp, result = module.make_vjp(taken)(*chosen)
            weight = self.cotangent(np.shape(result), np.asarray(result).dtype)
            weight = weight if np.shape(result) else weight[()]
            if self.part == "backward":

                def work() -> Any:
                    return vjp(weight)
            else:

                def work() -> Any:
                    return module.make_vjp(taken)(*chosen)[0](weight)

        def run() -> None:
            state[0] = work()

        return Prepared(
            run,
            self._results(lambda: state if self.part == "forward" else list(state[0])),
        )

    def jax(self, module: Any) -> Prepared:
        """The work in JAX, compiled as a whole; a run ends when the result is there."""
        xp = module.numpy
        function = self._arrays()
        if self.layout != "contiguous":
            raise CannotDo("JAX's arrays have no strides")
        operands = [xp.asarray(a) for a in self.data()]
        wanted = self.wanted

        def taken(*values: Any) -> Any:
            full = list(operands)
            for i, value in zip(wanted, values, strict=True):
                full[i] = value
            return function(xp, *full)

        values = [operands[i] for i in wanted]
        arguments: list[Any] = values
        if self.part == "forward":
            compiled = module.jit(lambda *all_: function(xp, *all_))
            arguments = operands
        else:
            if not wanted:
                raise CannotDo("its result has no gradient")
            result, vjp = module.vjp(taken, *values)
            weight = xp.asarray(self.cotangent(result.shape, result.dtype))
            if self.part == "backward":
                compiled = module.jit(lambda pull, w: pull(w))
                arguments = [vjp, weight]
            else:
                compiled = module.jit(lambda w, *v: module.vjp(taken, *v)[1](w))
                arguments = [weight, *values]
        state: list[Any] = [None]

        def run() -> None:
            state[0] = module.block_until_ready(compiled(*arguments))

        return Prepared(
            run,
            self._results(lambda: state if self.part == "forward" else list(state[0])),
        )
