"""Measure jitgrad beside PyTorch, and NumPy where a case is written by hand, in one process.

    python -m benchmarks.versus                        # every case, one thread
    python -m benchmarks.versus --only '^B' --threads 2 --json b.json

The libraries take turns, round by round, so that a busy moment of the machine meets them all; a
sample repeats the work for at least 20 ms, and medians over the rounds are compared. Before that,
every library's results must agree with PyTorch's. Exit code 1 says that some case failed to run
or gave other numbers; a goal that is missed shows in the table only.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jitgrad.bench.case import Case, Goal, Prepared
from jitgrad.bench.cases import CASES
from jitgrad.bench.measuring import compare, error_text, in_turns, repeats_for
from jitgrad.bench.peers import PEERS, limit_blas
from jitgrad.bench.results import duration

CASE_SECONDS = 20.0  # a slow case gets fewer rounds, but at least three

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


def prepare(case: Case, libraries: Libraries) -> dict[str, Prepared]:
    """Set the work up in each library, run it once and compare the results with the reference."""
    ready = {name: case.setup(namespace) for name, namespace in libraries.items()}
    if "numpy" in case.ways or case.program is not None and case.program.by_hand is not None:
        ready[BY_HAND] = PEERS[BY_HAND].prepare(case, np)
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
        for taken in in_turns(runs, repeats, rounds, CASE_SECONDS):
            for name, seconds in taken.items():
                row.samples[name].append(seconds)
    except Exception as error:  # a candidate may lack what a case needs: the others still count
        row.samples = {}
        row.error = error_text(error)
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
