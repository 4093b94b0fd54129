"""How many threads kernels and BLAS use."""

from __future__ import annotations

import os

from jitgrad.arena import blas, engine
from jitgrad.arena import columns as col
from jitgrad.arena.header import header
from jitgrad.kernels import companion

#: Scratch areas that the arena has: one a thread.
MOST = 64

#: Whether this process is a forked child of one whose threads had been launched: it has to do without.
_lost = False


def get_num_threads() -> int:
    """The number of threads that a kernel may use."""
    return int(header[col.H_THREADS])


def set_num_threads(n: int) -> None:
    """Set the number of threads of kernels and of BLAS; a forked child's kernels may have to stay at one.

    Raises
    ------
    RuntimeError
        If it is not positive.

    Examples
    --------
    >>> import jitgrad
    >>> before = jitgrad.get_num_threads()
    >>> jitgrad.set_num_threads(1)
    >>> jitgrad.get_num_threads()
    1
    >>> jitgrad.set_num_threads(before)
    """
    if not isinstance(n, int) or n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    header[col.H_THREADS] = 1 if _lost else min(n, MOST)
    blas.set_threads(n)


def start() -> None:
    """Begin with as many threads as the process may run on."""
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    header[col.H_THREADS] = min(int(asked) if asked.isdigit() and int(asked) else count, MOST)
    if hasattr(os, "register_at_fork"):
        # OpenMP's threads are not there in a forked child, and its library ends the process that asks
        # for them again: a child computes on one thread.
        os.register_at_fork(after_in_child=_alone)


def _alone() -> None:
    global _lost
    _lost = header[col.H_PARALLEL] != 0
    header[col.H_THREADS] = 1
    engine.renew_lock()
    companion.forget()
