"""Time and memory of every op of a program, forward and backward.

A layer around the arena's entries times each op and marks the row it recorded, so that a backward pass
stops there; the time between two stops is the first one's. A stop costs about 2 us, which is in it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jitgrad.arena import columns as col
from jitgrad.arena import engine, interception
from jitgrad.arena.engine import entry
from jitgrad.arena.header import header
from jitgrad.arena.inspect import rows
from jitgrad.ops.table import OPS

FORWARD, BACKWARD, NEITHER = "forward", "backward", "-"
COMPILING = "(compiling, or loading from the cache)"
MOST_EVENTS = 1_000_000

#: Entries whose first argument is an op's number, and the names of others.
_OPS = ("pointwise", "pointwise_", "view", "lanes", "explicit")
_OTHERS = {"convert": "to", "update": "optimiser step"}


@dataclass
class Total:
    """What one op took in all: calls, seconds, and bytes that its calls left allocated."""

    calls: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    nbytes: int = 0

    def add(self, seconds: float, nbytes: int) -> None:
        """Count a call."""
        self.calls += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.nbytes += max(nbytes, 0)


@dataclass
class Profile:
    """Totals by op and direction, and the single events as far as they fit."""

    totals: dict[tuple[str, str], Total] = field(default_factory=dict)
    events: list[tuple[str, str, float, float, int, int, int]] = field(default_factory=list)
    dropped: int = 0
    compiling: float = 0.0  # seconds so far
    begin: float = field(default_factory=time.perf_counter)

    def add(
        self, name: str, part: str, begin: float, end: float, nbytes: int, compiling: float = 0.0
    ) -> None:
        """Count an event; the seconds that went into compiling are not the op's."""
        self.totals.setdefault((name, part), Total()).add(end - begin - compiling, nbytes)
        if len(self.events) < MOST_EVENTS:
            live = int(header[col.H_LIVE_BYTES])
            self.events.append((name, part, begin, end, nbytes, live, threading.get_ident()))
        else:
            self.dropped += 1

    def chrome_trace(self) -> str:
        """The events in the format of chrome://tracing and Perfetto, and the memory of all tensors."""
        threads: dict[int, int] = {}
        events: list[dict[str, Any]] = [
            {"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "jitgrad"}}
        ]
        for name, part, begin, end, nbytes, live, thread in self.events:
            tid = threads.setdefault(thread, len(threads) + 1)
            at, until = 1e6 * (begin - self.begin), 1e6 * (end - self.begin)
            common = {"name": name, "cat": part, "pid": 1, "tid": tid}
            args = {"bytes": nbytes}
            events.append({**common, "ph": "X", "ts": at, "dur": until - at, "args": args})
            counter = {"name": "memory", "ph": "C", "pid": 1, "tid": 0, "ts": until}
            events.append({**counter, "args": {"bytes": live}})
        for tid in threads.values():
            args_ = {"name": "main thread" if tid == 1 else f"thread {tid}"}
            events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": args_})
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _name(number: int) -> str:
    return OPS[number].name if 0 <= number < len(OPS) else f"op {number}"


def _layer(profile: Profile) -> dict[str, interception.Wrapper]:
    def of(entry_name: str) -> interception.Wrapper:
        def wrapper(below: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any) -> Any:
                held = int(header[col.H_LIVE_BYTES])
                begin = time.perf_counter()
                made = below(*args)  # a fault is no call: the engine mends it and comes again
                end = time.perf_counter()
                nbytes = int(header[col.H_LIVE_BYTES]) - held
                name = _OTHERS.get(entry_name) or _name(int(args[0]))
                if entry_name == "pointwise_":
                    name += "_"
                profile.add(name, FORWARD, begin, end, nbytes)
                if entry_name != "update":
                    _mark(made)
                return made

            return timed

        return wrapper

    return {name: of(name) for name in (*_OPS, *_OTHERS)}


def _mark(made: Any) -> None:
    line = rows()[entry.row(made)]
    if line[col.FLAGS] & col.F_REQUIRES_GRAD and line[col.OP] != col.LEAF:
        line[col.FLAGS] |= col.F_PYTHON


def _watched(profile: Profile, below: Callable[..., Any]) -> Callable[..., Any]:
    def run_backward(mode: int, *arguments: Any, watch: Any = None) -> Any:
        if watch is not None:  # somebody else looks on
            return below(mode, *arguments, watch=watch)

        # Before the first stop: finding the graph's nodes.
        def opened(name: str) -> tuple[str, float, int, float]:
            return name, time.perf_counter(), int(header[col.H_LIVE_BYTES]), profile.compiling

        open_event = opened("(finding nodes)")

        def close() -> None:
            name, begin, held, compiling = open_event
            end, nbytes = time.perf_counter(), int(header[col.H_LIVE_BYTES]) - held
            profile.add(name, BACKWARD, begin, end, nbytes, profile.compiling - compiling)

        def look(row: int, context: int) -> bool:
            nonlocal open_event
            close()
            name = _name(int(rows()[row, col.OP]))
            open_event = opened(name)
            return False

        try:
            return below(mode, *arguments, watch=look)
        finally:
            close()

    return run_backward


def _timed_loading(profile: Profile, below: Callable[..., Any]) -> Callable[..., Any]:
    def load_kernel(*arguments: Any) -> Any:
        begin = time.perf_counter()
        try:
            return below(*arguments)
        finally:
            end = time.perf_counter()
            profile.compiling += end - begin
            profile.add(COMPILING, NEITHER, begin, end, 0)

    return load_kernel


@contextmanager
def profiled() -> Iterator[Profile]:
    """Profile all ops of a block, of every thread."""
    profile = Profile()
    before, loading, watched = engine.run_backward, engine.load_kernel, engine.watched
    engine.watched = True
    engine.run_backward = _watched(profile, before)
    engine.load_kernel = _timed_loading(profile, loading)
    try:
        with interception.intercepted(_layer(profile)):
            yield profile
    finally:
        engine.run_backward, engine.load_kernel, engine.watched = before, loading, watched
