"""Comparing with an earlier run: is it slower, or was the machine?

A saved run holds the samples of a control, taken in the same rounds. A time is divided by the control's of
its round. A case that seems changed is measured again, in turns with the control; only a change that all
measurements confirm, and that rank statistics cannot explain by chance, counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jitgrad.bench.results import CannotWrite, Measurement, NotResults, Report, write_whole

#: The greatest probability of chance at which a change is believed.
CHANCE = 0.01
AGAIN = 2

SAME, SLOWER, FASTER, NOISE, MISSING = "same", "slower", "faster", "noise", "not in the saved run"


@dataclass(frozen=True)
class Change:
    """How a case's time stands to the saved one."""

    case: str
    ratio: float | None
    chance: float | None
    verdict: str


def folder() -> Path:
    """Where runs are saved: ``$JITGRAD_BENCH_DIR``, else ``.jitgrad-bench`` in the current folder."""
    return Path(os.environ.get("JITGRAD_BENCH_DIR") or ".jitgrad-bench")


def place(name: str) -> Path:
    """The file of a saved run; a name that ends in .json, or has a folder, is a path."""
    if name.endswith(".json") or os.sep in name:
        return Path(name)
    return folder() / f"{name}.json"


def save(name: str, report: Report) -> Path:
    """Save a run under a name.

    Raises
    ------
    CannotWrite
        If that is impossible; nothing is left half-written.
    """
    path = place(name)
    make_folder(path)
    write_whole(path, report.as_json())
    return path


def make_folder(path: Path) -> None:
    """Make the folder of a saved run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make {path.parent}: {error.strerror or error}") from None


def load(name: str) -> Report:
    """Read a saved run.

    Raises
    ------
    NotResults
        If there is none, or the file holds something else.
    """
    path = place(name)
    try:
        return Report.from_json(path.read_text(encoding="utf-8"))
    except NotResults as error:
        raise NotResults(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        known = sorted(p.stem for p in folder().glob("*.json"))
        there = f"saved are: {', '.join(known)}" if known else "nothing is saved; see --save"
        reason = getattr(error, "strerror", None) or error
        raise NotResults(f"cannot read {path} ({reason}); {there}") from None


def relative(m: Measurement) -> list[float]:
    """The samples as multiples of the control's; plain seconds if there is no control."""
    if len(m.control) != len(m.samples) or not all(m.control):
        return list(m.samples)
    return [s / c for s, c in zip(m.samples, m.control, strict=True)]


def chance_of(a: Sequence[float], b: Sequence[float]) -> float:
    """The probability that samples of one distribution differ in rank as these do (Mann-Whitney)."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(a, b).pvalue)


def judge(
    saved: Measurement,
    new: Measurement,
    threshold: float,
    again: Callable[[], Measurement | None],
) -> Change:
    """Compare a case with its saved time; `again` measures it once more."""
    if not saved.samples or not new.samples:
        return Change(new.case, None, None, MISSING)
    before, now = relative(saved), relative(new)
    ratio = median(now) / median(before)
    verdict = _side(ratio, threshold)
    if verdict == SAME:
        return Change(new.case, ratio, None, SAME)
    for _ in range(AGAIN):
        more = again()
        if more is None or not more.samples:
            break
        one = relative(more)
        if _side(median(one) / median(before), threshold) != verdict:
            return Change(new.case, median(now + one) / median(before), None, NOISE)
        now += one
    ratio = median(now) / median(before)
    chance = chance_of(before, now)
    if chance > CHANCE or _side(ratio, threshold) != verdict:
        verdict = NOISE
    return Change(new.case, ratio, chance, verdict)


def _side(ratio: float, threshold: float) -> str:
    if ratio > 1 + threshold:
        return SLOWER
    return FASTER if ratio < 1 / (1 + threshold) else SAME
