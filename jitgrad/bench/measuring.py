"""Timing: how often work is repeated, in which order, and whether libraries agree before they are timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from jitgrad.bench.case import Case, Prepared
from jitgrad.bench.device import Launched

Clock = Callable[[], float]
Work = Callable[[], object]

#: A sample repeats the work for so many seconds, so that the clock and the loop do not count.
SAMPLE_SECONDS = 0.02
MIN_ROUNDS = 3


def compare(case: Case, got: Prepared, expected: Prepared) -> None:
    """Raise AssertionError if the results of the last runs differ."""
    pairs = zip(got.results(), expected.results(), strict=True)
    for number, (value, reference) in enumerate(pairs):
        reference = np.asarray(reference)
        greatest = float(np.abs(reference).max()) if reference.size else 0.0
        atol = case.atol * greatest if np.isfinite(greatest) else case.atol
        message = f"{case.name}: result {number} differs"
        np.testing.assert_allclose(value, reference, rtol=case.rtol, atol=atol, err_msg=message)


def sample(run: Work, repeats: int, clock: Clock = time.perf_counter) -> float:
    """Return the mean seconds of a run over `repeats` runs, the garbage collector off."""
    on = gc.isenabled()
    gc.disable()
    try:
        begin = clock()
        for _ in repeat(None, repeats):
            run()
        if isinstance(run, Launched):
            run.finish()
        return (clock() - begin) / repeats
    finally:
        if on:
            gc.enable()


def repeats_for(
    run: Work, seconds: float = SAMPLE_SECONDS, clock: Clock = time.perf_counter
) -> int:
    """Find how many runs fill a sample; they also warm caches, and compile what was not compiled."""
    repeats = 1
    while True:
        took = repeats * sample(run, repeats, clock)
        if took >= seconds:
            return repeats
        growth = 1.2 * seconds / max(took, 1e-9)
        repeats = max(repeats + 1, int(repeats * min(growth, 10.0)))


def in_turns(
    runs: Mapping[str, Work],
    repeats: Mapping[str, int],
    rounds: int,
    budget: float,
    clock: Clock = time.perf_counter,
) -> Iterator[dict[str, float]]:
    """Yield a sample of each work, round by round, so that a busy moment of the machine meets them all.

    Every other round goes backwards.  It ends after `rounds` of them, or when the budget in seconds is
    spent, but not before `MIN_ROUNDS`.
    """
    begin = clock()
    for done in range(rounds):
        if done >= MIN_ROUNDS and clock() - begin > budget:
            return
        gc.collect()
        turns = list(runs.items())
        if done % 2:
            turns.reverse()
        yield {name: sample(run, repeats[name], clock) for name, run in turns}


def error_text(error: BaseException) -> str:
    """An exception on one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def copied(result: Any) -> np.ndarray[Any, Any]:
    """A library's tensor or array as a NumPy array of its own."""
    if hasattr(result, "detach"):
        result = result.detach()
    # PyTorch's gradient of a constant is no memory yet, unless forced.
    return np.array(result.numpy(force=True) if hasattr(result, "numpy") else result)
