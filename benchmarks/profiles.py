"""Profile what misses its goal: where its time goes, beside PyTorch's where that is the peer.

    python -m benchmarks.profiles                      # what misses its goal in `.performance/`
    python -m benchmarks.profiles --workloads A2,gpt   # these, with goals or without
    python -m benchmarks.profiles --workloads start    # a first start, with an empty cache

One op is split into memory, arithmetic and what is around its kernel (`benchmarks.kernel_times`), a small
expression into its calls (`call_times`), a step of many ops into its ops (`op_times`), a first start into its
stages (`stages`). Prints Markdown; two minutes in all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import call_times, kernel_times, op_times, stages, startup
from benchmarks.tables import Profile
from jitgrad.bench import goals, peers
from jitgrad.bench.case import Case
from jitgrad.bench.cases import CASES
from jitgrad.bench.measuring import error_text
from jitgrad.bench.results import Measurement, NotResults, Report, duration
from jitgrad.bench.workloads import WORKLOADS

RESULTS = Path(__file__).resolve().parents[1] / ".performance"
PROGRAMS = {**CASES, **WORKLOADS}
#: Starts of a process, beside the cases, and what the cache is.
STARTS = {"start": "empty", "start_warm": "warm"}
#: A case's name (or that of a start), the threads, and how it misses its goal.
Missed = tuple[str, int, str]


def best(m: Measurement) -> float | None:
    """The least time: on a shared machine the others' time slices are in a median."""
    return m.best


def missed(folder: Path) -> Iterator[Missed]:
    """What misses its goal in results of `benchmarks.performance`, a case and number of threads once."""
    found = set()
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        text = path.read_text(encoding="utf-8")
        if path.stem == "start":
            starts = [startup.Start(**start) for start in json.loads(text)]
            for start in starts:
                goal = startup.goal(start, starts)
                if goal is not None and not goal[1]:
                    name = next(n for n, cache in STARTS.items() if cache == start.cache)
                    yield name, 1, f"{duration(start.ready())}, goal {goal[0]}"
            continue
        try:
            report = Report.from_json(text)
        except NotResults:
            continue
        if any(m.memory is not None for m in report.measurements):  # timed in passing
            continue
        threads = int(report.about["threads"])
        for name, verdicts in goals.judged(report, PROGRAMS, best).items():
            for verdict in verdicts:
                if not verdict.met and (name, threads) not in found:
                    found.add((name, threads))
                    goal = verdict.goal
                    yield name, threads, f"{verdict.ratio:.2f} of {goal.of}, goal {goal.limit:g}"


def of_case(case: Case, title: str, libraries: dict[str, Any], threads: int) -> Profile:
    """The profile that says most about a case."""
    if kernel_times.possible(case):
        return kernel_times.profile(case, title, libraries, threads)
    if call_times.possible(case):
        return call_times.profile(case, title, libraries)
    return op_times.profile(case, title, libraries)


def profiled(name: str, threads: int, how: str) -> Profile:
    """Profile one case; what goes wrong is said in its place."""
    cache = STARTS.get(name)
    what = f"a fresh process, cache {cache}" if cache else PROGRAMS[name].what
    title = f"{what}{'' if threads == 1 else f', {threads} threads'}{how and f': {how}'}"
    try:
        if cache:
            return stages.profile(title, warm=cache == "warm")
        with peers.limit_blas(threads):
            libraries = {}
            for library in (peers.OURS, "torch"):
                try:
                    libraries[library] = peers.load(library, threads)
                except peers.NotInstalled as error:
                    typer.echo(str(error), err=True)
            return of_case(PROGRAMS[name], title, libraries, threads)
    except Exception as error:  # any: the others are profiled all the same
        return Profile(title, ["failed"], [[error_text(error)]])


def rendered(results: Path) -> str:
    """The profiles of a file, as a part of a page."""
    found = [Profile(**profile) for profile in json.loads(results.read_text(encoding="utf-8"))]
    return "\n".join(profile.markdown() for profile in found) or "Every goal is met.\n"


def main(
    workloads: Annotated[
        str,
        typer.Option(help="Cases by name, or start, start_warm; without it: what misses its goal."),
    ] = "",
    threads: Annotated[int, typer.Option(min=1, help="Threads, of cases that are named.")] = 1,
    out: Annotated[Path | None, typer.Option("--json", help="File for the profiles.")] = None,
) -> None:
    """Profile cases and print where their time goes."""
    # asv imports this file beside the jitgrad of old commits: nothing but `jitgrad.bench` at the top.
    from jitgrad.cli import choices

    chosen: list[Missed]
    if workloads:
        names = choices.names(workloads, (*PROGRAMS, *STARTS), "workload")
        chosen = [(name, threads, "") for name in names]
    else:
        chosen = list(missed(RESULTS))
    found = []
    for name, count, how in chosen:
        typer.echo(f"profiling {name} on {count} thread{'s' if count > 1 else ''}", err=True)
        found.append(profiled(name, count, how))
        typer.echo(found[-1].markdown())
    if not chosen:
        typer.echo(f"nothing in {RESULTS} misses its goal")
    if out is not None:
        out.write_text(json.dumps([asdict(profile) for profile in found], indent=1))


if __name__ == "__main__":
    typer.run(main)
