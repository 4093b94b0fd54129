"""Where the time of a start goes by stage and process, with an empty cache of compiled code or a filled one.

Every process of the start times its own stages (`benchmarks.stage_timers`), also those that jitgrad starts
to compile along.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import stage_timers
from benchmarks.startup import FIRST_GRADIENT, users_own
from benchmarks.tables import Profile
from jitgrad.bench.results import duration

PROGRAM = f"import jitgrad as T\n{FIRST_GRADIENT}"
ORDER = (
    stage_timers.IMPORTING["numpy"],
    stage_timers.IMPORTING["numba"],
    stage_timers.IMPORTING["jitgrad"],
    stage_timers.OTHERS,
    stage_timers.TYPING,
    stage_timers.LOWERING,
    stage_timers.OTHER_PASSES,
    stage_timers.LINKING,
    stage_timers.OPTIMISING,
    stage_timers.EMITTING,
    stage_timers.LOADING,
    stage_timers.WAITING,
    stage_timers.ELSE,
)


def measured(warm: bool) -> list[dict[str, Any]]:
    """The stages of every process of one start, the first process first."""
    with TemporaryDirectory() as folder:
        timers = Path(folder, "timers")
        timers.mkdir()
        source = Path(stage_timers.__file__)
        text = f"import sys\nsys.path.insert(0, {str(source.parent)!r})\nimport stage_timers\n"
        text += f"sys.path.pop(0)\nstage_timers.install({folder!r})\n"
        (timers / "sitecustomize.py").write_text(text, encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(timers), os.environ.get("PYTHONPATH"))))
        cache = dict.fromkeys(("JITGRAD_CACHE_DIR", "NUMBA_CACHE_DIR"), f"{folder}/cache")
        environment = users_own() | cache
        command = [sys.executable, "-c", PROGRAM]
        if warm:
            subprocess.run(command, env=environment, check=True)
        subprocess.run(command, env=environment | {"PYTHONPATH": path}, check=True)
        found = [json.loads(file.read_text("utf-8")) for file in Path(folder).glob("*.json")]
    return sorted(found, key=lambda process: process["began"])


def profile(title: str, warm: bool = False) -> Profile:
    """Measure a start, and lay its stages out."""
    processes = measured(warm)
    first = processes[0]["began"]
    rows = []
    for stage in ORDER:
        seconds = [process["stages"].get(stage, 0.0) for process in processes]
        if max(seconds) >= 0.005:
            rows.append([stage, *(duration(s) if s >= 0.005 else "-" for s in seconds)])
    spans = [process["ended"] - process["began"] for process in processes]
    rows.append(["in all", *map(duration, spans)])
    rows.append(["of it processor time", *(duration(p["processor"]) for p in processes)])
    names = ["the process", *(f"helper {i}" for i in range(1, len(processes)))]
    if len(names) == 2:
        names[1] = "its helper"
    begun = ", ".join(
        f"{name} begins after {duration(process['began'] - first)}"
        for name, process in zip(names[1:], processes[1:], strict=True)
    )
    remark = "A stage's time leaves out the stages within it."
    if begun:
        remark += f" {begun[0].upper()}{begun[1:]}; it may end with the process, and wait for work before."
    return Profile(title, ["stage", *names], rows, remark=remark)
