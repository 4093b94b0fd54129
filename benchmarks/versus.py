"""Measure jitgrad beside PyTorch, and NumPy where a case is written by hand, in one process.

    python -m benchmarks.versus                        # every case, one thread
    python -m benchmarks.versus --only '^B' --threads 2 --json b.json

The libraries take turns, round by round, so that a busy moment of the machine meets them all; a
sample repeats the work for at least 20 ms, and medians over the rounds are compared. Before that,
every library's results must agree with PyTorch's. Exit code 1 says that some case failed to run
or gave other numbers; a goal that is missed shows in the table only.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .cases import CASES, Case, Goal, Prepared

SAMPLE_SECONDS = 0.02
CASE_SECONDS = 20.0  # a slow case gets fewer rounds, but at least three
MIN_ROUNDS = 3
RTOL = 1e-4

Libraries = dict[str, Any]  # column: namespace; the first is the candidate, the last is torch
REFERENCE = "torch"
BY_HAND = "numpy"


@dataclass
class Verdict:
    """Whether a goal was met."""

    limit: float
    of: str
    ratio: float

    @property
    def met(self) -> bool:
        """Say whether the ratio is within the limit."""
        return self.ratio <= self.limit


@dataclass
class Row:
    """What was measured of a case: seconds of one run of the work, a list per library."""

    name: str
    what: str
    nodes: int | None
    samples: dict[str, list[float]] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    error: str | None = None

    def seconds(self, library: str) -> float | None:
        """Return the median time of a library, None if it has none."""
        return median(self.samples[library]) if library in self.samples else None


def compare(case: Case, got: Prepared, expected: Prepared) -> None:
    """Raise AssertionError if the results of the last runs differ."""
    pairs = zip(got.results(), expected.results(), strict=True)
    for number, (value, reference) in enumerate(pairs):
        atol = case.atol * float(np.abs(reference).max())
        message = f"{case.name}: result {number} differs"
        np.testing.assert_allclose(value, reference, rtol=RTOL, atol=atol, err_msg=message)


def sample(run: Callable[[], object], repeats: int) -> float:
    """Return the mean seconds of a run over `repeats` runs, the garbage collector off."""
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in repeat(None, repeats):
            run()
        return (time.perf_counter() - begin) / repeats
    finally:
        gc.enable()


def repeats_for(run: Callable[[], object]) -> int:
    """Find how many runs fill a sample."""
    repeats = 1
    while True:
        seconds = repeats * sample(run, repeats)
        if seconds >= SAMPLE_SECONDS:
            return repeats
        growth = 1.2 * SAMPLE_SECONDS / max(seconds, 1e-9)
        repeats = max(repeats + 1, int(repeats * min(growth, 10.0)))


def prepare(case: Case, libraries: Libraries) -> dict[str, Prepared]:
    """Set the work up in each library, run it once and compare the results with the reference."""
    ready = {name: case.setup(namespace) for name, namespace in libraries.items()}
    if case.by_hand is not None:
        ready[BY_HAND] = case.by_hand()
    for work in ready.values():
        work.run()
    for name, work in ready.items():
        if name != REFERENCE:
            compare(case, work, ready[REFERENCE])
    return ready


def measure(case: Case, libraries: Libraries, rounds: int) -> Row:
    """Measure one case in all libraries, in turns."""
    row = Row(case.name, case.what, case.nodes)
    try:
        runs = {name: work.run for name, work in prepare(case, libraries).items()}
        repeats = {name: repeats_for(run) for name, run in runs.items()}
        row.samples = {name: [] for name in runs}
        begin = time.perf_counter()
        for done in range(rounds):
            if done >= MIN_ROUNDS and time.perf_counter() - begin > CASE_SECONDS:
                break
            gc.collect()
            turns = list(runs.items())
            for name, run in reversed(turns) if done % 2 else turns:
                row.samples[name].append(sample(run, repeats[name]))
    except Exception as error:  # a candidate may lack what a case needs: the others still count
        row.samples = {}
        row.error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def judge(goal: Goal, row: Row, rows: dict[str, Row], candidate: str) -> Verdict | None:
    """Compare a time with what the goal is a multiple of; None if that was not measured."""
    mine = row.seconds(candidate)
    if goal.of in rows:
        other = rows[goal.of]
        theirs = other.seconds(candidate)
        scale = (other.nodes or 1) / (row.nodes or 1)
    else:
        theirs, scale = row.seconds(goal.of), 1.0
    if mine is None or theirs is None:
        return None
    return Verdict(goal.limit, goal.of, mine / theirs * scale)


def duration(seconds: float | None, nodes: int | None = None) -> str:
    """Write a time with three digits and its unit, per node if there is a number of nodes."""
    if seconds is None:
        return "-"
    if nodes is not None:
        return f"{1e9 * seconds / nodes:.0f} ns/node"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def table(rows: list[Row], columns: list[str], plain: bool) -> Table:
    """Lay the rows out, with the medians, the ratio to the reference and the goals."""
    view = Table(box=None) if plain else Table()
    view.add_column("case", no_wrap=True)
    view.add_column("work")
    for name in columns:
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column(f"/ {REFERENCE}", justify="right", no_wrap=True)
    view.add_column("goal", no_wrap=True)
    view.add_column("met", no_wrap=True)
    for row in rows:
        medians = [row.seconds(name) for name in columns]
        mine, reference = medians[0], row.seconds(REFERENCE)
        ratio = f"{mine / reference:.2f}" if mine and reference else "-"
        goals = [f"<= {v.limit:g} {v.of} (is {v.ratio:.2f})" for v in row.verdicts]
        met = ["[green]yes[/]" if v.met else "[red]no[/]" for v in row.verdicts]
        times = [duration(seconds, row.nodes) for seconds in medians]
        what = f"[red]{escape(row.error)}[/]" if row.error else escape(row.what)
        view.add_row(row.name, what, *times, ratio, "\n".join(goals), "\n".join(met))
    return view


def about(libraries: Libraries, threads: int) -> dict[str, Any]:
    """Describe the machine and the versions."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": threads,
        "numpy": np.__version__,
        **{name: getattr(library, "__version__", "?") for name, library in libraries.items()},
    }


def as_json(rows: list[Row], facts: dict[str, Any]) -> str:
    """Write everything that was measured, samples too, as JSON."""
    cases = [
        asdict(row)
        | {"medians": {name: row.seconds(name) for name in row.samples}}
        | {"verdicts": [asdict(v) | {"met": v.met} for v in row.verdicts]}
        for row in rows
    ]
    return json.dumps({"about": facts, "cases": cases}, indent=1)


def load(name: str) -> Any:
    """Import a library, or end with exit code 1 and say which one is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        Console(stderr=True).print(f"{name} is not installed, and is one of the two to compare")
        raise typer.Exit(1) from None


def limit_blas(threads: int) -> AbstractContextManager[object]:
    """Limit the threads of NumPy's BLAS, if threadpoolctl is there."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(threads, user_api="blas")
    return limits


def main(
    only: Annotated[str, typer.Option(help="Regular expression for the cases' names.")] = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every library.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each library.")] = 9,
    out: Annotated[Path | None, typer.Option("--json", help="File for all samples.")] = None,
    candidate: Annotated[str, typer.Option(help="Module to compare with torch.")] = "jitgrad",
) -> None:
    """Measure jitgrad beside PyTorch and hold it against its goals."""
    chosen = [case for name, case in CASES.items() if re.search(only, name)]
    if not chosen:
        raise typer.BadParameter(f"no case matches; there are {', '.join(CASES)}")
    mine = f"{candidate} (candidate)" if candidate == REFERENCE else candidate
    libraries = {mine: load(candidate), REFERENCE: load(REFERENCE)}
    rows: dict[str, Row] = {}
    console, status = Console(highlight=False), Console(stderr=True)
    with limit_blas(threads), status.status("measuring") as spinner:
        for library in libraries.values():
            library.set_num_threads(threads)
        for case in chosen:
            spinner.update(f"measuring {case.name}")
            rows[case.name] = measure(case, libraries, rounds)
    for row in rows.values():
        verdicts = (judge(goal, row, rows, mine) for goal in CASES[row.name].goals)
        row.verdicts = [verdict for verdict in verdicts if verdict is not None]
    facts = about(libraries, threads)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    columns = [*libraries, BY_HAND]
    console.print(table(list(rows.values()), columns, plain=not console.is_terminal))
    goals = [verdict.met for row in rows.values() for verdict in row.verdicts]
    console.print(f"{sum(goals)} of {len(goals)} goals met")
    if out is not None:
        out.write_text(as_json(list(rows.values()), facts))
    if any(row.error for row in rows.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
