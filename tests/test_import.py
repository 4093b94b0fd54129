"""`import jitgrad` stays cheap: nothing is imported before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Numba is needed only to compile, the others only by extras, benchmarks and the command line.
LATER = {
    "numba",
    "scipy",
    "rich",
    "typer",
    "matplotlib",
    "pygraphviz",
    "sklearn",
    "torch",
    "mpmath",
    "hypothesis",
    "pytest",
}

PROGRAM = """
import json, sys
import jitgrad
{}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
GRADIENT = """
x = jitgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
((x @ x).tanh() + x).sum().backward()
"""


def modules(work: str) -> set[str]:
    """Name the packages that a fresh process has loaded after importing jitgrad and some work."""
    command = [sys.executable, "-c", PROGRAM.format(work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("work", ["", GRADIENT], ids=["import", "gradient"])
def test_a_warm_start_loads_little(work: str) -> None:
    modules(work)  # fills the cache
    assert not modules(work) & LATER


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("jitgrad").joinpath("py.typed").is_file()
