"""Benchmarks of the repository; `jitgrad.bench` says what is measured, and `jitgrad bench` measures it.

- `python -m benchmarks.performance`: runs what docs/performance.md and the README show, and writes them.
- `python -m benchmarks.profiles`: where the time goes of what misses its goal.
- `python -m benchmarks.startup`: from a fresh process to the first gradient.
- `asv run`: the same cases over the history of the repository (`asv_*.py`).

asv installs the package of every commit and runs these files against it. The cases come from here, not
from that package: else a case that was changed would look like a change of speed, and a commit from before
a case could not be measured.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _cases_of_this_checkout() -> None:
    """Let `jitgrad.bench` be the folder beside this one, whichever jitgrad is installed."""
    folder = Path(__file__).resolve().parents[1] / "jitgrad" / "bench"
    if "jitgrad.bench" in sys.modules or not folder.is_dir():
        return
    spec = importlib.util.spec_from_file_location(
        "jitgrad.bench", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["jitgrad.bench"] = module
    spec.loader.exec_module(module)


_cases_of_this_checkout()
