"""Measuring with clocks that we turn: turns, repeats, noise and change; results to files and back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from jitgrad.bench import comparing, goals, measuring, results
from jitgrad.bench.case import Case, Goal
from jitgrad.bench.results import Measurement, Report


class Clock:
    """A clock that stands still until somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_repeats_fill_a_sample() -> None:
    clock = Clock()

    def work() -> None:
        clock.now += 0.003

    repeats = measuring.repeats_for(work, 0.02, clock)
    assert 0.02 <= repeats * 0.003 < 0.2
    assert measuring.sample(work, 5, clock) == pytest.approx(0.003)


def test_libraries_take_turns_until_the_budget_is_spent() -> None:
    clock, order = Clock(), []

    def works(name: str, seconds: float) -> measuring.Work:
        def work() -> None:
            order.append(name)
            clock.now += seconds

        return work

    runs = {"a": works("a", 0.1), "b": works("b", 0.2)}
    found = list(measuring.in_turns(runs, {"a": 1, "b": 2}, 100, 2.0, clock))
    assert order[:6] == ["a", "b", "b", "b", "b", "a"]  # the second round goes backwards
    assert found[0] == {"a": pytest.approx(0.1), "b": pytest.approx(0.2)}
    assert len(found) == 5  # the fifth round begins at 2.0
    assert len(list(measuring.in_turns(runs, {"a": 1, "b": 1}, 100, 0.0, clock))) == 3
    assert len(list(measuring.in_turns(runs, {"a": 1, "b": 1}, 2, 9.0, clock))) == 2


def measured(scale: float, machine: float = 1.0, n: int = 12, seed: int = 0) -> Measurement:
    """Samples with 2% noise on a machine that is slower by a factor, which the control shows."""
    rng = np.random.default_rng(seed)
    control = machine * 1e-5 * (1 + 0.02 * rng.random(n))
    samples = machine * scale * 1e-3 * (1 + 0.02 * rng.random(n))
    return Measurement("c", "work", "jitgrad", samples.tolist(), control.tolist())


@pytest.fixture
def never() -> object:
    return lambda: pytest.fail("nothing was to be measured again")


def test_equal_times_are_the_same(never) -> None:  # type: ignore[no-untyped-def]
    change = comparing.judge(measured(1), measured(1.05, seed=1), 0.1, never)
    assert change.verdict == comparing.SAME


def test_a_slower_machine_is_no_change(never) -> None:  # type: ignore[no-untyped-def]
    change = comparing.judge(measured(1), measured(1, machine=3, seed=1), 0.1, never)
    assert change.verdict == comparing.SAME
    assert change.ratio == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("scale", "verdict"), [(1.5, "slower"), (0.5, "faster")])
def test_a_change_that_comes_again_counts(scale: float, verdict: str) -> None:
    seeds = iter(range(2, 9))
    change = comparing.judge(
        measured(1), measured(scale, seed=1), 0.1, lambda: measured(scale, seed=next(seeds))
    )
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(scale, rel=0.05)
    assert change.chance is not None
    assert change.chance < 0.01


def test_a_change_that_does_not_come_again_is_noise() -> None:
    change = comparing.judge(measured(1), measured(1.5, seed=1), 0.1, lambda: measured(1, seed=2))
    assert change.verdict == comparing.NOISE


def test_few_scattered_samples_are_noise() -> None:
    wild = Measurement("c", "", "jitgrad", [1.0, 9.0, 1.1], [1.0] * 3)
    new = Measurement("c", "", "jitgrad", [1.5, 1.0, 8.0], [1.0] * 3)
    change = comparing.judge(wild, new, 0.1, lambda: None)
    assert change.verdict == comparing.NOISE


def test_a_case_without_samples_cannot_be_compared(never) -> None:  # type: ignore[no-untyped-def]
    empty = Measurement("c", "", "jitgrad")
    assert comparing.judge(empty, measured(1), 0.1, never).verdict == comparing.MISSING


def test_figures_of_a_measurement() -> None:
    m = Measurement("c", "", "x", [1.0, 2.0, 4.0], nbytes=4e9, flops=None)
    assert (m.median, m.best, m.spread) == (2.0, 1.0, 0.75)
    assert m.rate(m.nbytes) == 2.0
    assert m.rate(m.flops) is None
    assert Measurement("c", "", "x").spread is None


def test_goals_are_judged_by_peers_and_by_other_cases() -> None:
    def case(name: str, nodes: int | None, *goals: Goal) -> Case:
        # It is judged by its name and goals, and never prepared.
        return Case(name, "work", lambda T: None, nodes=nodes, goals=goals)  # type: ignore[arg-type, return-value]  # noqa: N803

    cases = {
        "short": case("short", 10, Goal(0.5)),
        "long": case("long", 100, Goal(1.5, "short"), Goal(0.1, "numpy")),
    }
    rows = [
        Measurement("short", "", "jitgrad", [1.0, 2.0, 9.0]),
        Measurement("short", "", "torch", [4.0, 4.0, 9.0]),
        Measurement("long", "", "jitgrad", [40.0]),  # twice as much a node
        Measurement("unknown", "", "jitgrad", [1.0]),
    ]
    found = goals.judged(Report({}, rows), cases, lambda m: m.median)
    assert [(v.ratio, v.met) for v in found["short"]] == [(0.5, True)]
    assert [(v.ratio, v.met) for v in found["long"]] == [(2.0, False)]  # NumPy was not measured
    assert list(map(str, found["long"])) == ["1.5 short: missed (2.00)"]
    assert list(map(str, found["short"])) == ["0.5 torch: met"]
    assert set(found) == set(cases)
    best = goals.judged(Report({}, rows), cases, lambda m: m.best)
    assert best["short"][0].ratio == 0.25


def report() -> Report:
    """A report with everything in it."""
    rows = [
        Measurement("c:16", "work", "jitgrad", [1e-3, 2e-3], [1e-5] * 2, 10.0, 20.0, None, 16, "c"),
        Measurement("c:16", "work", "torch", cannot="because, it says"),
        Measurement("d", "more", "torch", error='a "bad" thing'),
    ]
    return Report({"threads": 1}, rows, True)


def test_json_comes_back() -> None:
    assert Report.from_json(report().as_json()) == report()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}', "3", '"x"'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(results.NotResults):
        Report.from_json(text)


def test_csv_and_markdown() -> None:
    rows = list(csv.DictReader(io.StringIO(report().as_csv())))
    assert [row["note"] for row in rows] == ["", "because, it says", 'a "bad" thing']
    assert float(rows[0]["median_s"]) == 1.5e-3
    text = report().as_markdown()
    assert "| c:16 | 1.5 ms | - |" in text


def test_a_run_is_saved_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JITGRAD_BENCH_DIR", str(tmp_path / "runs"))
    path = comparing.save("before", report())
    assert path == tmp_path / "runs" / "before.json"
    assert comparing.load("before") == report()
    with pytest.raises(results.NotResults, match="before"):
        comparing.load("after")


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    results.write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(results.CannotWrite, match=r"x\.json: No space left"):
        results.write_whole(path, "new" * 1000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
