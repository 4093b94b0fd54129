"""What the pages of docs/ show runs, from top to bottom of each page, as one program."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def program(page: str) -> str:
    """The indented blocks of a page, one after the other; docs/custom.md needs a file to read them from."""
    lines, source = (DOCS / page).read_text(encoding="utf-8").splitlines(), []
    for before, line in zip(["", *lines], lines, strict=False):
        inside = bool(source) and source[-1] is not None
        if line.startswith("    ") and (inside or not before):
            source.append(line)
        elif line:
            source.append(None)
        elif inside:
            source.append("")
    return textwrap.dedent("\n".join(s for s in source if s is not None))


@pytest.mark.parametrize("page", ["autograd.md", "custom.md"])
def test_the_code_of_a_page_runs(page: str, tmp_path: Path) -> None:
    file = tmp_path / "page.py"
    file.write_text(program(page), encoding="utf-8")
    assert file.stat().st_size > 500
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
