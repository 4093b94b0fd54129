"""From a row of the op table to the function that is compiled for it.  Called by the compiler only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import SAVED_OUT
from jitgrad.dtypes import ALL, FIRST_HALF, float32
from jitgrad.kernels.compiler import by_name
from jitgrad.kernels.pointwise import kernel
from jitgrad.ops.table import KERNEL, LANES, OPERANDS, OPS, POINTWISE


def kernels_of(number: int, dtype: int, which: int) -> tuple[Callable[..., Any], int]:
    """The function to compile for a kernel, and how many int64 it takes.

    ``which`` is 0 for forward, ``i + 1`` for the gradient of input ``i``.
    """
    op = OPS[number]
    if op.family in (KERNEL, LANES):
        target = op.forward if which == 0 else op.vjps[which - 1]
        assert target is not None
        if ":" in target:
            return by_name(target)(dtype), 2
        # The gradient of an op along dims, as a formula: operands g, then what it reads, then n.
        needs = op.needs[0]
        operands = [("g", dtype)]
        operands += [(name, dtype) for name, bit in (("x", 1), ("y", SAVED_OUT)) if needs & bit]
        operands.append(("n", dtype))
        return kernel(target, operands, dtype, dtype, f"{op.name}_{ALL[dtype].name}_dx"), 2
    assert op.family == POINTWISE, op.name
    mask = [0 if op.masks & (1 << i) else dtype for i in range(len(OPERANDS))]
    name = f"{op.name}_{ALL[dtype].name}"
    if which == 0:
        result = op.result if op.result >= 0 else 0 if op.rule == "bool" else dtype
        operands = [(OPERANDS[i], mask[i]) for i in range(op.nin)]
        if result != dtype and dtype >= FIRST_HALF:
            dtype = float32.code
        return kernel(op.forward, operands, dtype, result, name), 2
    i = which - 1
    needs = op.needs[i]
    operands = [("g", dtype)]
    operands += [(OPERANDS[j], mask[j]) for j in range(op.nin) if needs & (1 << j)]
    if needs & SAVED_OUT:
        operands.append(("y", dtype))
    text = op.vjps[i]
    assert text is not None
    return kernel(text, operands, dtype, dtype, f"{name}_d{OPERANDS[i]}"), 2
