"""Where the time of a step of many ops goes: ours as `jitgrad profile` sees it, torch's by its profiler."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.tables import Profile
from jitgrad.bench.case import Case, Prepared
from jitgrad.bench.cases import chain_backward
from jitgrad.bench.measuring import repeats_for, sample
from jitgrad.bench.results import duration

if TYPE_CHECKING:
    from jitgrad.cli.profiling import Profile as Seen

LINES = 8
FORWARD, BACKWARD = "forward", "backward"  # as `jitgrad profile` names the parts
SECONDS = 1.0
#: Seconds a step, by op and part.
Times = dict[tuple[str, str], float]


def _steps(seconds: float) -> int:
    return max(3, min(2000, int(SECONDS / max(seconds, 1e-9))))


def _alone(run: Callable[[], object]) -> float:
    repeats = repeats_for(run)
    return min(sample(run, repeats) for _ in range(15))


def _seen(run: Callable[[], object], steps: int) -> tuple[Seen, float]:
    # asv imports this file beside the jitgrad of old commits: nothing but `jitgrad.bench` at the top.
    from jitgrad.cli.profiling import COMPILING, profiled

    with profiled() as found:
        begin = time.perf_counter()
        for _ in range(steps):
            run()
        took = time.perf_counter() - begin
    found.totals.pop((COMPILING, "-"), None)
    return found, took / steps


def stop_cost(module: Any, nodes: int = 1000) -> float:
    """What looking on costs a node of a backward pass: it is in the node's time."""
    run = chain_backward(nodes).eager(module).run
    alone = _alone(run)
    found, _ = _seen(run, 30)
    seen = sum(total.seconds for (_, part), total in found.totals.items() if part == BACKWARD) / 30
    return max(seen - alone, 0.0) / nodes


def ours(work: Prepared, module: Any) -> tuple[Times, float, float]:
    """Seconds a step by op, of the step alone, and of the step looked at."""
    work.run()
    alone, cost = _alone(work.run), stop_cost(module)
    steps = _steps(alone)
    found, looked_at = _seen(work.run, steps)
    times = {}
    for (name, part), total in found.totals.items():
        costs = cost * total.calls if part == BACKWARD else 0.0
        times[name, part] = max(total.seconds - costs, 0.0) / steps
    return times, alone, looked_at


def torchs(work: Prepared, module: Any) -> tuple[Times, float, float]:
    """The same of torch: the processor time of each op less that of the ops it calls."""
    work.run()
    alone = _alone(work.run)
    steps = min(_steps(alone), 100)
    with module.profiler.profile(activities=[module.profiler.ProfilerActivity.CPU]) as found:
        begin = time.perf_counter()
        for _ in range(steps):
            work.run()
        looked_at = (time.perf_counter() - begin) / steps
    times: Times = {}
    for event in found.events():
        parents, part = event, FORWARD
        while parents is not None:
            if parents.name.startswith("autograd::engine"):
                part = BACKWARD
            parents = parents.cpu_parent
        name = event.name.removeprefix("aten::")
        if name.startswith("autograd::engine") or name.endswith(("Backward0", "Backward1")):
            name = "(autograd's nodes)"
        seconds = 1e-6 * event.self_cpu_time_total / steps
        times[name, part] = times.get((name, part), 0.0) + seconds
    return times, alone, looked_at


def _lines(times: Times, alone: float) -> list[list[str]]:
    """The ops that take the longest, the others together, and what is in none of them."""
    whole = sum(times.values())
    outside = max(alone - whole, 0.0)
    ranked = sorted(times.items(), key=lambda item: -item[1])
    lines = [(name, part, seconds) for (name, part), seconds in ranked[:LINES]]
    if ranked[LINES:]:
        rest = sum(seconds for _, seconds in ranked[LINES:])
        lines.append((f"{len(ranked) - LINES} others", "", rest))
    lines.append(("outside of ops", "", outside))
    everything = whole + outside
    return [[n, p, duration(s), f"{100 * s / everything:.0f}%"] for n, p, s in lines]


def profile(case: Case, title: str, libraries: Mapping[str, Any]) -> Profile:
    """Profile a step in jitgrad and in torch, side by side."""
    looks = {"jitgrad": ours, "torch": torchs}
    columns, remarks, header = [], [], []
    for library, module in libraries.items():
        times, alone, looked_at = looks[library](case.setup(module), module)
        columns.append(_lines(times, alone))
        header += [library, "part", "a step", "share"]
        remarks.append(f"{library} {duration(alone)}, {duration(looked_at)} with its profiler")
    longest = max(map(len, columns))
    rows = [
        [cell for lines in columns for cell in (lines[i] if i < len(lines) else [""] * 4)]
        for i in range(longest)
    ]
    return Profile(title, header, rows, (0, 1, 4, 5), f"A step takes {'; '.join(remarks)}.")
