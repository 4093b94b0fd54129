"""What the README shows runs, here and with PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark: str) -> str:
    """Give the fenced block after a comment that begins with `mark`."""
    found = re.search(
        rf"^<!-- {mark}[^\n]*-->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
    assert found is not None, mark
    return found[1]


def run(source: str) -> str:
    """Run a program in a process of its own and give its output."""
    command = [sys.executable, "-W", "error", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loss(output: str) -> float:
    """Read the loss that the example prints."""
    found = re.fullmatch(r"loss (\d+\.\d{4})\n", output)
    assert found is not None, output
    return float(found[1])


def test_the_example_learns_the_sine() -> None:
    assert loss(run(block("example"))) < 0.05


@pytest.mark.usefixtures("torch")
def test_the_example_is_ordinary_pytorch() -> None:
    source = block("example").replace("import jitgrad as torch", "import torch")
    assert loss(run(source)) < 0.1


@pytest.mark.parametrize("name", ["main job", "tests"])
def test_the_commands_are_where_ci_looks_for_them(name: str) -> None:
    command = block(f"ci: {name}")
    assert command.startswith("python -m pip install ")
    assert command.count("\n") == 1


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target
