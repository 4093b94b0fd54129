"""A stand-in for `nvmath.bindings.cublas`: what cuBLAS computes, on the simulator's memory.

It refuses what cuBLAS refuses, with the same status, and any address outside the buffers there are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np

from jitgrad.cuda import memory


class Status(IntEnum):
    """Of cublasStatus_t."""

    SUCCESS = 0
    NOT_INITIALIZED = 1
    ALLOC_FAILED = 3
    INVALID_VALUE = 7
    EXECUTION_FAILED = 13


class PointerMode(IntEnum):
    """Of cublasPointerMode_t."""

    HOST = 0
    DEVICE = 1


class Math(IntEnum):
    """Of cublasMath_t."""

    DEFAULT_MATH = 0
    TF32_TENSOR_OP_MATH = 3


class CuBLASError(Exception):
    """As the binding's cuBLASError."""

    def __init__(self, status: Status) -> None:
        self.status = int(status)
        super().__init__(f"{status.name} ({status.value})")


class Blas:
    """The functions of the binding that jitgrad calls; ``calls`` names them in order."""

    Status, PointerMode, Math = Status, PointerMode, Math

    def __init__(self, later: Callable[[int, Callable[[], None]], None] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        #: What is to happen at the next call of a function, by its name.
        self.failing: dict[str, Status] = {}
        self._later = later
        self._handles: dict[int, dict[str, int]] = {}

    # ------------------------------------------------------------ handles
    def create(self) -> int:
        """See `cublasCreate`."""
        self._note("create")
        handle = 4096 + 8 * len(self._handles)
        self._handles[handle] = {"stream": 0, "pointers": -1, "math": 0}
        return handle

    def set_stream(self, handle: int, stream_id: int) -> None:
        """See `cublasSetStream`."""
        self._note("set_stream", stream_id)
        self._state(handle)["stream"] = stream_id

    def set_pointer_mode(self, handle: int, mode: int) -> None:
        """See `cublasSetPointerMode`."""
        self._note("set_pointer_mode", mode)
        self._state(handle)["pointers"] = mode

    def set_math_mode(self, handle: int, mode: int) -> None:
        """See `cublasSetMathMode`."""
        self._note("set_math_mode", mode)
        self._state(handle)["math"] = mode

    # ------------------------------------------------------------ products
    def sgemm_64(
        self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
    ) -> None:  # fmt: skip
        """See `cublasSgemm_64`."""
        self._note("sgemm_64")
        matrices = (a, lda, 0), (b, ldb, 0), (c, ldc, 0)
        self._gemm("f", handle, (transa, transb), (m, n, k, 1), matrices, (alpha, beta))

    def sgemm_strided_batched_64(
        self, handle, transa, transb, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
        stride_c, batch_count,
    ) -> None:  # fmt: skip
        """See `cublasSgemmStridedBatched_64`."""
        self._note("sgemm_strided_batched_64")
        matrices = (a, lda, stride_a), (b, ldb, stride_b), (c, ldc, stride_c)
        self._gemm("f", handle, (transa, transb), (m, n, k, batch_count), matrices, (alpha, beta))

    def dgemm_64(
        self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
    ) -> None:  # fmt: skip
        """See `cublasDgemm_64`."""
        self._note("dgemm_64")
        matrices = (a, lda, 0), (b, ldb, 0), (c, ldc, 0)
        self._gemm("d", handle, (transa, transb), (m, n, k, 1), matrices, (alpha, beta))

    def dgemm_strided_batched_64(
        self, handle, transa, transb, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
        stride_c, batch_count,
    ) -> None:  # fmt: skip
        """See `cublasDgemmStridedBatched_64`."""
        self._note("dgemm_strided_batched_64")
        matrices = (a, lda, stride_a), (b, ldb, stride_b), (c, ldc, stride_c)
        self._gemm("d", handle, (transa, transb), (m, n, k, batch_count), matrices, (alpha, beta))

    # ------------------------------------------------------------ inside
    def _note(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name in self.failing:
            raise CuBLASError(self.failing.pop(name))

    def _state(self, handle: int) -> dict[str, int]:
        if handle not in self._handles:
            raise CuBLASError(Status.NOT_INITIALIZED)
        return self._handles[handle]

    def _gemm(
        self,
        letter: str,
        handle: int,
        turned: tuple[int, int],
        sizes: tuple[int, int, int, int],
        matrices: tuple[tuple[int, int, int], ...],
        numbers: tuple[int, int],
    ) -> None:
        state = self._state(handle)
        for number in (*turned, *sizes, *numbers, *(n for matrix in matrices for n in matrix)):
            assert isinstance(number, int), "the binding takes integers"
        (transa, transb), (m, n, k, count), (a, b, c) = turned, sizes, matrices
        rows_a, columns_a = (m, k) if transa == 0 else (k, m)
        rows_b, columns_b = (k, n) if transb == 0 else (n, k)
        if (
            min(m, n, k, count) < 0
            or not {transa, transb} <= {0, 1, 2}
            or a[1] < max(1, rows_a)
            or b[1] < max(1, rows_b)
            or c[1] < max(1, m)
            or 0 in numbers
        ):
            raise CuBLASError(Status.INVALID_VALUE)
        assert state["pointers"] == PointerMode.HOST, "alpha and beta are the host's"
        kind = ctypes.c_float if letter == "f" else ctypes.c_double
        factor, kept = (kind.from_address(p).value for p in numbers)
        left = _seen(letter, a, rows_a, columns_a, count)
        right = _seen(letter, b, rows_b, columns_b, count)
        out = _seen(letter, c, m, n, count)

        def work() -> None:
            x = left.swapaxes(1, 2) if transa else left
            z = right.swapaxes(1, 2) if transb else right
            found = factor * (x.astype("d") @ z.astype("d"))
            # With beta 0 the result is not read: it may be NaN.
            out[...] = found if kept == 0 else found + kept * out

        if self._later is None:
            work()
        else:
            self._later(state["stream"], work)


def _seen(
    letter: str, matrix: tuple[int, int, int], rows: int, columns: int, count: int
) -> np.ndarray[Any, Any]:
    """A batch of matrices in BLAS' order, column by column."""
    address, leading, step = matrix
    size = np.dtype(letter).itemsize
    if rows * columns * count == 0:
        return np.zeros((count, rows, columns), letter)
    last = (count - 1) * step + (columns - 1) * leading + rows
    for buffer in [*memory._buffers.values(), *(found[0] for found in memory._scratch.values())]:
        offset = address - buffer.ctypes.data
        if 0 <= offset and offset + last * size <= buffer.nbytes:
            break
    else:
        raise CuBLASError(Status.EXECUTION_FAILED)
    return np.ndarray(
        (count, rows, columns), letter, buffer, offset, (step * size, size, leading * size)
    )
