"""What can be computed: one row an op (`table`), a file per family of ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.dtypes import ALL
from jitgrad.ops import casts, pointwise  # each adds its rows; the order is the numbering
from jitgrad.ops.table import OPERANDS, OPS, POINTWISE

__all__ = ["casts", "kernels_of", "pointwise"]


def kernels_of(number: int, dtype: int, which: int) -> tuple[Callable[..., Any], int]:
    """The function to compile for a kernel, and how many int64 it takes.

    ``which`` is 0 for forward, ``i + 1`` for the gradient of input ``i``.  Called by the compiler.
    """
    from jitgrad.arena.columns import SAVED_OUT
    from jitgrad.kernels.pointwise import kernel

    op = OPS[number]
    if op.family != POINTWISE:
        raise NotImplementedError(op.name)
    mask = [0 if op.masks & (1 << i) else dtype for i in range(len(OPERANDS))]
    name = f"{op.name}_{ALL[dtype].name}"
    if which == 0:
        result = op.result if op.result >= 0 else 0 if op.rule == "bool" else dtype
        operands = [(OPERANDS[i], mask[i]) for i in range(op.nin)]
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
