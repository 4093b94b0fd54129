"""Where the time of a small expression goes, call by call: the time with a call less the time without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.tables import Profile
from jitgrad.bench.case import Case
from jitgrad.bench.measuring import in_turns, repeats_for
from jitgrad.bench.results import duration

SECONDS = 4.0
BACKWARD = "`.backward()`, gradients set to None"

#: Of a case: the expression, call by call.  What follows the last one is backward.
CALLS: dict[str, dict[str, Callable[..., Any]]] = {
    "A2": {
        "x * y": lambda _, x, y: x * y,
        ".exp()": lambda _, x, y: (x * y).exp(),
        ".sum()": lambda _, x, y: (x * y).exp().sum(),
    }
}


def possible(case: Case) -> bool:
    """Whether a case's calls are written down here."""
    return case.name in CALLS and case.program is not None


def on_floats() -> None:
    """As many calls of methods that do nothing, on Python's own numbers."""
    x, y = 1.5, 2.5
    (x * y).conjugate().conjugate().conjugate()


def profile(case: Case, title: str, libraries: Mapping[str, Any]) -> Profile:
    """Measure every beginning of an expression in every library, in turns."""
    calls = CALLS[case.name]
    assert case.program is not None
    runs: dict[str, Callable[[], object]] = {"floats": on_floats}
    for library, module in libraries.items():
        for name, function in calls.items():
            program = replace(case.program, tensors=function, part="forward")
            runs[f"{library} {name}"] = program.eager(module).run
        runs[f"{library} whole"] = case.program.eager(module).run
    repeats = {name: repeats_for(run) for name, run in runs.items()}
    best = dict.fromkeys(runs, float("inf"))
    for taken in in_turns(runs, repeats, 100, SECONDS):
        best = {name: min(best[name], seconds) for name, seconds in taken.items()}
    stages: dict[str, list[float]] = {}
    for library in libraries:
        before = 0.0
        for name in (*calls, "whole"):
            stages.setdefault(name, []).append(best[f"{library} {name}"] - before)
            before = best[f"{library} {name}"]
    stages[BACKWARD] = stages.pop("whole")
    whole = [sum(column) for column in zip(*stages.values(), strict=True)]
    stages["in all"] = whole
    rows = []
    for name, seconds in stages.items():
        cells = []
        for taken_, all_ in zip(seconds, whole, strict=True):
            cells += [duration(max(taken_, 0.0)), f"{100 * taken_ / all_:.0f}%"]
        rows.append([f"`{name}`" if name in calls else name, *cells])
    header = ["call", *(cell for library in libraries for cell in (library, "share"))]
    remark = (
        f"As many calls of methods of Python's floats, which do nothing, take {duration(best['floats'])}; "
        "the arithmetic of 4 elements takes some nanoseconds. The first call includes entering the work."
    )
    return Profile(title, header, rows, (0,), remark)
