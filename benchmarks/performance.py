"""Measure what docs/performance.md and the README's table show, and write their tables and pictures.

    python -m benchmarks.performance                    # everything: about a quarter of an hour
    python -m benchmarks.performance --only ops,models  # some sections anew, the others as they were
    python -m benchmarks.performance --write            # from the results that are there, nothing measured

Each section is one command, shown above its table. Its results go to `.performance/` as JSON; what stands
between the two comments of a section in the page is replaced. The last one profiles what missed its goal in
the results of the others.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import profiles, startup
from benchmarks.profiles import PROGRAMS, best
from benchmarks.tables import table
from jitgrad.bench import goals, plots
from jitgrad.bench.peers import OURS
from jitgrad.bench.results import Measurement, Report, duration, size, write_whole

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "performance"
RESULTS = profiles.RESULTS
#: What a workload may take of torch's memory.
MEMORY_PART = 1.0
ALL = "torch,torch.compile,jax,autograd,numpy"
MODELS = "mlp,cnn,lstm,transformer,gpt,resnet18"


@dataclass(frozen=True)
class Section:
    """A command whose results make a part of the page."""

    command: str
    render: Callable[[Path], str]

    def arguments(self, results: Path) -> list[str]:
        """The command as it is run."""
        words = shlex.split(self.command)
        module = words[2:] if words[:2] == ["python", "-m"] else words
        return [sys.executable, "-m", *module, "--json", str(results)]


def report(results: Path) -> Report:
    """Read what `jitgrad bench` wrote."""
    return Report.from_json(results.read_text(encoding="utf-8"))


def by_case(found: Report) -> dict[str, dict[str, Measurement]]:
    """The measurements, case by case and library by library."""
    rows: dict[str, dict[str, Measurement]] = {}
    for m in found.measurements:
        rows.setdefault(m.case, {})[m.library] = m
    return rows


def ratio(row: dict[str, Measurement], peer: str) -> float | None:
    """Our time as a part of a peer's."""
    mine, theirs = best(row[OURS]), best(row[peer]) if peer in row else None
    return mine / theirs if mine and theirs else None


def times(results: Path) -> str:
    """A table of the least times, ours as a part of each peer's, and the goals."""
    found = report(results)
    peers = [name for name in found.libraries if name != OURS]
    verdicts = goals.judged(found, PROGRAMS, best)
    rows = []
    for name, row in by_case(found).items():
        mine = row[OURS]
        cells = [mine.what, _time(mine)]
        for peer in peers:
            r = ratio(row, peer)
            cells.append("-" if r is None else f"{_time(row[peer])} ({_two(r)})")
        rows.append([*cells, "; ".join(_verdict(v) for v in verdicts.get(name, ()))])
    return table(["work", OURS, *peers, "goal"], rows) + _reasons(found)


def _verdict(verdict: goals.Verdict) -> str:
    other = PROGRAMS.get(verdict.goal.of)
    return str(verdict) if other is None else f"{verdict}; {verdict.goal.of}: {other.what}"


def _time(m: Measurement) -> str:
    return "failed" if m.error else duration(m.best, m.nodes)


def _two(r: float) -> str:
    return f"{r:.2f}" if r < 10 else f"{r:.0f}"


def _reasons(found: Report) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for m in found.measurements:
        if m.cannot or m.error:
            reasons.setdefault((m.library, m.error or m.cannot), []).append(m.what)
    return "".join(
        f"\n- {library}, {'; '.join(cases) if len(cases) < 4 else f'{len(cases)} cases'}: {text}"
        for (library, text), cases in reasons.items()
    ) + ("\n" if reasons else "")


def memory(results: Path) -> str:
    """A table of the memory that cases take."""
    rows = []
    for row in by_case(report(results)).values():
        mine, theirs = row[OURS].memory, row["torch"].memory
        part, goal = "-", ""
        if mine and theirs:
            part = f"{mine / theirs:.2f}"
            goal = f"{MEMORY_PART:g} torch: {'met' if mine <= MEMORY_PART * theirs else 'missed'}"
        rows.append([row[OURS].what, size(mine), size(theirs), part, goal])
    return table(["work", OURS, "torch", "ratio", "goal"], rows)


def start(results: Path) -> str:
    """A table of fresh processes."""
    rows = []
    starts = [startup.Start(**start) for start in json.loads(results.read_text(encoding="utf-8"))]
    for s in starts:
        gradient = "-" if s.library == "numpy" else duration(median(s.gradient))
        name = f"{s.library}{'' if s.cache == '-' else f', cache {s.cache}'}"
        cells = [duration(median(s.importing)), gradient, duration(s.ready())]
        goal = startup.goal(s, starts)
        verdict = f"{goal[0]}: {'met' if goal[1] else 'missed'}" if goal else ""
        rows.append([name, *cells, duration(median(s.process)), verdict])
    header = ["library", "import", "first gradient", "both", "whole process", "goal"]
    return table(header, rows)


def sizes(results: Path) -> str:
    """Time against size and a roofline, as a picture."""
    PICTURES.mkdir(exist_ok=True)
    write_whole(PICTURES / "sizes.png", plots.picture(report(results), "png"))
    return "![time against size, and a roofline](performance/sizes.png)\n"


def machine(results: Path) -> str:
    """What the figures belong to."""
    about = report(results).about
    return "".join(f"- {key}: {value}\n" for key, value in about.items() if key != "threads")


SECTIONS = {
    "small": Section(f"jitgrad bench --workloads A1,A2,A5_1k,A5_100k --vs {ALL}", times),
    "perceptrons": Section(f"jitgrad bench --workloads B1,B2,B3 --budget 4 --vs {ALL}", times),
    "ops": Section(f"jitgrad bench --workloads 'C_*,D_layer_norm' --vs {ALL}", times),
    "models": Section(
        f"jitgrad bench --workloads '{MODELS},D_conv_*,D_batch_norm' --vs torch,torch.compile",
        times,
    ),
    "programs": Section(f"jitgrad bench --workloads gmm,lorenz,rosenbrock_1000 --vs {ALL}", times),
    "optimisers": Section("jitgrad bench --workloads 'E_*' --vs torch", times),
    "threads": Section(
        "jitgrad bench --workloads 'B2,B3,C_*_1M,D_layer_norm,lstm,gpt,resnet18' --vs torch --threads 2",
        times,
    ),
    "memory": Section(
        f"jitgrad bench --workloads 'A1,B1,B2,B3,gmm,lorenz,{MODELS},C_exp_1M,D_layer_norm'"
        " --vs torch --memory --budget 0.1 --no-peak",
        memory,
    ),
    "start": Section("python -m benchmarks.startup --rounds 3", start),
    "sizes": Section(
        "jitgrad bench --ops exp,tanh,add,sum,softmax,mm --sizes 2^8,2^11,2^14,2^17,2^20"
        " --vs torch,jax,autograd,numpy --budget 0.5 --plot docs/performance/sizes.png",
        sizes,
    ),
    # The last one: it reads what the others have found.
    "profiles": Section("python -m benchmarks.profiles", profiles.rendered),
}
#: Those whose times are of one thread and make the overview.
TIMED = ("small", "perceptrons", "ops", "models", "programs", "optimisers")
#: The cases of the README's table.
SHOWN = (
    *("A1", "A2", "A5_1k", "A5_100k", "B1", "B2", "lorenz", "lstm", "gpt", "resnet18"),
    *(f"C_{op}_1M" for op in "exp relu sigmoid tanh sum softmax logsumexp mean var".split()),
)


def timed() -> dict[str, dict[str, Measurement]]:
    """What was measured on one thread, case by case."""
    rows: dict[str, dict[str, Measurement]] = {}
    for key in TIMED:
        rows |= by_case(report(RESULTS / f"{key}.json"))
    return rows


def speed() -> str:
    """The README's table."""
    rows, found = [], timed()
    for name in SHOWN:
        if name in found:
            row = found[name]
            r, by_hand = ratio(row, "torch"), row.get("numpy")
            cells = [_time(row[OURS]), "-" if r is None else _time(row["torch"])]
            cells.append("-" if r is None else _two(r))
            cells.append(_time(by_hand) if by_hand is not None and by_hand.samples else "-")
            rows.append([row[OURS].what, *cells])
    header = ["work", OURS, "torch", f"{OURS} / torch", "NumPy by hand"]
    return table(header, rows)


def losses() -> str:
    """The cases in which a peer is faster, the worst first, and the goals that are missed."""
    rows = []
    for row in timed().values():
        peers = [(ratio(row, p) or 0.0, p) for p in row if p != OURS]
        worst = [(r, p) for r, p in sorted(peers, reverse=True) if r > 1.0]
        if worst:
            text = ", ".join(f"{p} {_two(r)}" for r, p in worst)
            rows.append((worst[0][0], [row[OURS].what, text]))
    rows.sort(key=lambda row: -row[0])
    return table(["work", "our time as a multiple of"], [cells for _, cells in rows])


def overview() -> str:
    """Our time beside torch's for every case of the tables, as a picture."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    bars = []
    for row in timed().values():
        r = ratio(row, "torch")
        if r is not None:
            bars.append((row[OURS].what, r))
    figure = Figure(figsize=(8, 0.22 * len(bars) + 1), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    names, values = zip(*reversed(bars), strict=True)
    colors = ["C0" if value <= 1 else "C3" for value in values]
    axes.barh(range(len(names)), values, color=colors)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.axvline(1.0, color="k", lw=0.8)
    axes.set(xscale="log", xlabel="time as a part of torch's (eager), one thread")
    axes.margins(y=0.01)
    PICTURES.mkdir(exist_ok=True)
    write_whole(PICTURES / "overview.svg", plots.drawn(figure, "svg"))
    return "![our time as a part of torch's](performance/overview.svg)\n"


def replaced(page: str, key: str, text: str) -> str:
    """The page with a section's part between its comments replaced."""
    found = re.compile(rf"(<!-- begin {key} -->\n).*?(<!-- end {key} -->)", re.DOTALL)
    if not found.search(page):
        raise typer.BadParameter(f"a page has no comments 'begin {key}' and 'end {key}'")
    return found.sub(lambda m: f"{m[1]}\n{text}\n{m[2]}", page)


def write() -> None:
    """Fill the pages from the results that are there."""
    page = PAGE.read_text(encoding="utf-8")
    for key, section in SECTIONS.items():
        results = RESULTS / f"{key}.json"
        if results.exists():
            page = replaced(page, key, f"    {section.command}\n\n{section.render(results)}")
    if all(
        (RESULTS / f"{key}.json").exists() for key in TIMED
    ):  # or cases would go that are shown now
        page = replaced(page, "machine", machine(RESULTS / f"{TIMED[0]}.json"))
        page = replaced(page, "losses", losses())
        page = replaced(page, "overview", overview())
        readme = README.read_text(encoding="utf-8")
        write_whole(README, replaced(readme, "speed", speed()))
    write_whole(PAGE, page)


def main(
    only: Annotated[str, typer.Option(help=f"Sections: {', '.join(SECTIONS)}.")] = "",
    writing: Annotated[bool, typer.Option("--write", help="Measure nothing.")] = False,
) -> None:
    """Measure and write docs/performance.md."""
    chosen = only.split(",") if only else list(SECTIONS)
    unknown = [key for key in chosen if key not in SECTIONS]
    if unknown:
        raise typer.BadParameter(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    RESULTS.mkdir(exist_ok=True)
    for key in chosen if not writing else ():
        section = SECTIONS[key]
        typer.echo(f"{key}: {section.command}")
        PICTURES.mkdir(exist_ok=True)
        done = subprocess.run(section.arguments(RESULTS / f"{key}.json"), cwd=ROOT, check=False)
        if done.returncode not in (0, 1):  # 1: a case failed, and the table says so
            raise typer.Exit(done.returncode)
    write()


if __name__ == "__main__":
    typer.run(main)
