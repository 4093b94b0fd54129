"""The command line: ``jitgrad`` and ``python -m jitgrad``. docs/cli.md describes it, exit codes too."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    import errno
    import os
    import sys

    from jitgrad.cli import exits
    from jitgrad.cli.app import app

    try:
        app(prog_name="jitgrad")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        # What is still in the buffer of stdout would fail once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"jitgrad: cannot write the output: {error.strerror}", file=sys.stderr)
        sys.exit(exits.UNWRITABLE)
