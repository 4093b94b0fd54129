"""The parallel-for: the one function that Numba compiles for several threads.

It splits ``n`` elements into a range for each thread and calls ``drive_range`` by address, so no kernel
is compiled twice.  It needs Numba's threading layer, which is launched before its code is loaded:
without that, cached code that calls it cannot be linked (``Symbol not found: do_scheduling``).  So the first
large op of a process imports Numba; small graphs never do.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types

from jitgrad.kernels.lowlevel import call_range


def address(drive_range: int) -> int:
    """Address of ``int64 parallel(H, n, threads)``, which runs a plan on several threads."""
    from numba.np.ufunc import parallel as layer

    layer._launch_threads()
    _kept.append(_make(drive_range))
    return int(_kept[-1].address)


_kept: list[Any] = []


@numba.njit(parallel=True, cache=False, error_model="numpy")
def _ranges(target, H, n, parts, status):
    # status is an array made by the caller: prange over a carray made here is silently deleted.
    for i in numba.prange(parts):
        start = n * i // parts // 64 * 64
        stop = n if i == parts - 1 else n * (i + 1) // parts // 64 * 64
        status[i] = call_range(target, (H, start, stop, i))


def _make(drive_range: int) -> Any:
    import numpy as np

    from jitgrad.arena.threads import MOST

    status = np.zeros(MOST, np.int64)
    _kept.append(status)
    pointer = status.ctypes.data

    @numba.cfunc(types.int64(types.int64, types.int64, types.int64), error_model="numpy")
    def parallel(H, n, threads):
        states = numba.carray(_words(pointer), 64, numba.int64)
        _ranges(drive_range, H, n, threads, states)
        worst = 0
        for i in range(threads):
            worst |= states[i]
        return worst

    return parallel


from jitgrad.kernels.lowlevel import words as _words  # noqa: E402
