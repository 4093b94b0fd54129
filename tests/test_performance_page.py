"""docs/performance.md: every section is there with its command, and is written from the bench's JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import typer

from benchmarks import performance, profiles
from benchmarks.startup import Start
from benchmarks.tables import Profile
from jitgrad.bench.results import Measurement, Report


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the page and the README, and empty folders for results and pictures."""
    copy = tmp_path / "performance.md"
    copy.write_text(performance.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(performance, "PAGE", copy)
    readme = tmp_path / "README.md"
    readme.write_text(performance.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(performance, "README", readme)
    monkeypatch.setattr(performance, "RESULTS", tmp_path)
    monkeypatch.setattr(performance, "PICTURES", tmp_path / "pictures")
    return copy


def results(folder: Path, section: str) -> None:
    """Results in which A1 meets its goal, A2 misses it, and NumPy cannot."""
    rows = []
    for case, ours in (("A1", 1e-5), ("A2", 9e-5)):
        rows.append(Measurement(case, f"work {case}", "jitgrad", [ours, 2 * ours]))
        rows.append(Measurement(case, f"work {case}", "torch", [1e-4, 3e-4]))
        rows.append(Measurement(case, f"work {case}", "numpy", cannot="no gradient"))
    rows.append(Measurement("A5_1k", "deep", "jitgrad", [4e-3], nodes=1000))
    rows.append(Measurement("A5_1k", "deep", "torch", [1e-3], nodes=1000))
    report = Report({"processor": "a processor", "threads": 1}, rows)
    (folder / f"{section}.json").write_text(report.as_json(), encoding="utf-8")


def test_the_page_has_every_section_and_its_command() -> None:
    text = performance.PAGE.read_text(encoding="utf-8")
    for key, section in performance.SECTIONS.items():
        part = text.partition(f"<!-- begin {key} -->\n")[2].partition(f"<!-- end {key} -->")[0]
        assert part.strip().startswith(section.command), key


def test_a_section_is_written_from_results(page: Path) -> None:
    for section in performance.TIMED[:-1]:
        results(page.parent, section)
    before = page.read_text(encoding="utf-8")
    readme_before = performance.README.read_text(encoding="utf-8")
    performance.write()
    assert "| work A1 | 10 us |" in page.read_text(encoding="utf-8")
    # What draws on all sections waits for the last one.
    assert performance.README.read_text(encoding="utf-8") == readme_before
    results(page.parent, performance.TIMED[-1])
    performance.write()
    text = page.read_text(encoding="utf-8")
    assert "| work A1 | 10 us | 100 us (0.10) | - | 0.15 torch: met |" in text
    assert "| work A2 | 90 us | 100 us (0.90) | - | 0.06 torch: missed |" in text
    assert "- numpy, work A1; work A2: no gradient" in text
    assert "| deep | torch 4.00 |" in text  # where we lose
    assert "- processor: a processor" in text
    assert (page.parent / "pictures" / "overview.svg").stat().st_size > 1000
    readme = (page.parent / "README.md").read_text(encoding="utf-8")
    assert "| work A1 | 10 us | 100 us | 0.10 | - |" in readme
    assert "Cache and environment variables" in readme
    # What people wrote, and the sections without new results, are as they were.
    memory = before.partition("<!-- begin memory -->")[2].partition("<!-- end memory -->")[0]
    assert memory in text
    assert before.partition("<!-- begin machine -->")[0] in text


def test_memory_is_held_against_its_goal(page: Path) -> None:
    rows = [
        Measurement("A1", "chain", "jitgrad", [1.0], memory=1 << 20),
        Measurement("A1", "chain", "torch", [1.0], memory=2 << 20),
        Measurement("B1", "step", "jitgrad", [1.0], memory=3 << 20),
        Measurement("B1", "step", "torch", [1.0], memory=2 << 20),
    ]
    report = Report({"threads": 1}, rows)
    (page.parent / "memory.json").write_text(report.as_json(), encoding="utf-8")
    performance.write()
    text = page.read_text(encoding="utf-8")
    assert "| chain | 1.0 MiB | 2.0 MiB | 0.50 | 1 torch: met |" in text
    assert "| step | 3.0 MiB | 2.0 MiB | 1.50 | 1 torch: missed |" in text
    assert list(profiles.missed(page.parent)) == []  # its times were taken in passing


def test_the_profiles_are_of_what_misses_its_goal(page: Path) -> None:
    folder = page.parent
    assert list(profiles.missed(folder)) == []
    results(folder, "small")
    starts = [
        Start("torch", "-", [1.0], [0.1], [1.2]),
        Start("jitgrad", "warm", [0.2], [0.1], [0.4]),
        Start("jitgrad", "empty", [8.5], [1.0], [9.9]),
    ]
    (folder / "start.json").write_text(json.dumps([asdict(start) for start in starts]))
    assert sorted(profiles.missed(folder)) == [
        ("A2", 1, "0.90 of torch, goal 0.06"),
        ("start", 1, "9.5 s, goal 8 s"),
    ]
    profile = Profile("A2: missed", ["call", "time"], [["mul", "3 us"]], remark="All.")
    (folder / "profiles.json").write_text(json.dumps([asdict(profile)]))
    assert len(list(profiles.missed(folder))) == 2  # the profiles are no results
    performance.write()
    text = page.read_text(encoding="utf-8")
    assert "**A2: missed**\n\n| call | time |\n| --- | ---: |\n| mul | 3 us |\n\nAll.\n" in text
    assert "| jitgrad, cache warm | 200 ms | 100 ms | 300 ms | 400 ms | 0.3 torch: met |" in text
    assert "| jitgrad, cache empty | 8.5 s | 1 s | 9.5 s | 9.9 s | 8 s: missed |" in text


def test_an_unknown_section_gets_a_sentence(page: Path) -> None:
    with pytest.raises(typer.BadParameter, match="no section 'nothing'; there are small"):
        performance.main("nothing", writing=True)
