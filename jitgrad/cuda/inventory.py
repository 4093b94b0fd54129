"""All kernels of the GPU, to be compiled and assembled without one: ``python -m jitgrad.cuda.inventory``.

Prints a line a kernel: registers, bytes of shared memory, and for pointwise kernels how often an element
is read and written; ends with 1 if a kernel spills registers or reads an operand twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import assembling, copies, kernels
from jitgrad.cuda.kernel import Kernel, Pointer
from jitgrad.cuda.pointwise import Pointwise
from jitgrad.cuda.target import ARCHITECTURES
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.ops.table import KERNEL, LANES, OPS, POINTWISE, Op


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


def pointwise() -> Iterator[Pointwise]:
    """Every pointwise kernel."""
    for op in OPS:
        if op.family == POINTWISE and kernels.has(op, dtypes.float32.code, 0):
            for dtype in _dtypes(op):
                yield kernels.pointwise(op, dtype.code, 0)
                for i, vjp in enumerate(op.vjps):
                    if vjp is not None and dtype.code >= FIRST_FLOAT:
                        yield kernels.pointwise(op, dtype.code, i + 1)


def all_kernels() -> list[Kernel]:
    """Every kernel once: pointwise in the flat form, along dims in both, by the order of the op table."""
    found: dict[str, Kernel] = {}

    def add(maker: Any) -> None:
        for kernel in maker.kernels() if maker is not None else ():
            found.setdefault(kernel.name, kernel)

    for made in pointwise():
        add(made)
    for op in OPS:
        if op.family not in (LANES, KERNEL):
            continue
        for dtype in (*FLOATS, dtypes.int64):
            add(kernels.maker(op, dtype.code, 0))
            if op.family == LANES and dtype.code >= FIRST_FLOAT:
                add(kernels.maker(op, dtype.code, 1))
    for copy in copies.COPIES.values():
        add(copy)
    return list(found.values())


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
    plain = {kernel.name for made in pointwise() for kernel in made.kernels()}
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
