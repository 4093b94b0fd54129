"""``jitgrad cache``: look into the cache of compiled code, fill it ahead, empty it."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from jitgrad.bench import machine, operations
from jitgrad.bench.case import CannotDo
from jitgrad.bench.measuring import error_text
from jitgrad.bench.programs import LAYOUTS
from jitgrad.cli import choices, exits, tables
from jitgrad.cli.info import cache_files, cache_text

app = typer.Typer(
    help="Look after the cache of compiled code.", no_args_is_help=True, rich_markup_mode="rich"
)
WARM_HELP = """Compile ops ahead, forward and backward, in several processes. \
Without options: all ops in all dtypes, which takes minutes.

[bold]Examples[/]

    jitgrad cache warm

    jitgrad cache warm --dtypes float32

    jitgrad cache warm --ops 'log*,exp,mm' --dtypes float32,float64 --jobs 4
"""
CLEAR_HELP = """Delete the compiled code; it is compiled again when it is used.

[bold]Example[/]

    jitgrad cache clear --yes
"""
INFO_HELP = """Show where the cache is, how many files it holds and how large they are.

[bold]Example[/]

    jitgrad cache info
"""


@app.command("info", help=INFO_HELP)
def info() -> None:
    """See INFO_HELP."""
    from jitgrad.kernels import cache

    out = tables.console()
    out.print(f"folder: {cache.folder()}", markup=False, soft_wrap=True)
    out.print(f"holds:  {cache_text(cache.folder())}", markup=False)


#: What `warm_one` says of an op that a dtype does not have.
UNDEFINED = "not defined"


def warm_one(name: str, dtype: str) -> str:
    """Use an op once, forward and backward, in each layout.

    Returns what went wrong, `UNDEFINED`, or nothing.
    """
    import jitgrad

    try:
        for layout in LAYOUTS:
            case = operations.case(name, "both", 16, dtype, layout)
            try:
                case.setup(jitgrad).run()
            except CannotDo:
                operations.case(name, "forward", 16, dtype, layout).setup(jitgrad).run()
    except (CannotDo, NotImplementedError):
        return UNDEFINED
    except Exception as error:  # any: the other ops are compiled all the same
        return error_text(error)
    return ""


def _quiet() -> None:
    warnings.simplefilter("ignore")


@app.command("warm", help=WARM_HELP)
def warm(
    ops: Annotated[str, typer.Option(help="Ops by name; * matches, 'all' is every op.")] = "all",
    dtypes: Annotated[
        str, typer.Option(help="float32, float64, int64, ...; 'all' is every dtype.")
    ] = "all",
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
) -> None:
    """See WARM_HELP."""
    from jitgrad.arena import engine, parts
    from jitgrad.cli.bench import DTYPES
    from jitgrad.kernels import cache

    chosen = choices.names(ops, operations.OPERATIONS, "op")
    kinds = list(DTYPES) if dtypes == "all" else choices.words(dtypes, DTYPES, "dtype")
    tasks = [(name, kind) for name in chosen for kind in kinds]
    if not tasks:
        raise typer.BadParameter("nothing to compile: name --ops")
    folder = cache.folder()
    before = len(cache_files(folder))
    status, out = Console(stderr=True), tables.console()
    failed: list[str] = []
    undefined = 0
    with status.status("compiling the core"):
        for number in range(len(parts.PARTS)):
            engine.load_part(number)
    # Spawned: a forked child has no threads, and shares what its parent was doing.
    context = multiprocessing.get_context("spawn")
    workers = min(jobs or machine.usable_cores(), len(tasks))
    pool = ProcessPoolExecutor(workers, context, initializer=_quiet)
    try:
        futures = {pool.submit(warm_one, *task): task for task in tasks}
        shown = track(
            as_completed(futures),
            "compiling",
            total=len(tasks),
            console=status,
            disable=not status.is_terminal,
        )
        for future in shown:
            problem = future.result()
            if problem == UNDEFINED:
                undefined += 1
            elif problem:
                failed.append(f"{' '.join(futures[future])}: {problem}")
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        exits.stop("interrupted; what was compiled stays", exits.INTERRUPTED)
    except BrokenProcessPool:
        exits.stop("a compiling process died; out of memory? try fewer --jobs", exits.FAILED)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    new = len(cache_files(folder)) - before
    defined = len(tasks) - undefined
    out.print(f"{defined - len(failed)} of {defined} ops are compiled, {new} new files")
    if undefined:
        out.print(f"{undefined} are not defined for their dtype")
    out.print(f"{folder}: {cache_text(folder)}", markup=False, soft_wrap=True)
    for line in failed:
        out.print(line, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(exits.FAILED)
    if not os.access(folder, os.W_OK):
        exits.stop(f"cannot write {folder}: nothing was kept", exits.UNWRITABLE)


@app.command("clear", help=CLEAR_HELP)
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """See CLEAR_HELP."""
    from jitgrad.kernels import cache

    folder = cache.folder()
    files = cache_files(folder)
    out = tables.console()
    if not files:
        out.print(f"{folder} holds no compiled code", markup=False, soft_wrap=True)
        return
    if not yes and not typer.confirm(f"Delete {cache_text(folder)} in {folder}?"):
        raise typer.Exit(exits.FAILED)
    try:
        for path in files:
            path.unlink()
    except OSError as error:
        exits.stop(f"cannot delete {path}: {error.strerror or error}", exits.UNWRITABLE)
    out.print(f"deleted {len(files)} files", markup=False)
