"""Products of matrices and vectors (`jitgrad.kernels.gemm`).  Kernels of ops: forward ``kernel(H, row)``,
backward ``kernel(H, args)`` with ``args = [row, input, where to write, cotangent]``; shapes were checked when
the row was recorded.  Imported by the compiler only.
"""

from __future__ import annotations

from jitgrad.arena.columns import (
    NDIM,
    SHAPE,
    STRIDE,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.dtypes import ALL
from jitgrad.kernels.gemm import Kernel, batched, gemm_of
from jitgrad.kernels.lowlevel import (
    POINTERS,
    words,
)


def bmm(dtype: int) -> Kernel:
    """``a @ b`` of two matrices or of two equal batches of matrices."""
    matrix, gemm = batched(dtype)
    size = ALL[dtype].itemsize

    def kernel(H, out):
        p = row_at(H, out)
        ra, rb = input_at(p, 0), input_at(p, 1)
        pa, pb = row_at(H, ra), row_at(H, rb)
        n = p[NDIM]
        batch = p[SHAPE] if n == 3 else 1
        M, N, K = p[SHAPE + n - 2], p[SHAPE + n - 1], pa[SHAPE + n - 1]
        az, a0, a1 = matrix(pa)
        bz, b0, b1 = matrix(pb)
        a, b, c = data_of(H, ra), data_of(H, rb), data_of(H, out)
        status = 0
        for z in range(batch):
            status |= gemm(
                H,
                M,
                N,
                K,
                1.0,
                a + z * az * size,
                a0,
                a1,
                b + z * bz * size,
                b0,
                b1,
                0.0,
                c + z * M * N * size,
            )
        return status

    return kernel


def bmm_da(dtype: int) -> Kernel:
    """``g @ b^T``."""
    matrix, gemm = batched(dtype)
    size = ALL[dtype].itemsize

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        rb = input_at(p, 1)
        n = p[NDIM]
        batch = p[SHAPE] if n == 3 else 1
        M, N, K = p[SHAPE + n - 2], p[SHAPE + n - 1], row_at(H, rb)[SHAPE + n - 2]
        bz, b0, b1 = matrix(row_at(H, rb))
        b = data_of(H, rb)
        status = 0
        for z in range(batch):
            status |= gemm(
                H,
                M,
                K,
                N,
                1.0,
                args[3] + z * M * N * size,
                N,
                1,
                b + z * bz * size,
                b1,
                b0,
                0.0,
                args[2] + z * M * K * size,
            )
        return status

    return kernel


def bmm_db(dtype: int) -> Kernel:
    """``a^T @ g``."""
    matrix, gemm = batched(dtype)
    size = ALL[dtype].itemsize

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ra = input_at(p, 0)
        n = p[NDIM]
        batch = p[SHAPE] if n == 3 else 1
        M, N, K = p[SHAPE + n - 2], p[SHAPE + n - 1], row_at(H, ra)[SHAPE + n - 1]
        az, a0, a1 = matrix(row_at(H, ra))
        a = data_of(H, ra)
        status = 0
        for z in range(batch):
            status |= gemm(
                H,
                K,
                N,
                M,
                1.0,
                a + z * az * size,
                a1,
                a0,
                args[3] + z * M * N * size,
                N,
                1,
                0.0,
                args[2] + z * K * N * size,
            )
        return status

    return kernel


# ---------------------------------------------------------------- vectors
def mv(dtype: int) -> Kernel:
    """A matrix times a vector."""
    gemm = gemm_of(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        ra, rb = input_at(p, 0), input_at(p, 1)
        pa, pb = row_at(H, ra), row_at(H, rb)
        M, K = pa[SHAPE], pa[SHAPE + 1]
        return gemm(
            H,
            M,
            1,
            K,
            1.0,
            data_of(H, ra),
            pa[STRIDE],
            pa[STRIDE + 1],
            data_of(H, rb),
            pb[STRIDE],
            1,
            0.0,
            data_of(H, out),
        )

    return kernel


def mv_da(dtype: int) -> Kernel:
    """``outer(g, v)``."""
    gemm = gemm_of(dtype)

    def kernel(H, args_):
        args = words(args_)
        rb = input_at(row_at(H, args[0]), 1)
        pb = row_at(H, rb)
        M, K = row_at(H, args[0])[SHAPE], pb[SHAPE]
        return gemm(H, M, K, 1, 1.0, args[3], 1, 1, data_of(H, rb), 1, pb[STRIDE], 0.0, args[2])

    return kernel


def mv_db(dtype: int) -> Kernel:
    """``a^T g``."""
    gemm = gemm_of(dtype)

    def kernel(H, args_):
        args = words(args_)
        ra = input_at(row_at(H, args[0]), 0)
        pa = row_at(H, ra)
        M, K = pa[SHAPE], pa[SHAPE + 1]
        return gemm(
            H,
            K,
            1,
            M,
            1.0,
            data_of(H, ra),
            pa[STRIDE + 1],
            pa[STRIDE],
            args[3],
            1,
            1,
            0.0,
            args[2],
        )

    return kernel


def dot(dtype: int) -> Kernel:
    """Inner product of two vectors."""
    gemm = gemm_of(dtype)

    def kernel(H, out):
        p = row_at(H, out)
        ra, rb = input_at(p, 0), input_at(p, 1)
        pa, pb = row_at(H, ra), row_at(H, rb)
        return gemm(
            H,
            1,
            1,
            pa[SHAPE],
            1.0,
            data_of(H, ra),
            1,
            pa[STRIDE],
            data_of(H, rb),
            pb[STRIDE],
            1,
            0.0,
            data_of(H, out),
        )

    return kernel


def dot_dx(dtype: int) -> Kernel:
    """``g`` times the other vector."""
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        other = input_at(row_at(H, args[0]), 1 - args[1])
        p = row_at(H, other)
        x = pointer(data_of(H, other))
        dx = pointer(args[2])
        g = pointer(args[3])[0]
        for i in range(p[SHAPE]):
            dx[i] = g * x[i * p[STRIDE]]
        return 0

    return kernel
