"""Work as one function of arrays, and how each kind of library runs it and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jitgrad.bench.case import CannotDo, Namespace, Prepared, compiled
from jitgrad.bench.measuring import copied

Array = NDArray[Any]
Function = Callable[..., Any]
#: ``f(cotangent, *operands)``: computes the value, drops it, returns the gradients that are wanted.
ByHand = Callable[..., list[Array]]

PARTS = ("forward", "backward", "both")
LAYOUTS = ("contiguous", "transposed", "broadcast")


def loop(xp: Any, step: Callable[[Any], Any], state: Any, count: int) -> Any:
    """Take a number of steps; in JAX as a loop that is compiled once, else one by one."""
    if getattr(xp, "__name__", "") == "jax.numpy":
        from jax import lax  # type: ignore[import-not-found, unused-ignore]

        return lax.scan(lambda s, _: (step(s), None), state, None, length=count)[0]
    for _ in range(count):
        state = step(state)
    return state


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
    weighted : bool
        False where backward begins at a scalar, with one, as a loss does.
    by_hand : callable or None
        Value and gradients in NumPy.
    unrolled : int
        The ops of a loop that a compiler would write out one after the other.
    loops : bool
        The loop is made by `loop`, so that JAX keeps it.
    """

    tensors: Function
    arrays: Function | None
    data: Callable[[], list[Array]]
    wanted: tuple[int, ...]
    part: str = "both"
    layout: str = "contiguous"
    strided: tuple[int, ...] = ()
    compared: bool = True
    weighted: bool = True
    by_hand: ByHand | None = None
    unrolled: int = 0
    loops: bool = False

    def cotangent(self, shape: tuple[int, ...], kind: Any) -> Array:
        """What is sent into backward: the same for every library."""
        if not self.weighted:
            return np.ones(shape, np.dtype(kind))
        values = np.random.default_rng(99).normal(size=shape)
        return np.asarray(values, np.dtype(kind))

    def _results(self, values: Callable[[], list[Any]]) -> Callable[[], list[Array]]:
        return lambda: [copied(v) for v in values()] if self.compared else []

    # ------------------------------------------------------------ like torch
    def eager(self, T: Namespace) -> Prepared:
        """The work on tensors; forward records the graph, as in training."""
        leaves = [self._leaf(T, i, a) for i, a in enumerate(self.data())]
        wanted = [leaves[i] for i in self.wanted]

        def of(namespace: Namespace) -> Function:
            if namespace is not T:  # compiled
                self._refuse_unrolled(500)
            return partial(self.tensors, namespace)

        function = compiled(T, of)
        first = function(*leaves)
        state = [first]
        if self.part == "forward":

            def forward() -> None:
                state[0] = function(*leaves)

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
            elif self.weighted:
                function(*leaves).backward(weight)
            else:
                function(*leaves).backward()

        return Prepared(run, self._results(lambda: [leaf.grad for leaf in wanted]))

    def _leaf(self, T: Namespace, i: int, array: Array) -> Any:
        if i in self.strided and self.layout == "transposed":
            x = T.tensor(np.ascontiguousarray(array.T)).t()
        elif i in self.strided and self.layout == "broadcast":
            x = T.tensor(array[:1].copy()).expand(*array.shape)
        else:
            x = T.tensor(array)
        return x.detach().requires_grad_() if i in self.wanted else x

    def _refuse_unrolled(self, most: int) -> None:
        if self.unrolled > most:
            raise CannotDo(f"a loop of {self.unrolled:,} ops, which would take it minutes")

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
        """The forward part in NumPy, or both parts by hand."""
        if self.part == "both" and self.by_hand is not None:
            return self._numpy_by_hand(self.by_hand)
        function = self._arrays()
        if self.part != "forward":
            raise CannotDo("NumPy has no gradients, and none is written by hand")
        operands = self.laid_out()
        state: list[Any] = [None]

        def run() -> None:
            state[0] = function(xp, *operands)

        return Prepared(run, self._results(lambda: state))

    def _numpy_by_hand(self, by_hand: ByHand) -> Prepared:
        operands = self.laid_out()
        value = self._arrays()(np, *operands)
        weight = self.cotangent(np.shape(value), np.asarray(value).dtype)
        weight = weight if np.shape(value) else weight[()]
        state: list[list[Array]] = [[]]

        def run() -> None:
            state[0] = by_hand(weight, *operands)

        return Prepared(run, self._results(lambda: state[0]))

    def autograd(self, module: Any) -> Prepared:
        """The work in HIPS autograd."""
        self._refuse_unrolled(20_000)
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
        if not self.loops:
            self._refuse_unrolled(2_000)
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
