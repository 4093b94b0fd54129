"""Threads: the parallel-for of Numba's threading layer (OpenMP, TBB or its own work queue).

Nothing is compiled with ``parallel=True``: `jitgrad.arena.driver.split` calls the layer's C function by
address and gives it `chunk`, so every kernel runs on several threads without being compiled twice.  Numba
is imported for it, by the first large op of a process with more than one thread; small graphs never
need it.
"""

from __future__ import annotations

import llvmlite.binding as llvm


def launch() -> tuple[int, int]:
    """Launch the threads; the address of the parallel-for, and how many threads there are.

    Raises
    ------
    RuntimeError
        If no threading layer can be loaded.
    """
    from numba import config
    from numba.np.ufunc import parallel as layer

    layer._launch_threads()
    address = llvm.address_of_symbol("numba_parallel_for")
    if not address:
        raise RuntimeError(
            "Numba's threading layer could not be loaded; jitgrad.set_num_threads(1) does without it"
        )
    return int(address), int(config.NUMBA_NUM_THREADS)
