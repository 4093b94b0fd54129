"""The examples run as a reader would run them, and give what PyTorch gives."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
DIGITS, ARTICLE = FOLDER / "digits.py", FOLDER / "article.py"
EXAMPLES = ("sklearn", "matplotlib", "typer", "rich")


@pytest.fixture(scope="module")
def digits(required: Callable[[str], ModuleType]) -> ModuleType:
    """Give the example as a module."""
    for name in EXAMPLES:
        required(name)
    spec = importlib.util.spec_from_file_location("digits", DIGITS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the example in `folder`."""
    command = [sys.executable, str(DIGITS), "--threads", "1", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.usefixtures("digits")
def test_digits_draws_and_recognises_97_percent(tmp_path: Path) -> None:
    done = run(tmp_path, "--losses", "losses.json")
    assert done.returncode == 0, done.stderr
    found = re.search(r"test accuracy ([\d.]+) %", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) >= 97.0
    picture = (tmp_path / "digits.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 20_000
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert losses[0] > 1.0 > 0.1 > losses[-1]


def test_digits_names_the_extra_when_scikit_learn_is_missing(
    digits: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import typer
    from typer.testing import CliRunner

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(digits.main)
    outcome = CliRunner().invoke(app, [])
    assert outcome.exit_code == 1
    assert 'pip install "jitgrad[examples]"' in outcome.output
    assert not list(tmp_path.iterdir())


def test_digits_losses_agree_with_pytorch(digits: ModuleType, torch: ModuleType) -> None:
    import jitgrad

    data = digits.load_digits()
    settings = digits.Settings(dtype="float64")
    mine = digits.train(jitgrad, data, settings)
    reference = digits.train(torch, data, settings)
    np.testing.assert_allclose(mine.losses, reference.losses, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(mine.predicted, reference.predicted)


def article(folder: Path, *options: str) -> tuple[str, list[str]]:
    """Run the walk through the article; gives its report and the lines of its claims without numbers."""
    command = [sys.executable, str(ARTICLE), "--out", "drawn", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # What was looked at and, unless it is an error's message, what was seen.
    claims = [line for line in done.stdout.splitlines() if line.startswith(("   yes", "   NO"))]
    return done.stdout, [re.sub(r"Error: .*", "Error", line) for line in claims]


def test_article_holds_and_is_drawn(required: Callable[[str], ModuleType], tmp_path: Path) -> None:
    required("pygraphviz")
    report, claims = article(tmp_path)
    assert len(claims) >= 22
    assert f"{len(claims)} of {len(claims)} hold with jitgrad" in report
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert {path.suffix for path in drawn} == {".svg", ".html"}
    assert all(path.name in report for path in drawn)
    assert len(drawn) >= 14


@pytest.mark.usefixtures("torch")
def test_article_says_the_same_of_pytorch(
    required: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    required("pygraphviz")
    assert article(tmp_path)[1] == article(tmp_path, "--backend", "torch")[1]
