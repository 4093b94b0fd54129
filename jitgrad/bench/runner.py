"""Measuring cases in jitgrad and its peers: prepared, checked, warmed up, then timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.bench.case import CannotDo, Case, Prepared
from jitgrad.bench.measuring import (
    SAMPLE_SECONDS,
    Clock,
    Work,
    compare,
    error_text,
    in_turns,
    repeats_for,
)
from jitgrad.bench.peaks import Peaks
from jitgrad.bench.peers import OURS, PEERS
from jitgrad.bench.results import Measurement

MOST_ROUNDS = 30
CONTROL = " control"


def control() -> Work:
    """Work of about 20 us in plain NumPy and Python, which no change of a library alters."""
    x = np.linspace(0.0, 1.0, 2048)
    y = np.empty_like(x)

    def run() -> int:
        np.exp(x, out=y)
        return sum(range(500))

    return run


def prepared(case: Case, libraries: Mapping[str, Any]) -> tuple[dict[str, Work], list[Measurement]]:
    """Set a case up in every library and check that all agree with ours; returns what will not be timed."""
    works: dict[str, Prepared] = {}
    out: list[Measurement] = []
    for name, module in libraries.items():
        try:
            work = PEERS[name].prepare(case, module)
            work.run()
            if OURS in works:
                compare(case, work, works[OURS])
            works[name] = work
        except (CannotDo, NotImplementedError) as error:
            out.append(blank(case, name, cannot=str(error)))
        except AssertionError as error:
            text = next((t for t in str(error).splitlines() if t.startswith("Max abs")), str(error))
            out.append(blank(case, name, error=f"other numbers than jitgrad's: {text.strip()}"))
        except Exception as error:  # any fault of a peer or a case is a line of the table
            out.append(blank(case, name, error=error_text(error)))
    return {name: work.run for name, work in works.items()}, out


def blank(case: Case, library: str, cannot: str = "", error: str = "") -> Measurement:
    """A measurement without samples."""
    return Measurement(
        case.name,
        case.what,
        library,
        nbytes=case.nbytes,
        flops=case.flops,
        nodes=case.nodes,
        size=case.size,
        line=case.line,
        cannot=cannot,
        error=error,
    )


def measure(
    case: Case,
    libraries: Mapping[str, Any],
    budget: float,
    peaks: Peaks | None = None,
    rounds: int = MOST_ROUNDS,
    clock: Clock = time.perf_counter,
) -> list[Measurement]:
    """Measure one case in all libraries in about `budget` seconds, and the control with them."""
    runs, found = prepared(case, libraries)
    while runs:
        try:
            found += _timed(case, runs, budget, rounds, clock)
            break
        except Exception as error:  # what ran in the first call may fail in a later one
            # Whose it was is not known, and asking in every run would be in the times.
            failed = {name: text for name, run in runs.items() if (text := _failure(run))}
            failed = failed or dict.fromkeys(runs, error_text(error))
            found += [blank(case, name, error=text) for name, text in failed.items()]
            runs = {name: run for name, run in runs.items() if name not in failed}
    for row in found:
        if peaks is not None and row.median:
            row.share = peaks.share(row.median, case)
    order = list(libraries)
    return sorted(found, key=lambda m: order.index(m.library))


def _failure(run: Work) -> str:
    try:
        run()
    except Exception as error:  # any: what a library cannot do is a line of the table
        return error_text(error)
    return ""


def _timed(
    case: Case, runs: Mapping[str, Work], budget: float, rounds: int, clock: Clock
) -> list[Measurement]:
    timed = {**runs, CONTROL: control()}
    each = min(SAMPLE_SECONDS, budget / (8 * len(timed)))
    repeats = {name: repeats_for(run, each, clock) for name, run in timed.items()}
    made = {name: blank(case, name) for name in runs}
    for taken in in_turns(timed, repeats, rounds, budget, clock):
        for name, row in made.items():
            row.samples.append(taken[name])
            row.control.append(taken[CONTROL])
    return list(made.values())


def run(
    cases: Sequence[Case],
    libraries: Mapping[str, Any],
    budget: float,
    peaks: Peaks | None = None,
    rounds: int = MOST_ROUNDS,
    before: Callable[[Case], None] = lambda case: None,
) -> Iterator[list[Measurement]]:
    """Measure case by case; one that fails is reported and the next one follows."""
    for case in cases:
        before(case)
        try:
            yield measure(case, libraries, budget, peaks, rounds)
        except Exception as error:  # any: a fault of one case must not lose the others
            yield [blank(case, name, error=error_text(error)) for name in libraries]
