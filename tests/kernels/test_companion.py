"""The process that compiles along: what it makes is whole, and nobody waits for it in vain."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jitgrad.kernels import cache, companion
from jitgrad.ops.table import BY_NAME

EXP = BY_NAME["exp"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache and no companion before or after."""
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("JITGRAD_COMPILER", raising=False)
    monkeypatch.setattr(companion, "possible", lambda: True)
    monkeypatch.setattr(companion, "_PATIENCE", 0.1)
    _wait_for_its_end()
    yield tmp_path
    _wait_for_its_end()


def _wait_for_its_end() -> None:
    deadline = time.monotonic() + 60
    while companion._process is not None:
        assert time.monotonic() < deadline, "the companion did not end"
        time.sleep(0.02)


def test_it_fills_the_cache_with_what_was_asked(folder: Path) -> None:
    name = f"{EXP!r} 6 1"
    companion.ask(name, ("kernel", EXP.number, 6, 1), 0)
    _wait_for_its_end()
    symbols, objects = cache.read(name) or ([], [])
    assert len(symbols) == 1
    assert all(objects)


def test_what_it_has_begun_is_waited_for(folder: Path) -> None:
    name = f"{EXP!r} 6 1"
    companion.ask(name, ("kernel", EXP.number, 6, 1), 0)
    while companion._begun is None:
        time.sleep(0.001)
    companion.settle(name)
    assert cache.has(name)


def test_what_it_has_not_begun_is_taken_back(folder: Path) -> None:
    for which in (1, 2, 3):
        companion.ask(f"unit {which}", ("kernel", EXP.number, 6, 1), 0)
    companion.settle("unit 3")
    _wait_for_its_end()
    assert cache.has("unit 1")
    assert not cache.has("unit 3")


def test_what_will_surely_be_needed_comes_first(folder: Path) -> None:
    with companion._change:
        for turn, name in ((1, "views"), (0, "backward"), (1, "updates"), (0, "gradient")):
            companion.ask(name, ("kernel", EXP.number, 6, 1), turn)
        assert [name for _, name, _ in companion._waiting] == [
            "backward",
            "gradient",
            "views",
            "updates",
        ]
    for name in ("views", "updates"):
        companion.settle(name)


def test_it_says_nothing_of_a_unit_that_cannot_be_compiled(folder: Path) -> None:
    companion.ask("impossible", ("kernel", 10**6, 6, 1), 0)
    companion.ask("possible", ("kernel", EXP.number, 6, 1), 0)
    companion.settle("impossible")
    _wait_for_its_end()
    assert not cache.has("impossible")
    assert cache.has("possible")


@pytest.mark.parametrize("program", ["ends at once", "is not there"])
def test_nobody_waits_for_one_that_does_not_start(
    program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == "is not there":
        monkeypatch.setattr(sys, "executable", str(folder / "nothing"))
    else:
        monkeypatch.setattr(companion, "_CHILD", "raise SystemExit(1)")
    companion.ask("unit", ("kernel", EXP.number, 6, 1), 0)
    companion.settle("unit")
    _wait_for_its_end()
    assert not cache.has("unit")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_leaves_it_to_the_parent(folder: Path) -> None:
    companion.ask("unit", ("kernel", EXP.number, 6, 1), 0)
    child = os.fork()
    if child == 0:
        companion.settle("unit")
        os._exit(0 if companion._process is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    _wait_for_its_end()
    assert cache.has("unit")


def test_one_is_not_started_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITGRAD_COMPILER", "alone")
    assert not companion.possible()
    monkeypatch.delenv("JITGRAD_COMPILER")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not companion.possible()


def test_a_forward_kernel_that_is_missing_has_its_gradients_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JITGRAD_COMPILER", raising=False)
    really_possible, whole, folder = companion.possible(), cache.folder(), tmp_path
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(folder / "cache"))
    code = (
        "import jitgrad, time\n"
        "from jitgrad.kernels import companion\n"
        "x = jitgrad.tensor([1.0, 2.0], requires_grad=True)\n"
        "y = x.sinh()\n"
        "while companion._process is not None: time.sleep(0.01)\n"
    )
    sinh = BY_NAME["sinh"]
    forward, gradient = (cache.key(f"{sinh!r} 6 {i}") + ".jgo" for i in (0, 1))
    made = folder / "cache"
    shutil.copytree(whole, made, ignore=shutil.ignore_patterns(forward, gradient))
    made.chmod(0o700)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    assert (made / forward).exists()
    assert (made / gradient).exists() == really_possible
