"""docs/performance.md: every section is there with its command, and is written from the bench's JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from benchmarks import performance
from jitgrad.bench.results import Measurement, Report


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page, and empty folders for results and pictures."""
    copy = tmp_path / "performance.md"
    copy.write_text(performance.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(performance, "PAGE", copy)
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
    results(page.parent, "small")
    before = page.read_text(encoding="utf-8")
    performance.write()
    text = page.read_text(encoding="utf-8")
    assert "| work A1 | 10 us | 100 us (0.10) | - | 0.15 torch: met |" in text
    assert "| work A2 | 90 us | 100 us (0.90) | - | 0.06 torch: missed |" in text
    assert "- numpy, work A1; work A2: no gradient" in text
    assert "| deep | torch 4.00 |" in text  # where we lose
    assert "- processor: a processor" in text
    assert (page.parent / "pictures" / "overview.svg").stat().st_size > 1000
    # What people wrote, and the sections without new results, are as they were.
    ops = before.partition("<!-- begin ops -->")[2].partition("<!-- end ops -->")[0]
    assert ops in text
    assert before.partition("<!-- begin machine -->")[0] in text


def test_an_unknown_section_gets_a_sentence(page: Path) -> None:
    with pytest.raises(typer.BadParameter, match="no section 'nothing'; there are small"):
        performance.main("nothing", writing=True)
