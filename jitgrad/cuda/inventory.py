"""All kernels of the GPU, compiled and assembled without one: ``python -m jitgrad.cuda.inventory``.

Prints a line a kernel and compute capability.  ``--write`` goes through all of them and makes the table of
the docs (`docs/cuda-kernels.md`), ``--new --write`` only through those that have no row there (delete the
rows of changed ones first); ``--check`` compares with it; ``--sample`` takes only some of all families.  Ends
with 1 if a kernel spills registers, reads an operand twice, computes a place in memory in 32 bits, or is not
what the table says.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad import dtypes
from jitgrad.cuda import assembling, copies, kernels, ordering, widths
from jitgrad.cuda.kernel import Kernel, Pointer
from jitgrad.cuda.pointwise import Pointwise
from jitgrad.cuda.target import ARCHITECTURES
from jitgrad.cuda.updates import Update
from jitgrad.dtypes import FIRST_FLOAT
from jitgrad.ops.table import BY_NAME, KERNEL, LANES, OPS, POINTWISE, Op

if TYPE_CHECKING:
    from jitgrad.optim.rules import Rule


class Line(NamedTuple):
    """What is known of a kernel for a compute capability."""

    name: str
    capability: tuple[int, int]
    registers: int
    shared: int
    spilled: int
    loads: float
    wrong: str


FLOATS = (dtypes.float32, dtypes.float64)
TABLE = Path(__file__).parents[2] / "docs" / "cuda-kernels.md"


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


def _rules() -> Iterator[Rule]:
    """What the optimisers do with their default options."""
    from jitgrad import optim
    from jitgrad.creation import zeros
    from jitgrad.optim.ruled import RuleOptimizer

    for name in optim.__all__:
        found: Any = getattr(optim, name)
        if getattr(found, "_rule", RuleOptimizer._rule) is not RuleOptimizer._rule:
            optimiser: Any = found([zeros(1)])
            yield optimiser._rule(optimiser.param_groups[0])[0]
    sgd = optim.SGD([zeros(1)], momentum=0.9)
    yield sgd._pair(sgd.param_groups[0], False)[0]


def all_kernels() -> list[Kernel]:
    """Every kernel once: by formulas (pointwise in the flat form, along dims in both), then all others."""
    found: dict[str, Kernel] = {}

    def add(made: Iterable[Kernel]) -> None:
        for kernel in made:
            found.setdefault(kernel.name, kernel)

    def launched(op: Op, dtype: int, which: int) -> None:
        maker = kernels.maker(op, dtype, which)
        if maker is not None:
            add(maker.kernels())

    for each in pointwise():
        add(each.kernels())
    for op in (*_of(LANES), *_of(KERNEL)):
        for dtype in (*FLOATS, dtypes.int64):
            launched(op, dtype.code, 0)
            if op.family == LANES and dtype.code >= FIRST_FLOAT:
                launched(op, dtype.code, 1)
    for dtype in (*FLOATS, dtypes.int64):
        add(ordering.kernels(dtype.code))
    for copy in copies.COPIES.values():
        add(copy.kernels())
        add(copy.form(ndim, (False,)) for ndim in (1, 2, 3, 4))
    for rule in _rules():
        add(Update(rule, dtype.code).kernel for dtype in FLOATS)
    # Any pointwise kernel has strided forms; these stand for them.
    wheres = kernels.pointwise(BY_NAME["where"], dtypes.float32.code, 0)
    add(wheres.form(ndim, (False,) * 3) for ndim in (1, 2, 3, 4))
    return list(found.values())


def _of(family: int) -> list[Op]:
    return [op for op in OPS if op.family == family]


def sample() -> list[int]:
    """The numbers of some kernels: few of the many that are made of formulas, more of the others."""
    names = [kernel.name for kernel in all_kernels()]
    first = names.index("product_float32")
    return [*range(0, first, 60), *range(first, len(names), 5)]


def line(kernel: Kernel, capability: tuple[int, int], plain: bool = False) -> Line:
    """Compile and assemble a kernel; ``loads`` is how many reads there are for each write.

    A ``plain`` one reads each operand at most once for each element that it writes.
    """
    ptx = kernel.ptx(capability)
    found = assembling.assemble(ptx, capability)
    # libdevice reads tables of constants (sin of a large float64) past the cache of data: "nc".
    reads = ptx.count("ld.global") - ptx.count("ld.global.nc")
    loads = reads / max(ptx.count("st.global"), 1)
    wrong = []
    if found.spilled:
        wrong.append("spills registers")
    if plain and loads > sum(isinstance(kind, Pointer) for kind in kernel.signature) - 1:
        wrong.append("reads an operand twice")
    wrong += [f"a place is computed in 32 bits: {text}" for text in widths.narrow_places(ptx)[:1]]
    sizes = (found.registers, found.shared, found.spilled)
    return Line(kernel.name, capability, *sizes, loads, "; ".join(wrong))


def _part(numbers: list[int], capabilities: tuple[tuple[int, int], ...]) -> list[Line]:
    """The lines of the kernels with some numbers: a process's part of the work."""
    plain = {kernel.name for made in pointwise() for kernel in made.kernels()}
    found = all_kernels()
    return [line(found[i], c, found[i].name in plain) for i in numbers for c in capabilities]


def lines(
    numbers: list[int], capabilities: tuple[tuple[int, int], ...] = ARCHITECTURES
) -> list[Line]:
    """The lines of the kernels with some numbers, by as many processes as there are processors, to 4."""
    workers = min(os.cpu_count() or 1, 4)
    parts = [numbers[i : i + 16] for i in range(0, len(numbers), 16)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        done = pool.map(_part, parts, [capabilities] * len(parts))
        return [found for part in done for found in part]


# ---------------------------------------------------------------- the table
def versions() -> str:
    """The programs that make the machine code."""
    from importlib.metadata import version

    return f"numba-cuda {version('numba-cuda')}, nvJitLink {version('nvidia-nvjitlink')}"


def rows(found: list[Line]) -> dict[str, str]:
    """Rows of the table by the kernel's name: registers for each capability, and shared memory."""
    by_name: dict[str, list[Line]] = {}
    for each in found:
        by_name.setdefault(each.name, []).append(each)
    table = {}
    for name, of_it in by_name.items():
        shared = dict.fromkeys(str(each.shared) for each in of_it)
        cells = [name, *(str(each.registers) for each in of_it), " / ".join(shared)]
        table[name] = f"| {' | '.join(cells)} |"
    return table


def written(table: list[str]) -> str:
    """The text of the docs' page with these rows."""
    names = [f"{major}.{minor}" for major, minor in ARCHITECTURES]
    head = f"| kernel | {' | '.join(names)} | shared memory, bytes |"
    return "\n".join(
        [
            "# The kernels of the GPU",
            "",
            "Of every kernel the registers of a thread, for each compute capability, and the shared memory",
            "of a block: compiled and assembled without a GPU. None spills registers. Made by",
            "`python -m jitgrad.cuda.inventory --write`, compared with what is compiled by `tests/gpu`.",
            "",
            f"{len(table)} kernels, {versions()}.",
            "",
            head,
            f"| --- |{' --- |' * (len(names) + 1)}",
            *table,
            "",
        ]
    )


def pinned() -> dict[str, str]:
    """The rows of the docs' page by the kernel's name."""
    text = TABLE.read_text() if TABLE.exists() else ""
    return {row.split(" | ")[0][2:]: row for row in text.splitlines() if row.startswith("| ")}


def differences(found: list[Line]) -> list[str]:
    """Where kernels and table are not the same: their names, and the rows that are given."""
    have = pinned()
    names = {kernel.name for kernel in all_kernels()}
    known = set(have) - {"kernel", "---"}
    wrong = [f"no row for {name}" for name in sorted(names - known)]
    wrong += [f"a row for {name}, which is no kernel" for name in sorted(known - names)]
    if versions() in TABLE.read_text():
        wrong += [
            f"{row}, the table has {have.get(name)}"
            for name, row in rows(found).items()
            if have.get(name) != row
        ]
    return wrong


def main() -> None:
    """Print, write or check the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sample", action="store_true", help="only some of all families")
    which.add_argument("--new", action="store_true", help="only those that have no row there")
    parser.add_argument("--write", action="store_true", help="make docs/cuda-kernels.md")
    parser.add_argument("--check", action="store_true", help="compare with docs/cuda-kernels.md")
    chosen = parser.parse_args()
    if chosen.write and (chosen.sample or (chosen.new and versions() not in TABLE.read_text())):
        parser.error("rows of other versions, or of a sample, make no table: --write alone")
    names, have = [kernel.name for kernel in all_kernels()], pinned()
    numbers = list(range(len(names)))
    if chosen.sample:
        numbers = sample()
    elif chosen.new:
        numbers = [i for i in numbers if names[i] not in have]
    found = lines(numbers)
    for each in found:
        print(*each[:5], f"{each.loads:g}", each.wrong)
    wrong = [f"{each.name} {each.capability}: {each.wrong}" for each in found if each.wrong]
    if chosen.write:
        table = have | rows(found)
        TABLE.write_text(written([table[name] for name in names]))
    if chosen.check:
        wrong += differences(found)
    print(f"{len(wrong)} wrong", *wrong, sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
