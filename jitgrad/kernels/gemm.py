"""The matrix product under all others: through BLAS for floats, by plain loops for integers.

It takes matrices by strides: a transposed view costs nothing, anything else that BLAS can't read is copied
first.  Shapes were checked when the row was recorded.  Imported by the compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    H_BLAS_LIMIT,
    H_BLAS_THREADS,
    H_GEMM32,
    H_GEMM64,
    H_SCRATCH,
    NDIM,
    NONE,
    S_DATA,
    SCRATCH,
    STRIDE,
    X_MEMORY,
)
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import (
    POINTERS,
    TYPES,
    call0,
    call1,
    call13,
    jit,
    uint8s,
    words,
)
from jitgrad.kernels.tasks import side_by_side, threads

Kernel = Callable[[Any, Any], Any]

# A product for `side_by_side`, in the first thread's scratch behind the words of its call.
JOB = 256
(
    _AREA, _M, _N, _K, _A, _TA, _LDA, _B, _TB, _LDB, _C, _BLAS, _ALPHA, _BETA, _PARTS
) = range(15)  # fmt: skip
#: Multiplications that pay for another thread, and what a part's rows or columns are a multiple of.
THREAD, EDGE = 1 << 18, 16
#: Products of fewer multiplications than this take a plain loop: a BLAS call costs more.
SMALL = 512


@cache
def gemm_of(dtype: int) -> Any:
    """Jitted ``C = alpha A B + beta C``: C is M x N, contiguous; A and B have any strides.

    Returns 0 or X_MEMORY.
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    floating = dtype >= FIRST_FLOAT
    whole = TYPES[5]
    wide = TYPES[7] if floating else whole
    slot = H_GEMM64 if ALL[dtype].name == "float64" else H_GEMM32
    size = ALL[dtype].itemsize

    # Two functions: in one Numba would give ``total`` one type, and round large integers to float64.
    @jit
    def scaled(total, alpha, c, beta):
        total = total * alpha
        return total + wide(c) * beta if beta != 0.0 else total

    @jit
    def scaled_integer(total, alpha, c, beta):
        return total * whole(alpha) + wide(c) * whole(beta)

    finish = scaled if floating else scaled_integer

    @jit
    def loops(M, N, K, alpha, a, a0, a1, b, b0, b1, beta, c):
        A, B, C = pointer(a), pointer(b), pointer(c)
        for i in range(M):
            for j in range(N):
                total = wide(0)
                for k in range(K):
                    total += wide(A[i * a0 + k * a1]) * wide(B[k * b0 + j * b1])
                C[i * N + j] = ty(finish(total, alpha, C[i * N + j], beta))

    @jit
    def leading(rows, columns, s0, s1):
        """(usable by BLAS, transposed, leading dimension) of a matrix."""
        if columns <= 1 or s1 == 1:
            ld = columns if rows <= 1 else s0
            if ld >= columns and (s1 == 1 or columns <= 1):
                return True, False, max(ld, 1)
        if rows <= 1 or s0 == 1:
            ld = rows if columns <= 1 else s1
            if ld >= rows and (s0 == 1 or rows <= 1):
                return True, True, max(ld, 1)
        return False, False, 0

    @jit
    def packed(H, rows, columns, a, s0, s1):
        """A contiguous copy of a matrix: its storage, or NONE."""
        s = storage_new(H, rows * columns * size)
        if s != NONE:
            src = pointer(a)
            dst = pointer(store(H, s)[S_DATA])
            for i in range(rows):
                for j in range(columns):
                    dst[i * columns + j] = src[i * s0 + j * s1]
        return s

    @jit
    def part(job_, k):
        """Rows or columns ``k`` of ``_PARTS`` of the product, by BLAS."""
        job = words(job_)
        M, N, K = job[_M], job[_N], job[_K]
        a, b, c = job[_A], job[_B], job[_C]
        parts = job[_PARTS]
        if parts > 1:
            side = max(M, N)
            low = side * k // parts // EDGE * EDGE
            high = side if k == parts - 1 else side * (k + 1) // parts // EDGE * EDGE
            if M >= N:
                M = high - low
                a += low * size * (1 if job[_TA] != 0 else job[_LDA])
                c += low * size * N
            else:
                N = high - low
                b += low * size * (job[_LDB] if job[_TB] != 0 else 1)
                c += low * size
        # BLAS counts columns first: C's transpose is B's transpose times A's, and a row-major matrix
        # is its own transpose there.  Integers lie in 8 bytes, which a 32-bit BLAS reads as well
        # (little-endian).
        area = job[_AREA] + k * SCRATCH
        v = words(area)
        v[0] = N
        v[1] = M
        v[2] = K
        v[3] = job[_LDB]
        v[4] = job[_LDA]
        v[5] = job[_N]
        uint8s(area + 64)[0] = 84 if job[_TB] != 0 else 78  # 'T' or 'N'
        uint8s(area + 65)[0] = 84 if job[_TA] != 0 else 78
        call13(
            job[_BLAS],
            (
                area + 64,
                area + 65,
                area,
                area + 8,
                area + 16,
                job_ + _ALPHA * 8,
                b,
                area + 24,
                a,
                area + 32,
                job_ + _BETA * 8,
                c,
                area + 40,
            ),
        )
        return 0

    run = side_by_side(part)

    @jit
    def limited(H, job_):
        """Multiply on the arena's threads, BLAS on one: its own wait for those that the arena's keep busy."""
        h = words(H)
        job = words(job_)
        job[_PARTS] = 1
        if h[H_BLAS_LIMIT] == 0:
            part(job_, 0)
            return
        before = call0(h[H_BLAS_THREADS], ()) & 0xFFFF
        if before != 1:
            call1(h[H_BLAS_LIMIT], (1,))
        most = max(job[_M], job[_N]) // (2 * EDGE)
        job[_PARTS] = max(min(threads(H, job[_M] * job[_N] * job[_K], THREAD), most), 1)
        run(H, job_, job[_PARTS])
        if before != 1:
            call1(h[H_BLAS_LIMIT], (before,))

    @jit
    def gemm(H, M, N, K, alpha, a, a0, a1, b, b0, b1, beta, c):
        if M == 0 or N == 0:
            return 0
        if not floating or M * N * K <= SMALL or K == 0:
            loops(M, N, K, alpha, a, a0, a1, b, b0, b1, beta, c)
            return 0
        spare = NONE
        other = NONE
        ok, ta, lda = leading(M, K, a0, a1)
        if not ok:
            spare = packed(H, M, K, a, a0, a1)
            if spare == NONE:
                return X_MEMORY
            a = store(H, spare)[S_DATA]
            ta = False
            lda = K
        ok, tb, ldb = leading(K, N, b0, b1)
        if not ok:
            other = packed(H, K, N, b, b0, b1)
            if other == NONE:
                if spare != NONE:
                    storage_release(H, spare)
                return X_MEMORY
            b = store(H, other)[S_DATA]
            tb = False
            ldb = N
        area = words(H)[H_SCRATCH]
        job = words(area + JOB)
        job[_AREA] = area
        job[_M] = M
        job[_N] = N
        job[_K] = K
        job[_A] = a
        job[_TA] = ta
        job[_LDA] = lda
        job[_B] = b
        job[_TB] = tb
        job[_LDB] = ldb
        job[_C] = c
        job[_BLAS] = words(H)[slot]
        pointer(area + JOB + _ALPHA * 8)[0] = ty(alpha)
        pointer(area + JOB + _BETA * 8)[0] = ty(beta)
        limited(H, area + JOB)
        if spare != NONE:
            storage_release(H, spare)
        if other != NONE:
            storage_release(H, other)
        return 0

    return gemm


@cache
def batched(dtype: int) -> tuple[Any, Any]:
    """Jitted views of a row as a batch of matrices, and `gemm_of`."""

    @jit
    def matrix(p):
        """(batch stride, row stride, column stride) of a row of 2 or 3 dims."""
        n = p[NDIM]
        return (
            p[STRIDE] if n == 3 else 0,
            p[STRIDE + n - 2],
            p[STRIDE + n - 1],
        )

    return matrix, gemm_of(dtype)
