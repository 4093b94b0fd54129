"""``jitgrad bench``: ops and workloads, measured alone, beside peers, against a saved run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jitgrad.bench import (
    comparing,
    goals,
    machine,
    memory,
    operations,
    peers,
    plots,
    runner,
    workloads,
)
from jitgrad.bench.case import Case
from jitgrad.bench.cases import CASES
from jitgrad.bench.peaks import Peaks, product_rate
from jitgrad.bench.programs import LAYOUTS, PARTS
from jitgrad.bench.results import CannotWrite, NotResults, Report, check_writable, write_whole
from jitgrad.cli import choices, exits, tables

HELP = """Measure ops and programs: time, bandwidth, arithmetic rate, share of the machine's peak.

Libraries are measured on the same data in the same run, in turns, after each was checked to compute \
the same numbers; compilation and warm-up are in no figure.

[bold]Examples[/]

    jitgrad bench

    jitgrad bench --ops exp,sum,mm --sizes 1k,64k,1M --vs torch,numpy

    jitgrad bench --ops 'log*' --parts forward,backward --dtypes float32,float64

    jitgrad bench --workloads gmm,lorenz,mlp --vs torch,jax,autograd

    jitgrad bench --workloads lstm,gpt,resnet18 --vs torch,torch.compile --memory

    jitgrad bench --save before        and after a change: jitgrad bench --compare before

    jitgrad bench --ops all --sizes 2^20 --json all.json --plot all.png
"""
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")
DEFAULT_OPS = "exp,tanh,relu,sum,softmax,var,mm,add"
DEFAULT_WORKLOADS = "A1,B1,gmm,lorenz,rosenbrock_1000"
PROGRAMS = {**CASES, **workloads.WORKLOADS}


def chosen_cases(
    ops: str | None,
    programs: str | None,
    parts: str | None,
    sizes: str,
    dtypes: str,
    layouts: str,
) -> list[Case]:
    """The cases that the options name."""
    if ops is None and programs is None:
        ops, programs = DEFAULT_OPS, DEFAULT_WORKLOADS
    found = list(
        operations.cases(
            choices.names(ops or "", operations.OPERATIONS, "op"),
            None if parts is None else choices.words(parts, PARTS, "part"),
            choices.sizes(sizes),
            choices.words(dtypes, DTYPES, "dtype"),
            choices.words(layouts, LAYOUTS, "layout"),
        )
    )
    found += [PROGRAMS[name] for name in choices.names(programs or "", PROGRAMS, "workload")]
    return found


def show_list(out: Console) -> None:
    """Print every op and workload."""
    out.print("ops: " + ", ".join(sorted(operations.OPERATIONS)), soft_wrap=True)
    out.print("ops that are not called:")
    for name, why in operations.NOT_CALLED.items():
        out.print(f"  {name:<18} {why}", soft_wrap=True)
    out.print("workloads:")
    for case in PROGRAMS.values():
        out.print(f"  {case.name:<18} {case.what}", soft_wrap=True)


def check_device(device: str, vs: str, measure_memory: bool) -> str:
    """What a device is called.

    Raises
    ------
    typer.BadParameter
        If it is not there, or what was asked for can't be measured on it.
    """
    import jitgrad

    if device != "cuda":
        raise typer.BadParameter(f"--device {device}: cpu or cuda")
    others = [name for name in vs.split(",") if name and name not in peers.WITH_DEVICES]
    if others or measure_memory:
        what = "--memory" if measure_memory else f"--vs {','.join(others)}"
        raise typer.BadParameter(f"{what} is for the CPU only")
    try:
        return jitgrad.cuda.get_device_name()
    except (AssertionError, RuntimeError) as error:
        raise typer.BadParameter(f"--device cuda: {error}") from None


def load_libraries(vs: str, threads: int, device: str) -> dict[str, Any]:
    """jitgrad and the peers that were asked for; one that is not installed is named and left out."""
    asked = choices.words(vs, [n for n in peers.PEERS if n != peers.OURS], "peer") if vs else []
    found = {}
    for name in (peers.OURS, *asked):
        try:
            found[name] = peers.load(name, threads, device)
        except peers.NotInstalled as error:
            typer.echo(f"jitgrad: {error}", err=True)
    return found


class Screen:
    """The table that grows and the bar below it, on a terminal; a line per case on stderr otherwise."""

    def __init__(self, out: Console, report: Report, libraries: list[str], total: int) -> None:
        self._report, self._libraries = report, libraries
        self._terminal = out.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("", total=total)
        self._live = Live(console=out, transient=True, refresh_per_second=4)
        self._status = Console(stderr=True, highlight=False)
        self._done, self._total = 0, total

    def begin(self, case: Case) -> None:
        """Show what is being measured."""
        self._done += 1
        self._progress.update(self._task, description=case.name)
        if self._terminal:
            self._draw()
        elif self._status.is_terminal:
            self._status.print(f"{self._done}/{self._total} {case.name}")

    def end(self) -> None:
        """Show what was measured."""
        self._progress.advance(self._task)
        if self._terminal:
            self._draw()

    def _draw(self) -> None:
        room = max(self._live.console.height - 8, 4) * len(self._libraries)
        shown = self._report.measurements[-room:]
        self._live.update(Group(tables.results(shown, self._libraries, False), self._progress))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw for the length of a block."""
        if not self._terminal:
            yield
            return
        with self._live:
            yield


def bench(
    ops: Annotated[
        str | None, typer.Option(help="Ops by name, with commas; * matches, 'all' is every op.")
    ] = None,
    programs: Annotated[
        str | None, typer.Option("--workloads", help="Whole programs by name; see --list.")
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(help="forward, backward, both. Without it: both, if there is a gradient."),
    ] = None,
    sizes: Annotated[str, typer.Option(help="Elements of an op's operand: 4096, 64k, 1M.")] = (
        "1k,64k,1M"
    ),
    dtypes: Annotated[str, typer.Option(help=", ".join(DTYPES) + ".")] = "float32",
    layouts: Annotated[str, typer.Option(help=", ".join(LAYOUTS) + ".")] = "contiguous",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of every library.")] = 1,
    vs: Annotated[
        str, typer.Option(help="Peers: torch, torch.compile, jax, autograd, numpy.")
    ] = "",
    budget: Annotated[float, typer.Option(min=0.001, help="Seconds for a case.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="At most so many samples.")] = (
        runner.MOST_ROUNDS
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peak: Annotated[
        bool, typer.Option("--peak/--no-peak", help="Measure the machine's peaks too.")
    ] = True,
    measure_memory: Annotated[
        bool, typer.Option("--memory", help="Peak memory too, each in a fresh process.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="File for everything, samples too.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File for a table.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="File for a table.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture, .png or .svg.")] = None,
    save: Annotated[str | None, typer.Option(help="Name to save this run under.")] = None,
    compare: Annotated[str | None, typer.Option(help="Saved run to compare with.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, help="Change that counts: 0.1 is a tenth.")
    ] = 0.1,
    show: Annotated[bool, typer.Option("--list", help="List ops and workloads.")] = False,
) -> None:
    """See HELP."""
    out = tables.console()
    if show:
        show_list(out)
        return
    cases = chosen_cases(ops, programs, parts, sizes, dtypes, layouts)
    if not cases:
        raise typer.BadParameter("nothing to measure: name --ops or --workloads (see --list)")
    if plot is not None and plot.suffix.lower().lstrip(".") not in plots.FORMATS:
        raise typer.BadParameter(f"--plot {plot}: the name must end in .png or .svg")
    files = {json: Report.as_json, csv: Report.as_csv, markdown: Report.as_markdown}
    try:
        before = None if compare is None else comparing.load(compare)
        wanted = [path for path in (*files, plot) if path is not None]
        if save is not None:
            comparing.make_folder(comparing.place(save))
            wanted.append(comparing.place(save))
        check_writable(wanted)
        if plot is not None:
            plots.check(cases)
    except plots.CannotPlot as error:
        exits.stop(str(error), exits.FAILED)
    except NotResults as error:
        raise typer.BadParameter(str(error)) from None
    except CannotWrite as error:
        exits.stop(str(error), exits.UNWRITABLE)

    about = machine.about() | {"threads": threads}
    if device != "cpu":
        # The peaks are the processor's.
        about["device"], peak = check_device(device, vs, measure_memory), False
    report, worse = Report(about), False
    with peers.limit_blas(threads):
        libraries = load_libraries(vs, threads, device)
        report.about |= {name: peers.version(module) for name, module in libraries.items()}
        peaks = Peaks(threads) if peak else None
        measured = Measured(libraries, budget, rounds, peaks, threads if measure_memory else None)
        measure_all(report, cases, measured, out)
        # First the files: whoever reads the output may have gone, and a full disk must not take the table.
        unwritten = write_files(report, files, plot, save)
        shown_all(report, list(libraries), measure_memory, out)
        if before is not None and not report.interrupted:
            ours = libraries[peers.OURS]
            worse = compared(report, before, cases, ours, threshold, budget, rounds, out)
    if save is not None and not unwritten and not report.interrupted:
        out.print(f"saved as {comparing.place(save)}", soft_wrap=True)
    if unwritten:
        exits.stop(*unwritten)
    if report.interrupted:
        exits.stop(f"interrupted; {len(report.of(peers.OURS))} of {len(cases)} cases were measured",
                   exits.INTERRUPTED)  # fmt: skip
    if report.failed():
        raise typer.Exit(exits.FAILED)
    if worse:
        raise typer.Exit(exits.SLOWER)


def write_files(
    report: Report,
    files: Mapping[Path | None, Callable[[Report], str]],
    plot: Path | None,
    save: str | None,
) -> tuple[str, int] | None:
    """Write what was asked for; returns what could not be written, and the exit code for it."""
    problems, code = [], exits.UNWRITABLE
    for path, writer in files.items():
        try:
            if path is not None:
                write_whole(path, writer(report))
        except CannotWrite as error:
            problems.append(str(error))
    try:
        if plot is not None:
            write_whole(plot, plots.picture(report, plot.suffix.lower().lstrip(".")))
        if save is not None and not report.interrupted:
            comparing.save(save, report)
    except CannotWrite as error:
        problems.append(str(error))
    except plots.CannotPlot as error:  # of what was interrupted
        code = exits.UNWRITABLE if problems else exits.FAILED
        problems.append(str(error))
    return ("; ".join(problems), code) if problems else None


def shown_all(report: Report, libraries: list[str], memory_too: bool, out: Console) -> None:
    """Print the tables, and why a library has no figure."""
    plain = not out.is_terminal
    out.print(", ".join(f"{k} {v}" for k, v in report.about.items()), soft_wrap=True)
    if report.measurements:
        verdicts = goals.judged(report, PROGRAMS, lambda m: m.median)
        out.print(tables.results(report.measurements, libraries, plain, verdicts))
        if any(verdicts.values()):
            out.print(tables.summary(verdicts))
        if memory_too:
            out.print(tables.memory(report.measurements, libraries, plain))
    for line in tables.notes(report):
        out.print(line, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Measured:
    """What is measured, and for how long; with a number of threads the memory as well."""

    libraries: dict[str, Any]
    budget: float
    rounds: int
    peaks: Peaks | None
    memory_threads: int | None = None


def measure_all(report: Report, cases: list[Case], what: Measured, out: Console) -> None:
    """Measure into the report; Ctrl-C ends it with what there is."""
    screen = Screen(out, report, list(what.libraries), len(cases))
    try:
        with screen.shown():
            if what.peaks is not None:
                report.about["copy GB/s"] = round(what.peaks.memory() / 1e9, 1)
                report.about["BLAS GFLOP/s"] = round(product_rate() / 1e9, 1)
            for found in runner.run(
                cases, what.libraries, what.budget, what.peaks, what.rounds, screen.begin
            ):
                if what.memory_threads is not None:
                    memory.add(found, what.memory_threads)
                report.measurements += found
                screen.end()
    except KeyboardInterrupt:
        report.interrupted = True


def compared(
    report: Report,
    before: Report,
    cases: list[Case],
    ours: Any,
    threshold: float,
    budget: float,
    rounds: int,
    out: Console,
) -> bool:
    """Print how our times stand to the saved ones; returns whether one is slower."""
    saved, new = before.of(peers.OURS), report.of(peers.OURS)
    found = []
    for case in cases:
        if case.name not in saved:
            found.append(comparing.Change(case.name, None, None, comparing.MISSING))
            continue

        def again(case: Case = case) -> Any:
            return runner.measure(case, {peers.OURS: ours}, budget, None, rounds)[0]

        found.append(comparing.judge(saved[case.name], new[case.name], threshold, again))
    out.print(tables.changes(found, not out.is_terminal))
    for key in ("processor", "device", "threads", "python"):
        if before.about.get(key) != report.about.get(key):
            out.print(f"the saved run had another {key}: {before.about.get(key)}", soft_wrap=True)
    return any(change.verdict == comparing.SLOWER for change in found)
