"""Which kernel of the GPU an op has: by a number, which stands where the CPU's has an address."""

from __future__ import annotations

from typing import Any

from jitgrad.arena.columns import MAX_DIMS, OB_FORMULA, OB_NO_INT, SAVED_OUT
from jitgrad.cuda import (
    convolution,
    gathering,
    joining,
    losses,
    memory,
    normalization,
    picking,
    products,
    reductions,
    scans,
    windows,
)
from jitgrad.cuda.geometry import Plan
from jitgrad.cuda.pointwise import Pointwise
from jitgrad.cuda.target import DTYPES, FLOAT32
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.dtypes import bool as bool_
from jitgrad.errors import no_cuda_kernel
from jitgrad.ops.table import LANES, OPERANDS, POINTWISE, Op

# What makes the launcher for a dtype, by the op's name: of ops along dims, and of any other.
_FORWARD: dict[str, Any] = {**reductions.FORWARD, **scans.FORWARD}
_BACKWARD: dict[str, Any] = {**reductions.BACKWARD, **scans.BACKWARD}
_EXPLICIT: dict[str, Any] = {
    name: make
    for module in (
        products,
        joining,
        picking,
        gathering,
        scans,
        normalization,
        windows,
        convolution,
        losses,
    )
    for name, make in module.LAUNCHERS.items()
}
#: Which inputs of an op follow the others from the CPU: plans, which are made once for each set of sizes,
#: and what indexes a tensor, as in PyTorch.
FOLLOWING: dict[str, tuple[int, ...]] = {
    **{f"max_pool{n}d": (2,) for n in (1, 2, 3)},
    "band": (1, 2),
    "remap": (1,),
    "unmap": (1,),
    "index": (1,),
    "index_put": (1,),
    "combine_indices": tuple(range(MAX_DIMS)),
}
_launchers: list[Any] = []
_numbers: dict[tuple[str, int, int], int] = {}


def launcher(number: int) -> Any:
    """What launches the kernel of a number."""
    return _launchers[number - 1]


def has(op: Op, dtype: int, which: int) -> bool:
    """Whether there is a kernel: ``which`` 0 is forward, ``i + 1`` the gradient of input ``i``."""
    return maker(op, dtype, which) is not None


def number_of(op: Op, dtype: int, which: int) -> int:
    """The number of a kernel.

    Raises
    ------
    NotImplementedError
        If there is none.
    """
    memory.device()
    key = (op.name, dtype, which)
    if key not in _numbers:
        found = maker(op, dtype, which)
        if found is None:
            raise no_cuda_kernel(f"{op.name}_{ALL[dtype].name}" if _known(op) else op.name)
        _numbers[key] = add(found)
    return _numbers[key]


def add(launcher: Any) -> int:
    """The number of a new kernel."""
    _launchers.append(launcher)
    return len(_launchers)


def _known(op: Op) -> bool:
    """Whether there is a kernel for other dtypes."""
    return maker(op, FLOAT32, 0) is not None


def maker(op: Op, dtype: int, which: int) -> Any:
    """What launches a kernel (see `has`), or None."""
    if ALL[dtype] not in DTYPES or (op.result >= 0 and ALL[op.result] not in DTYPES):
        return None
    if op.family == POINTWISE:
        return pointwise(op, dtype, which)
    if op.bits & OB_NO_INT and dtype < FIRST_FLOAT:
        return None
    if op.family == LANES:
        if which and op.bits & OB_FORMULA:
            return lanes_formula(op, dtype)
        return _made(_BACKWARD if which else _FORWARD, op.name, dtype)
    # The gradient of any other op is its recipe.
    return None if which else _made(_EXPLICIT, op.name, dtype)


def _made(table: dict[str, Any], name: str, dtype: int) -> Any:
    make = table.get(name)
    return None if make is None else make(dtype)


def pointwise(op: Op, dtype: int, which: int) -> Pointwise:
    """The kernel of a pointwise op."""
    kinds = [bool_.code if op.masks & (1 << i) else dtype for i in range(len(OPERANDS))]
    name = f"{op.name}_{ALL[dtype].name}"
    if which == 0:
        result = op.result if op.result >= 0 else bool_.code if op.rule == "bool" else dtype
        operands = [(OPERANDS[i], kinds[i]) for i in range(op.nin)]
        return Pointwise(name, op.forward, operands, dtype, result)
    i = which - 1
    text = op.vjps[i]
    assert text is not None
    operands = [("g", dtype)]
    operands += [(OPERANDS[j], kinds[j]) for j in range(op.nin) if op.needs[i] & (1 << j)]
    if op.needs[i] & SAVED_OUT:
        operands.append(("y", dtype))
    return Pointwise(f"{name}_d{OPERANDS[i]}", text, operands, dtype, dtype)


def lanes_formula(op: Op, dtype: int) -> Pointwise:
    """The gradient of an op along dims that is a formula: of g, what it reads, and n."""
    text = op.vjps[0]
    assert text is not None
    operands = [("g", dtype)]
    operands += [(name, dtype) for name, bit in (("x", 1), ("y", SAVED_OUT)) if op.needs[0] & bit]
    operands.append(("n", dtype))
    return Pointwise(f"{op.name}_{ALL[dtype].name}_dx", text, operands, dtype, dtype)


def sum_to(plan: Plan, m: int, uniform: bool) -> None:
    """Sum operand 0 of a plan over the dims along which operand 1, of ``m`` elements, stands still."""
    reductions.sum_to(plan, m, uniform)
