"""Losses on the GPU: elementwise ones, from the formulas of `jitgrad.kernels.loss_formulas`, and nll_loss.

A reduced loss is one walk over its inputs, in parts if they are long, and a fold of what the parts gave.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jitgrad import dtypes
from jitgrad.cuda import memory, reductions
from jitgrad.cuda.copies import dense, itemsize
from jitgrad.cuda.each import Each, launcher, only_floats
from jitgrad.cuda.geometry import Geometry
from jitgrad.cuda.kernel import Kernel
from jitgrad.cuda.lanes import Fold, Lanes
from jitgrad.cuda.pointwise import Operand, Pointwise, number
from jitgrad.cuda.target import FLOAT32, FLOAT64
from jitgrad.kernels import loss_formulas

# How a loss is reduced, and which weights there are (`jitgrad.kernels.losses`).
_ELEMENTS, _MEAN = 0, 1
_WEIGHTS = {"u": 1, "v": 2}


@functools.cache
def summed(name: str, text: str, dtype: int, extras: int) -> Lanes:
    """The sum of a loss over a part of its elements; a weight that is missing is the number 1."""
    there = [w for w, bit in _WEIGHTS.items() if extras & bit]
    return Lanes(
        f"{name}{extras}_{dtypes.ALL[dtype].name}",
        dtype,
        [(operand, dtype) for operand in ("x", "z", *there)],
        [Fold("y", dtype, "0", text, "a + b")],
        "y",
        dtype,
        values=["k", *(w for w in _WEIGHTS if w not in there)],
    )


@functools.cache
def elements(name: str, text: str, dtype: int) -> Pointwise:
    """The loss of each element."""
    operands = [(operand, dtype) for operand in ("x", "z", "k", *_WEIGHTS)]
    return Pointwise(f"{name}_elements_{dtypes.ALL[dtype].name}", text, operands, dtype, dtype)


@dataclass
class Loss:
    """An elementwise loss for a dtype."""

    name: str
    text: str
    weights: int
    dtype: int

    def launch(self, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
        """Launch it for rows of the arena."""
        how, extras = attributes[0], attributes[2]
        parameter = float(number(attributes[1], FLOAT64))
        addresses = [dense(g, place) for place, g in enumerate(inputs)]
        n = inputs[0].numel
        if how == _ELEMENTS:
            given = [Operand(a, False, (1,)) for a in addresses]
            weights = iter(given[2:])
            ones = self._number(1.0)
            operands = [*given[:2], self._number(parameter)]
            operands += [next(weights) if extras & bit else ones for bit in _WEIGHTS.values()]
            kernel = elements(self.name, self.text, self.dtype)
            kernel.launch(n, (n,), Operand(out.address, False, (1,)), operands)
            return
        part = reductions.Reduction.part((1, n, 1))
        parts = max(-(-n // part), 1)
        between = memory.scratch(parts * itemsize(out))
        values = [parameter, *(1.0 for bit in _WEIGHTS.values() if not extras & bit)]
        fold = summed(self.name, self.text, self.dtype, extras)
        fold.launch((1, n, 1), [between, *addresses], values, part)
        rest = reductions.FORWARD["mean" if how == _MEAN else "sum"](self.dtype).rest
        rest.launch((1, parts, 1), [out.address, between], [float(n), 0.0])

    def _number(self, value: float) -> Operand:
        packed = struct.pack("<f" if self.dtype == FLOAT32 else "<d", value).ljust(8, b"\0")
        return Operand(struct.unpack("<q", packed)[0], True, (0,))

    def kernels(self) -> Iterator[Kernel]:
        """The kernels, for the inventory."""
        for extras in range(1 << self.weights):
            yield summed(self.name, self.text, self.dtype, extras).form(True)
        yield from elements(self.name, self.text, self.dtype).kernels()


def _made(name: str, text: str, weights: int = 0) -> Callable[[int], Loss | None]:
    return only_floats(lambda dtype: Loss(name, text, weights, dtype))


_FORMULAS = {
    "mse_loss": (loss_formulas.MSE, 0),
    "l1_loss": (loss_formulas.L1, 0),
    "smooth_l1_loss": (loss_formulas.SMOOTH_L1, 0),
    "huber_loss": (loss_formulas.HUBER, 0),
    "binary_cross_entropy": (loss_formulas.BCE, 1),
    "binary_cross_entropy_with_logits": (loss_formulas.BCE_LOGITS, 2),
}


# ---------------------------------------------------------------- negative log-likelihood
@functools.cache
def chosen(dtype: int) -> Each:
    """Minus the log-probability of each target, weighted by its class; 0 for one that is ignored."""
    text = """
c = target[i]
value = T(0)
if c != ignored:
    if c >= 0 and c < C:
        n = i // S
        value = -x[(n * C + c) * S + i - n * S]
        if has != 0:
            value *= weight[c]
    else:
        fault[0] = 1
out[i] = value
"""
    parameters = (
        "T* out, T* x, int* target, T* weight, int* fault, int C, int S, int ignored, int has"
    )
    return Each("nll_loss", dtype, parameters, text)


def _nll(dtype: int, out: Geometry, inputs: Sequence[Geometry], attributes: Sequence[int]) -> None:
    """The losses, which are reduced by ops."""
    x, target = inputs[:2]
    addresses = [out.address, dense(x), dense(target, 1)]
    addresses.append(dense(inputs[2], 2) if len(inputs) == 3 else x.address)
    classes = x.shape[0] if len(x.shape) == 1 else x.shape[1]
    numbers = (classes, math.prod(x.shape[2:]), attributes[0], int(len(inputs) == 3))
    chosen(dtype).launch(target.numel, *addresses, memory.fault(), *numbers)


LAUNCHERS: dict[str, Callable[[int], Any]] = {
    name: _made(name, formulas.value, weights) for name, (formulas, weights) in _FORMULAS.items()
}
for _name in ("nll_loss", "nll_loss_nd"):
    LAUNCHERS[_name] = only_floats(launcher(_nll, chosen))
