"""The memory that a case takes, in a fresh process for each library: how far the resident set grows at most.

The process imports the library and takes a gradient of four numbers; then the greatest resident set is
forgotten (Linux), the case is set up and run three times. What grew is data, results, what is saved, and code
of kernels; import, jitgrad's core, the interpreter and parts of shared libraries that were read meanwhile are
not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from jitgrad.bench.case import CannotDo, Case
from jitgrad.bench.results import Measurement

_STATUS = Path("/proc/self/status")
RUNS = 3


def named(name: str) -> Case:
    """A case by its name; an op's is ``op:part:dtype:layout:elements``."""
    from jitgrad.bench import operations
    from jitgrad.bench.cases import CASES
    from jitgrad.bench.workloads import WORKLOADS

    if ":" not in name:
        return {**CASES, **WORKLOADS}[name]
    op, part, dtype, layout, elements = name.split(":")
    return operations.case(op, part, int(elements), dtype, layout)


def peak(name: str, library: str, threads: int) -> int:
    """The bytes that a case takes in a library.

    Raises
    ------
    CannotDo
        If the library cannot do the case, or the system does not say.
    """
    if not _STATUS.exists():
        raise CannotDo("memory is measured on Linux only")
    command = [sys.executable, "-m", "jitgrad.bench.memory", name, library, str(threads)]
    # Bytecode is kept, as it is for anybody who installs a package: compiling a module takes memory.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CannotDo(f"memory: the process failed: {last[0]}")
    return int(json.loads(lines[-1]))


def add(found: list[Measurement], threads: int) -> None:
    """Measure the memory of what was timed; where it cannot be had, the reason is noted."""
    for m in found:
        if m.samples:
            try:
                m.memory = peak(m.case, m.library, threads)
            except CannotDo as error:
                m.note = str(error)


def _status(field: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise CannotDo(f"the system does not tell {field}")


def child(name: str, library: str, threads: int) -> int:
    """Measure in this process."""
    from jitgrad.arena import engine, parts
    from jitgrad.bench import peers

    case, module = named(name), peers.load(library, threads)
    if library == peers.OURS:
        # Its core is part of the library, as PyTorch's is; only it is loaded when it is used first.
        for number in range(len(parts.PARTS)):
            engine.load_part(number)
    if hasattr(module, "tensor"):
        x = module.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
        (x * x).sum().backward()
    before, mapped = _status("VmRSS"), _status("RssFile")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run = peers.PEERS[library].prepare(case, module).run
    for _ in range(RUNS):
        run()
    return max(_status("VmHWM") - before - (_status("RssFile") - mapped), 0)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(child(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
