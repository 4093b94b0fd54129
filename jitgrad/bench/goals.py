"""Whether goals are met: a case's time as a multiple of another library's, or of another case's per node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jitgrad.bench.case import Case, Goal
from jitgrad.bench.peers import OURS, PEERS
from jitgrad.bench.results import Measurement, Report

Time = Callable[[Measurement], float | None]


@dataclass(frozen=True)
class Verdict:
    """A goal, and the ratio that was measured."""

    goal: Goal
    ratio: float

    @property
    def met(self) -> bool:
        """Whether the ratio is within the limit."""
        return self.ratio <= self.goal.limit

    def __str__(self) -> str:
        # How a time stands to a peer's is in the tables already.
        ratio = "" if self.goal.of in PEERS else f" ({self.ratio:.2f})"
        return f"{self.goal.limit:g} {self.goal.of}: {'met' if self.met else 'missed'}{ratio}"


def judged(report: Report, cases: Mapping[str, Case], time: Time) -> dict[str, list[Verdict]]:
    """Judge every case of a report that has goals; what a goal is a multiple of must have been measured."""
    rows: dict[str, dict[str, Measurement]] = {}
    for m in report.measurements:
        rows.setdefault(m.case, {})[m.library] = m
    return {name: list(_verdicts(name, rows, cases, time)) for name in rows if name in cases}


def _verdicts(
    name: str, rows: dict[str, dict[str, Measurement]], cases: Mapping[str, Case], time: Time
) -> Iterator[Verdict]:
    mine = time(rows[name][OURS]) if OURS in rows[name] else None
    for goal in cases[name].goals:
        if goal.of in cases:  # another case of ours, per node
            other = rows.get(goal.of, {}).get(OURS)
            scale = (cases[goal.of].nodes or 1) / (cases[name].nodes or 1)
        else:
            other, scale = rows[name].get(goal.of), 1.0
        theirs = time(other) if other is not None else None
        if mine and theirs:
            yield Verdict(goal, mine / theirs * scale)
