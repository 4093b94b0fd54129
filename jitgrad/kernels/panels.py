"""Products with a matrix that is packed once and used many times, as a recurrent layer's is.

BLAS packs its operands anew in every call, which for a few rows takes as long as the product.  Here the
right-hand matrix is copied into *panels* (as many columns as a tile is wide, its rows one after the other,
the last panel with zeros up to a whole vector), and the left-hand one is read where it lies.  Imported by the
compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.dtypes import ALL
from jitgrad.kernels.lowlevel import POINTERS, TYPES, jit
from jitgrad.kernels.tiles import COLUMNS, ROWS, lanes, row_tile


@cache
def whole(dtype: int) -> Any:
    """Jitted: a number of columns rounded up to whole vectors, which is what `multiplier` writes."""
    v = lanes(dtype)

    @jit
    def rounded(n):
        return (n + v - 1) // v * v

    return rounded


@cache
def packer(dtype: int) -> Any:
    """Jitted ``pack(dst, b, K, N, down, right)``: the K x N matrix at ``b`` as panels.

    Addresses; steps from row to row and column to column in elements; ``dst`` has room for K times
    `whole` (N) elements.
    """
    pointer, ty = POINTERS[dtype], TYPES[dtype]
    size = ALL[dtype].itemsize
    width = COLUMNS * lanes(dtype)
    rounded = whole(dtype)

    @jit
    def beside(to, of, here, there):
        """A row of a panel from neighbours."""
        for j in range(here):
            to[j] = of[j]
        for j in range(here, there):
            to[j] = ty(0)

    @jit
    def apart(to, of, here, there, right):
        for j in range(here):
            to[j] = of[j * right]
        for j in range(here, there):
            to[j] = ty(0)

    @jit
    def pack(dst, b, K, N, down, right):
        for first in range(0, N, width):
            here = min(width, N - first)
            there = rounded(here)
            for k in range(K):
                to = pointer(dst + (first * K + k * there) * size)
                of = pointer(b + (first * right + k * down) * size)
                if right == 1:
                    beside(to, of, here, there)
                else:
                    apart(to, of, here, there, right)

    return pack


@cache
def multiplier(dtype: int) -> Any:
    """Jitted ``multiply(c, step, a, rise, b, M, N, K)``: c = a @ b, with b in panels.

    Addresses; rows of a lie ``rise`` bytes apart, those of c ``step``, of which `whole` (N) elements are
    written.
    """
    size, v = ALL[dtype].itemsize, lanes(dtype)

    def walker(columns: int) -> Any:
        tall, one = row_tile(dtype, ROWS, columns), row_tile(dtype, 1, columns)

        @jit
        def down(c, step, a, rise, b, M, K):
            r = 0
            while M - r >= ROWS:
                tall(a + r * rise, rise, b, K, c + r * step, step)
                r += ROWS
            while r < M:
                one(a + r * rise, rise, b, K, c + r * step, step)
                r += 1

        return down

    assert COLUMNS == 3
    down1, down2, down3 = walker(1), walker(2), walker(3)

    @jit
    def multiply(c, step, a, rise, b, M, N, K):
        left = (N + v - 1) // v
        while left > 0:
            if left >= 3:
                down3(c, step, a, rise, b, M, K)
            elif left == 2:
                down2(c, step, a, rise, b, M, K)
            else:
                down1(c, step, a, rise, b, M, K)
            n = min(left, 3)
            left -= n
            c += n * v * size
            b += n * v * size * K

    return multiply
