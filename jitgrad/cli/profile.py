"""``jitgrad profile``: run a script and show where its ops spend time and memory."""

from __future__ import annotations

import runpy
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jitgrad.bench.results import CannotWrite, check_writable, duration, percent, size, write_whole
from jitgrad.cli import exits, tables
from jitgrad.cli.profiling import Profile, profiled

HELP = """Run a script and show the time and memory of every op, forward and backward.

What follows SCRIPT is the script's own. Memory is what an op's calls left allocated, summed over calls.

[bold]Examples[/]

    jitgrad profile train.py

    jitgrad profile --trace trace.json --sort calls train.py --epochs 1

The trace opens in https://ui.perfetto.dev and chrome://tracing.
"""
CONTEXT = {"allow_interspersed_args": False}
ORDERS = ("time", "calls", "memory", "name")


def table(profile: Profile, order: str, top: int, plain: bool) -> Table:
    """The ops, the costly ones first."""
    whole = sum(total.seconds for total in profile.totals.values())
    rows = list(profile.totals.items())
    rows.sort(
        key={
            "time": lambda item: -item[1].seconds,
            "calls": lambda item: -item[1].calls,
            "memory": lambda item: -item[1].nbytes,
            "name": lambda item: item[0],
        }[order]
    )
    names = ("op", "part", "calls", "time", "of all", "each", "longest", "memory")
    view = tables.new_table(names, 2, plain)
    for (name, part), total in rows[:top]:
        view.add_row(
            name,
            part,
            f"{total.calls:,}",
            duration(total.seconds),
            percent(total.seconds / whole if whole else None),
            duration(total.seconds / total.calls),
            duration(total.longest),
            size(total.nbytes),
        )
    return view


def run_script(script: Path, arguments: list[str]) -> int:
    """Run a script as Python would; returns its exit code."""
    before = sys.argv, sys.path[:]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent.resolve()))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit as end:
        if isinstance(end.code, str):
            typer.echo(end.code, err=True)
            return exits.FAILED
        return end.code if isinstance(end.code, int) else 0
    except Exception:
        traceback.print_exc()
        return exits.FAILED
    finally:
        sys.argv, sys.path[:] = before
    return 0


def profile(
    script: Annotated[Path, typer.Argument(help="A Python file that uses jitgrad.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Its own.")] = None,
    trace: Annotated[Path | None, typer.Option(help="File for a Chrome trace.")] = None,
    sort: Annotated[str, typer.Option(help=", ".join(ORDERS) + ".")] = "time",
    top: Annotated[int, typer.Option(min=1, help="Lines of the table.")] = 40,
) -> None:
    """See HELP."""
    if sort not in ORDERS:
        raise typer.BadParameter(f"--sort {sort}: choose one of {', '.join(ORDERS)}")
    if not script.is_file():
        raise typer.BadParameter(f"there is no file {script}")
    from jitgrad.arena.inspect import memory_stats, reset_peak_memory_stats

    try:
        check_writable([trace] if trace else [])
    except CannotWrite as error:
        exits.stop(str(error), exits.UNWRITABLE)
    reset_peak_memory_stats()
    begin = time.perf_counter()
    with profiled() as found:
        code = run_script(script, arguments or [])
    took = time.perf_counter() - begin
    sys.stdout.flush()
    out = tables.console()
    ops = sum(total.seconds for total in found.totals.values()) - found.compiling
    peak = size(memory_stats()["peak_bytes"])
    line = f"{duration(took)} in all, {duration(ops)} in ops, {duration(found.compiling)} compiling"
    out.print(f"{line} or loading; peak memory of tensors {peak}", markup=False)
    if found.totals:
        out.print(table(found, sort, top, not out.is_terminal))
    else:
        out.print("no op of jitgrad ran")
    if found.dropped:
        out.print(f"the trace lacks the last {found.dropped:,} events")
    if trace is not None:
        try:
            write_whole(trace, found.chrome_trace())
        except CannotWrite as error:
            exits.stop(str(error), exits.UNWRITABLE)
    raise typer.Exit(code)
