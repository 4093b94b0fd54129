"""What the machine can do: the bandwidth of a copy and the rate of a matrix product, measured with NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from jitgrad.bench.case import Case
from jitgrad.bench.measuring import repeats_for, sample


@lru_cache
def copy_rate(nbytes: int, threads: int) -> float:
    """Bytes per second, read and written, of a copy between arrays that have `nbytes` together."""
    n = max(nbytes // 16 // threads, 8)
    pairs = [(np.ones(n), np.empty(n)) for _ in range(threads)]

    def alone() -> None:
        for x, y in pairs:
            np.copyto(y, x)

    if threads == 1:
        return _rate(alone, 16.0 * n)
    with ThreadPoolExecutor(threads) as pool:

        def together() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))

        return _rate(together, 16.0 * n * threads)


@lru_cache
def product_rate(dtype: str = "float32", side: int = 768) -> float:
    """Operations per second of BLAS."""
    x = np.ones((side, side), dtype)
    y = np.empty_like(x)
    return _rate(lambda: np.matmul(x, x, out=y), 2.0 * side**3)


def _rate(work: object, amount: float) -> float:
    assert callable(work)
    work()
    repeats = repeats_for(work, 0.01)
    return amount / min(sample(work, repeats) for _ in range(9))


class Peaks:
    """The peaks of this machine with a number of threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def share(self, seconds: float, case: Case) -> float | None:
        """How much of the peak is reached: of BLAS if there is a product, else of a copy of as many bytes.

        The copy works on about as much memory as the case, so it is in the same cache.
        """
        if case.flops:
            # BLAS has these two; 16-bit floats are computed in float32.
            dtype = "float64" if case.dtype == "float64" else "float32"
            return case.flops / seconds / product_rate(dtype)
        if case.nbytes:
            size = 1 << max(int(case.nbytes).bit_length(), 12)
            return case.nbytes / seconds / copy_rate(min(size, 1 << 28), self.threads)
        return None

    def memory(self) -> float:
        """Bytes per second of a copy of 128 MB, which is in no cache."""
        return copy_rate(1 << 27, self.threads)
