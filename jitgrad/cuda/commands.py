"""Launching what the arena has put into its list (`jitgrad.arena.devices` says what a command holds)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad import dtypes
from jitgrad.arena import columns as col
from jitgrad.arena.command_words import EXPLICIT, LANES, NUMBER, PLAN, ROW_GEOMETRY, SUM_TO
from jitgrad.arena.engine import address_of, entry, mend
from jitgrad.arena.header import Fault, header
from jitgrad.cuda import copies, kernels, memory, streams
from jitgrad.cuda.geometry import Geometry, Plan
from jitgrad.cuda.pointwise import Operand, Pointwise


def launch() -> None:
    """Launch all commands that wait, in their order, on this thread's stream.

    Raises
    ------
    MemoryError
        If the list had no room for one.
    """
    with streams.in_order:
        words = np.frombuffer(entry.commands(), np.int64).tolist()
        before, memory.naming = memory.naming, words
        at = 0
        try:
            while at < len(words):
                _launch(words[at : at + words[at]])
                at += words[at]
        finally:
            memory.naming = before
        if header[col.H_COMMANDS_LOST]:
            header[col.H_COMMANDS_LOST] = 0
            raise MemoryError("jitgrad's arena")


def launching(function: Callable[..., Any], *args: Any) -> Any:
    """Call an entry that asks for the GPU's memory and launches, and launch them on this thread's stream."""
    with streams.in_order:
        header[col.H_STREAM] = streams.number()
        try:
            return function(*args)
        finally:
            launch()


def called(name: str, *args: Any) -> Any:
    """What an entry returns when it is called for the GPU, once nothing is missing any more."""
    while True:
        try:
            return launching(entry.on_device, address_of(name), *args)
        except Fault as fault:
            mend(fault.args, args)


def _launch(command: Sequence[int]) -> None:
    _, kind, kernel, *words = command
    if kind == PLAN:
        plan, _ = _plan(words)
        _pointwise(kernel, plan)
    elif kind == LANES:
        kernels.launcher(kernel).launch(words)
    elif kind == EXPLICIT:
        first = 1 + col.ATTR_WORDS
        size = ROW_GEOMETRY
        rows = [
            _geometry(words[first + i * size : first + (i + 1) * size]) for i in range(1 + words[0])
        ]
        kernels.launcher(kernel).launch(rows[0], rows[1:], words[1:first])
    elif kind == SUM_TO:
        plan, (m,) = _plan(words)
        kernels.sum_to(plan, m, bool(kernel))
    else:
        plan, values = _plan(words)
        kernels.launcher(kernel).launch(plan, values)


def _plan(words: Sequence[int]) -> tuple[Plan, Sequence[int]]:
    n, count, ndim = words[:3]
    shape = tuple(words[3 : 3 + ndim])
    at = 3 + ndim
    operands, sizes = [], []
    for _ in range(count):
        address, size, what = words[at : at + 3]
        strides = tuple(s // size for s in words[at + 3 : at + 3 + ndim])
        operands.append(Operand(address, what == NUMBER, strides))
        sizes.append(size)
        at += 3 + ndim
    return Plan(n, shape, operands, sizes), words[at:]


def _geometry(words: Sequence[int]) -> Geometry:
    address, dtype, ndim, numel = words[:4]
    strides = words[4 + col.MAX_DIMS :]
    return Geometry(address, dtype, numel, tuple(words[4 : 4 + ndim]), tuple(strides[:ndim]))


_ADD = {
    col.H_ADD32: dtypes.float32.code,
    col.H_ADD64: dtypes.float64.code,
}
_additions = {
    slot: Pointwise(f"accumulate_{dtypes.ALL[d].name}", "x + z", [("x", d), ("z", d)], d, d)
    for slot, d in _ADD.items()
}


def _pointwise(kernel: int, plan: Plan) -> None:
    found = None
    if kernel == 0:
        found = copies.COPIES[plan.sizes[0]]
    for slot, addition in _additions.items():
        # The CPU's kernel that adds gradients stands for the GPU's.
        if kernel == header[slot]:
            found = addition
    if found is None:
        found = kernels.launcher(kernel)
    found.launch(plan.n, plan.shape, plan.operands[0], plan.operands[1:])
