"""Where the time of one op on many elements goes: around its kernel, in arithmetic, or in memory.

Each is measured with the same work on other sizes, which asks nothing of a library but to run it:

- *around it* is the time of the work on two elements: recording, allocating, Python;
- *in the kernel* is the rest of the time;
- *arithmetic* is what the kernel takes per element where its arrays stay in a cache, for as many elements and
  shared by as many threads;
- *a copy* is what the machine takes to copy as many bytes as the kernel has to move; reading alone, and what
  a cache holds, goes faster.

The *bound* is what comes closest to the whole time, of around, arithmetic and copy. With several threads
arithmetic is also compared undivided: a kernel may stay on one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import log
from typing import Any

from benchmarks.tables import Profile
from jitgrad.bench.case import Case
from jitgrad.bench.measuring import in_turns, repeats_for
from jitgrad.bench.operations import is_reduction
from jitgrad.bench.peaks import copy_rate
from jitgrad.bench.programs import Array, Program
from jitgrad.bench.results import duration, size

PARTS = ("forward", "backward")
#: What stays in a core's own cache together with a gradient, a cotangent and a result.
CACHED = 4096
SECONDS = 2.0
_BASE = 1  # the bit of the first operand in what a gradient needs


def possible(case: Case) -> bool:
    """Whether a case is an op of one square operand with a gradient."""
    program = case.program
    return bool(case.size) and program is not None and program.strided == (0,) == program.wanted


def moved(case: Case, part: str) -> float:
    """The bytes that the kernel reads and writes: a saved operand or result is read again in backward."""
    # asv imports this file beside the jitgrad of old commits: nothing but `jitgrad.bench` at the top.
    from jitgrad.arena.columns import SAVED_OUT
    from jitgrad.ops.table import OPS

    op = next(op for op in OPS if op.name == case.line.partition(":")[0])
    assert case.size is not None
    result = 0 if is_reduction(op.name) else 1
    if part == "forward":
        arrays = 1 + result
    else:
        saved = bool(op.needs[0] & _BASE) + result * bool(op.needs[0] & SAVED_OUT)
        arrays = result + saved + 1
    return float(4 * case.size * arrays)


def _cut(program: Program, rows: int, columns: int) -> list[Array]:
    return [x[:rows, :columns].copy() for x in program.data()]


def _programs(case: Case, part: str) -> dict[str, Program]:
    """The whole work, the same on fewer rows, which a cache holds, and on two elements."""
    assert case.program is not None
    whole = replace(case.program, part=part)
    columns = whole.data()[0].shape[1]
    rows = max(CACHED // columns, 1)
    cut = {"cached": (rows, columns), "tiny": (1, 2)}
    return {"whole": whole} | {
        name: replace(whole, data=partial(_cut, whole, *shape)) for name, shape in cut.items()
    }


def profile(case: Case, title: str, libraries: Mapping[str, Any], threads: int) -> Profile:
    """Measure an op's parts in every library, in turns."""
    rows = []
    for part in PARTS:
        programs = _programs(case, part)
        columns = programs["whole"].data()[0].shape[1]
        cached = max(CACHED // columns, 1) * columns
        works = {
            (library, name): program.eager(module).run
            for library, module in libraries.items()
            for name, program in programs.items()
        }
        runs = {" ".join(key): run for key, run in works.items()}
        repeats = {key: repeats_for(run) for key, run in runs.items()}
        best = dict.fromkeys(runs, float("inf"))
        for taken in in_turns(runs, repeats, 30, SECONDS):
            best = {key: min(best[key], seconds) for key, seconds in taken.items()}
        nbytes = moved(case, part)
        copy = nbytes / copy_rate(1 << int(nbytes).bit_length(), threads)
        for library in libraries:
            whole, small, tiny = (best[f"{library} {name}"] for name in programs)
            assert case.size is not None
            arithmetic = max(small - tiny, 0.0) * case.size / (cached * threads)
            kernel = max(whole - tiny, 1e-9)
            bounds = {"around it": tiny, "arithmetic": arithmetic, "memory": copy}
            if threads > 1:
                bounds["arithmetic, one thread"] = arithmetic * threads
            found = min(bounds, key=lambda name: abs(log(max(bounds[name], 1e-9) / whole)))
            rows.append([
                library, part, duration(whole), duration(tiny), duration(kernel),
                duration(arithmetic), duration(copy), size(nbytes),
                f"{nbytes / kernel / 1e9:.1f}", found,
            ])  # fmt: skip
    names = ["library", "part", "in all", "around it", "in the kernel", "arithmetic", "a copy"]
    header = [*names, "moved", "GB/s", "bound"]
    peak = copy_rate(1 << 27, threads) / 1e9
    remark = f"The machine copies large arrays at {peak:.1f} GB/s with as many threads."
    return Profile(title, header, rows, (0, 1, len(header) - 1), remark)
