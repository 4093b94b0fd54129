"""Consoles and tables: with colours and lines on a terminal, plain text where it is piped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jitgrad.bench.comparing import FASTER, SLOWER, Change
from jitgrad.bench.goals import Verdict
from jitgrad.bench.results import Measurement, Report, duration, percent, size


def console() -> Console:
    """The console of results; wide if it is no terminal, so that nothing is cut off."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=240, color_system=None)


def new_table(columns: Sequence[str], left: int, plain: bool) -> Table:
    """A table whose first columns are words and whose others are numbers."""
    table = Table(box=None) if plain else Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        # On a narrow terminal names are broken, figures never.
        word = i < left
        table.add_column(
            name, justify="left" if word else "right", no_wrap=plain or not word, overflow="fold"
        )
    return table


def number(value: float | None) -> str:
    """Three digits."""
    return "-" if value is None else f"{value:.3g}"


def results(
    measurements: Sequence[Measurement],
    libraries: Sequence[str],
    plain: bool,
    verdicts: Mapping[str, Sequence[Verdict]] | None = None,
) -> Table:
    """A line per case: our figures, each peer's median and how ours stands to it, goals if there are any."""
    first, peers = libraries[0], libraries[1:]
    names = ["case", "median", "min", "spread", "GB/s", "GFLOP/s", "of peak"]
    table = new_table(names, 1, plain)
    for peer in peers:
        table.add_column(peer, justify="right", no_wrap=True)
        table.add_column(f"/ {peer}", justify="right", no_wrap=True)
    judged = verdicts is not None and any(verdicts.values())
    if judged:
        table.add_column("goal", no_wrap=plain, overflow="fold")
    rows: dict[str, dict[str, Measurement]] = {}
    for m in measurements:
        rows.setdefault(m.case, {})[m.library] = m
    for case, row in rows.items():
        mine = row[first]
        cells = [_median(mine), duration(mine.best, mine.nodes), percent(mine.spread)]
        cells += [number(mine.rate(mine.nbytes)), number(mine.rate(mine.flops))]
        cells.append(percent(mine.share))
        for peer in peers:
            theirs = row.get(peer)
            if theirs is None:
                cells += ["-", "-"]
                continue
            ratio = mine.median / theirs.median if mine.median and theirs.median else None
            cells += [_median(theirs), "-" if ratio is None else f"{ratio:.2f}"]
        if judged:
            assert verdicts is not None
            cells.append("; ".join(_coloured(v) for v in verdicts.get(case, ())))
        table.add_row(escape(case), *cells)
    return table


def _coloured(verdict: Verdict) -> str:
    return f"[{'green' if verdict.met else 'red'}]{escape(str(verdict))}[/]"


def summary(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """How many goals are met."""
    found = [verdict.met for each in verdicts.values() for verdict in each]
    return f"{sum(found)} of {len(found)} goals met"


def memory(measurements: Sequence[Measurement], libraries: Sequence[str], plain: bool) -> Table:
    """A line per case: the memory of each library, and how ours stands to it."""
    first, peers = libraries[0], libraries[1:]
    names = ["case", "memory", *(name for peer in peers for name in (peer, f"/ {peer}"))]
    table = new_table(names, 1, plain)
    rows: dict[str, dict[str, int | None]] = {}
    for m in measurements:
        rows.setdefault(m.case, {})[m.library] = m.memory
    for case, row in rows.items():
        mine = row.get(first)
        cells = [size(mine)]
        for peer in peers:
            theirs = row.get(peer)
            cells += [size(theirs), f"{mine / theirs:.2f}" if mine and theirs else "-"]
        table.add_row(escape(case), *cells)
    return table


def _median(m: Measurement) -> str:
    if m.error:
        return "[red]failed[/]"
    return "n/a" if m.cannot else duration(m.median, m.nodes)


def notes(report: Report) -> list[str]:
    """Why a library has no figure: a line for each reason, with the cases it is true of."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for m in report.measurements:
        text = f"failed: {m.error}" if m.error else m.cannot or m.note
        if text:
            reasons.setdefault((m.library, text), []).append(m.case)
    lines = []
    for (library, text), cases in reasons.items():
        more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
        lines.append(f"{library}: {text} ({', '.join(cases[:3])}{more})")
    return lines


def changes(found: Sequence[Change], plain: bool) -> Table:
    """How the times stand to the saved ones."""
    table = new_table(("case", "verdict", "time / saved", "chance"), 2, plain)
    colors = {SLOWER: "red", FASTER: "green"}
    for change in found:
        color = colors.get(change.verdict)
        verdict = f"[{color}]{change.verdict}[/]" if color else change.verdict
        ratio = "-" if change.ratio is None else f"{change.ratio:.2f}"
        table.add_row(escape(change.case), verdict, ratio, number(change.chance))
    return table
