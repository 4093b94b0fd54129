"""Exit codes, and how a command ends with one."""

from __future__ import annotations

from typing import NoReturn

import typer

FAILED = 1  # something that was to be done failed
USAGE = 2  # a bad option; typer's own
SLOWER = 3  # --compare found a change for the worse
UNWRITABLE = 4  # a result could not be written
INTERRUPTED = 130  # Ctrl-C


def stop(message: str, code: int) -> NoReturn:
    """Say why on stderr, and end."""
    typer.echo(f"jitgrad: {message}", err=True)
    raise typer.Exit(code)
