"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from jitgrad.cli import bench, cache, info, profile

app = typer.Typer(
    help="jitgrad's command line: measure, look into a script, look after the cache.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("bench", help=bench.HELP)(bench.bench)
app.command("info", help=info.HELP)(info.info)
app.command("profile", help=profile.HELP, context_settings=profile.CONTEXT)(profile.profile)
app.add_typer(cache.app, name="cache")


def _version(asked: bool) -> None:
    if asked:
        import jitgrad

        typer.echo(f"jitgrad {jitgrad.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
