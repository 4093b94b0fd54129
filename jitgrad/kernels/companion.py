"""A second process that compiles along with this one, from its first cache miss to a moment after the last.

Numba translates Python with Python, so threads would wait for one another.  While this process compiles
what is needed now, the companion compiles what will be needed next (the backward pass, the gradients of an
op whose forward kernel was missing, then the rest of the core) and puts it into the cache.  Whatever it has
not begun when it is needed, this process takes back and compiles itself; should the companion fail or never
start, that is all that happens.

``JITGRAD_COMPILER=alone`` does without it, and so does a machine with one processor.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from operator import itemgetter
from pathlib import Path
from typing import Any

# The child gets a bare package in the place of jitgrad: its own __init__ would start an arena.
_CHILD = """
import json, sys, types
package = types.ModuleType("jitgrad")
package.__path__ = [sys.argv[1]]
sys.modules["jitgrad"] = package
sys.path[:] = json.loads(sys.argv[2])
from jitgrad.kernels import companion
companion.serve()
"""
#: Seconds without work after which the companion ends.
_PATIENCE = 2.0

#: Its turn, the unit's name in the cache, and the arguments of `jitgrad.arena.engine.units_of`.
Request = tuple[int, str, tuple[Any, ...]]

_change = threading.Condition()
_waiting: list[Request] = []
_begun: str | None = None
_process: subprocess.Popen[str] | None = None


def possible() -> bool:
    """Whether there may be a companion: a second processor, and an interpreter to start."""
    if os.environ.get("JITGRAD_COMPILER") or getattr(sys, "frozen", False) or not sys.executable:
        return False
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) > 1
    return (os.cpu_count() or 1) > 1


def ask(name: str, what: tuple[Any, ...], turn: int) -> None:
    """Have the companion compile a unit when it has the time, after all units of a lower turn."""
    global _process
    if not possible():
        return
    with _change:
        _waiting.append((turn, name, what))
        _waiting.sort(key=itemgetter(0))
        _change.notify_all()
        if _process is None:
            try:
                _process = _launched()
            except OSError:
                _waiting.clear()
                return
            threading.Thread(target=_hand_over, args=(_process,), daemon=True).start()


def settle(name: str) -> None:
    """Wait for a unit that the companion has begun; take one back that it has not."""
    with _change:
        _waiting[:] = [request for request in _waiting if request[1] != name]
        while _begun == name:
            _change.wait()


def _launched() -> subprocess.Popen[str]:
    root = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, root, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "JITGRAD_COMPILER": "alone"},
    )


def _hand_over(process: subprocess.Popen[str]) -> None:
    """Give the companion one unit after another (in a thread of its own)."""
    global _process, _begun
    assert process.stdin is not None
    assert process.stdout is not None
    alive = True
    while alive:
        with _change:
            if not _waiting:
                _change.wait(_PATIENCE)
            if not _waiting:
                break
            _, name, what = _waiting.pop(0)
            _begun = name
        try:
            process.stdin.write(json.dumps([name, *what]) + "\n")
            process.stdin.flush()
            alive = bool(process.stdout.readline())
        except (OSError, ValueError):
            alive = False
        with _change:
            _begun = None
            _change.notify_all()
    with _change:
        if _process is process:
            _process = None
            _waiting.clear()
    with contextlib.suppress(OSError):
        process.stdin.close()
    process.wait()
    process.stdout.close()


def forget() -> None:
    """In a forked child: the companion is the parent's."""
    global _change, _process, _begun
    _change = threading.Condition()
    _waiting.clear()
    _begun = None
    if _process is not None:
        # Or the companion would not see that its parent is gone as long as this child lives.
        for pipe in (_process.stdin, _process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    os.close(pipe.fileno())
        _process = None


@atexit.register
def _stop() -> None:
    if _process is not None:
        _process.kill()


def serve() -> None:
    """Be the companion: compile what standard input asks for, a line a unit, until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from jitgrad.arena import engine
    from jitgrad.kernels import cache, compiler
    from jitgrad.ops import complete

    assert complete.__doc__
    for line in sys.stdin:
        name, *what = json.loads(line)
        # Whatever is wrong is told by the process that asked: it compiles the unit itself then.
        with contextlib.suppress(Exception):
            cache.write(
                name, compiler.compile_units(engine.units_of(*what), logic=what[0] == "core")
            )
        print(file=answers, flush=True)
