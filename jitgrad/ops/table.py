"""The op table: what an op is, and the list of all of them.

An op is one row, made where its family lives (`pointwise`, `reductions`, `linalg`, ...).  Its number is
its place in ``OPS``; the arena and the kernel tables know it by that number only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jitgrad.arena import columns as col

#: Families: how the recorder finds the result's shape and runs the kernels.
POINTWISE = 0
VIEW = 1
KERNEL = 2  # result shape given by Python, kernels on rows
LANES = 3  # along dims: kernels on (A, R, B)

#: Rules by which the result's dtype follows from the operands'.
RULES = {
    "common": col.R_COMMON,
    "float": col.R_FLOAT,
    "bool": col.R_BOOL,
    "first": col.R_FIRST,
    "sum": col.R_SUM,
    "index": col.R_INDEX,
    "truth": col.R_TRUTH,
}

#: Names that a formula uses for its operands, in order; ``y`` is the result and ``g`` the cotangent.
OPERANDS = ("x", "z", "u", "v")


@dataclass(frozen=True)
class Op:
    """One row of the table.

    Attributes
    ----------
    name : str
        The op's name in the namespace.
    node : str
        What PyTorch calls its node in the graph, without ``Backward``: ``"Exp"``, ``"Sum"``, ...
    nin : int
        Number of operands (for ops of many inputs, such as ``cat``: 0).
    needs : tuple of int
        For each operand the values that its gradient reads: bit i for operand i, ``SAVED_OUT`` for the
        result.
    forward, vjps
        For a pointwise op: the formulas.  For any other: ``"module:function"`` of the kernels.
    """

    name: str
    node: str
    family: int
    nin: int
    forward: str
    vjps: tuple[str | None, ...] = ()
    needs: tuple[int, ...] = ()
    rule: str = "common"
    #: PyTorch's name of the node of a reduction that was given dims, where it is another.
    dims_node: str = ""
    masks: int = 0
    bits: int = 0
    aliases: int = 0
    result: int = -1
    number: int = field(default=-1, repr=False)  # no part of the name of a compiled kernel

    @property
    def differentiable(self) -> int:
        """Bit i is set if operand i has a gradient."""
        return sum(1 << i for i, vjp in enumerate(self.vjps) if vjp is not None)


OPS: list[Op] = []
BY_NAME: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Append a row; returns it with its number."""
    if op.name in BY_NAME:
        raise ValueError(f"there is an op named {op.name!r} already")
    object.__setattr__(op, "number", len(OPS))
    OPS.append(op)
    BY_NAME[op.name] = op
    return op


def register_in_place(op: Op, forward: str = "") -> Op:
    """The row of an op with kernels that writes over operand 0, which its gradients must not read.

    ``forward`` is its kernel; by default the op's own, which has to find its result's memory to be that of
    operand 0, contiguous.
    """
    bits = op.bits | col.OB_IN_PLACE
    return register(replace(op, name=f"{op.name}_", forward=forward or op.forward, bits=bits))


LEAF = register(Op("leaf", "AccumulateGrad", KERNEL, 0, ""))
# A custom function is a row without a value; each of its outputs is a row that passes its gradient on to it.
FUNCTION = register(Op("function", "Function", KERNEL, 0, "", ("python",) * col.MAX_INPUTS))
OUTPUT = register(Op("output", "Output", VIEW, 1, "", ("view",), (0,)))


def words(op: Op) -> list[int]:
    """The row as the arena's kernels see it (``O_*`` words)."""
    needs = list(op.needs) + [0] * (col.MAX_INPUTS - len(op.needs))
    row = [op.family, RULES[op.rule], op.bits, op.masks, *needs[: col.MAX_INPUTS]]
    row += [op.differentiable, op.aliases]
    return row + [0] * (col.O_WORDS - len(row))
