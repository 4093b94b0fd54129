"""Timers of a process's stages, for `benchmarks.stages`: imports, Numba's passes, LLVM, waiting.

Imported by every Python process that finds the folder which `benchmarks.stages` makes in its path, before
anything else; takes nothing but the standard library, and times by the public names of Numba and LLVM. The
time of a stage leaves out the stages within it. Whatever is timed is written to a file of the process as it
goes on, since a process may be killed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import threading
import time
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from typing import Any

IMPORTING = {
    "numpy": "importing NumPy",
    "numba": "importing Numba, llvmlite",
    "llvmlite": "importing Numba, llvmlite",
    "jitgrad": "importing jitgrad, its own Python",
}
OTHERS = "importing the rest"
TYPING, LOWERING = "Numba: types", "Numba: lowering"
PASSES = {
    "nopython_type_inference": TYPING,
    "native_lowering": LOWERING,
    "nopython_backend": LOWERING,
}
OTHER_PASSES = "Numba: other passes"
LINKING, OPTIMISING, EMITTING = "LLVM: reading, linking", "LLVM: optimising", "LLVM: emitting"
LOADING, WAITING, ELSE = "loading code", "waiting for the other process", "everything else"

EVERY = 0.1  # seconds between two writings of the file


class Stages:
    """The stages that are open, and the seconds of each so far."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.began = folder, time.time()
        self.totals: dict[str, float] = {}
        self._open: list[str] = []
        self._last = self._written = time.perf_counter()
        self._thread = threading.get_ident()

    def _account(self) -> None:
        now = time.perf_counter()
        stage = self._open[-1] if self._open else ELSE
        self.totals[stage] = self.totals.get(stage, 0.0) + now - self._last
        self._last = now

    def timed(self, stage: str, call: Callable[[], Any]) -> Any:
        """Call a function as a stage, if this is the thread that is timed."""
        if threading.get_ident() != self._thread:
            return call()
        self.enter(stage)
        try:
            return call()
        finally:
            self.leave()

    def enter(self, stage: str) -> None:
        """Begin a stage within the one that is open."""
        self._account()
        self._open.append(stage)

    def leave(self) -> None:
        """End the stage that was begun last."""
        self._account()
        self._open.pop()
        if self._last - self._written > EVERY:
            self.write()

    def write(self) -> None:
        """Write the file of this process."""
        self._account()
        self._written = self._last
        facts = {
            "began": self.began,
            "ended": time.time(),
            "processor": time.process_time(),
            "stages": self.totals,
        }
        path = self.folder / f"{os.getpid()}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(facts), encoding="utf-8")
        part.replace(path)


def _wrap(stages: Stages, owner: Any, name: str, stage: str | Callable[[Any], str]) -> None:
    below = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        which = stage if isinstance(stage, str) else stage(arguments)
        return stages.timed(which, lambda: below(*arguments, **options))

    setattr(owner, name, timed)


def _of_module(arguments: tuple[Any, ...]) -> str:
    """The stage of ``loader.exec_module(module)`` and ``loader.create_module(spec)``."""
    named = arguments[1]
    name = getattr(named, "__name__", None) or named.name
    return IMPORTING.get(name.partition(".")[0], OTHERS)


def _llvm(stages: Stages) -> None:
    binding = importlib.import_module("llvmlite.binding")
    passes = importlib.import_module("llvmlite.binding.newpassmanagers")
    for manager in (passes.ModulePassManager, passes.FunctionPassManager):
        _wrap(stages, manager, "run", OPTIMISING)
    _wrap(stages, binding.TargetMachine, "emit_object", EMITTING)
    for name in ("link_in", "clone", "verify"):
        _wrap(stages, binding.ModuleRef, name, LINKING)
    _wrap(stages, binding, "parse_assembly", LINKING)
    for name in ("add_object_file", "finalize_object", "get_function_address"):
        _wrap(stages, binding.ExecutionEngine, name, LOADING)


def _numba(stages: Stages) -> None:
    event = importlib.import_module("numba.core.event")

    # Its base is known only when this runs: a module is imported where it is needed.
    class Listener(event.Listener):  # type: ignore[misc, name-defined]
        def on_start(self, event: Any) -> None:
            name = event.data["name"].split(" ")[0]
            if threading.get_ident() == stages._thread:
                stages.enter(PASSES.get(name, OTHER_PASSES))

        def on_end(self, event: Any) -> None:
            if threading.get_ident() == stages._thread:
                stages.leave()

    event.register("numba:run_pass", Listener())


def install(folder: str) -> None:
    """Begin to time this process."""
    stages = Stages(Path(folder))
    atexit.register(stages.write)
    when_there = {"llvmlite.binding": _llvm, "numba.core.event": _numba}
    for loader in (SourceFileLoader, ExtensionFileLoader):
        _wrap(stages, loader, "exec_module", _of_module)
        below = loader.exec_module

        def executed(self: Any, module: Any, below: Any = below) -> None:
            below(self, module)
            begin = when_there.pop(module.__name__, None)
            if begin is not None:
                begin(stages)

        # To time it is to put another in its place.
        loader.exec_module = executed  # type: ignore[method-assign]
    _wrap(stages, ExtensionFileLoader, "create_module", _of_module)
    _wrap(stages, threading.Condition, "wait", WAITING)
