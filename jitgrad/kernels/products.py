"""Matrix products, through BLAS for floats and plain loops for integers.

`gemm` takes matrices by strides: a transposed view costs nothing, anything else that BLAS can't read is
copied first.  Kernels of ops: forward ``kernel(H, row)``, backward ``kernel(H, args)`` with ``args = [row,
input, where to write, cotangent]``; shapes were checked when the row was recorded.  Imported by the
compiler only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.arena.columns import (
    ATTR,
    H_GEMM32,
    H_GEMM64,
    H_SCRATCH,
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
from jitgrad.dtypes import ALL, FIRST_FLOAT
from jitgrad.kernels.lowlevel import (
    POINTERS,
    TYPES,
    call13,
    float64s,
    from_bits,
    jit,
    uint8s,
    words,
)

Kernel = Callable[[Any, Any], Any]

#: Products of fewer multiplications than this take a plain loop: a BLAS call costs more.
SMALL = 512


def _gemm(dtype: int) -> Any:
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
        # BLAS counts columns first: C's transpose is B's transpose times A's, and a row-major matrix
        # is its own transpose there.  Integers lie in 8 bytes, which a 32-bit BLAS reads as well
        # (little-endian).
        area = words(H)[H_SCRATCH]
        v = words(area)
        v[0] = N
        v[1] = M
        v[2] = K
        v[3] = ldb
        v[4] = lda
        v[5] = N
        pointer(area + 48)[0] = ty(alpha)
        pointer(area + 56)[0] = ty(beta)
        uint8s(area + 64)[0] = 84 if tb else 78  # 'T' or 'N'
        uint8s(area + 65)[0] = 84 if ta else 78
        call13(
            words(H)[slot],
            (
                area + 64,
                area + 65,
                area,
                area + 8,
                area + 16,
                area + 48,
                b,
                area + 24,
                a,
                area + 32,
                area + 56,
                c,
                area + 40,
            ),
        )
        if spare != NONE:
            storage_release(H, spare)
        if other != NONE:
            storage_release(H, other)
        return 0

    return gemm


def _batched(dtype: int) -> tuple[Any, Any]:
    """Jitted views of a row as a batch of matrices, and `_gemm`."""

    @jit
    def matrix(p):
        """(batch stride, row stride, column stride) of a row of 2 or 3 dims."""
        n = p[NDIM]
        return (
            p[STRIDE] if n == 3 else 0,
            p[STRIDE + n - 2],
            p[STRIDE + n - 1],
        )

    return matrix, _gemm(dtype)


def bmm(dtype: int) -> Kernel:
    """``a @ b`` of two matrices or of two equal batches of matrices."""
    matrix, gemm = _batched(dtype)
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
    matrix, gemm = _batched(dtype)
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
    matrix, gemm = _batched(dtype)
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
    gemm = _gemm(dtype)

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
    gemm = _gemm(dtype)

    def kernel(H, args_):
        args = words(args_)
        rb = input_at(row_at(H, args[0]), 1)
        pb = row_at(H, rb)
        M, K = row_at(H, args[0])[SHAPE], pb[SHAPE]
        return gemm(H, M, K, 1, 1.0, args[3], 1, 1, data_of(H, rb), 1, pb[STRIDE], 0.0, args[2])

    return kernel


def mv_db(dtype: int) -> Kernel:
    """``a^T g``."""
    gemm = _gemm(dtype)

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
    gemm = _gemm(dtype)

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


# ---------------------------------------------------------------- with a bias
def addmm(dtype: int) -> Kernel:
    """``beta c + alpha a @ b``, c broadcast; attributes: beta, alpha (float64 bits)."""
    matrix, gemm = _batched(dtype)
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
    matrix, gemm = _batched(dtype)

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
    matrix, gemm = _batched(dtype)

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        ra = input_at(p, 1)
        M, N, K = p[SHAPE], p[SHAPE + 1], row_at(H, ra)[SHAPE + 1]
        az, a0, a1 = matrix(row_at(H, ra))
        alpha = from_bits(p[ATTR + 1])
        return gemm(H, K, N, M, alpha, data_of(H, ra), a1, a0, args[3], N, 1, 0.0, args[2])

    return kernel


def _linear_parts(dtype: int) -> tuple[Any, Any]:
    """Jitted: a row of any dims as an (M, K) matrix, and `_gemm`."""

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

    return matrix, _gemm(dtype)


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
    gemm = _gemm(dtype)
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
