"""Sums that normalizations need, of contiguous elements: in the dtype a block at a time, blocks in float64.

Imported by the compiler only.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jitgrad.arena.columns import ATTR, NIN, NONE, NUMEL, S_DATA, X_MEMORY
from jitgrad.arena.rows import input_at, row_at
from jitgrad.arena.storage import storage_release, store
from jitgrad.arena.vjps import wants
from jitgrad.kernels.lowlevel import POINTERS, TYPES, at, float64s, jit, jit_sum, words

#: Elements that are added up in the dtype: lanes of a vector share them, so the error stays at its last bits.
BLOCK = 1024


@cache
def summer(dtype: int) -> tuple[Any, Any, Any]:
    """Jitted sums over n elements, as float64: ``sum(x, n)``, of squared distances
    ``squares(x, n, mean)`` and of products ``moment(g, x, n, mean)`` with the distances."""
    ty = TYPES[dtype]

    @jit_sum
    def sum_block(x, n):
        total = ty(0)
        for i in range(n):
            total += x[i]
        return total

    @jit_sum
    def squares_block(x, n, mean):
        total = ty(0)
        for i in range(n):
            d = x[i] - mean
            total += d * d
        return total

    @jit_sum
    def moment_block(g, x, n, mean):
        total = ty(0)
        for i in range(n):
            total += g[i] * (x[i] - mean)
        return total

    @jit
    def total(x, n):
        found = 0.0
        for start in range(0, n, BLOCK):
            found += sum_block(at(x, start), min(n - start, BLOCK))
        return found

    @jit
    def squares(x, n, mean):
        found = 0.0
        for start in range(0, n, BLOCK):
            found += squares_block(at(x, start), min(n - start, BLOCK), mean)
        return found

    @jit
    def moment(g, x, n, mean):
        found = 0.0
        for start in range(0, n, BLOCK):
            found += moment_block(at(g, start), at(x, start), min(n - start, BLOCK), mean)
        return found

    return total, squares, moment


# A normalization's inputs are x, the statistics (which forward writes), perhaps a weight and a bias.  One
# pass over x and g gives all three gradients, so the first one that is asked for leaves the sums for the
# others in a stash: float64, of the weight's gradient first.  Attributes that all of them have:
STASH, AFFINE = 0, 1  # the stash's storage or NONE; bit 0 a weight, bit 1 a bias


@jit
def awaited(H, p, slot):
    """Whether a gradient after that of input ``slot`` will be asked for in this pass."""
    from_ = max(slot + 1, 2)
    for i in range(from_, p[NIN]):
        if wants(H, p, i):
            return True
    return False


@jit
def stashed(H, p, slot, s):
    """Leave the stash for the inputs after ``slot``, or let go of it."""
    if awaited(H, p, slot):
        p[ATTR + STASH] = s
    else:
        p[ATTR + STASH] = NONE
        storage_release(H, s)


@cache
def affine_gradient(dtype: int, gradients: Any) -> Any:
    """The backward kernel of weight and bias; ``gradients(H, row, g, dx)`` makes the stash."""
    pointer, ty = POINTERS[dtype], TYPES[dtype]

    def kernel(H, args_):
        args = words(args_)
        p = row_at(H, args[0])
        slot = args[1]
        s = p[ATTR + STASH]
        if s == NONE:
            s = gradients(H, args[0], args[3], 0)
            if s == NONE:
                return X_MEMORY
        n = row_at(H, input_at(p, slot))[NUMEL]
        first = 0 if slot == 2 and p[ATTR + AFFINE] & 1 else n
        sums = at(float64s(store(H, s)[S_DATA]), first)
        to = pointer(args[2])
        for i in range(n):
            to[i] = ty(sums[i])
        stashed(H, p, slot, s)
        return 0

    return kernel
