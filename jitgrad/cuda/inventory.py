"""All kernels of the GPU, to be compiled and assembled without one: ``python -m jitgrad.cuda.inventory``.

Prints a line a kernel: registers, bytes of shared memory, and for pointwise kernels how often an element
is read and written; ends with 1 if a kernel spills registers or reads an operand twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import assembling, kernels, products, reductions
from jitgrad.cuda.kernel import Kernel, Pointer
from jitgrad.cuda.lanes import Lanes
from jitgrad.cuda.pointwise import Pointwise
from jitgrad.cuda.target import ARCHITECTURES
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.ops.table import LANES, OPS, POINTWISE, Op


class Line(NamedTuple):
    """What is known of a kernel for a compute capability."""

    name: str
    capability: tuple[int, int]
    registers: int
    shared: int
    spilled: int
    loads: float
    stores: int


FLOATS = (dtypes.float32, dtypes.float64)


def _dtypes(op: Op) -> tuple[dtypes.dtype, ...]:
    from jitgrad.arena.columns import OB_NO_FLOAT

    return (dtypes.int32, dtypes.int64) if op.bits & OB_NO_FLOAT else FLOATS


def pointwise() -> Iterator[tuple[Pointwise, int]]:
    """Every pointwise kernel, with the number of operands that it reads."""
    for op in OPS:
        if op.family == POINTWISE and kernels.has(op, dtypes.float32.code, 0):
            for dtype in _dtypes(op):
                yield kernels.pointwise(op, dtype.code, 0), op.nin
                for i, vjp in enumerate(op.vjps):
                    if vjp is not None and dtype.code >= FIRST_FLOAT:
                        found = kernels.pointwise(op, dtype.code, i + 1)
                        yield found, len(found.operands)


def _lanes(found: object) -> Iterator[Lanes]:
    if isinstance(found, reductions.Reduction):
        yield from (found.once, found.parts, found.rest)
    elif isinstance(found, reductions.OneLaunch):
        yield found.kernel
    elif isinstance(found, reductions.Norm):
        for order in (0.0, 1.0, 2.0, 3.0, float("inf")):
            yield from _lanes(found.kernel(order))


def all_kernels() -> Iterator[Kernel]:
    """Every kernel, in its flat form or, along dims, in both."""
    for found, _ in pointwise():
        yield found.form(0, (False,) * len(found.operands))
    for op in OPS:
        if op.family == LANES:
            for dtype in FLOATS:
                for which in (0, 1):
                    for made in _lanes(reductions.find(op, dtype.code, which)):
                        yield made.form(True)
                        yield made.form(False)
    for dtype in (*FLOATS, dtypes.int64):
        yield products.Product(dtype.code).kernel


def line(kernel: Kernel, capability: tuple[int, int]) -> Line:
    """Compile and assemble a kernel; ``loads`` is how many reads there are for each write."""
    ptx = kernel.ptx(capability)
    found = assembling.assemble(ptx, capability)
    stores = ptx.count("st.global")
    # libdevice reads tables of constants (sin of a large float64) past the cache of data: "nc".
    reads = ptx.count("ld.global") - ptx.count("ld.global.nc")
    loads = reads / max(stores, 1)
    return Line(
        kernel.name, capability, found.registers, found.shared, found.spilled, loads, stores
    )


def reads_once(kernel: Kernel, found: Line) -> bool:
    """Whether a pointwise kernel reads each operand at most once for each element that it writes."""
    pointers = sum(isinstance(kind, Pointer) for kind in kernel.signature)
    return found.loads <= pointers - 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--capability", help="one compute capability, such as 9.0; all unless told")
    parser.add_argument("--every", type=int, default=1, help="only every so-manieth kernel")
    chosen = parser.parse_args()
    capabilities: tuple[tuple[int, int], ...] = ARCHITECTURES
    if chosen.capability:
        major, minor = chosen.capability.split(".")
        capabilities = ((int(major), int(minor)),)
    plain = {p.form(0, (False,) * len(p.operands)).name for p, _ in pointwise()}
    bad = []
    for kernel in list(all_kernels())[:: chosen.every]:
        for capability in capabilities:
            found = line(kernel, capability)
            print(*found, flush=True)
            if found.spilled or (kernel.name in plain and not reads_once(kernel, found)):
                bad.append(found)
    print(f"{len(bad)} spill or read twice", *bad, sep="\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
