"""Measure the time from a fresh process to the first gradient of a small perceptron.

    python -m benchmarks.startup

jitgrad with a filled cache of compiled code and with an empty one, beside PyTorch; importing NumPy
alone is the control, which tells a slow machine. The libraries take turns; medians are shown.
Both caches lie in temporary folders (`JITGRAD_CACHE_DIR`), the user's own is left alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jitgrad.bench.results import duration

FIRST_GRADIENT = """
x = T.tensor([[0.1 * i - 0.2 * j for i in range(4)] for j in range(8)])
w1 = T.tensor([[0.1 * i - 0.1 * j for i in range(4)] for j in range(5)], requires_grad=True)
b1 = T.tensor([0.1] * 5, requires_grad=True)
w2 = T.tensor([[0.1 * j - 0.1 * i for i in range(5)] for j in range(3)], requires_grad=True)
b2 = T.tensor([0.1] * 3, requires_grad=True)
linear = T.nn.functional.linear
scores = linear(T.relu(linear(x, w1, b1)), w2, b2)
T.nn.functional.cross_entropy(scores, T.tensor([0, 1, 2, 0, 1, 2, 0, 1])).backward()
assert w1.grad.shape == w1.shape
"""
#: What a first gradient may take: of torch's time with a warm cache, and in seconds with an empty one.
WARM_PART, FIRST_SECONDS = 0.3, 8.0
CHILD = f"""
import time
begin = time.perf_counter()
import sys, importlib
T = importlib.import_module(sys.argv[1])
imported = time.perf_counter()
if sys.argv[1] != "numpy":
{"".join(f"    {line}" for line in FIRST_GRADIENT.strip().splitlines(keepends=True))}
print(imported - begin, time.perf_counter() - imported)
"""


@dataclass
class Start:
    """One way to start, and the seconds that each fresh process took."""

    library: str
    cache: str = "-"  # "warm", "empty", or "-" where there is none
    importing: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)  # the whole process, Python included

    def ready(self) -> float:
        """Return the median time of import and first gradient together."""
        return median(a + b for a, b in zip(self.importing, self.gradient, strict=True))


def goal(start: Start, starts: list[Start]) -> tuple[str, bool] | None:
    """The goal of a start in words, and whether it is met; None if it has none."""
    torch = next((s for s in starts if s.library == "torch"), None)
    if start.cache == "warm" and torch is not None:
        return f"{WARM_PART:g} torch", start.ready() <= WARM_PART * torch.ready()
    if start.cache == "empty":
        return duration(FIRST_SECONDS), start.ready() <= FIRST_SECONDS
    return None


def users_own() -> dict[str, str]:
    """The environment, with bytecode kept as it is for anybody who installs the package."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def fresh(library: str, cache: str | None) -> tuple[float, float, float]:
    """Run a fresh process and return the seconds of import, first gradient, whole process."""
    environment = users_own()
    if cache is not None:
        environment |= {"JITGRAD_CACHE_DIR": cache, "NUMBA_CACHE_DIR": str(Path(cache, "numba"))}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, library],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    process = time.perf_counter() - begin
    importing, gradient = map(float, done.stdout.split()[-2:])
    return importing, gradient, process


def measure(candidate: str, rounds: int) -> Iterator[Start]:
    """Start every library `rounds` times, in turns, and yield what each took."""
    starts = [Start("numpy"), Start("torch"), Start(candidate, "warm"), Start(candidate, "empty")]
    with TemporaryDirectory() as warm:
        fresh(candidate, warm)  # fills the cache
        for _ in range(rounds):
            for start in starts:
                with ExitStack() as stack:
                    empty = stack.enter_context(TemporaryDirectory())
                    cache = {"-": None, "warm": warm, "empty": empty}[start.cache]
                    importing, gradient, process = fresh(start.library, cache)
                start.importing.append(importing)
                start.gradient.append(gradient)
                start.process.append(process)
    yield from starts


def table(starts: list[Start], plain: bool) -> Table:
    """Lay the medians out."""
    view = Table(box=None) if plain else Table()
    for name in ("library", "cache"):
        view.add_column(name)
    for name in ("import", "first gradient", "both", "whole process"):
        view.add_column(name, justify="right")
    for start in starts:
        gradient = "-" if start.library == "numpy" else duration(median(start.gradient))
        times = (duration(start.ready()), duration(median(start.process)))
        view.add_row(
            start.library, start.cache, duration(median(start.importing)), gradient, *times
        )
    return view


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Fresh processes of each kind.")] = 5,
    candidate: Annotated[str, typer.Option(help="Module to start beside torch.")] = "jitgrad",
    out: Annotated[Path | None, typer.Option("--json", help="File for all times.")] = None,
) -> None:
    """Measure the time from a fresh process to the first gradient."""
    console = Console(highlight=False)
    with Console(stderr=True).status("starting processes"):
        starts = list(measure(candidate, rounds))
    console.print(table(starts, plain=not console.is_terminal))
    if out is not None:
        out.write_text(json.dumps([asdict(start) for start in starts], indent=1))


if __name__ == "__main__":
    typer.run(main)
