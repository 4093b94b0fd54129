"""Products with a bias: addmm and linear.  Kernels of ops: forward ``kernel(H, row)``, backward
``kernel(H, args)`` with ``args = [row, input, where to write, cotangent]``; shapes were checked when the row
was recorded.  Imported by the compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    NDIM,
    NIN,
    NONE,
    NUMEL,
    S_DATA,
    SHAPE,
    STRIDE,
    X_MEMORY,
)
from jitgrad.arena.rows import data_of, input_at, row_at
from jitgrad.arena.shapes import dense_copy
from jitgrad.arena.storage import storage_new, storage_release, store
from jitgrad.dtypes import ALL
from jitgrad.kernels.gemm import Kernel, batched, gemm_of
from jitgrad.kernels.lowlevel import (
    POINTERS,
    TYPES,
    float64s,
    from_bits,
    jit,
    words,
)


def addmm(dtype: int) -> Kernel:
    """``beta c + alpha a @ b``, c broadcast; attributes: beta, alpha (float64 bits)."""
    matrix, gemm = batched(dtype)
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        rc, ra, rb = input_at(p, 0), input_at(p, 1), input_at(p, 2)
        pc, pa, pb = row_at(H, rc), row_at(H, ra), row_at(H, rb)
        M, N, K = p[SHAPE], p[SHAPE + 1], pa[SHAPE + 1]
        beta, alpha = from_bits(p[ATTR]), from_bits(p[ATTR + 1])
        s0 = 0
        s1 = 0
        n = pc[NDIM]
        if n > 0 and pc[SHAPE + n - 1] != 1:
            s1 = pc[STRIDE + n - 1]
        if n > 1 and pc[SHAPE] != 1:
            s0 = pc[STRIDE]
        c = pointer(data_of(H, rc))
        y = pointer(data_of(H, out))
        for i in range(M):
            for j in range(N):
                # beta 0 means that c is not read: its NaN must not get through.
                y[i * N + j] = ty(beta * c[i * s0 + j * s1]) if beta != 0.0 else ty(0)
        az, a0, a1 = matrix(pa)
        bz, b0, b1 = matrix(pb)
        return gemm(
            H, M, N, K, alpha, data_of(H, ra), a0, a1, data_of(H, rb), b0, b1, 1.0, data_of(H, out)
        )

    return kernel


def addmm_dc(dtype: int) -> Kernel:
    """``beta g`` summed to c's shape."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        pc = row_at(H, input_at(p, 0))
        beta = from_bits(p[ATTR])
        M, N = p[SHAPE], p[SHAPE + 1]
        n = pc[NDIM]
        columns = pc[SHAPE + n - 1] if n > 0 else 1
        rows = pc[SHAPE] if n > 1 else 1
        s = storage_new(H, max(rows * columns, 1) * 8)
        if s == NONE:
            return X_MEMORY
        total = float64s(store(H, s)[S_DATA])
        for i in range(rows * columns):
            total[i] = 0.0
        g = pointer(args[3])
        for i in range(M):
            row = i * columns if rows > 1 else 0
            for j in range(N):
                total[row + (j if columns > 1 else 0)] += g[i * N + j]
        dc = pointer(args[2])
        for i in range(rows * columns):
            dc[i] = ty(total[i] * beta)
        storage_release(H, s)
        return 0

    return kernel


def addmm_da(dtype: int) -> Kernel:
    """``alpha g @ b^T``."""
    matrix, gemm = batched(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        rb = input_at(p, 2)
        M, N, K = p[SHAPE], p[SHAPE + 1], row_at(H, rb)[SHAPE]
        bz, b0, b1 = matrix(row_at(H, rb))
        alpha = from_bits(p[ATTR + 1])
        return gemm(H, M, K, N, alpha, args[3], N, 1, data_of(H, rb), b1, b0, 0.0, args[2])

    return kernel


def addmm_db(dtype: int) -> Kernel:
    """``alpha a^T @ g``."""
    matrix, gemm = batched(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ra = input_at(p, 1)
        M, N, K = p[SHAPE], p[SHAPE + 1], row_at(H, ra)[SHAPE + 1]
        az, a0, a1 = matrix(row_at(H, ra))
        alpha = from_bits(p[ATTR + 1])
        return gemm(H, K, N, M, alpha, data_of(H, ra), a1, a0, args[3], N, 1, 0.0, args[2])

    return kernel


@cache
def _linear_parts(dtype: int) -> tuple[Any, Any]:
    """Jitted: a row of any dims as an (M, K) matrix, and `gemm_of`."""

    @jit
    def matrix(H, r, K):
        """(address, row stride, column stride, storage of a copy or NONE)."""
        p = row_at(H, r)
        n = p[NDIM]
        if n <= 2:
            s1 = p[STRIDE + n - 1]
            s0 = p[STRIDE] if n == 2 else K
            return data_of(H, r), s0, s1, NONE
        # Leading dims that are one run of rows need no copy.
        rows = p[STRIDE + n - 2]
        fits = True
        step = rows
        for k in range(n - 1):
            d = n - 2 - k
            if p[SHAPE + d] != 1:
                if p[STRIDE + d] != step:
                    fits = False
                step *= p[SHAPE + d]
        if fits:
            return data_of(H, r), rows, p[STRIDE + n - 1], NONE
        s = dense_copy(H, r)
        return (0 if s == NONE else store(H, s)[S_DATA]), K, 1, s

    return matrix, gemm_of(dtype)


def linear(dtype: int) -> Kernel:
    """``x @ w^T (+ b)``: x is (..., K), w is (N, K), b is (N)."""
    matrix, gemm = _linear_parts(dtype)
    pointer = POINTERS[dtype]

    def kernel(H, out):
        p = row_at(H, out)
        rx, rw = input_at(p, 0), input_at(p, 1)
        pw = row_at(H, rw)
        N, K = pw[SHAPE], pw[SHAPE + 1]
        M = p[NUMEL] // N if N > 0 else 0
        x, x0, x1, copy = matrix(H, rx, K)
        if x == 0:
            return X_MEMORY
        beta = 0.0
        if row_at(H, out)[NIN] == 3:
            rb = input_at(p, 2)
            step = row_at(H, rb)[STRIDE]
            b = pointer(data_of(H, rb))
            y = pointer(data_of(H, out))
            for i in range(M):
                for j in range(N):
                    y[i * N + j] = b[j * step]
            beta = 1.0
        status = gemm(
            H,
            M,
            N,
            K,
            1.0,
            x,
            x0,
            x1,
            data_of(H, rw),
            pw[STRIDE + 1],
            pw[STRIDE],
            beta,
            data_of(H, out),
        )
        if copy != NONE:
            storage_release(H, copy)
        return status

    return kernel


def linear_dx(dtype: int) -> Kernel:
    """``g @ w``."""
    gemm = gemm_of(dtype)
    pointer = POINTERS[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        rw = input_at(p, 1)
        pw = row_at(H, rw)
        N, K = pw[SHAPE], pw[SHAPE + 1]
        M = p[NUMEL] // N if N > 0 else 0
        if M == 0 and K > 0:
            dx = pointer(args[2])
            for i in range(row_at(H, input_at(p, 0))[NUMEL]):
                dx[i] = 0
            return 0
        return gemm(
            H, M, K, N, 1.0, args[3], N, 1, data_of(H, rw), pw[STRIDE], pw[STRIDE + 1], 0.0, args[2]
        )

    return kernel


def linear_dw(dtype: int) -> Kernel:
    """``g^T @ x``."""
    matrix, gemm = _linear_parts(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        rx = input_at(p, 0)
        pw = row_at(H, input_at(p, 1))
        N, K = pw[SHAPE], pw[SHAPE + 1]
        M = p[NUMEL] // N if N > 0 else 0
        x, x0, x1, copy = matrix(H, rx, K)
        if x == 0:
            return X_MEMORY
        status = gemm(H, N, K, M, 1.0, args[3], 1, N, x, x0, x1, 0.0, args[2])
        if copy != NONE:
            storage_release(H, copy)
        return status

    return kernel


def linear_db(dtype: int) -> Kernel:
    """Column sums of ``g``, in float64."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize

    @jit
    def add_row(total, g, n):
        for j in range(n):
            total[j] += g[j]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        N = row_at(H, input_at(p, 2))[NUMEL]
        M = p[NUMEL] // N if N > 0 else 0
        s = storage_new(H, max(N, 1) * 8)
        if s == NONE:
            return X_MEMORY
        total = float64s(store(H, s)[S_DATA])
        for j in range(N):
            total[j] = 0.0
        for i in range(M):
            add_row(total, pointer(args[3] + i * N * size), N)
        db = pointer(args[2])
        for j in range(N):
            db[j] = ty(total[j])
        storage_release(H, s)
        return 0

    return kernel
