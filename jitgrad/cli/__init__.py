"""The command line: ``jitgrad`` and ``python -m jitgrad``. docs/cli.md describes it, exit codes too."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from jitgrad.cli.app import app

    app(prog_name="jitgrad")
